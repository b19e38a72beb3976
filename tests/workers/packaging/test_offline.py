"""Specs and SRPMs without server, database or network."""

from __future__ import annotations

import hashlib
import shutil
import socket
from pathlib import Path

import pytest

from service.catalog import load
from service.domain.errors import BadCatalog, BadSpec, BadTag
from tests.workers.sources.archives import Made
from workers.packaging.offline import check, check_catalog, render, srpm, write_folder
from workers.packaging.spec_check import NOT_INSTALLED
from workers.sources.archives import SourceRefused

CATALOG = load(None, copr_owner="x")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something wants a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    file = tmp_path / "cri-o-1.32.1.tar.gz"
    file.write_bytes(Made().packed())
    return file


def test_facts_from_the_catalogue_or_from_the_archive(archive: Path) -> None:
    told = render(CATALOG, "v1.32.1")
    assert told.facts.origin == "catalogue"
    assert "Taken from the catalogue" in told.spec.text
    read = render(CATALOG, "v1.32.1", source=archive)
    assert read.facts.origin == "archive"
    assert "Read from the source archive" in read.spec.text
    assert check(CATALOG, read, branch="f43")["Release"] == "0.1.fc43"


def test_the_same_text_every_time() -> None:
    text = render(CATALOG, "v1.36.3").spec.text
    assert text == render(CATALOG, "v1.36.3").spec.text
    assert text != render(CATALOG, "v1.36.3", strategy="strict").spec.text


def test_srpm(archive: Path, tmp_path: Path) -> None:
    first = srpm(CATALOG, "v1.32.1", source=archive, directory=tmp_path / "a")
    second = srpm(CATALOG, "v1.32.1", source=archive, directory=tmp_path / "b", branch="f43")
    assert first.name == "cri-o1.32-1.32.1-0.1.src.rpm"
    assert first.sha256 == second.sha256


def test_srpm_of_another_name(archive: Path, tmp_path: Path) -> None:
    other = archive.rename(tmp_path / "v1.32.1.tar.gz")
    with pytest.raises(BadSpec, match="must be named cri-o-1"):
        srpm(CATALOG, "v1.32.1", source=other, directory=tmp_path)


def test_dist_git_folder_names_the_archive_by_its_checksum(archive: Path, tmp_path: Path) -> None:
    made = render(CATALOG, "v1.32.1", style="dist-git", source=archive)
    assert check(CATALOG, made, branch="f44")["Release"] == "1.fc44"
    written = write_folder(made, tmp_path / "out", source=archive)
    digest = hashlib.sha512(archive.read_bytes()).hexdigest()
    sources = (tmp_path / "out" / "sources").read_text()
    assert sources == f"SHA512 (cri-o-1.32.1.tar.gz) = {digest}\n"
    assert {path.name for path in written} == {path.name for path in (tmp_path / "out").iterdir()}
    assert not (tmp_path / "out" / archive.name).exists()


def test_refusals(archive: Path) -> None:
    with pytest.raises(BadTag):
        render(CATALOG, "1.32.1; rm -rf /")
    with pytest.raises(BadSpec, match="family 'podman'"):
        render(CATALOG, "v1.32.1", family="podman")
    with pytest.raises(BadSpec, match=r"no stream 1\.12"):
        render(CATALOG, "v1.12.0")
    with pytest.raises(SourceRefused, match=r"root folder cri-o-1\.33\.0"):
        render(CATALOG, "v1.33.0", source=archive)


def test_the_built_in_catalogue_renders_and_parses_everywhere() -> None:
    catalog, notes = check_catalog(None, copr_owner="x")
    assert catalog.families
    assert notes == (() if shutil.which("rpmlint") else (NOT_INSTALLED,))


def test_a_broken_catalogue(tmp_path: Path) -> None:
    with pytest.raises(BadCatalog):
        check_catalog(tmp_path, copr_owner="x")
