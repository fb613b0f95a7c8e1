"""Which plan a tenant had when, and whether it paid for it: what statements are made of, kept with its entry.

For billing, a change takes effect at the start of the hour it was made in, so that plans end where metered hours do.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field

from shared.clock import parse_rfc3339, rfc3339
from shared.errors import Full
from shared.tenancy.plans import Tier

Standing = Literal["trial", "active", "suspended"]  # only who is active pays
KEPT = timedelta(days=250)  # six months that a late statement still corrects, and those in which it may be late
MOST_CHANGES = 100


class PlanChange(BaseModel):
    """From this hour on the tenant has this plan, and stands so."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    at: Annotated[str, Field(json_schema_extra={"format": "date-time"}, description="The start of an hour.")]
    tier: Tier = Field(description="The plan from then on.")
    status: Standing = Field(description="Whether it was paid for: in a trial or suspended it is not.")


def recorded(changes: Sequence[PlanChange], at: datetime, tier: Tier, status: str) -> list[PlanChange]:
    """The history with what is so from the hour of `at` on; the same where that is nothing new.

    What is older than any statement looks back is left out. `Full` beyond `MOST_CHANGES`.
    """
    if status not in get_args(Standing) or (changes and (changes[-1].tier, changes[-1].status) == (tier, status)):
        return [*changes]
    hour = rfc3339(at.replace(minute=0, second=0, microsecond=0))
    hour = max([hour, *(one.at for one in changes)])  # whatever a clock says, the history goes forward
    before = [one for one in changes if one.at < hour]
    oldest = rfc3339(parse_rfc3339(hour) - KEPT)
    old = [one for one in before if one.at <= oldest]
    kept = [*old[-1:], *before[len(old) :]]
    if kept and (kept[-1].tier, kept[-1].status) == (tier, status):
        return kept
    if len(kept) >= MOST_CHANGES:
        raise Full(f"This tenant's plan has changed {MOST_CHANGES} times in {KEPT.days} days; no more is kept.")
    return [*kept, PlanChange(at=hour, tier=tier, status=cast(Standing, status))]


def assumed(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The history of a tenant from before one was kept: its plan as it is, paid for since the end of its trial.

    Of one that is suspended nobody knows since when; it is as if it always had been.
    """
    status, ends = body["status"], body.get("trial_ends_at")
    if status not in get_args(Standing):
        return []
    begin = _hour(body["created_at"])
    if status != "active" or ends is None:
        return [{"at": begin, "tier": body["tier"], "status": status}]
    return [
        {"at": begin, "tier": body["tier"], "status": "trial"},
        {"at": max(begin, _hour(ends)), "tier": body["tier"], "status": "active"},
    ]


def month_of(instant: datetime) -> datetime:
    """The start of the calendar month, UTC, that the instant lies in."""
    return instant.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month_after(instant: datetime) -> datetime:
    """The start of the next one."""
    return month_of(month_of(instant) + timedelta(days=31))


def _hour(instant: str) -> str:
    return rfc3339(parse_rfc3339(instant).replace(minute=0, second=0, microsecond=0))
