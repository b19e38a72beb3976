"""Settings: what must fit together, how a wrong one is named, and that no secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.settings import Settings, SettingsError, load_settings


def test_an_end_is_noticed_within_ninety_seconds_without_any_message() -> None:
    # The slowest way: a poll just before the end, the next one due after its pace, found by the next sweep.
    settings = Settings()
    assert settings.poll_seconds + settings.sweep_seconds < 90


def test_a_lease_outlives_its_step() -> None:
    with pytest.raises(SettingsError, match="STEP_LEASE_SECONDS"):
        load_settings(step_limit_seconds=100, step_lease_seconds=100)


def test_secrets_come_from_files_and_are_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first-secret, second-secret\n")
    monkeypatch.setenv("CRYOPACK_GITHUB_WEBHOOK_SECRETS_FILE", str(secret))
    monkeypatch.setenv("CRYOPACK_DATABASE_URL", "postgresql://me:pass-word@db/x")
    settings = load_settings()
    assert settings.secrets() == (b"first-secret", b"second-secret")
    shown = repr(settings) + str(settings) + str(settings.model_dump())
    for word in ("first-secret", "second-secret", "pass-word"):
        assert word not in shown


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CRYOPACK_MAX_TRIES", "0"),
        ("CRYOPACK_POLL_SECONDS", "soon"),
        ("CRYOPACK_GITHUB_API_URL", "api.github.com"),
        ("CRYOPACK_API_READ", "everybody"),
        ("CRYOPACK_TRUSTED_PROXIES", "10.0.0.1, proxy.example.org"),
        ("CRYOPACK_OIDC_DISCOVERY_URL", "https://id.example.org/"),
        ("CRYOPACK_DISTGIT_URL", "https://me:secret@src.example.org"),
        ("CRYOPACK_DISTGIT_PUSH_URL", "ssh://bot:secret@pkgs.example.org"),
    ],
)
def test_a_wrong_setting_names_its_variable_and_not_its_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable) as caught:
        load_settings()
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_without_a_database_url_there_is_a_file_below_the_state_directory(tmp_path: Path) -> None:
    assert load_settings(state_dir=tmp_path).database() == f"sqlite:///{tmp_path}/cryopack.sqlite"


def test_the_sandbox_never_shares_a_database_with_real_builds(tmp_path: Path) -> None:
    real, sandbox = (load_settings(state_dir=tmp_path, sandbox=on).database() for on in (False, True))
    assert real != sandbox
