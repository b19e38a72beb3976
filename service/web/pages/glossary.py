"""The glossary page: the words of the pages, each with one meaning."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.web.access.auth import page_needs
from service.web.base.render import page

router = APIRouter(include_in_schema=False, dependencies=[page_needs("read")])

SECTIONS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Things",
        (
            (
                "family",
                "One upstream project whose minor versions become packages of their own, such as cri-o.",
            ),
            ("stream", "One upstream minor, such as 1.32. It becomes one package, cri-o1.32."),
            ("release", "One version that upstream announced, such as v1.32.1."),
            ("branch", "A version of Fedora to build for: f44, or rawhide, which is the next one."),
            ("target", "One branch on one build system, such as f44 on COPR: one column of the matrix."),
            ("build", "One attempt to build one release for one target. A retry is a new attempt."),
            ("chroot", "One architecture of a build, such as fedora-44-x86_64."),
            ("cause", "What a failed build's log says went wrong, found by a rule or named by a person."),
            ("cluster", "Failures of unknown cause whose lines look the same. A person can name it."),
            (
                "remedy",
                "What is tried once after a failure: another strategy, the same again later, or a wait.",
            ),
            ("delivery", "One webhook call from GitHub, kept as it came."),
            ("NVR", "Name, version and release of an RPM, such as cri-o1.32-1.32.1-0.1.fc44."),
            (
                "dist-git",
                "Fedora's git repositories, one a package. Official builds are made from a commit there.",
            ),
            (
                "side tag",
                "A tag of Koji in which a set of packages is built in order, to reach Fedora as one update.",
            ),
            (
                "pull request",
                "A change of dist-git that waits for a person's merge. After it the build goes on by itself.",
            ),
            ("SRPM", "The source RPM that is sent to the build system."),
            (
                "strategy",
                "How a target meets the linker trouble of vendored code; it decides on the workarounds.",
            ),
            (
                "workaround",
                "One row of the catalogue that changes the spec for some streams and branches, and says why.",
            ),
            (
                "proof",
                "A small program linked without a workaround and with it, to see whether it is still needed.",
            ),
            (
                "unconfirmed stream",
                "A new upstream minor that no person has looked at yet. It inherits the newest known one.",
            ),
        ),
    ),
    (
        "States of a build",
        (
            ("pending", "Planned, and waiting for its turn."),
            ("preparing", "The spec is rendered and the SRPM is made."),
            (
                "submitting",
                "On its way to the build system. Until the answer is certain, it is looked for there.",
            ),
            ("running", "The build system has it."),
            ("held", "A person must act, and the reason says on what."),
            ("succeeded", "Every architecture was built."),
            ("failed", "The package's fault: it does not build. Somebody should change the package."),
            (
                "errored",
                "Not the package's fault: something around it gave up. A retry may be all that is needed.",
            ),
            ("canceled", "Stopped by a person, or by the build system."),
            ("superseded", "Not built, because a newer patch of the stream was known."),
            ("skipped", "An architecture that this package is not built for."),
        ),
    ),
    (
        "What else is said of it",
        (
            (
                "behind",
                "Upstream has a newer release that has not succeeded here. A green cell may be behind.",
            ),
            ("last good", "The newest version that succeeded in a cell."),
            (
                "sound",
                "The built binary was proved fit for use. Degraded: it is not. Unknown: nobody looked.",
            ),
            (
                "shipped",
                "How far a real Koji build is, by its tags. Candidate: built. Testing: for who tests. Stable: for all.",
            ),
            ("overdue", "What should have been done by now and was not taken up."),
            ("end of life", "No new builds: the branch has left Fedora's support, or the stream upstream's."),
        ),
    ),
    (
        "States of a delivery",
        (
            ("received", "Stored, and waiting to be understood."),
            ("processed", "Understood and acted upon."),
            ("ignored", "Understood, and nothing was to be done; the reason is kept."),
            ("errored delivery", "We could not deal with it. Replay it when the cause is gone."),
        ),
    ),
    (
        "Decisions about a release",
        (
            ("known", "Seen, not decided yet."),
            ("planned", "It has builds, or will have them."),
            ("unsupported", "The catalogue builds nothing for it; the reason is kept."),
            ("withdrawn", "Upstream took it back. Its builds stay as they are."),
        ),
    ),
)


@router.get("/glossary")
def show_glossary(request: Request) -> Response:
    """Show the words that the pages use."""
    return page(request, "glossary.html", {"sections": SECTIONS})
