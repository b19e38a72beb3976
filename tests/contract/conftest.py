"""Fixtures of the contract tests: a sandbox for each module, and small source RPMs to upload."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.testing import Farm

SPEC = """Name: {name}
Version: {version}
Release: 1
Summary: A package for tests
License: Apache-2.0
BuildArch: noarch
{extra}

%description
Nothing.

%files
"""


def make_srpm(folder: Path, name: str, extra: str = "", version: str = "1.0") -> Path:
    """A source RPM without sources, made by rpmbuild; bounded to 60 s."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = folder / f"{name}.spec"
    spec.write_text(SPEC.format(name=name, extra=extra, version=version))
    command = [
        "rpmbuild",
        "-bs",
        "--nodeps",
        "--define",
        f"_topdir {folder}",
        "--define",
        "dist %{nil}",
        str(spec),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return next((folder / "SRPMS").glob("*.src.rpm"))


@pytest.fixture(scope="module")
def module_farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """The sandbox of a module, in which builds move on only by ``step``; what a test changed in it stays."""
    with Farm(tmp_path_factory.mktemp("farm"), publish="none") as running:
        running.pause()
        yield running


@pytest.fixture(scope="session")
def srpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """hello-packit-1.0-1.src.rpm, for every architecture."""
    return make_srpm(tmp_path_factory.mktemp("srpm"), "hello-packit")


@pytest.fixture(scope="session")
def excluded_srpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same name and version, with ``ExcludeArch: x86_64``."""
    return make_srpm(tmp_path_factory.mktemp("excluded"), "hello-packit", "ExcludeArch: x86_64")
