"""Trials: the tenant is told 7, 3 and 1 days before the end, and at the end; after a week of grace it is suspended.

What it has been told last is kept with its entry and changes in one conditional write with the notice, so each is told
once, whoever sweeps; what was missed while nobody swept is not told late: the latest is.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from functions.tenants.models import Tenant
from functions.tenants.plans import Told, grace_ends
from functions.tenants.service import SWEEPER, TenantService
from shared.apart import apart
from shared.clock import Clock, parse_rfc3339, rfc3339
from shared.database.port import Where

logger = logging.getLogger("flowgrid.tenants")
DAYS_BEFORE = (7, 3, 1, 0)
HOW = 'An admin goes on with POST /api/v1/billing/upgrade {{"tier": "{tier}"}}, or a higher one; nothing is lost by it.'


class Trials:
    """`sweep` takes each trial as far as it is due."""

    def __init__(self, tenants: TenantService, clock: Clock) -> None:
        self._tenants = tenants
        self._clock = clock

    async def sweep(self) -> int:
        """Tell, or suspend, each tenant that is due; returns how many were. Those with nothing due cost no call."""
        now, done = self._clock.now(), 0
        soon = rfc3339(now + timedelta(days=DAYS_BEFORE[0]))
        async for tenant in self._tenants.find([Where("status", "=", "trial"), Where("trial_ends_at", "<=", soon)]):
            action, fields = _due(tenant, now)
            if not fields:
                continue
            with apart(logger, "a trial's sweep failed, it comes again", tenant_id=tenant.id):
                await self._tenants.change(SWEEPER, tenant.id, action, lambda found: _due(found, now)[1], told=_told)
                done += 1
        return done


def _due(tenant: Tenant, now: datetime) -> tuple[str, Mapping[str, Any]]:
    """What happens to it now, and what changes with that; nothing where staff have prolonged or ended its trial."""
    if tenant.status != "trial" or tenant.trial_ends_at is None:
        return "", {}
    if grace_ends(tenant.trial_ends_at) <= now:
        return "trial_ended", {"status": "suspended"}
    left = parse_rfc3339(tenant.trial_ends_at) - now
    reached = [days for days in DAYS_BEFORE if left <= timedelta(days=days)]
    if not reached or (tenant.trial_told is not None and tenant.trial_told <= reached[-1]):
        return "", {}
    return "trial_told", {"trial_told": reached[-1]}


def _told(tenant: Tenant) -> Told:
    ends = tenant.trial_ends_at or ""
    how = HOW.format(tier=tenant.tier)
    over = f"{grace_ends(ends):%Y-%m-%d %H:%M} UTC"
    data = {"trial_ends_at": ends, "suspended_at": rfc3339(grace_ends(ends))}
    if tenant.status == "suspended":
        text = "The trial and its week of grace are over. The data is kept; write to support to go on."
        return Told("tenant_suspended", "Your tenant is suspended", text, data)
    if tenant.trial_told == 0:
        return Told("trial_over", "Your trial is over", f"On {over} the tenant is suspended. {how}", data)
    when = f"{parse_rfc3339(ends):%Y-%m-%d %H:%M} UTC"
    text = f"It ends on {when}; on {over} the tenant is suspended. {how}"
    return Told("trial_ending", f"Your trial ends on {when}", text, data)
