"""``cryopack up`` starts a broker and a sandbox where none is configured, and keeps what is configured."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings, SettingsError
from tests.servers import free_port
from workers.machine import release_delivery
from workers.machine.bootstrap import running_settings, set_up_machine


def settings(tmp_path: Path, **given: Any) -> Settings:
    return Settings(_env_file=None, state_dir=tmp_path, **given)


def names(made: Any) -> list[str]:
    return [server.name for server in made.servers]


def test_without_anything_there_is_a_broker_and_a_sandbox(tmp_path: Path) -> None:
    made = set_up_machine(settings(tmp_path), port=8765, held_back_stream="1.32")
    assert names(made) == ["broker", "sandbox"]
    assert made.simulated
    sandbox = made.servers[1].command
    assert "v1.32.1" in sandbox[sandbox.index("--hold-back") :]
    assert "v1.33.1" not in sandbox
    running = running_settings(settings(tmp_path))
    assert running.sandbox
    assert running.copr_owner == "packbot"
    assert running.base_url == "http://127.0.0.1:8765"
    assert running.github_api_url == made.mirror_url
    assert running.source_url_template.startswith(made.mirror_url + "/{repository}/")
    assert running.broker_url.get_secret_value().startswith("redis://:")
    assert len(running.secrets()[0]) >= 32
    assert (running.sweep_seconds, running.poll_seconds) == (2, 3)


def test_secrets_are_for_their_owner_only_and_stay_the_same(tmp_path: Path) -> None:
    first = set_up_machine(settings(tmp_path), port=8765, held_back_stream="1.32")
    secrets = {path: path.read_text() for path in tmp_path.glob("*") if path.is_file()}
    assert {path.name for path in secrets} >= {"webhook-secret", "broker-url", "broker-password", "up.json"}
    for path in [*secrets, tmp_path / "valkey" / "valkey.conf"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    texts = json.dumps(dict(first.environment)) + repr(first.servers)
    for name in ("webhook-secret", "broker-password"):
        assert (tmp_path / name).read_text().strip() not in texts
    assert (
        set_up_machine(settings(tmp_path), port=8765, held_back_stream="1.32").environment
        == first.environment
    )
    assert {path: path.read_text() for path in secrets} == secrets


def test_a_port_that_was_taken_meanwhile_is_changed(tmp_path: Path) -> None:
    set_up_machine(settings(tmp_path), port=8765, held_back_stream="1.32")
    before = json.loads((tmp_path / "ports.json").read_text())
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", before["broker"]))
        squatter.listen()
        set_up_machine(settings(tmp_path), port=8765, held_back_stream="1.32")
    after = json.loads((tmp_path / "ports.json").read_text())
    assert after["broker"] != before["broker"]
    assert (after["copr"], after["mirror"]) == (before["copr"], before["mirror"])
    assert f":{after['broker']}/" in running_settings(settings(tmp_path)).broker_url.get_secret_value()


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"broker": "x"}', '{"broker": 99999999}', '{"broker": -1}'])
def test_a_spoiled_note_of_ports_is_written_again(tmp_path: Path, text: str) -> None:
    (tmp_path / "ports.json").write_text(text)
    set_up_machine(settings(tmp_path), port=8765, held_back_stream="1.32")
    assert json.loads((tmp_path / "ports.json").read_text()).keys() == {"broker", "copr", "koji", "mirror"}


def test_what_is_configured_is_used(tmp_path: Path) -> None:
    account = tmp_path / "copr.conf"
    account.write_text("[copr-cli]\n")
    given = settings(
        tmp_path, broker_url="redis://elsewhere/1", copr_owner="somebody", copr_config=account,
        base_url="https://packages.example", github_token="t0ken",
    )  # fmt: skip
    made = set_up_machine(given, port=8765, held_back_stream="1.32")
    assert made.servers == ()
    assert not made.simulated
    assert made.environment == {"CRYOPACK_STATE_DIR": str(tmp_path)}
    assert running_settings(given).github_token.get_secret_value() == "t0ken"


def test_an_owner_without_an_account_is_said(tmp_path: Path) -> None:
    given = settings(tmp_path, copr_owner="somebody", copr_config=tmp_path / "nothing")
    with pytest.raises(SettingsError, match=r"^CRYOPACK_COPR_CONFIG: "):
        set_up_machine(given, port=8765, held_back_stream="1.32")


def test_the_mirror_gets_no_token_of_the_real_github(tmp_path: Path) -> None:
    made = set_up_machine(settings(tmp_path, github_token="t0ken"), port=8765, held_back_stream="1.32")
    assert made.environment["CRYOPACK_GITHUB_TOKEN"] == ""
    assert made.environment["CRYOPACK_GITHUB_TOKEN_FILE"] == ""


def test_own_settings_win_over_those_of_the_running_service(tmp_path: Path) -> None:
    set_up_machine(settings(tmp_path), port=8765, held_back_stream="1.32")
    mine = running_settings(settings(tmp_path, base_url="http://127.0.0.1:1", github_webhook_secrets="mine"))
    assert mine.base_url == "http://127.0.0.1:1"
    assert mine.secrets() == (b"mine",)
    assert running_settings(settings(tmp_path / "elsewhere")) == settings(tmp_path / "elsewhere")


class Inbox(http.server.BaseHTTPRequestHandler):
    """Keeps what was posted, and answers 202."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted = (self.path, dict(self.headers), body)  # type: ignore[attr-defined]
        self.send_response(202)
        self.end_headers()
        self.wfile.write(b'{"status":"accepted"}')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def inbox() -> Iterator[http.server.HTTPServer]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Inbox)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_delivery_is_signed_as_github_signs(inbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    base_url = f"http://127.0.0.1:{inbox.server_port}"
    answer = release_delivery.deliver(
        base_url, b"s3cret", "cri-o/cri-o", "v1.33.0-rc.1", guid="abc", draft=True
    )
    assert (answer.status, answer.body) == (202, '{"status":"accepted"}')
    path, headers, body = inbox.posted
    assert path == "/webhooks/github"
    assert headers["X-GitHub-Event"] == "release"
    assert headers["X-GitHub-Delivery"] == "abc"
    assert headers["X-Hub-Signature-256"] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    release = json.loads(body)["release"]
    assert (release["tag_name"], release["prerelease"], release["draft"]) == ("v1.33.0-rc.1", True, True)
    assert release["published_at"] is None
    assert json.loads(body)["repository"]["full_name"] == "cri-o/cri-o"


def test_nobody_there_is_one_line() -> None:
    with pytest.raises(ConnectionError, match="no answer"):
        release_delivery.deliver(f"http://127.0.0.1:{free_port()}", b"s", "cri-o/cri-o", "v1.33.0")
