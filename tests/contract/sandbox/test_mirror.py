"""The upstream mirror: GitHub's shapes, archives that never change by themselves, and broken downloads."""

import gzip
import io
import tarfile
import time
import zlib

import pytest
import requests

from sandbox.testing import Farm

pytestmark = pytest.mark.timeout(60)
REPO = "/repos/cri-o/cri-o"
ARCHIVE = "/cri-o/cri-o/archive/v1.32.1/cri-o-1.32.1.tar.gz"
COMMIT = "217bc2fe5c7b94e217d13c1c3809922c76f6107d"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Farm(tmp_path_factory.mktemp("mirror"), publish="all") as farm:
        yield farm


@pytest.fixture
def farm(running):
    running.clear_faults()
    return running


def get(farm, path, **headers):
    return requests.get(farm.mirror_url + path, headers=headers, timeout=10)


def members(content):
    return tarfile.open(fileobj=io.BytesIO(content), mode="r:gz")


def text_of(content, path):
    return members(content).extractfile(path).read().decode()


def test_releases_come_in_linked_pages_newest_first(farm):
    tags, path = [], f"{REPO}/releases?per_page=40"
    while path:
        page = get(farm, path)
        tags += [release["tag_name"] for release in page.json()]
        path = page.links.get("next", {}).get("url", "").removeprefix(farm.mirror_url)
    assert len(tags) == len(set(tags)) == 102
    assert tags[:2] == ["v1.34.11", "v1.35.6"]
    assert set(get(farm, f"{REPO}/releases?per_page=40&page=2").links) == {"first", "prev", "next", "last"}


def test_an_unchanged_list_is_304_and_a_changed_one_is_not(farm):
    first = get(farm, f"{REPO}/releases")
    assert get(farm, f"{REPO}/releases", **{"If-None-Match": first.headers["ETag"]}).status_code == 304
    farm.publish("v1.35.7")
    second = get(farm, f"{REPO}/releases", **{"If-None-Match": first.headers["ETag"]})
    assert second.status_code == 200
    assert second.json()[0]["tag_name"] == "v1.35.7"
    farm.withdraw("v1.35.7")


def test_tags_refs_and_releases_by_tag(farm):
    assert get(farm, f"{REPO}/git/ref/tags/v1.32.1").json()["object"] == {
        "sha": COMMIT,
        "type": "commit",
        "url": f"{farm.mirror_url}{REPO}/git/commits/{COMMIT}",
    }
    (tag,) = [one for one in get(farm, f"{REPO}/tags?per_page=100").json() if one["name"] == "v1.32.1"]
    assert tag["commit"]["sha"] == COMMIT
    release = get(farm, f"{REPO}/releases/tags/v1.32.1").json()
    assert (release["published_at"], release["draft"], release["prerelease"]) == (
        "2025-02-03T21:05:42Z",
        False,
        False,
    )
    for path in (
        f"{REPO}/releases/tags/v9.9.9",
        f"{REPO}/git/ref/tags/v9.9.9",
        "/repos/other/thing/releases",
    ):
        assert get(farm, path).status_code == 404
        assert get(farm, path).json()["message"] == "Not Found"


def test_drafts_prereleases_and_withdrawn_releases(farm):
    farm.publish("v1.35.8", draft=True)
    assert get(farm, f"{REPO}/releases/tags/v1.35.8").status_code == 404
    farm.publish("v1.35.8", draft=False, prerelease=True)
    assert get(farm, f"{REPO}/releases/tags/v1.35.8").json()["prerelease"] is True
    assert get(farm, f"{REPO}/releases/latest").json()["tag_name"] != "v1.35.8"
    farm.withdraw("v1.35.8", keep_tag=True)
    assert get(farm, f"{REPO}/releases/tags/v1.35.8").status_code == 404
    assert get(farm, f"{REPO}/git/ref/tags/v1.35.8").status_code == 200
    farm.withdraw("v1.35.8")
    assert get(farm, f"{REPO}/git/ref/tags/v1.35.8").status_code == 404


@pytest.mark.parametrize(
    ("publish", "hold_back", "expected"),
    [
        ("latest", (), ["v1.31.13", "v1.32.13", "v1.33.13", "v1.34.11", "v1.35.6"]),
        ("latest", ("v1.35.6",), ["v1.31.13", "v1.32.13", "v1.33.13", "v1.34.11", "v1.35.5"]),
        ("none", (), []),
    ],
)
def test_what_is_published_at_first_is_a_choice_that_is_kept(tmp_path, publish, hold_back, expected):
    with Farm(tmp_path, publish=publish, hold_back=hold_back) as farm:
        listed = [release["tag_name"] for release in get(farm, f"{REPO}/releases").json()]
        assert sorted(listed) == expected
        farm.publish("v1.35.6")
        farm.restart()
        listed = [release["tag_name"] for release in get(farm, f"{REPO}/releases").json()]
        assert sorted(listed) == sorted({*expected, "v1.35.6"})


def test_an_archive_is_the_same_at_each_request_and_start(farm, tmp_path):
    whole = get(farm, ARCHIVE)
    assert whole.status_code == 200
    assert whole.headers["Content-Length"] == str(len(whole.content))
    assert get(farm, "/cri-o/cri-o/archive/refs/tags/v1.32.1.tar.gz").content == whole.content
    with Farm(tmp_path) as other:
        assert get(other, ARCHIVE).content == whole.content


def test_an_archive_has_cri_os_shape(farm):
    content = get(farm, ARCHIVE).content
    archive = members(content)
    archive.getmembers()
    assert archive.pax_headers == {"comment": COMMIT}
    # What ``git get-tar-commit-id`` looks at: a global header first, and this record in it.
    raw = gzip.decompress(content)
    assert raw[156:157] == b"g"
    assert raw[512:564] == f"52 comment={COMMIT}\n".encode()
    root = "cri-o-1.32.1/"
    names = set(members(content).getnames())
    assert all((name + "/").startswith(root) for name in names)
    for path in [
        "LICENSE",
        "README.md",
        "SECURITY.md",
        "Makefile",
        "crictl.yaml",
        "crio-umount.conf",
        "cmd/crio/main.go",
        "docs/crio.8.md",
        "contrib/systemd/crio.service",
        "contrib/cni/10-crio-bridge.conflist",
        "completions/bash/crio",
        "hack/btrfs_tag.sh",
        "pinns/src/pinns.c",
    ]:
        assert root + path in names
        assert "Stand-in" in text_of(content, root + path)
    assert "\ngo 1.23\n" in text_of(content, root + "go.mod")
    assert 'const Version = "1.32.1"' in text_of(content, root + "internal/version/version.go")
    modules = text_of(content, root + "vendor/modules.txt")
    assert "# github.com/tetratelabs/wazero v1.8.2\n## explicit; go 1.23\n" in modules
    assert "# github.com/containerd/nri v0.9.0\n" in modules


def test_only_streams_that_vendor_wazero_have_it(farm):
    old = get(farm, "/cri-o/cri-o/archive/v1.31.13/cri-o-1.31.13.tar.gz").content
    assert "wazero" not in text_of(old, "cri-o-1.31.13/vendor/modules.txt")
    assert "wazero" not in text_of(old, "cri-o-1.31.13/go.mod")
    assert not any("wazero" in name for name in members(old).getnames())


def test_a_download_can_be_resumed(farm):
    whole = get(farm, ARCHIVE)
    assert whole.headers["Accept-Ranges"] == "bytes"
    rest = get(farm, ARCHIVE, Range="bytes=100-", **{"If-Range": whole.headers["ETag"]})
    assert (rest.status_code, rest.content) == (206, whole.content[100:])
    size = len(whole.content)
    assert rest.headers["Content-Range"] == f"bytes 100-{size - 1}/{size}"
    assert get(farm, ARCHIVE, Range="bytes=10-19").content == whole.content[10:20]
    assert get(farm, ARCHIVE, Range="bytes=-5").content == whole.content[-5:]
    assert get(farm, ARCHIVE, Range=f"bytes={size}-").status_code == 416
    changed = get(farm, ARCHIVE, Range="bytes=100-", **{"If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, whole.content)


def test_a_moved_tag_has_another_commit_and_content(farm):
    before = get(farm, "/cri-o/cri-o/archive/v1.30.1/cri-o-1.30.1.tar.gz")
    commit = farm.move_tag("v1.30.1")
    assert get(farm, f"{REPO}/git/ref/tags/v1.30.1").json()["object"]["sha"] == commit
    after = get(farm, "/cri-o/cri-o/archive/v1.30.1/cri-o-1.30.1.tar.gz")
    assert after.content != before.content
    assert after.headers["ETag"] != before.headers["ETag"]


def test_a_truncated_body_ends_early(farm):
    farm.fault("truncated", "*/archive/*")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        get(farm, ARCHIVE)
    assert get(farm, ARCHIVE).status_code == 200


def test_a_stall_is_silent_in_the_middle(farm):
    farm.fault("stall", "*/archive/*", seconds=10)
    started = time.monotonic()
    with requests.get(farm.mirror_url + ARCHIVE, timeout=0.4, stream=True) as answer:
        assert answer.status_code == 200
        with pytest.raises(requests.ConnectionError, match="timed out"):
            _ = answer.content
    assert time.monotonic() - started < 5


def test_a_wrong_length_is_a_complete_answer_of_an_incomplete_archive(farm):
    farm.fault("wrong_length", "*/archive/*")
    answer = get(farm, ARCHIVE)
    assert len(answer.content) == int(answer.headers["Content-Length"])
    with pytest.raises((EOFError, zlib.error, gzip.BadGzipFile)):
        gzip.decompress(answer.content)


def test_archives_with_wrong_contents(farm):
    good = get(farm, ARCHIVE).content
    farm.fault("traversal", "*/archive/*")
    names = members(get(farm, ARCHIVE).content).getnames()
    assert "cri-o-1.32.1/../../escaped-from-the-archive.txt" in names
    farm.fault("wrong_version", "*/archive/*")
    wrong = get(farm, ARCHIVE).content
    assert 'const Version = "0.0.0"' in text_of(wrong, "cri-o-1.32.1/internal/version/version.go")
    farm.fault("changed", "*/archive/*")
    changed = get(farm, ARCHIVE).content
    assert changed != good
    assert members(changed).getnames() != members(good).getnames()
    assert get(farm, ARCHIVE).content == good


def test_a_bomb_is_small_on_the_wire_and_huge_inside(farm):
    farm.fault("bomb", "*/archive/*")
    content = requests.get(farm.mirror_url + ARCHIVE, timeout=55).content
    assert len(content) < 64 << 20
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
        header = packed.read(512)
    assert tarfile.TarInfo.frombuf(header, "ascii", "strict").size >= 1 << 31


@pytest.mark.parametrize(
    ("kind", "status"), [("missing", 404), ("unavailable", 503), ("html_200", 200), ("rate_limited", 403)]
)
def test_pages_instead_of_archives(farm, kind, status):
    farm.fault(kind, "*/archive/*")
    answer = get(farm, ARCHIVE)
    assert answer.status_code == status
    assert not answer.content.startswith(b"\x1f\x8b")
