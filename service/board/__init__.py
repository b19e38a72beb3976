"""What people and programs look at: SQL to frozen rows, in as few statements as possible. Reads only."""

from __future__ import annotations

from service.board.audit import AuditRow, list_audit
from service.board.builds import (
    BuildDetail,
    BuildFilter,
    EndedBuild,
    EventRow,
    build_detail,
    latest_ends,
    list_builds,
    list_events,
)
from service.board.causes import (
    CauseRuleRow,
    Causes,
    ClusterRow,
    DiagnosisRow,
    RemedyRow,
    cluster_of,
    diagnoses_of,
    list_causes,
    remedies_of,
)
from service.board.cells import columns_of, matrix, only_branch, streams
from service.board.deliveries import DeliveryDetail, DeliveryRow, delivery_detail, list_deliveries
from service.board.distgit import ChangeRow, changes_of
from service.board.grid import FAILING, Cell, Column, Good, Matrix, StreamRow
from service.board.health import ContactRow, DueWork, Health, health
from service.board.pages import LIMIT, LIMIT_MAX, BadCursor, Page
from service.board.releases import (
    ReleaseDetail,
    ReleaseRow,
    SrpmRow,
    list_releases,
    list_srpms,
    newest_of_stream,
    release_detail,
    status_of,
)
from service.board.rows import BuildRow, ChrootRow, arch_of
from service.board.rules import ProofRow, RuleRow, StoredTrial, rules
from service.board.side_tags import (
    SideTagBuildRow,
    SideTagDetail,
    SideTagEventRow,
    SideTagRow,
    list_side_tags,
    live_side_tags,
    side_tag_detail,
    side_tags_of,
)
from service.board.specs import Spec, SpecChange, spec_beside, spec_change, spec_of

__all__ = [
    "FAILING",
    "LIMIT",
    "LIMIT_MAX",
    "AuditRow",
    "BadCursor",
    "BuildDetail",
    "BuildFilter",
    "BuildRow",
    "CauseRuleRow",
    "Causes",
    "Cell",
    "ChangeRow",
    "ChrootRow",
    "ClusterRow",
    "Column",
    "ContactRow",
    "DeliveryDetail",
    "DeliveryRow",
    "DiagnosisRow",
    "DueWork",
    "EndedBuild",
    "EventRow",
    "Good",
    "Health",
    "Matrix",
    "Page",
    "ProofRow",
    "ReleaseDetail",
    "ReleaseRow",
    "RemedyRow",
    "RuleRow",
    "SideTagBuildRow",
    "SideTagDetail",
    "SideTagEventRow",
    "SideTagRow",
    "Spec",
    "SpecChange",
    "SrpmRow",
    "StoredTrial",
    "StreamRow",
    "arch_of",
    "build_detail",
    "changes_of",
    "cluster_of",
    "columns_of",
    "delivery_detail",
    "diagnoses_of",
    "health",
    "latest_ends",
    "list_audit",
    "list_builds",
    "list_causes",
    "list_deliveries",
    "list_events",
    "list_releases",
    "list_side_tags",
    "list_srpms",
    "live_side_tags",
    "matrix",
    "newest_of_stream",
    "only_branch",
    "release_detail",
    "remedies_of",
    "rules",
    "side_tag_detail",
    "side_tags_of",
    "spec_beside",
    "spec_change",
    "spec_of",
    "status_of",
    "streams",
]
