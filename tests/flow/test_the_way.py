"""One release from its signed webhook to the dashboard in one process: plan, SRPM, COPR, end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.testing import Farm
from service.settings import Settings
from tests.flow.pipeline import Pipeline
from tests.store.deliveries import payload
from tests.web.live import LiveApp


def test_a_webhook_becomes_a_cell_on_the_dashboard(
    farm: Farm, make_settings: Callable[..., Settings], sqlite_url: str
) -> None:
    """Traced by ``python -m bench way``, which counts the files of ours in which a function ran."""
    changes: dict[str, Any] = {"github_webhook_secrets": "a-secret-of-the-tests", "sandbox": False}
    settings = make_settings(sqlite_url, **changes)
    pipeline, app = Pipeline(farm, settings), LiveApp(settings)
    app.start()
    try:
        pipeline.only("f44-copr")
        farm.publish("v1.32.1")
        assert app.deliver(payload("v1.32.1")).status_code == 202
        pipeline.run()
        (build,) = pipeline.builds()
        assert (build.package, build.branch, build.state) == ("cri-o1.32", "f44", "succeeded")
        page = app.get("/")
        assert page.status_code == 200
        assert "cri-o1.32" in page.text and "1.32.1" in page.text
    finally:
        app.stop()
        pipeline.close()
