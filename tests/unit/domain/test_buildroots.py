"""The versions of a buildroot's tools are read from root logs as mock and DNF write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.buildroots import go_is_enough, tool_versions


def test_the_lines_of_mock_with_dnf_four_and_five() -> None:
    lines = [
        "DEBUG util.py:463:  Installing:",
        "DEBUG util.py:463:   golang              x86_64   1.26.6-2.fc44          fedora      1.2 MiB",
        " binutils            x86_64   2.46-3.fc44            updates     27.3 MiB",
        "DEBUG util.py:463:   gcc  aarch64  15.2.1-1.fc43  @System  30 M",
        "go-rpm-macros-3.8.0-3.fc45.noarch",
        "DEBUG util.py:463:    redhat-rpm-config-342-1.fc44.noarch    glibc-2.42-4.fc44.x86_64",
        " gpgme-devel   s390x   1:1.24.3-1.fc44   fedora   100 k",
        " vim           x86_64   9.1-1.fc44       fedora   1 M",
        "Finish: dnf5 install",
    ]
    assert tool_versions(lines) == {
        "binutils": "2.46-3.fc44", "gcc": "15.2.1-1.fc43", "go-rpm-macros": "3.8.0-3.fc45",
        "golang": "1.26.6-2.fc44", "gpgme-devel": "1.24.3-1.fc44", "redhat-rpm-config": "342-1.fc44",
    }  # fmt: skip


def test_an_update_later_in_the_log_wins() -> None:
    lines = ["golang-1.26.5-1.fc44.x86_64", " golang x86_64 1.26.6-2.fc44 updates 1 M"]
    assert tool_versions(lines) == {"golang": "1.26.6-2.fc44"}


@given(st.lists(st.text(max_size=200), max_size=20))
def test_any_text_is_read_without_trouble(lines: list[str]) -> None:
    assert isinstance(tool_versions([*lines, "golang " * 5000]), dict)


@pytest.mark.parametrize(
    ("has", "needs", "enough"),
    [
        ("1.26.3-1.fc44", "1.26.3", True),
        ("1.26.10-1.fc44", "1.26.3", True),
        ("1.25.9-1.fc43", "1.26", False),
        ("1.26~rc1-1.fc44", "1.26", False),
        ("", "1.26", False),
        ("1.26.3-1.fc44", "", False),
    ],
)
def test_go_is_enough_for_a_go_line(has: str, needs: str, enough: bool) -> None:
    assert go_is_enough({"golang": has} if has else {}, needs) is enough
