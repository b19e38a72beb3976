"""Every route that writes leaves an entry in the audit trail; the routes are taken from the application."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from service.access.sign_ins import sign_in, who_is
from service.access.tokens import create_token
from service.catalog import Catalog
from service.domain.diagnosis import diagnose
from service.results.diagnoses import write_diagnosis
from service.store.schema import AuditEntry, Diagnosis, DistGitChange, PackageBuild, SideTag, SideTagMember
from service.store.session import Database, database_now
from service.web.access.auth import COOKIE
from tests.web.access.test_permissions import CLIENT, OPEN, ROUTES
from tests.web.live import LiveApp, serving
from tests.web.scene import play

WHY = {"why": "the test"}
# What is pending, running, ended and so on in the scene (tests/web/scene.py), one build for each write. A subject of
# "cluster A" and "cluster B" stands for the fingerprint of an unknown cause that is made here, as side tags 1 to 4 are.
API: dict[tuple[str, str], tuple[str, dict[str, Any] | None]] = {
    ("POST", "builds/{build_id}/retry"): ("builds/25/retry", {"strategy": "compat"}),
    ("POST", "builds/{build_id}/cancel"): ("builds/18/cancel", None),
    ("POST", "builds/{build_id}/resume"): ("builds/26/resume", None),
    ("POST", "builds/{build_id}/give-up"): ("builds/27/give-up", WHY),
    ("POST", "builds/{build_id}/resolve"): ("builds/34/resolve", {"how": "done"}),
    ("POST", "rebuilds"): ("rebuilds", {"family": "cri-o", "version": "1.31.9", "target": "f43-copr"}),
    ("POST", "releases"): ("releases", {"family": "cri-o", "tag": "v1.34.3"}),
    ("POST", "deliveries/{guid}/replay"): ("deliveries/guid-odd-tag/replay", None),
    ("POST", "side-tags/{side_tag_id}/give-up"): ("side-tags/1/give-up", WHY),
    ("POST", "side-tags/{side_tag_id}/go-on"): ("side-tags/2/go-on", WHY),
    ("POST", "streams/{family}/{stream}/confirm"): ("streams/cri-o/1.99/confirm", WHY),
    ("POST", "streams/{family}/{stream}/end-of-life"): ("streams/cri-o/1.31/end-of-life", WHY),
    ("POST", "branches/{branch}/end-of-life"): ("branches/f43/end-of-life", WHY),
    ("POST", "targets/{target}/pause"): ("targets/f44-copr/pause", WHY),
    ("POST", "targets/{target}/resume"): ("targets/f44-copr/resume", WHY),
    ("PATCH", "targets/{target}"): ("targets/f45-copr", {"strategy": "compat", **WHY}),
    ("DELETE", "overrides/{override_id}"): ("overrides/1", WHY),
    ("POST", "tokens"): ("tokens", {"name": "ci", "scopes": ["read"]}),
    ("POST", "tokens/{name}/revoke"): ("tokens/ci/revoke", None),
    ("PUT", "causes/{fingerprint}"): ("causes/cluster A", {"cause": "The gizmo is odd", **WHY}),
}
FORMS: dict[str, tuple[str, dict[str, str]]] = {
    "build-retry": ("24", {}),
    "build-cancel": ("19", {}),
    "build-resume": ("36", {}),
    "build-give-up": ("28", WHY),
    "build-resolve": ("35", {"how": "done"}),
    "rebuild": ("stream/cri-o/1.33", {}),
    "cause-name": ("cluster B", {"cause": "The frob is odd", **WHY}),
    "delivery-replay": ("guid-star", {}),
    "side-tag-give-up": ("3", WHY),
    "side-tag-go-on": ("4", WHY),
    "stream-confirm": ("cri-o/1.98", WHY),
    "stream-end": ("cri-o/1.32", WHY),
    "branch-end": ("f45", WHY),
    "target-pause": ("rawhide-copr", WHY),
    "target-resume": ("rawhide-copr", WHY),
}
HELD = (34, 35, 36)
UNKNOWN = {"cluster A": (22, "frob: error: an odd gizmo"), "cluster B": (21, "quux: error: a strange widget")}


@pytest.fixture(scope="module")
def world(
    sqlite_template: Path, catalog: Catalog, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveApp]:
    """The scene, and besides it conflicts in dist-git, side tags and unknown causes."""
    path = tmp_path_factory.mktemp("audited") / "world.sqlite"
    shutil.copyfile(sqlite_template, path)
    db = Database(f"sqlite:///{path}")
    play(db, catalog)
    _hold(db)
    _side_tags(db)
    for build_id, line in UNKNOWN.values():
        with db.transaction() as session:
            row = session.get_one(PackageBuild, build_id)
            verdict = diagnose([line], catalog.causes)
            write_diagnosis(
                session, row, database_now(session), chroot="fedora-44-x86_64", log="builder",
                verdict=verdict, causes=catalog.causes,
            )  # fmt: skip
    db.dispose()
    with serving(f"sqlite:///{path}", write_limit_per_minute=1000, address_limit_per_minute=1000) as app:
        yield app


def _hold(db: Database) -> None:
    with db.transaction() as session:
        now = database_now(session)
        for build_id in HELD:
            row = session.get_one(PackageBuild, build_id)
            session.execute(
                update(PackageBuild)
                .where(PackageBuild.id == build_id)
                .values(state="held", reason="lines in conflict")
            )
            if build_id != HELD[-1]:
                session.add(
                    DistGitChange(
                        build_id=build_id,
                        package=row.package,
                        branch=row.branch,
                        repository="https://x/",
                        change_key=f"k{build_id}",
                        conflict="<<<<<<<",
                        created_at=now,
                    )
                )


def _side_tags(db: Database) -> None:
    with db.transaction() as session:
        now = database_now(session)
        for number in range(1, 5):
            build = session.get_one(PackageBuild, number)
            tag = SideTag(
                set_id="kubernetes", families=["kubernetes", "cri-o"], stream=f"1.3{number}", branch=build.branch,
                system="koji", project="sandbox", base_target="f44-candidate", name=f"side-{number}",
                state="open" if number % 2 else "held",
                reason="it waits", waived=[], created_at=now, due_at=now, opened_at=now,
            )  # fmt: skip
            session.add(tag)
            session.flush()
            session.add(SideTagMember(build_id=build.id, side_tag_id=tag.id, joined_at=now))


def _entries(live: LiveApp) -> int:
    with live.context.db.reader() as session:
        return session.scalar(select(func.max(AuditEntry.id))) or 0


def _newest(live: LiveApp) -> AuditEntry:
    with live.context.db.reader() as session:
        row = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(1)).one()
        session.expunge(row)
    return row


def _fingerprint(live: LiveApp, subject: str) -> str:
    for name, (build_id, _) in UNKNOWN.items():
        if name in subject:
            with live.context.db.reader() as session:
                found = session.scalars(
                    select(Diagnosis.fingerprint).where(Diagnosis.build_id == build_id)
                ).one()
            return subject.replace(name, found)
    return subject


def test_every_route_that_writes_is_tried_here() -> None:
    writing = {(m, p) for m, p, _ in ROUTES if m not in ("GET", "HEAD") and p not in OPEN}
    tried = {(m, f"/api/v1/{p}") for m, p in API} | {
        ("POST", f"/do/{name}/{{subject:path}}") for name in FORMS
    }
    assert tried == writing


def test_every_write_is_written_down_once(world: LiveApp) -> None:
    token = create_token(world.context.db, "ana", ["admin"], by="root").text
    cookie = sign_in(world.context.db, "ben", ["admin"], seconds=3600)
    person = who_is(world.context.db, cookie)
    assert person is not None
    silent = []
    for (method, pattern), (path, body) in API.items():
        before = _entries(world)
        answer = CLIENT.request(
            method, f"{world.url}/api/v1/{_fingerprint(world, path)}", json=body,
            headers={"authorization": f"Bearer {token}"},
        )  # fmt: skip
        assert answer.status_code in (200, 201, 202), (method, path, answer.text)
        entry = _newest(world)
        if (entry.id == before) or (entry.actor, entry.address) != ("ana", "127.0.0.1"):
            silent.append((method, pattern))
    for name, (subject, fields) in FORMS.items():
        before = _entries(world)
        answer = CLIENT.post(
            f"{world.url}/do/{name}/{_fingerprint(world, subject)}", data={"form_word": person.form_word, **fields},
            headers={"cookie": f"{COOKIE}={cookie}"},
        )  # fmt: skip
        assert answer.status_code == 303, (name, subject, answer.text)
        entry = _newest(world)
        if (entry.id == before) or (entry.actor, entry.address) != ("ben", "127.0.0.1"):
            silent.append(("POST", name))
    assert silent == []
