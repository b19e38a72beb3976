"""Reading ``targets.toml``: Fedora's branches, and which of them is built where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from service.catalog.checks import NO_EPEL
from service.catalog.tables import Table
from service.domain.diagnosis import RemedyPolicy
from service.domain.distgit import DistGitPolicy, ForgeKind, ForgePolicy, holds_secret
from service.domain.errors import BadName
from service.domain.fedora import Branch
from service.domain.planning import BranchPolicy, BuildTarget
from service.domain.shipping import Stage, StageTags
from service.domain.side_tags import SideTagPolicy

_ADDRESS = re.compile(r"(?:https?|ssh|file)://\S+", re.ASCII)
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", re.ASCII)
# Accounts that stand in addresses, and what stands in for one that is not set while its target is checked.
_SITES = ("distgit", "distgit_push")
_UNSET = "https://unset.invalid"
_ENTERPRISE = re.compile(r"epel|el\d|rhel|centos", re.IGNORECASE)


def read_branches(targets: Table) -> Mapping[str, BranchPolicy]:
    """The branches by name. Raises BadCatalog."""
    rawhide = targets.number("rawhide", low=10, high=999)
    branches = {}
    for name, table in targets.named("branches"):
        if _ENTERPRISE.match(name):
            raise targets.wrong(f"branches.{name}", NO_EPEL)
        try:
            branch = Branch.parse(name, rawhide_number=rawhide)
        except BadName as error:
            raise targets.wrong(f"branches.{name}", str(error)) from error
        if branch.name != "rawhide" and branch.number >= rawhide:
            raise targets.wrong(f"branches.{name}", f"rawhide is {rawhide}; a branch must be older")
        branches[name] = BranchPolicy(branch, table.day("eol"))
        table.done()
    return branches


def known_branch(table: Table, key: str, branches: Mapping[str, BranchPolicy]) -> Branch | None:
    """The branch that a key names, or None without one. Raises BadCatalog."""
    if not table.has(key):
        return None
    name = table.text(key)
    if name not in branches:
        raise table.wrong(key, f"unknown branch {name[:40]!r}")
    return branches[name].branch


def read_side_tag_sets(targets: Table) -> Mapping[str, SideTagPolicy]:
    """The sets of families that can share a side tag, by id. Raises BadCatalog."""
    sets: dict[str, SideTagPolicy] = {}
    for row in targets.rows("side_tag_set"):
        policy = SideTagPolicy(row.text("id"), row.texts("families"))
        if not _ID.fullmatch(policy.set_id):
            raise row.wrong("id", f"{policy.set_id[:40]!r} does not have the expected form")
        if policy.set_id in sets:
            raise row.wrong("id", f"'{policy.set_id}' is there twice")
        sets[policy.set_id] = policy
        row.done()
    return sets


def read_target(
    row: Table,
    branches: Mapping[str, BranchPolicy],
    accounts: Mapping[str, str],
    sets: Mapping[str, SideTagPolicy],
) -> tuple[BuildTarget, bool]:
    """A target, and whether every account that its project names is known. Raises BadCatalog."""
    branch = known_branch(row, "branch", branches)
    if branch is None:
        raise row.wrong("branch", "is missing")
    streams = row.streams()
    dist_git, has_site = _read_dist_git(row, accounts)
    pattern = row.pattern("project", {"owner", "profile"}, needed=set())
    has_account = has_site and all(known or f"{{{name}}}" not in pattern for name, known in accounts.items())
    target = BuildTarget(
        id=row.text("id"),
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
        deadline=timedelta(hours=row.number("deadline_hours", low=1, high=24 * 30, default=24)),
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
    """``[target.dist_git]``, or None without it, and whether its sites are known. Raises BadCatalog."""
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
    """``[target.shipped]``: a list of tags a stage; None without it. Raises BadCatalog."""
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
    """The forge of ``[target.dist_git]``, or None without one. Raises BadCatalog."""
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
    """An address with its sites filled in; what it must hold besides stays in braces. Empty where it is missing."""
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
