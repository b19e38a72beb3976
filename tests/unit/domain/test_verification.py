"""Built RPMs against what was planned, and what a real spec promises."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.catalog import Catalog
from service.domain.binaries import BinaryFacts
from service.domain.states import Soundness
from service.domain.verification import (
    OWN_RELEASE,
    Expected,
    RpmHeader,
    build_soundness,
    compare_files,
    judge_binary,
    judge_header,
    other_build,
    planned_dependencies,
    verdict,
)
from workers.packaging import offline

HEADER = RpmHeader(
    "cri-o1.35", "1.35.6", "0.1.fc44", "x86_64", ("cri-o1.35 = 1.35.6-0.1.fc44", "crio = 1.35.6-0.1.fc44"),
    ("crio",), ("conmon", "rpmlib(CompressedFileNames) <= 3.0.4-1"), ("/usr/bin/crio",),
)  # fmt: skip
EXPECTED = Expected(
    "cri-o1.35", "1.35.6", "0.1.fc44", "x86_64",
    {"provides": ("crio = 1.35.6-0.1.fc44",), "conflicts": ("crio",), "requires": ("conmon",)},
)  # fmt: skip
SOUND = BinaryFacts("x86_64", True, True, True, True, True, True, False, False)


def test_the_spec_that_we_render_promises_the_virtual_package(catalog: Catalog) -> None:
    made = offline.render(catalog, "v1.35.6")
    found = planned_dependencies(
        made.spec.text, {"name": "cri-o1.35", "version": "1.35.6", "release": "0.1.fc44"}
    )
    assert "crio = 1.35.6-0.1.fc44" in found["provides"] and "crio" in found["conflicts"]
    assert {"conmon", "socat", "iptables", "container-selinux"} <= set(found["requires"])
    assert not any("%" in text for texts in found.values() for text in texts)


def test_conditions_and_unknown_macros_promise_nothing() -> None:
    spec = "%if 0\nRequires: a\n%if 1\nRequires: b\n%endif\n%endif\nRequires: c\nProvides: x = %{other}\n"
    found = planned_dependencies(spec + "%package devel\nRequires: d\n", {})
    assert found == {"provides": (), "conflicts": (), "requires": ("c",)}


def test_what_is_as_planned_is_not_told() -> None:
    assert judge_header(HEADER, EXPECTED) == []
    assert judge_header(replace(HEADER, arch="noarch"), EXPECTED) == []
    assert judge_header(replace(HEADER, name="cri-o1.35-doc", provides=()), EXPECTED) == []


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"version": "1.35.5"}, "other-version"), ({"release": "0.2.fc44"}, "other-version"),
        ({"arch": "aarch64"}, "other-arch"), ({"provides": ()}, "missing-provides"),
        ({"provides": ("crio = 1.35.6-0.1.fc43",)}, "missing-provides"),
        ({"conflicts": ()}, "missing-conflicts"), ({"requires": ()}, "missing-requires"),
    ],
)  # fmt: skip
def test_what_differs_from_the_plan_is_told(changes: dict[str, object], rule: str) -> None:
    found = judge_header(replace(HEADER, **changes), EXPECTED)  # type: ignore[arg-type]
    assert [one.id for one in found] == [rule] and verdict(found, binaries=1) is Soundness.DEGRADED


def test_the_release_that_the_build_system_told_is_the_one_that_is_expected() -> None:
    told = replace(EXPECTED, release="1.fc44", in_dist_git=True, dependencies={})
    assert judge_header(replace(HEADER, release="1.fc44"), told) == []
    (found,) = judge_header(replace(HEADER, release="11.fc44"), told)
    assert found.text == "it is 1.35.6-11.fc44, planned was 1.35.6-1.fc44"


@pytest.mark.parametrize(
    ("nvr", "version", "same"),
    [
        ("", "1.35.6", True), ("cri-o1.35-1.35.6-9.fc44", "1.35.6", True),
        ("cri-o1.35-1.35.6~rc.1-1.fc44", "1.35.6-rc.1", True), ("cri-o1.35-1.35.6-1.fc44", "1.35.6-rc.1", False),
        ("cri-o1.36-1.35.6-9.fc44", "1.35.6", False), ("nonsense", "1.35.6", False),
    ],
)  # fmt: skip
def test_a_build_of_another_name_or_version_is_told_apart(nvr: str, version: str, same: bool) -> None:
    told = other_build(nvr, "cri-o1.35", version)
    assert told == "" if same else told.startswith(f"what was built is {nvr}, and cri-o1.35-1.35.6")


def test_in_dist_git_the_release_is_counted_by_others_and_the_spec_is_edited_by_people() -> None:
    made = replace(HEADER, release="7.fc44", provides=("crio = 1.35.6-7.fc44",))
    counted = replace(
        EXPECTED, release=".fc44", in_dist_git=True,
        dependencies={"provides": (f"crio = 1.35.6-{OWN_RELEASE}",), "conflicts": ("crio",)},
    )  # fmt: skip
    assert judge_header(made, counted) == []
    assert [one.id for one in judge_header(replace(made, release="7.fc43"), counted)] == [
        "other-version", "missing-provides",
    ]  # fmt: skip
    assert [one.id for one in judge_header(made, EXPECTED)] == ["other-version", "missing-provides"]
    edited = judge_header(replace(made, conflicts=()), counted)
    assert [(one.id, one.grade) for one in edited] == [("missing-conflicts", "note")]
    assert verdict(edited, binaries=1) is Soundness.SOUND


def test_files_that_came_or_went_are_notes() -> None:
    after = replace(HEADER, files=("/usr/bin/crio", "/usr/share/doc/x-1.35.6/a", "/usr/lib/.build-id/ab/cd"))
    before = ("/usr/bin/crio", "/usr/share/doc/x-1.35.5/a", "/usr/bin/pinns", "/usr/lib/.build-id/00/11")
    (gone,) = compare_files(after, before, "1.35.5")
    assert gone.id == "files-gone" and "/usr/bin/pinns" in gone.text and "1 files" in gone.text
    assert verdict([gone], binaries=1) is Soundness.SOUND
    (new,) = compare_files(after, ("/usr/share/doc/x-1.35.5/a",), "1.35.5")
    assert new.id == "files-new" and "/usr/bin/crio" in new.text
    assert compare_files(after, (), "") == []


def test_a_program_of_another_machine_is_unsound() -> None:
    assert judge_binary(HEADER, "/usr/bin/crio", SOUND, "") == []
    (found,) = judge_binary(HEADER, "/usr/bin/crio", replace(SOUND, machine="aarch64"), "")
    assert found.id == "other-machine"


def test_sound_needs_every_succeeded_chroot_and_a_program() -> None:
    assert verdict([], binaries=0) is Soundness.UNKNOWN and verdict([], binaries=1) is Soundness.SOUND
    assert build_soundness(["a", "b"], {"a": "sound", "b": "sound"}) is Soundness.SOUND
    assert build_soundness(["a", "b"], {"a": "sound"}) is Soundness.UNKNOWN
    assert build_soundness(["a", "b"], {"a": "degraded"}) is Soundness.DEGRADED
    assert build_soundness(["a"], {"a": "sound", "gone": "degraded"}) is Soundness.SOUND
    assert build_soundness([], {}) is Soundness.UNKNOWN
