"""The API's releases: read them, and start one by its tag."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.responses import Response

from service import board
from service.builds import commands
from service.domain.states import ReleaseState
from service.domain.versions import parse_tag
from service.store.session import Database
from service.web.access.auth import needs
from service.web.api.builds import Build
from service.web.api.schemas import Body, Name, Next, Shape
from service.web.api.writes import Done, WriteRequest, write_needs
from service.web.base.parameters import DEFAULT_LIMIT, Context, Cursor, Limit, Word, WordInPath
from service.web.base.problems import READ_PROBLEMS, WRITE_PROBLEMS, Problem

reading = APIRouter(prefix="/api/v1", dependencies=[needs("read")], responses=READ_PROBLEMS)
writing = APIRouter(prefix="/api/v1", responses=WRITE_PROBLEMS)

ForReleases = Annotated[WriteRequest, write_needs("releases:write")]


class Release(Shape):
    """One upstream release. 'state' is our decision, 'status' what its builds make of it."""

    family: str
    version: str
    stream: str
    tag: str
    commit: str
    prerelease: bool
    published_at: datetime | None
    first_seen_at: datetime
    origin: str
    html_url: str
    state: str
    reason: str
    mark: str
    status: str
    builds: dict[str, int] = Field(description="How many targets' latest attempts are in which state.")


class Skipped(Shape):
    """A target that does not build a release, and why."""

    target_id: str
    branch: str
    reason: str


class DisagreementShape(Shape):
    """A fact in which source and catalogue differ; the source wins. Empty: there is none."""

    name: str
    source: str
    catalogue: str


class ReleaseWithBuilds(Release):
    """A release with its source and all its builds."""

    package: str
    facts: dict[str, Any]
    delivery: str | None = Field(description="The delivery that announced it.")
    attempts: list[Build]
    not_planned: list[Skipped]
    disagreements: list[DisagreementShape]
    confirmed: bool = Field(description="False until a person has looked at the stream.")
    bugs: list[int] = Field(description="Bugs of Fedora's Bugzilla that ask for the release.")


class Releases(Shape):
    items: list[Release]
    next: Next


class NewRelease(Body):
    """A release to announce by hand. A pre-release named here is built, too."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"family": "cri-o", "tag": "v1.35.6"}]})

    family: Name
    tag: Name
    bugs: list[Annotated[int, Field(gt=0, lt=2**31)]] = Field(
        default_factory=list,
        max_length=20,
        description="Bugs of Fedora's Bugzilla that ask for the release; dist-git's commit resolves them.",
    )


class Announced(Shape):
    """The decision about a release, and the builds that are now due."""

    family: str
    version: str
    sentence: str
    builds: list[int]


@reading.get("/releases", response_model=Releases, tags=["releases"])
def list_releases(
    context: Context,
    family: Word = None,
    stream: Word = None,
    state: ReleaseState | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Any:
    """Upstream's releases as we know them, last seen first."""
    with context.db.reader() as session:
        return board.list_releases(
            session, family=family, stream=stream, state=state, cursor=cursor, limit=limit
        )


@reading.get("/releases/{family}/{version}", response_model=ReleaseWithBuilds, tags=["releases"])
def get_release(context: Context, family: WordInPath, version: WordInPath) -> Any:
    """A release, the decision about it, its source and its builds."""
    with context.db.reader() as session:
        found = board.release_detail(
            session, context.catalog, datetime.now(UTC), family, version.removeprefix("v")
        )
    if found is None:
        raise Problem(404, f"We know no release {version} of {family}.")
    return release_shape(found)


@writing.post("/releases", response_model=Announced, status_code=202, tags=["releases"])
def add_release(write: ForReleases, wanted: NewRelease) -> Response:
    """Start a release by its tag, announced by a webhook or not; a pre-release named here is built, too."""

    def act(db: Database) -> Done:
        done = commands.add_release(
            db,
            write.context.catalog,
            wanted.family,
            wanted.tag,
            bugs=wanted.bugs,
            **write.caller.by,
        )
        body = {
            "family": wanted.family,
            "version": str(parse_tag(wanted.tag)),
            "sentence": done.sentence,
            "builds": list(done.builds),
        }
        return Done(body, builds=done.builds)

    return write.do(act, wanted)


def release_shape(detail: board.ReleaseDetail) -> ReleaseWithBuilds:
    """Make the API's release from the board's."""
    return ReleaseWithBuilds(
        **Release.model_validate(detail.release).model_dump(),
        package=detail.package,
        facts=dict(detail.facts),
        delivery=detail.delivery.guid if detail.delivery else None,
        attempts=[Build.model_validate(build) for build in detail.builds],
        not_planned=[Skipped.model_validate(skipped) for skipped in detail.not_planned],
        disagreements=[DisagreementShape.model_validate(each) for each in detail.disagreements],
        confirmed=detail.confirmed,
        bugs=list(detail.bugs),
    )
