"""Process webhook deliveries, reconcile with upstream's releases, and send hints for everything that is due."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import structlog

from service.builds.claims import claim_delivery, find_due
from service.builds.follow_ups import fetching
from service.domain.planning import Family
from service.releases.intake import back_off_delivery, process_delivery
from service.releases.reconcile import Reconciled, reconcile_family, unlisted_tags
from workers.context import Context
from workers.sources.upstream import confirm_gone, fetch_list

DELIVERY_LEASE_SECONDS = 120.0

log = structlog.get_logger()


def process(ctx: Context, delivery_id: int) -> None:
    """Process one delivery. An error of ours makes it due again, and errored when all tries are spent."""
    settings = ctx.settings
    lease = min(settings.step_lease_seconds, DELIVERY_LEASE_SECONDS)
    token = claim_delivery(ctx.db, delivery_id, lease_seconds=lease, max_tries=settings.max_tries)
    if token is None:
        return
    try:
        outcome = process_delivery(ctx.db, delivery_id, token, ctx.catalog)
    except Exception as error:
        log.exception("delivery failed", delivery=delivery_id)
        reason = f"internal trouble: {type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"
        delay = timedelta(seconds=settings.retry_seconds)
        back_off_delivery(ctx.db, delivery_id, token, reason, delay=delay, max_tries=settings.max_tries)
        return
    for build_id in outcome.builds if outcome else ():
        ctx.wake.build(build_id)


def sweep(ctx: Context) -> None:
    """Send a hint for everything that is due. A lost hint is sent again by the next sweep."""
    due = find_due(ctx.db)
    for delivery_id in due.deliveries:
        ctx.wake.delivery(delivery_id)
    # Hints are served in order: a long backlog of builds must not keep the running ones from being read.
    for system, project in due.projects:
        ctx.wake.project(system, project)
    fetch = fetching(ctx.db, due.follow_ups) if due.follow_ups else frozenset()
    for follow_up_id in due.follow_ups:
        ctx.wake.follow_up(follow_up_id, fetches=follow_up_id in fetch)
    for side_tag_id in due.side_tags:
        ctx.wake.side_tag(side_tag_id)
    for build_id in due.builds:
        ctx.wake.build(build_id)


def reconcile(ctx: Context) -> Reconciled:
    """Plan again every family that a target builds, against the catalogue and upstream's list of releases."""
    total = Reconciled()
    for family in filter(lambda each: ctx.catalog.is_built(each.name), ctx.catalog.families.values()):
        try:
            done = _reconcile_family(ctx, family)
        except Exception as error:
            # The trouble of one family must not keep the others from being planned.
            log.exception("reconciliation failed", family=family.name)
            total.problems.append(f"{family.name} could not be reconciled: {type(error).__name__}")
            continue
        total.builds.extend(done.builds)
        total.sentences.extend(done.sentences)
    for build_id in total.builds:
        ctx.wake.build(build_id)
    return total


def _reconcile_family(ctx: Context, family: Family) -> Reconciled:
    upstream = fetch_list(ctx, family)
    if upstream is not None:
        missing = unlisted_tags(ctx.db, family, upstream)
        upstream = replace(upstream, gone=confirm_gone(ctx, family, missing))
    return reconcile_family(ctx.db, ctx.catalog, family, upstream)
