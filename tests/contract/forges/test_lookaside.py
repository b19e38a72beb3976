"""Tests uploads to a lookaside cache that asks for a log-in; with real tickets: koji/test_kerberos.py."""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.testing import Farm
from tests.contract.koji.tls_front import Front, make_certificate
from workers.buildsystems.kerberos import Credentials
from workers.distgit import lookaside
from workers.distgit.lookaside import LookasideRefused
from workers.sources import certificates as trust

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with Farm(tmp_path_factory.mktemp("farm"), publish="none") as farm:
        yield farm


@pytest.fixture
def farm(running: Farm) -> Iterator[Farm]:
    yield running
    running.call("POST", "/lookaside", log_in="")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "cri-o-1.35.1.tar.gz"
    file.write_bytes(tmp_path.name.encode())
    return file


def put(address: str, source: Path, package: str = "rpms/cri-o1.35", **mine: Path) -> bool:
    digest = lookaside.sha512_of(source)
    return lookaside.upload(
        address, package=package, file=source, sha512=digest, credentials=Credentials(**mine)
    )


def open_cache(farm: Farm) -> str:
    return f"{farm.mirror_url}/lookaside/upload.cgi"


def test_a_source_is_uploaded_once_under_the_package_in_its_namespace(farm: Farm, source: Path) -> None:
    assert (put(open_cache(farm), source), put(open_cache(farm), source)) == (True, False)
    kept = farm.state_dir / "lookaside" / "rpms" / "cri-o1.35" / source.name
    assert len(list(kept.rglob(source.name))) == 1
    with pytest.raises(lookaside.LookasideTrouble, match="Required checksum, name or file"):
        put(open_cache(farm), source, package="cri-o1.35")


@pytest.mark.parametrize(
    ("demand", "told"), [("Basic realm=x", "a log-in by Basic, which is not known here"), ("", "")]
)
def test_an_unknown_log_in_needs_a_person(farm: Farm, source: Path, demand: str, told: str) -> None:
    farm.call("POST", "/lookaside", log_in=demand)
    if not told:
        assert put(open_cache(farm), source)
        return
    with pytest.raises(LookasideRefused, match=told):
        put(open_cache(farm), source)


def test_a_keytab_that_is_not_there_needs_a_person(farm: Farm, source: Path, tmp_path: Path) -> None:
    farm.call("POST", "/lookaside", log_in="Negotiate")
    with pytest.raises(
        LookasideRefused, match=r"there is no keytab 'packbot\.keytab' \(CRYOPACK_KOJI_KEYTAB"
    ):
        put(open_cache(farm), source, keytab=tmp_path / "packbot.keytab")


@pytest.mark.skipif(
    importlib.util.find_spec("gssapi") is not None, reason="the extra 'kerberos' is installed"
)
def test_kerberos_without_its_extra_says_what_to_install(farm: Farm, source: Path) -> None:
    farm.call("POST", "/lookaside", log_in="Negotiate")
    with pytest.raises(LookasideRefused, match="install cryopack with the extra 'kerberos'"):
        put(open_cache(farm), source)


def test_no_ticket_goes_over_an_open_line(farm: Farm, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farm.call("POST", "/lookaside", log_in="Negotiate")
    monkeypatch.setattr(lookaside, "LOOPBACK", ())
    with pytest.raises(LookasideRefused, match="wants a log-in over http; give its https address"):
        put(open_cache(farm), source)


def test_a_client_certificate_is_shown(
    farm: Farm, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificate(tmp_path, "authority")
    for name in ("server", "packbot"):
        make_certificate(tmp_path, name, "authority")

    def known(**_: object) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))

    monkeypatch.setattr(lookaside, "trusted", known)
    monkeypatch.setattr(trust.httpx2, "create_ssl_context", known)
    farm.call("POST", "/lookaside", log_in="Certificate", packager="packbot")
    with Front(farm.mirror_url, tmp_path / "server.pem", tmp_path / "authority.pem") as front:
        address = f"{front.url}/lookaside/upload.cgi"
        with pytest.raises(LookasideRefused, match="a log-in by Certificate"):
            put(address, source)
        with pytest.raises(LookasideRefused, match=r"no usable certificate 'gone\.pem'"):
            put(address, source, certificate=tmp_path / "gone.pem")
        assert put(address, source, certificate=tmp_path / "packbot.pem")
        farm.call("POST", "/lookaside", packager="somebody-else")
        with pytest.raises(LookasideRefused, match="packbot is not in the group packager"):
            put(address, source, certificate=tmp_path / "packbot.pem")
