"""Thresholds: a tenant is told when a quota is nearly reached, and when it is, once for each limit and month.

Looked at once an hour, by one point read for each quota: beside each counted write the same would be a read for every
create. Who reaches a limit in between is told by the refusal itself.
"""

from functions.usage.quotas import NEAR_PERCENT, Quota, quotas_of
from shared.work.notices import Code, notify_once
from shared.work.session import TenantSession

NAMES = {  # who has as many runs as may be at a time waits a little, and is told nothing
    "agents": "agents",
    "users": "users",
    "ai_tokens_per_month": "AI tokens of this month",
    "ai_spend_per_month": "AI spend of this month",
    "backups": "backups on demand",
    "copies": "copies of this tenant",
}


async def tell_thresholds(session: TenantSession) -> int:
    """Tell the tenant of every threshold that it has reached and was not told of; returns how many there were."""
    month = f"{session.services.clock.now():%Y-%m}"
    told = 0
    for quota in await quotas_of(session):
        if quota.near_limit and quota.resource in NAMES:
            told += await _tell(session, quota, month)
    return told


async def _tell(session: TenantSession, quota: Quota, month: str) -> bool:
    reached = quota.remaining == 0
    code: Code = "quota_reached" if reached else "quota_near"
    what, percent = NAMES[quota.resource], 100 if reached else NEAR_PERCENT
    title = f"{percent} % of the {what} are used"
    how_much = f"{_amount(quota, quota.used)} of {_amount(quota, quota.limit)}"
    until = f"It begins anew at {quota.reset[:10]}" if quota.reset else "Delete some"
    then = "No more are taken." if reached else "At the limit no more are taken."
    text = f"{how_much} {what}. {then} {until}, or take a larger plan (POST /api/v1/billing/upgrade)."
    data = {"resource": quota.resource, "limit": quota.limit, "used": quota.used, "percent": percent, "month": month}
    key = f"{code}:{quota.resource}:{quota.limit}:{month}"
    return await notify_once(session, key, code, title, text, data)


def _amount(quota: Quota, number: int) -> str:
    return f"{number / 1_000_000:,.2f}" if quota.resource == "ai_spend_per_month" else f"{number:,}"
