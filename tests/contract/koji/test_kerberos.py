"""Tests the log-in at the hub by Kerberos: a real KDC, real tickets, and a front that verifies them as Apache does.

It needs the extra ``kerberos``, which has to be compiled, and MIT's KDC; without them it is skipped. How it was run,
and with which versions: docs/kerberos.md.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.testing import Farm
from tests.contract.koji.bench import koji_target, sandbox_options
from tests.contract.koji.kdc import REALM, Kdc, missing_programs
from tests.contract.koji.tls_front import Front, make_certificate
from workers.buildsystems import AdapterConfig, BuildSystemUnavailable, NeedsPerson, connect
from workers.buildsystems.kerberos import Credentials, KerberosTrouble, negotiate
from workers.buildsystems.koji.adapter import Koji
from workers.distgit import lookaside
from workers.distgit.lookaside import LookasideRefused, LookasideTrouble

WHY = "needs the extra 'kerberos' (pip install 'cryopack[kerberos]')"
gssapi: Any = pytest.importorskip("gssapi", reason=WHY, exc_type=ImportError)
pytest.importorskip("requests_gssapi", reason=WHY, exc_type=ImportError)
pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(
        bool(missing_programs()), reason=f"needs MIT's KDC: no {', '.join(missing_programs())}"
    ),
]
PRINCIPAL = f"packbot@{REALM}"
TARGET = koji_target()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificate(folder, "authority")
    make_certificate(folder, "server", "authority")
    return folder


@pytest.fixture
def kdc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kdc]:
    folder = tmp_path / "kdc"
    folder.mkdir()
    made = Kdc(folder)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    with made:
        yield made


class Verifier:
    """The service's side: takes a token with the service's own key, and tells whose it is."""

    def __init__(self, keytab: Path) -> None:
        self._keytab = keytab
        self.seen: list[str] = []

    def __call__(self, token: str) -> tuple[str, str] | None:
        name = gssapi.Name("HTTP@127.0.0.1", gssapi.NameType.hostbased_service)
        try:
            own = gssapi.Credentials(name=name, usage="accept", store={"keytab": str(self._keytab)})
            context = gssapi.SecurityContext(creds=own, usage="accept")
            answer = context.step(base64.b64decode(token))
            # A token that was refused has an answer, too; the library raises with the next question.
            if not context.complete:
                return None
        except gssapi.exceptions.GSSError:
            return None
        self.seen.append(str(context.initiator_name))
        user, _, realm = self.seen[-1].partition("@")
        return (user, base64.b64encode(answer or b"").decode()) if realm == REALM else None


@pytest.fixture
def service(kdc: Kdc) -> Verifier:
    return Verifier(kdc.keytab("HTTP/127.0.0.1", "service"))


@pytest.fixture
def front(farm: Farm, certificates: Path, service: Verifier) -> Iterator[Front]:
    farm.clear_faults()
    server, authority = certificates / "server.pem", certificates / "authority.pem"
    with Front(farm.koji_url, server, authority, service) as running:
        yield running


@pytest.fixture
def options(farm: Farm, front: Front, certificates: Path, tmp_path: Path) -> dict[str, object]:
    """Options for the hub behind the front, but for who we are."""
    config = tmp_path / "koji.conf"
    config.write_text(
        f"[krb]\nserver = {front.url}/kojihub\nweburl = {front.url}/koji\nserverca = {certificates}/authority.pem\n"
    )
    kept = sandbox_options(farm, profile="krb", config_file=str(config), auth="kerberos")
    return {key: value for key, value in kept.items() if key not in ("user", "password_file")}


def adapter(options: dict[str, object], state_dir: Path, keytab: Path, principal: str = PRINCIPAL) -> Koji:
    config = AdapterConfig(state_dir, {**options, "keytab": str(keytab), "principal": principal})
    made = connect("koji", config)
    assert isinstance(made, Koji)
    return made


def test_a_keytab_logs_in_as_its_principal(
    farm: Farm, kdc: Kdc, options: dict[str, object], service: Verifier, tmp_path: Path
) -> None:
    keytab = kdc.keytab("packbot")
    system = adapter(options, tmp_path / "state", keytab)
    fence = system.open(TARGET)
    assert fence["user_id"] == farm.koji.user("packbot")["id"] and service.seen == [PRINCIPAL]
    health = system.health()
    assert health.ok and health.text.startswith("packbot at Koji 1.35")
    # The next log-in uses the ticket that is kept; it lies where nobody else reads it.
    kdc.stop()
    assert system.health().ok
    (cache,) = (tmp_path / "state" / "koji").glob("krb5cc-*")
    assert cache.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("principal", [f"nobody@{REALM}", "packbot@ELSEWHERE.TEST"])
def test_a_principal_that_the_keytab_does_not_hold_needs_a_person(
    kdc: Kdc, options: dict[str, object], service: Verifier, tmp_path: Path, principal: str
) -> None:
    system = adapter(options, tmp_path, kdc.keytab("packbot"), principal)
    with pytest.raises(NeedsPerson, match=f"no ticket for '{principal}' with the keytab 'packbot.keytab'"):
        system.open(TARGET)
    assert service.seen == []


def test_a_key_that_was_renewed_needs_a_person(kdc: Kdc, options: dict[str, object], tmp_path: Path) -> None:
    old = kdc.keytab("packbot").rename(tmp_path / "old.keytab")
    kdc.keytab("packbot")
    with pytest.raises(NeedsPerson, match="CRYOPACK_KOJI_KEYTAB") as caught:
        adapter(options, tmp_path, old).open(TARGET)
    assert str(tmp_path) not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"no keytab at all"])
def test_a_keytab_that_is_none_needs_a_person(
    kdc: Kdc, options: dict[str, object], tmp_path: Path, content: bytes | None
) -> None:
    keytab = tmp_path / "odd.keytab"
    if content is not None:
        keytab.write_bytes(content)
    with pytest.raises(NeedsPerson, match=r"odd\.keytab"):
        adapter(options, tmp_path, keytab).open(TARGET)


def test_a_kdc_that_is_away_is_waited_for(kdc: Kdc, options: dict[str, object], tmp_path: Path) -> None:
    system = adapter(options, tmp_path, kdc.keytab("packbot"))
    kdc.stop()
    with pytest.raises(BuildSystemUnavailable, match="the KDC of the realm cannot be reached"):
        system.open(TARGET)
    kdc.start()
    assert system.open(TARGET)["session_id"]


def test_a_hub_that_is_away_is_waited_for(
    farm: Farm, kdc: Kdc, options: dict[str, object], front: Front, tmp_path: Path
) -> None:
    system = adapter(options, tmp_path, kdc.keytab("packbot"))
    front.__exit__()
    with pytest.raises(BuildSystemUnavailable):
        system.open(TARGET)


def test_a_connection_that_breaks_in_the_log_in_is_waited_for(
    farm: Farm, kdc: Kdc, certificates: Path, options: dict[str, object], tmp_path: Path
) -> None:
    def breaks(token: str) -> tuple[str, str] | None:
        raise ConnectionResetError

    kdc.keytab("HTTP/127.0.0.1", "service")
    server, authority = certificates / "server.pem", certificates / "authority.pem"
    with Front(farm.koji_url, server, authority, breaks) as front:
        config = tmp_path / "koji.conf"
        config.write_text(f"[krb]\nserver = {front.url}/kojihub\nserverca = {authority}\n")
        with pytest.raises(BuildSystemUnavailable, match="for the log-in"):
            adapter(options, tmp_path, kdc.keytab("packbot")).open(TARGET)


def test_a_hub_that_does_not_take_the_ticket_needs_a_person(
    kdc: Kdc, options: dict[str, object], service: Verifier, tmp_path: Path
) -> None:
    system = adapter(options, tmp_path, kdc.keytab("packbot"))
    # The service's key was renewed, and the service still has the old one.
    kept = (kdc.folder / "service.keytab").read_bytes()
    kdc.keytab("HTTP/127.0.0.1", "service")
    (kdc.folder / "service.keytab").write_bytes(kept)
    with pytest.raises(NeedsPerson, match="does not accept our log-in by kerberos"):
        system.open(TARGET)


def test_a_service_that_the_realm_does_not_know(kdc: Kdc, tmp_path: Path) -> None:
    with pytest.raises(KerberosTrouble, match="not found in Kerberos database") as caught:
        negotiate("elsewhere.test", principal=PRINCIPAL, keytab=kdc.keytab("packbot"), ccache=tmp_path / "cc")
    assert not caught.value.away


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "cri-o-1.35.1.tar.gz"
    file.write_bytes(b"not really an archive")
    return file


@pytest.fixture
def cache(
    farm: Farm, certificates: Path, service: Verifier, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A lookaside cache that demands Kerberos; its front's certificate is trusted."""
    farm.call("POST", "/lookaside", log_in="Negotiate")
    context = ssl.create_default_context(cafile=str(certificates / "authority.pem"))
    monkeypatch.setattr(lookaside, "tls_context", lambda *, by_environment: context)
    with Front(
        farm.mirror_url, certificates / "server.pem", certificates / "authority.pem", service
    ) as running:
        yield f"{running.url}/lookaside/upload.cgi"
    farm.call("POST", "/lookaside", log_in="")


def put(address: str, source: Path, keytab: Path, principal: str = PRINCIPAL) -> bool:
    mine = Credentials(principal, keytab, source.parent / "tickets" / "cc")
    digest = lookaside.sha512_of(source)
    return lookaside.upload(address, package="rpms/p", file=source, sha512=digest, credentials=mine)


def test_a_source_is_uploaded_with_a_ticket(
    farm: Farm, kdc: Kdc, cache: str, service: Verifier, source: Path
) -> None:
    keytab = kdc.keytab("packbot")
    assert put(cache, source, keytab) is True
    # One ticket for the question, one for the file, one for the look after it.
    assert service.seen == [PRINCIPAL] * 3
    assert put(cache, source, keytab) is False
    farm.call("POST", "/lookaside", packager="somebody-else")
    with pytest.raises(LookasideRefused, match="packbot is not in the group packager"):
        put(cache, source, keytab)


def test_what_of_kerberos_holds_an_upload_and_what_is_waited_for(kdc: Kdc, cache: str, source: Path) -> None:
    keytab = kdc.keytab("packbot")
    with pytest.raises(LookasideRefused, match="no ticket for 'nobody@"):
        put(cache, source, keytab, f"nobody@{REALM}")
    kept = (kdc.folder / "service.keytab").read_bytes()
    kdc.keytab("HTTP/127.0.0.1", "service")
    (kdc.folder / "service.keytab").write_bytes(kept)
    with pytest.raises(LookasideRefused, match="does not accept the Kerberos log-in of packbot@"):
        put(cache, source, keytab)
    (source.parent / "tickets" / "cc").unlink()
    kdc.stop()
    with pytest.raises(LookasideTrouble, match="the KDC of the realm cannot be reached"):
        put(cache, source, keytab)
