"""The context of the application, one per process: settings, database, catalogue, inbox, hints, metrics."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from anyio import CapacityLimiter
from starlette.requests import Request

from service.catalog import Catalog, load
from service.logs.s3 import open_store
from service.logs.store import LogStore
from service.overrides import LiveCatalog
from service.settings import Settings
from service.store.session import Database
from service.wake import Wake
from service.web.base.inbox import Budget, Inbox
from service.web.base.metrics import Metrics
from service.web.base.oidc import Provider
from service.web.base.rates import Rates

# Where no owner is set nothing can be submitted, but the catalogue and with it every page must still load.
NO_OWNER = "nobody"
# Probes have threads of their own: pages that hang must not make the service look dead.
PROBES_AT_ONCE = 2
# A webhook's body must be here after this long in all, however slowly it drips in.
BODY_SECONDS = 30.0


@dataclass
class WebContext:
    """All that requests share. Made when the application starts to serve: it holds connections and threads."""

    settings: Settings
    db: Database
    live_catalog: LiveCatalog
    wake: Wake
    inbox: Inbox
    budget: Budget
    metrics: Metrics
    logs: LogStore
    rates: Rates
    provider: Provider | None = None
    body_seconds: float = BODY_SECONDS
    large_body_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    probes: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(PROBES_AT_ONCE))

    @classmethod
    def create(cls, settings: Settings) -> WebContext:
        """Make a context and start its threads. Raises BadCatalog."""
        files = load(
            settings.catalog_dir,
            copr_owner=settings.copr_owner or NO_OWNER,
            koji_profile=settings.koji_profile,
            distgit_url=settings.distgit_url,
            distgit_push_url=settings.distgit_push_url,
        )
        db = Database(settings.database())
        inbox = Inbox(db)
        inbox.start()
        budget = Budget(settings.webhook_in_flight_limit)
        provider = Provider(settings) if settings.oidc_discovery_url else None
        return cls(
            settings,
            db,
            LiveCatalog(db, files),
            Wake(settings),
            inbox,
            budget,
            Metrics(),
            open_store(
                settings.state_dir / "logs",
                settings.log_store_url,
                settings.log_store_region,
                settings.log_store_key_id,
                settings.log_store_secret.get_secret_value(),
            ),
            Rates(settings),
            provider,
        )

    @property
    def catalog(self) -> Catalog:
        """The catalogue as it is now: the files with the overrides of the database applied."""
        return self.live_catalog.look().catalog

    def close(self) -> None:
        """Store the deliveries that wait, send the queued hints, close connections."""
        self.inbox.close()
        self.wake.close()
        self.db.dispose()


def context_of(request: Request) -> WebContext:
    """Return the context of the application that serves a request."""
    context: WebContext = request.app.state.context
    return context
