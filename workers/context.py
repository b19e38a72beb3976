"""What every step needs: settings, database, catalogue, hints and build systems. One per process."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from service.catalog import Catalog, load
from service.domain.distgit import DistGitPolicy
from service.logs.s3 import open_store
from service.logs.store import LogStore
from service.overrides import LiveCatalog
from service.settings import Settings, load_settings
from service.store.session import Database
from service.wake import Wake
from workers import forges
from workers.buildsystems import AdapterConfig, BuildSystem, connect
from workers.buildsystems.kerberos import Credentials
from workers.forges import Forge, ForgeConfig, ForgeRefused

# Where no owner is set nothing can be submitted, but the catalogue must still load for `render` and the like.
NO_OWNER = "nobody"


@dataclass
class Context:
    """Made after a fork, never before: it holds connections."""

    settings: Settings
    db: Database
    live_catalog: LiveCatalog
    wake: Wake
    logs: LogStore
    _systems: dict[str, BuildSystem] = field(default_factory=dict)
    _forges: dict[ForgeConfig, Forge] = field(default_factory=dict)

    @classmethod
    def create(cls, settings: Settings) -> Context:
        """Build a context from settings. Raises BadCatalog."""
        db = Database(settings.database())
        logs = open_store(
            settings.state_dir / "logs", settings.log_store_url, settings.log_store_region,
            settings.log_store_key_id, settings.log_store_secret.get_secret_value(),
        )  # fmt: skip
        return cls(settings, db, LiveCatalog(db, load_catalog(settings)), Wake(settings), logs)

    @property
    def catalog(self) -> Catalog:
        """The catalogue that holds now: the files' under the overrides in the database."""
        return self.live_catalog.look().catalog

    def system(self, name: str) -> BuildSystem:
        """The adapter for a build system, connected once per process. Raises BuildSystemError."""
        if name not in self._systems:
            self._systems[name] = connect(name, AdapterConfig(self.settings.state_dir, self._options(name)))
        return self._systems[name]

    def forge(self, policy: DistGitPolicy) -> Forge:
        """The forge of a target's dist-git, connected once per process. Raises ForgeRefused."""
        if policy.forge is None:
            raise ForgeRefused("the target names no forge any more")
        token = self.settings.forge_token.get_secret_value()
        config = ForgeConfig(policy.forge, policy.namespace, token, self.settings.forge_seconds)
        if config not in self._forges:
            self._forges[config] = forges.connect(config)
        return self._forges[config]

    def lookaside_credentials(self) -> Credentials:
        """What may be shown to a lookaside cache: dist-git's accounts are Koji's."""
        settings = self.settings
        by_certificate = settings.koji_auth == "certificate" and settings.koji_certificate is not None
        return Credentials(
            principal=settings.koji_principal,
            keytab=settings.koji_keytab,
            # Each process has a cache of its own, as for Koji.
            ccache=settings.state_dir / "lookaside" / f"krb5cc-{os.getpid()}",
            certificate=settings.koji_certificate if by_certificate else None,
        )

    def _options(self, name: str) -> dict[str, object]:
        if name == "copr":
            return {
                "config_file": str(self.settings.copr_config.expanduser()),
                "connect_timeout": self.settings.copr_connect_seconds,
                "read_timeout": self.settings.copr_read_seconds,
                "request_timeout": self.settings.submit_doubt_seconds,
            }
        if name == "koji":
            settings = self.settings
            return {
                "profile": settings.koji_profile,
                "config_file": settings.koji_config,
                "auth": settings.koji_auth,
                "principal": settings.koji_principal,
                "keytab": settings.koji_keytab,
                "certificate": settings.koji_certificate,
                "user": settings.koji_user,
                "password_file": settings.koji_password_file,
                "call_timeout": settings.koji_call_seconds,
                "build_timeout": settings.koji_build_seconds,
            }
        return {}

    def close(self) -> None:
        """Close connections and stop the hint thread."""
        self.wake.close()
        self.db.dispose()


def load_catalog(settings: Settings) -> Catalog:
    """The catalogue that the settings name. Raises BadCatalog."""
    return load(
        settings.catalog_dir,
        copr_owner=settings.copr_owner or NO_OWNER,
        koji_profile=settings.koji_profile,
        distgit_url=settings.distgit_url,
        distgit_push_url=settings.distgit_push_url,
    )


_current: dict[int, Context] = {}


def current() -> Context:
    """This process's context, made at first use; a forked child makes its own. Raises SettingsError, BadCatalog."""
    pid = os.getpid()
    if pid not in _current:
        _current.clear()
        _current[pid] = Context.create(load_settings())
    return _current[pid]
