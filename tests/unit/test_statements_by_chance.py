"""A final statement is what the raw events cost, whatever they are: month ends, leap day, changes of plan, voids."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.billing.models import STATEMENT, Account, Statement
from functions.billing.prices import PRICES
from functions.billing.rating import rated, segments
from functions.billing.service import BillingService
from functions.usage.closing import Closing
from functions.usage.metering import Metering
from functions.usage.rollups import totals
from shared.clock import parse_rfc3339
from shared.messaging.port import Message
from shared.tenancy.history import month_after, month_of
from shared.work.events import SOURCE, Metric, usage_event, void_event
from tests.unit.world import STAFF, FakeClock, World

BEGIN = datetime(2028, 1, 31, 20, tzinfo=UTC)
END = datetime(2028, 4, 4, tzinfo=UTC)
EDGES = [datetime(2028, month, day, tzinfo=UTC) for month, day in ((2, 1), (2, 29), (3, 1), (4, 1))]
SECONDS = int((END - timedelta(days=3) - BEGIN).total_seconds())
MOMENTS = st.one_of(
    st.integers(0, int((END - timedelta(days=3) - BEGIN).total_seconds()) - 1).map(
        lambda s: BEGIN + timedelta(seconds=s)
    ),
    st.sampled_from(EDGES[:3]),
    st.sampled_from(EDGES).map(lambda edge: edge - timedelta(microseconds=1)),
)
METRICS = [Metric.API_CALLS, Metric.AI_TOKENS, Metric.EXECUTIONS]
EVENTS = st.tuples(MOMENTS, st.sampled_from(METRICS), st.integers(1, 2_000_000))
TIERS = st.sampled_from(["standard", "professional", "enterprise"])


class Year:
    """A tenant that lives through the months, a day at a time."""

    def __init__(self, world: World, tenant: str) -> None:
        self.world = world
        self.tenant = tenant
        core = world.core
        self.metering = Metering(core.directory, core.dead_letters, world.queue, world.clock, "usage-events")
        self.closing = Closing(core.adapters.database, core.directory, world.clock)
        self.billing = BillingService(core.adapters.database, totals)
        self.told: list[Message] = []
        self.voided: set[str] = set()

    async def tell(self, at: datetime, metric: Metric, value: int) -> None:
        ids = self.world.core.services.ids
        message = usage_event(metric, id=ids.new(), tenant_id=self.tenant, at=at, value=value)
        self.told.append(message)
        await self.metering.store([message, message])

    async def void(self, message: Message) -> None:
        hour = parse_rfc3339(message.body["time"]).replace(minute=0, second=0, microsecond=0)
        ids = self.world.core.services.ids
        await self.metering.store([void_event([(SOURCE, message.id)], id=ids.new(), tenant_id=self.tenant, hour=hour)])
        self.voided.add(message.id)

    def used(self, start: datetime, end: datetime) -> Mapping[Metric, int]:
        """From the raw events, one by one."""
        found: dict[Metric, int] = {}
        for message in self.told:
            if message.id not in self.voided and start <= parse_rfc3339(message.body["time"]) < end:
                metric = Metric(message.body["type"])
                found[metric] = found.get(metric, 0) + message.body["data"]["value"]
        return found


@settings(max_examples=12, deadline=None)
@given(
    events=st.lists(EVENTS, max_size=10),
    plans=st.lists(st.tuples(st.integers(0, 62), TIERS), max_size=3),
    voids=st.sets(st.integers(0, 9), max_size=3),
)
def test_a_statement_is_what_the_raw_events_cost(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[tuple[datetime, Metric, int]],
    plans: list[tuple[int, str]],
    voids: set[int],
) -> None:
    async def run(folder: Path) -> None:
        world = World.over(folder, clock=FakeClock(BEGIN))
        year = Year(world, str((await world.onboard(trial_days=0))["id"]))
        left = sorted(events)
        for day in range((END - BEGIN).days + 1):
            now = BEGIN + timedelta(days=day)
            world.clock.elapsed += 86400
            world.clock.instant = now
            for tier in [tier for on, tier in plans if on == day]:
                await world.call("patch_tenant", STAFF, {"tier": tier}, params={"tenant_id": year.tenant})
            while left and left[0][0] <= now:
                await year.tell(*left.pop(0))
                if len(year.told) - 1 in voids:
                    await year.void(year.told[-1])
            await year.closing.sweep()
            if now.day == 3:
                await year.billing.close(await world.session(year.tenant))
        world.clock.instant = END
        await year.billing.close(await world.session(year.tenant))
        account = Account.model_validate(
            (await world.call("get_tenant", STAFF, params={"tenant_id": year.tenant})).json
        )
        store = (await world.session(year.tenant)).store
        for month in (BEGIN, EDGES[0], EDGES[2]):
            first = month_of(month)
            stored = await store.get(STATEMENT, f"{first:%Y-%m}")
            assert stored is not None
            final = Statement.model_validate(stored.body)
            parts = [(part, year.used(part.start, part.end)) for part in segments(account.plan_changes, first)]
            due = rated(parts, first, PRICES.of(first))
            assert [line for line in final.lines if line.kind != "correction"] == due
            assert final.total == sum(line.amount for line in final.lines)
            assert parse_rfc3339(final.end) == month_after(first)
        await world.close()

    asyncio.run(run(tmp_path_factory.mktemp("year")))
