"""One release all the way, in one process: a signed webhook, a plan, an SRPM, COPR, its end, the dashboard.

``python -m bench way`` traces the test's own function and counts the files of ours in which a function ran. So the
fixtures start everything, and the test does nothing but walk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.testing import Farm
from service.settings import Settings
from tests.flow.house import House
from tests.store.deliveries import payload
from tests.web.live import SECRET, LiveApp


@pytest.fixture
def settings(make_settings: Callable[..., Settings], sqlite_url: str) -> Settings:
    changes: dict[str, Any] = {"github_webhook_secrets": SECRET, "sandbox": False}
    return make_settings(sqlite_url, **changes)


@pytest.fixture
def workers(farm: Farm, settings: Settings) -> Iterator[House]:
    """Workers that build for one target, and a release that upstream has published."""
    house = House(farm, settings)
    house.only("f44-copr")
    farm.publish("v1.32.1")
    yield house
    house.close()


@pytest.fixture
def web(settings: Settings) -> Iterator[LiveApp]:
    """The web service on the workers' database."""
    app = LiveApp(settings)
    app.start()
    yield app
    app.stop()


def test_a_webhook_becomes_a_cell_on_the_dashboard(workers: House, web: LiveApp) -> None:
    assert web.deliver(payload("v1.32.1")).status_code == 202
    workers.run()
    page = web.get("/")
    assert page.status_code == 200
    assert "cri-o1.32" in page.text and "1.32.1" in page.text
    (build,) = workers.builds()
    assert (build.package, build.branch, build.state) == ("cri-o1.32", "f44", "succeeded")
