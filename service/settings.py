"""Reads the settings from environment variables with the prefix CRYOPACK_, once per process, and checks them."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SECRET_FIELDS = (
    "database_url",
    "broker_url",
    "github_webhook_secrets",
    "github_token",
    "oidc_client_secret",
    "token",
    "forge_token",
    "log_store_secret",
)


class SettingsError(Exception):
    """A wrong setting; ``str(error)`` is one line that names the variable and does not hold its value."""


class Settings(BaseSettings):
    """All settings. Durations are seconds. Every field is listed in deploy/env.example."""

    model_config = SettingsConfigDict(
        env_prefix="CRYOPACK_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: SecretStr = SecretStr("")
    broker_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    github_webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    github_api_url: str = "https://api.github.com"
    github_token: SecretStr = SecretStr("")
    source_url_template: str = "https://github.com/{repository}/archive/{tag}/{name}-{version}.tar.gz"
    base_url: str = "http://127.0.0.1:8000"
    server: str = ""
    token: SecretStr = SecretStr("")
    state_dir: Path = Path("var")
    catalog_dir: Path | None = None
    sandbox: bool = False

    copr_config: Path = Path("~/.config/copr")
    copr_owner: str = ""
    copr_connect_seconds: float = Field(10.0, gt=0)
    copr_read_seconds: float = Field(60.0, gt=0)
    koji_profile: str = ""
    koji_config: Path | None = None
    koji_auth: Literal["kerberos", "certificate", "password"] = "kerberos"
    koji_principal: str = ""
    koji_keytab: Path | None = None
    koji_certificate: Path | None = None
    koji_user: str = ""
    koji_password_file: Path | None = None
    koji_call_seconds: float = Field(60.0, gt=0)
    koji_build_seconds: float = Field(20.0, gt=0)
    distgit_url: str = ""
    distgit_push_url: str = ""
    distgit_author_name: str = Field("cryopack", min_length=1, pattern=r"^[^<>\n]+$")
    distgit_author_email: str = Field("cryopack@localhost.localdomain", pattern=r"^[^<>@\s]+@[^<>@\s]+$")
    distgit_look_seconds: float = Field(300.0, gt=0)
    forge_token: SecretStr = SecretStr("")
    forge_seconds: float = Field(30.0, gt=0)
    api_read: Literal["public", "token"] = "public"

    oidc_discovery_url: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr = SecretStr("")
    oidc_scopes: str = "openid profile"
    oidc_groups_claim: str = "groups"
    oidc_name_claim: str = "preferred_username"
    oidc_group_scopes: str = ""
    session_seconds: float = Field(8 * 3600.0, gt=0)

    trusted_proxies: str = ""
    write_limit_per_minute: int = Field(60, ge=1)
    address_limit_per_minute: int = Field(120, ge=1)
    bad_signature_limit_per_minute: int = Field(60, ge=1)
    body_limit: int = Field(64 * 1024, ge=1024)
    webhook_body_limit: int = Field(25 * 1024 * 1024, ge=1024)
    webhook_in_flight_limit: int = Field(128 * 1024 * 1024, ge=1024)

    log_store_url: str = ""
    log_store_region: str = Field("us-east-1", pattern=r"^[a-z0-9-]+$")
    log_store_key_id: str = ""
    log_store_secret: SecretStr = SecretStr("")
    log_size_limit: int = Field(256 * 1024 * 1024, ge=32 * 1024 * 1024)
    log_fetch_seconds: float = Field(600.0, gt=0)
    log_keep_days: float = Field(90.0, gt=0)
    log_keep_bytes: int = Field(20 * 1024**3, ge=1024 * 1024)
    log_tail_seconds: float = Field(5.0, gt=0)
    cleaning_seconds: float = Field(3600.0, gt=0)

    shipped_look_seconds: float = Field(3600.0, gt=0)
    shipped_look_max_seconds: float = Field(86400.0, gt=0)
    shipped_look_days: float = Field(120.0, gt=0)

    sweep_seconds: float = Field(10.0, gt=0)
    reconcile_seconds: float = Field(900.0, gt=0)
    poll_seconds: float = Field(30.0, gt=0)
    poll_lease_seconds: float = Field(120.0, gt=0)
    step_lease_seconds: float = Field(1200.0, gt=0)
    step_limit_seconds: float = Field(900.0, gt=0)
    submit_doubt_seconds: float = Field(75.0, gt=0)
    retry_seconds: float = Field(15.0, gt=0)
    retry_max_seconds: float = Field(900.0, gt=0)
    max_tries: int = Field(6, ge=1)
    worker_processes: int = Field(2, ge=1, le=64)

    @field_validator("github_webhook_secrets", mode="before")
    @classmethod
    def _split_secrets(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("base_url", "github_api_url", "server")
    @classmethod
    def _no_trailing_slash(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.field_name == "server":
            return value
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/")

    @field_validator("distgit_url", "distgit_push_url")
    @classmethod
    def _git_address(cls, value: str, info: ValidationInfo) -> str:
        schemes = ("https", "http") if info.field_name == "distgit_url" else ("https", "http", "ssh")
        if value and not (urlsplit(value).scheme in schemes and urlsplit(value).hostname):
            raise ValueError(f"must be an address that begins with {', '.join(f'{s}://' for s in schemes)}")
        if "{" in value or "}" in value:
            raise ValueError("must not hold braces")
        if urlsplit(value).password is not None or (
            urlsplit(value).username and not value.startswith("ssh:")
        ):
            raise ValueError("must not hold a password or token: it is shown, and told to build systems")
        return value.rstrip("/")

    @field_validator("oidc_discovery_url")
    @classmethod
    def _https_or_this_machine(cls, value: str) -> str:
        url = urlsplit(value)
        on_loopback = url.scheme == "http" and url.hostname in ("127.0.0.1", "localhost", "::1")
        if value and not (url.scheme == "https" and url.hostname) and not on_loopback:
            raise ValueError(
                "must be an https address, such as https://id.example.org/.well-known/openid-configuration"
            )
        # The part before it is the issuer, which must equal the name that the provider gives itself.
        if value and not value.endswith("/.well-known/openid-configuration"):
            raise ValueError("must end with /.well-known/openid-configuration")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_addresses(cls, value: str) -> str:
        for part in filter(None, (part.strip() for part in value.split(","))):
            try:
                ipaddress.ip_network(part)
            except ValueError:
                raise ValueError(
                    f"{part!r} is neither an address nor a network such as 10.1.0.0/16"
                ) from None
        return value

    @field_validator("oidc_group_scopes")
    @classmethod
    def _groups_have_scopes(cls, value: str) -> str:
        for part in filter(None, (part.strip() for part in value.split(","))):
            group, equals, scopes = part.partition("=")
            if not group.strip() or not equals or not scopes.split():
                raise ValueError("must be like packagers=builds:write releases:write,admins=admin")
        return value

    @field_validator("source_url_template")
    @classmethod
    def _fillable_template(cls, value: str) -> str:
        try:
            value.format(repository="o/r", tag="v1.2.3", name="r", version="1.2.3")
        except (KeyError, IndexError, ValueError):
            raise ValueError("may hold {repository}, {tag}, {name} and {version} only") from None
        return value

    @model_validator(mode="after")
    def _lease_outlives_step(self) -> Settings:
        if self.step_lease_seconds <= self.step_limit_seconds:
            raise ValueError("STEP_LEASE_SECONDS must be greater than STEP_LIMIT_SECONDS")
        return self

    @field_validator("log_store_url")
    @classmethod
    def _names_a_bucket(cls, value: str) -> str:
        url = urlsplit(value)
        if value and not (
            url.scheme in ("http", "https") and url.hostname and url.path.strip("/") and not url.query
        ):
            raise ValueError("must be the address of a bucket, such as https://s3.example.org/cryopack-logs")
        if url.username or url.password:
            raise ValueError(
                "must not hold a name or a password; LOG_STORE_KEY_ID and LOG_STORE_SECRET are for that"
            )
        return value.rstrip("/")

    @model_validator(mode="after")
    def _log_store_has_an_account(self) -> Settings:
        if self.log_store_url and not (self.log_store_key_id and self.log_store_secret.get_secret_value()):
            raise ValueError("LOG_STORE_URL needs LOG_STORE_KEY_ID and LOG_STORE_SECRET")
        return self

    @model_validator(mode="after")
    def _oidc_is_whole(self) -> Settings:
        if self.oidc_discovery_url and not (
            self.oidc_client_id and self.oidc_client_secret.get_secret_value()
        ):
            raise ValueError("OIDC_DISCOVERY_URL needs OIDC_CLIENT_ID and OIDC_CLIENT_SECRET")
        return self

    def group_scopes(self) -> dict[str, frozenset[str]]:
        """Return the OIDC provider's groups and the scopes that each gives."""
        parts = (part.partition("=") for part in self.oidc_group_scopes.split(",") if part.strip())
        return {group.strip(): frozenset(scopes.split()) for group, _, scopes in parts}

    def database(self) -> str:
        """Return the database's URL; where none is set, that of a SQLite file under the state directory.

        The sandbox has a file of its own: its builds must not count as done when real ones begin.
        """
        file = "sandbox.sqlite" if self.sandbox else "cryopack.sqlite"
        return self.database_url.get_secret_value() or f"sqlite:///{self.state_dir.resolve()}/{file}"

    def proxies(self) -> list[str]:
        """Return the addresses and networks of the proxies whose headers about the sender are trusted."""
        return [part.strip() for part in self.trusted_proxies.split(",") if part.strip()]

    def secrets(self) -> tuple[bytes, ...]:
        """Return the webhook secrets as bytes, for HMAC."""
        return tuple(secret.get_secret_value().encode() for secret in self.github_webhook_secrets)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment, ``.env`` and the files that ``CRYOPACK_*_FILE`` name.

    ``overrides`` come before all of these. Raises SettingsError for the first wrong one.
    """
    try:
        return Settings(**{**_from_secret_files(), **overrides})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = "CRYOPACK_" + str(first["loc"][0]).upper() if first["loc"] else "CRYOPACK settings"
        raise SettingsError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None


def _from_secret_files() -> dict[str, str]:
    found: dict[str, str] = {}
    for field in SECRET_FIELDS:
        variable = f"CRYOPACK_{field.upper()}_FILE"
        path = os.environ.get(variable, "")
        if not path:
            continue
        try:
            found[field] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{variable}: the file cannot be read ({type(error).__name__})") from None
    return found
