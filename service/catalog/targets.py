"""Reads and checks ``targets.toml``: Fedora's branches, the build targets on them, and what shares a side tag."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta

from service.catalog.model import Catalog
from service.catalog.tables import PLACEHOLDERS, Table, words_of
from service.domain.diagnosis import RemedyPolicy
from service.domain.distgit import DistGitPolicy, ForgeKind, ForgePolicy, holds_secret
from service.domain.errors import BadCatalog, BadName
from service.domain.fedora import Branch, Chroot
from service.domain.planning import BranchPolicy, BuildTarget
from service.domain.shipping import Stage, StageTags
from service.domain.side_tags import SYSTEMS, SideTagPolicy
from service.domain.specs import STYLES

DEADLINE_HOURS_MOST = 24 * 30
_ADDRESS = re.compile(r"(?:https?|ssh|file)://\S+", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", re.ASCII)
# The accounts that addresses may name, and the address in place of one that is not set while its target is checked.
_SITES = ("distgit", "distgit_push")
_UNSET = "https://unset.invalid"
# This lasts until somebody has built a package there in mock.
_NO_EPEL = (
    "EPEL is refused: %gobuild of EL 9 reads LDFLAGS and BUILDTAGS where our specs set GO_LDFLAGS and "
    "GO_BUILDTAGS, btrfs-progs-devel is missing there, and nobody has built these packages for it in mock"
)
_ENTERPRISE = re.compile(r"epel|el\d|rhel|centos", re.IGNORECASE)


def read_branches(targets: Table) -> Mapping[str, BranchPolicy]:
    """Return the tables ``[branches.NAME]`` by name. Raises BadCatalog."""
    rawhide = targets.number("rawhide", low=10, high=999)
    branches = {}
    for name, table in targets.named("branches"):
        if _ENTERPRISE.match(name):
            raise targets.wrong(f"branches.{name}", _NO_EPEL)
        try:
            branch = Branch.parse(name, rawhide_number=rawhide)
        except BadName as error:
            raise targets.wrong(f"branches.{name}", str(error)) from error
        if branch.name != "rawhide" and branch.number >= rawhide:
            raise targets.wrong(f"branches.{name}", f"rawhide is {rawhide}; a branch must be older")
        branches[name] = BranchPolicy(branch, table.day("eol"))
        table.done()
    return branches


def known_branch(row: Table, key: str, name: str, branches: Mapping[str, BranchPolicy]) -> Branch:
    """Return the branch with the name that ``key`` of a row gives. Raises BadCatalog for an unknown one."""
    if name not in branches:
        raise row.wrong(key, f"unknown branch {name[:40]!r}")
    return branches[name].branch


def read_side_tag_sets(targets: Table) -> Mapping[str, SideTagPolicy]:
    """Return the rows ``[[side_tag_set]]`` by id: the families that can share a side tag. Raises BadCatalog."""
    sets: dict[str, SideTagPolicy] = {}
    for row in targets.rows("side_tag_set"):
        policy = SideTagPolicy(row.new_id(sets), row.texts("families"))
        sets[policy.set_id] = policy
        row.done()
    return sets


def read_targets(
    targets: Table,
    branches: Mapping[str, BranchPolicy],
    accounts: Mapping[str, str],
    sets: Mapping[str, SideTagPolicy],
) -> tuple[list[BuildTarget], set[str]]:
    """Return the targets of the rows ``[[target]]``, and the ids of those that name an account which is not set.

    A row makes one target for each of its branches. Raises BadCatalog.
    """
    found: dict[str, BuildTarget] = {}
    without_account = set()
    for row in targets.rows("target"):
        for branch, one in _rows_of_branches(row, branches):
            identity = one.new_id(found)
            one.place = f"target {identity}"
            found[identity], has_account = _read_target(one, identity, branch, accounts, sets)
            if not has_account:
                without_account.add(identity)
    return list(found.values()), without_account


def _rows_of_branches(row: Table, branches: Mapping[str, BranchPolicy]) -> Iterator[tuple[Branch, Table]]:
    """Yield each branch of a row, with the row as it is for that branch. Raises BadCatalog."""
    names = _branch_names(row, branches)
    differing = dict(row.named("per_branch")) if row.has("per_branch") else {}
    for name, table in differing.items():
        if name not in names:
            known = ", ".join(names)
            raise row.wrong(f"per_branch.{name}", f"the row does not name this branch; it names {known}")
        for key in ("id", "branch", "branches", "per_branch"):
            if table.has(key):
                raise table.wrong(key, "cannot differ from the row's")
    row.check_placeholders("id", set(PLACEHOLDERS), needed={"branch"} if len(names) > 1 else set())
    nothing = Table(row.file, row.place, {})
    for name in names:
        branch = branches[name].branch
        yield branch, differing.get(name, nothing).over(row, words_of(branch))


def _branch_names(row: Table, branches: Mapping[str, BranchPolicy]) -> tuple[str, ...]:
    """Return the branches that ``branch`` or ``branches`` of a row names. Raises BadCatalog."""
    how = 'give either branch = "f44" or branches = ["f44", "rawhide"]'
    if row.has("branch") and row.has("branches"):
        raise row.wrong("branches", f"{how}, not both")
    if not row.has("branch") and not row.has("branches"):
        raise row.wrong("branch", f"is missing: {how}")
    key = "branch" if row.has("branch") else "branches"
    names = (row.text(key),) if key == "branch" else row.texts(key)
    if not names:
        raise row.wrong(key, "must name a branch")
    for name in names:
        known_branch(row, key, name, branches)
    return names


def _read_target(
    row: Table, identity: str, branch: Branch, accounts: Mapping[str, str], sets: Mapping[str, SideTagPolicy]
) -> tuple[BuildTarget, bool]:
    """Return a target, and whether every account that it names is set. Raises BadCatalog."""
    streams = row.streams()
    dist_git, has_site = _read_dist_git(row, accounts)
    pattern = row.pattern("project", {"owner", "profile"}, needed=set())
    has_account = has_site and all(known or f"{{{name}}}" not in pattern for name, known in accounts.items())
    target = BuildTarget(
        id=identity,
        branch=branch,
        system=row.text("system"),
        project=pattern.format(owner=accounts["owner"], profile=accounts["profile"]),
        chroots=row.texts("chroots", ()),
        families=row.texts("families"),
        strategy=row.text("strategy", "default"),
        style=row.text("style", "srpm"),
        first_stream=streams.first,
        last_stream=streams.last,
        enabled=row.flag("enabled", True),
        deadline=timedelta(hours=row.number("deadline_hours", low=1, high=DEADLINE_HOURS_MOST, default=24)),
        remedy=row.word("remedy", RemedyPolicy, RemedyPolicy.SUGGEST),
        require_sound=row.flag("require_sound", False),
        options=row.mapping("options"),
        dist_git=dist_git,
        side_tag=_read_side_tag(row, sets),
        stages=_read_stages(row),
    )
    row.done()
    return target, has_account


def _read_side_tag(row: Table, sets: Mapping[str, SideTagPolicy]) -> SideTagPolicy | None:
    if not row.has("side_tag"):
        return None
    name = row.text("side_tag")
    if name not in sets:
        known = ", ".join(sets) or "none"
        raise row.wrong("side_tag", f"there is no [[side_tag_set]] {name[:40]!r}; there are: {known}")
    return sets[name]


def _read_dist_git(row: Table, accounts: Mapping[str, str]) -> tuple[DistGitPolicy | None, bool]:
    """Return ``[target.dist_git]``, or None, and whether the accounts in its addresses are set. Raises BadCatalog."""
    if not row.has("dist_git"):
        return None, True
    table = row.table("dist_git")
    policy = DistGitPolicy(
        repository=_address(table, "repository", accounts, needed=True),
        push=_address(table, "push", accounts),
        direct_push=table.texts("direct_push", ()),
        lookaside=_address(table, "lookaside", accounts, names=frozenset()),
        lookaside_namespace=table.text("lookaside_namespace", "rpms"),
        namespace=table.text("namespace", "rpms"),
        forge=_read_forge(table, accounts),
    )
    if policy.lookaside and not policy.lookaside.startswith(("https://", "http://")):
        raise table.wrong("lookaside", "must be an https or http address")
    table.done()
    return policy, _UNSET not in str(policy.as_json())


def _read_stages(row: Table) -> StageTags | None:
    """Return ``[target.shipped]``, a list of tags for each stage, or None without it. Raises BadCatalog."""
    if not row.has("shipped"):
        return None
    table = row.table("shipped")
    tags = {stage: table.texts(stage.value) for stage in Stage}
    table.done()
    for stage, names in tags.items():
        for name in names:
            if not _TAG.fullmatch(name):
                raise table.wrong(stage.value, f"{name[:60]!r} is no name of a tag")
        if not names:
            raise table.wrong(stage.value, "must name at least one tag")
    try:
        return StageTags(tags)
    except BadName as error:
        raise row.wrong("shipped", str(error)) from error


def _read_forge(table: Table, accounts: Mapping[str, str]) -> ForgePolicy | None:
    """Return the forge of ``[target.dist_git]``, or None without one. Raises BadCatalog."""
    if not table.has("forge"):
        return None
    names = frozenset({"user", "package"})
    url = _address(table, "forge_url", accounts, needed=True, names=frozenset()).rstrip("/")
    if not url.startswith(("https://", "http://")):
        raise table.wrong("forge_url", "must be an https or http address")
    return ForgePolicy(
        kind=table.word("forge", ForgeKind),
        url=url,
        fork=_address(table, "fork", accounts, needed=True, names=names),
        fork_push=_address(table, "fork_push", accounts, names=names),
    )


def _address(
    table: Table,
    key: str,
    accounts: Mapping[str, str],
    *,
    needed: bool = False,
    names: frozenset[str] = frozenset({"package"}),
) -> str:
    """Return an address with the accounts filled in; ``names``, which it must hold, stay in braces.

    Empty where the key is missing and not ``needed``. Raises BadCatalog.
    """
    if not needed and not table.has(key):
        return ""
    text = table.pattern(key, {*names, *_SITES}, needed=set(names))
    for site in _SITES:
        text = text.replace(f"{{{site}}}", accounts.get(site) or _UNSET)
    if not _ADDRESS.match(text):
        raise table.wrong(key, "must be an https, http, ssh or file address")
    if holds_secret(text):
        raise table.wrong(
            key, "must not hold a password or token: addresses are shown, and told to build systems"
        )
    return text


def check_targets(catalog: Catalog) -> None:
    """Check every target and side tag set, against the rest of the catalogue too. Raises BadCatalog."""
    _check_side_tag_sets(catalog)
    for target in catalog.targets:
        _check_target(catalog, target)


def _check_target(catalog: Catalog, target: BuildTarget) -> None:
    def wrong(key: str, complaint: str) -> BadCatalog:
        return BadCatalog(f"targets.toml: target {target.id}.{key}: {complaint}")

    if target.system not in catalog.systems:
        raise wrong("system", f"unknown build system {target.system[:40]!r}")
    strategy = catalog.strategies.get(target.strategy)
    if strategy is None:
        raise wrong("strategy", f"unknown strategy {target.strategy[:40]!r}")
    if strategy.first_stream and (target.first_stream is None or target.first_stream < strategy.first_stream):
        raise wrong("first_stream", f"strategy {strategy.id} works from stream {strategy.first_stream} on")
    unknown = sorted(set(target.families) - set(catalog.families))
    if unknown or not target.families:
        raise wrong("families", f"unknown family {unknown[0][:40]!r}" if unknown else "must name a family")
    if target.style not in STYLES:
        raise wrong("style", f"must be {' or '.join(STYLES)}, not {target.style[:40]!r}")
    if target.style == "dist-git" and target.system == "copr":
        # What %autorelease gives outside dist-git is the NEVRA of the official build, with other content.
        raise wrong("style", "a package that COPR builds from an SRPM needs the style srpm")
    if target.dist_git is not None and target.style != "dist-git":
        raise wrong("dist_git", "what is written to dist-git needs the style dist-git")
    if target.dist_git is not None and target.system == "copr":
        raise wrong("dist_git", "COPR builds from an SRPM, not from a commit")
    complaint = _side_tag_complaint(target)
    if complaint:
        raise wrong("side_tag", complaint)
    for text in target.chroots:
        if text.startswith(("epel-", "rhel-", "centos-")):
            raise wrong("chroots", _NO_EPEL)
        try:
            chroot = Chroot.parse(text)
        except BadName as error:
            raise wrong("chroots", str(error)) from error
        if chroot.release != target.branch.chroot_word:
            raise wrong("chroots", f"{text} is not a chroot of branch {target.branch}")


def _check_side_tag_sets(catalog: Catalog) -> None:
    """Check that the families of each set exist, and that targets that share a side tag have the same koji_target."""
    for policy in catalog.side_tag_sets.values():
        place = f"targets.toml: side_tag_set {policy.set_id}"
        unknown = sorted(set(policy.families) - set(catalog.families))
        if unknown or not policy.families:
            what = f"unknown family {unknown[0][:40]!r}" if unknown else "must name a family"
            raise BadCatalog(f"{place}.families: {what}")
    bases: dict[tuple[str, ...], BuildTarget] = {}
    for target in catalog.targets:
        if target.side_tag is not None:
            key = (target.side_tag.set_id, target.branch.name, target.system, target.project)
            other = bases.setdefault(key, target)
            if other.options.get("koji_target") != target.options.get("koji_target"):
                raise BadCatalog(
                    f"targets.toml: target {target.id}.side_tag: {other.id} shares its side tags, and has another "
                    "koji_target"
                )


def _side_tag_complaint(target: BuildTarget) -> str:
    """Return why a target cannot build in its side tags; empty text if it can, or has none."""
    if target.side_tag is None:
        return ""
    if target.system not in SYSTEMS:
        return f"{target.system} has no side tags; there are some at: {', '.join(sorted(SYSTEMS))}"
    if target.dist_git is None or target.options.get("scratch", True):
        return "a side tag takes official builds only: it needs [target.dist_git] and scratch = false"
    outside = [family for family in target.families if family not in target.side_tag.families]
    if outside:
        return f"the set {target.side_tag.set_id} has no family {outside[0]}; use another target for it"
    return ""
