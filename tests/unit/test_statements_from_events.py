"""A statement, recomputed from the events that were sent: late ones, voided ones, in months of any length, by any plan.

Usage goes through the queue, its hours are closed and opened again by the timers; the oracle is a list of events.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions.billing.models import Statement
from functions.billing.prices import PRICES
from functions.billing.rating import rated, segments
from functions.tenants.models import Tenant
from shared.clock import rfc3339
from shared.tenancy.history import month_after
from shared.work.events import Metric, usage_event
from tests.unit.world import STAFF, FakeClock, World, admin

TOKENS = Metric.AI_TOKENS


@dataclass
class Sent:
    """An event as it was sent, and whether it was taken out."""

    id: str
    at: datetime
    value: int
    voided: bool = False


@dataclass
class Books:
    """A tenant in its own calendar, and every event of it."""

    world: World
    tenant: str
    events: list[Sent] = field(default_factory=list)

    async def comes(self, at: datetime) -> None:
        """Time passes; the queue is drained and the timers have run."""
        clock = self.world.clock
        clock.elapsed += (at - clock.instant).total_seconds()
        clock.instant = at
        await self.world.drain()
        for name in ("close_usage", "rounds", "sweep"):
            await self.world.functions[name](None)

    async def use(self, at: datetime, value: int) -> Sent:
        """Tokens, told of now, used then."""
        sent = Sent(self.world.core.services.ids.new(), at, value)
        event = usage_event(TOKENS, id=sent.id, tenant_id=self.tenant, at=at, value=value, provider="p", model="m")
        await self.world.queue.send("usage-events", [event, event])  # a queue may deliver twice
        self.events.append(sent)
        await self.world.drain()
        return sent

    async def void(self, sent: Sent) -> None:
        asked = {"reason": "asked twice", "event": {"id": sent.id, "time": rfc3339(sent.at)}}
        answer = await self.world.call("create_usage_adjustment", STAFF, asked, params={"tenant_id": self.tenant})
        assert answer.status == 201, answer.raw
        sent.voided = True
        await self.world.drain()

    async def plan(self, tier: str) -> None:
        await self.world.call("patch_tenant", STAFF, {"tier": tier}, params={"tenant_id": self.tenant})

    async def statements(self) -> dict[str, Statement]:
        listed = (await self.world.call("list_statements", admin(self.tenant))).json["items"]
        return {one["month"]: Statement.model_validate(one) for one in listed}

    async def due(self, month: datetime) -> tuple[int, int]:
        """What the month's tokens and plans cost, by the list of events: units, micro-units."""
        found: Any = (await self.world.call("get_tenant", STAFF, params={"tenant_id": self.tenant})).json
        parts: list[tuple[Any, Mapping[Metric, int]]] = []
        for part in segments(Tenant.model_validate(found).plan_changes, month):
            counted = [one.value for one in self.events if part.start <= one.at < part.end and not one.voided]
            parts.append((part, {TOKENS: sum(counted)}))
        lines = [line for line in rated(parts, month, PRICES.of(month)) if line.metric in (None, TOKENS)]
        return sum(line.quantity or 0 for line in lines), sum(line.amount for line in lines)


def billed(statements: Mapping[str, Statement], month: datetime) -> tuple[int, int]:
    """What all statements together have billed for the month's tokens and plans."""
    name = f"{month:%Y-%m}"
    lines = [line for one in statements.values() for line in one.lines if line.month == name]
    ours = [line for line in lines if line.metric in (None, TOKENS)]
    return sum(line.quantity or 0 for line in ours), sum(line.amount for line in ours)


@pytest.mark.parametrize("begin", ["2026-11", "2028-02", "2026-12"])
async def test_a_statement_and_its_corrections_are_what_the_events_cost(tmp_path: Path, begin: str) -> None:
    """Thirty days, a leap February, the end of a year: at each boundary, by each plan, early and late."""
    month = datetime.strptime(begin, "%Y-%m").replace(tzinfo=UTC)
    following = month_after(month)
    world = World.over(tmp_path, clock=FakeClock(month))
    books = Books(world, str((await world.onboard(trial_days=0))["id"]))
    await books.comes(month + timedelta(days=3, minutes=30))
    await books.use(month, 1_234_567)
    wrong = await books.use(month + timedelta(days=3, minutes=20), 7_654_321)
    await books.comes(month + timedelta(days=9, hours=13, minutes=59))
    await books.plan("professional")
    await books.use(month + timedelta(days=9, hours=12, minutes=59, seconds=59), 333_333)
    await books.use(month + timedelta(days=9, hours=13), 17_000_001)
    await books.comes(following - timedelta(seconds=1))
    last = await books.use(following - timedelta(microseconds=1), 999_999)
    await books.comes(following + timedelta(hours=1))
    await books.plan("standard")
    await books.use(following, 1_500_003)
    await books.void(wrong)
    await books.comes(following + timedelta(days=2, hours=4))
    made = await books.statements()
    assert (list(made), billed(made, month)) == ([begin], await books.due(month))

    await books.use(month + timedelta(days=20), 5_000_007)  # late, into a month that is final
    await books.void(last)
    await books.comes(month_after(following) + timedelta(days=2, hours=4))
    later = await books.statements()
    assert later[begin] == made[begin]
    assert billed(later, month) == await books.due(month) != billed(made, month)
    assert billed(later, following) == await books.due(following)
    assert all(one.total == sum(line.amount for line in one.lines) for one in later.values())
    await world.close()
