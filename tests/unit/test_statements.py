"""Statements: open they show what is so, on the third day they are final and never change; what comes later is a line
of the next one, once."""

import asyncio
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.billing.models import STATEMENT, Account, Line, Statement
from functions.billing.rendering import as_csv, as_html, money
from functions.billing.service import BillingService
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Create, Operation, Replace, TenantStore
from shared.errors import NotFound
from shared.tenancy.fence import AUDIT
from shared.tenancy.history import month_after
from shared.work.events import Metric
from shared.work.notices import NOTIFICATION
from tests.unit.world import STAFF, START, FakeClock, WatchedStore, World, admin

NOVEMBER, DECEMBER = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
CALLS = Metric.API_CALLS


@dataclass
class Meter:
    """What was used, by the hour: takes more at any time, and takes some back."""

    used: dict[tuple[datetime, Metric], int] = field(default_factory=dict)

    def add(self, at: datetime, value: int, metric: Metric = CALLS) -> None:
        hour = at.replace(minute=0, second=0, microsecond=0)
        self.used[hour, metric] = self.used.get((hour, metric), 0) + value

    async def totals(self, store: TenantStore, start: datetime, end: datetime) -> Mapping[Metric, int]:
        assert start == start.replace(minute=0, second=0) and end == end.replace(minute=0, second=0)
        found: dict[Metric, int] = {}
        for (hour, metric), value in self.used.items():
            if start <= hour < end:
                found[metric] = found.get(metric, 0) + value
        return found


@dataclass
class Office:
    """A tenant, its meter and its statements."""

    world: World
    tenant: str
    meter: Meter = field(default_factory=Meter)

    @property
    def billing(self) -> BillingService:
        return BillingService(self.world.core.adapters.database, self.meter.totals)

    def comes(self, at: datetime) -> None:
        clock = self.world.clock
        clock.elapsed += (at - clock.instant).total_seconds()
        clock.instant = at

    async def statement(self, month: str) -> Statement:
        return await self.billing.get(await self.world.session(self.tenant), month)

    async def close(self, world: World | None = None) -> int:
        return await self.billing.close(await (world or self.world).session(self.tenant))

    async def final(self) -> list[Statement]:
        """Those that are stored, oldest first."""
        page = await (await self.world.session(self.tenant)).store.query(STATEMENT)
        return sorted((Statement.model_validate(one.body) for one in page.items), key=lambda one: one.month)


@pytest.fixture
async def office(world: World) -> Office:
    """An active tenant of the standard plan since the first of November."""
    world.clock.instant = NOVEMBER
    return Office(world, str((await world.onboard(trial_days=0))["id"]))


def lines(statement: Statement, kind: str) -> list[Line]:
    return [line for line in statement.lines if line.kind == kind]


# Open


async def test_an_open_statement_shows_the_plans_price_and_what_was_used_so_far(office: Office) -> None:
    office.meter.add(NOVEMBER, 150_000)
    office.comes(NOVEMBER + timedelta(days=20))
    shown = await office.statement("2026-11")
    assert (shown.status, [line.amount for line in shown.lines], shown.total) == (
        *("open", [49_000_000, 20_000_000]),
        69_000_000,
    )


async def test_what_is_used_is_on_it_at_once(office: Office) -> None:
    office.comes(START + timedelta(minutes=7))
    office.meter.add(START + timedelta(minutes=5), 1)
    (line,) = lines(await office.statement("2026-11"), "usage")
    assert line.quantity == 1


async def test_each_plan_of_a_month_has_its_lines(office: Office) -> None:
    office.meter.add(NOVEMBER, 10)
    office.comes(NOVEMBER + timedelta(days=10, minutes=20))
    await office.world.call("upgrade_plan", admin(office.tenant), {"tier": "professional"})
    office.meter.add(NOVEMBER + timedelta(days=10), 20)
    shown = await office.statement("2026-11")
    assert [(line.tier, line.quantity, line.amount) for line in shown.lines] == [
        ("standard", None, 16_333_333),
        ("standard", 10, 0),
        ("professional", None, 166_000_000),
        ("professional", 20, 0),
    ]


async def test_a_trial_costs_nothing(world: World) -> None:
    office = Office(world, str((await world.onboard())["id"]))
    office.meter.add(START, 900_000)
    shown = await office.statement("2026-11")
    assert (shown.total, [line.billed for line in shown.lines]) == (0, [None, 0])


@pytest.mark.parametrize("month", ["2026-10", "2026-12", "2026-07", "2026-13", "2026-1", "november", "", "2026-11-01"])
async def test_a_month_in_which_the_tenant_was_not_has_no_statement(office: Office, month: str) -> None:
    with pytest.raises(NotFound):
        await office.statement(month)


async def test_a_month_that_is_over_stays_open_until_the_third_day(office: Office) -> None:
    office.comes(DECEMBER + timedelta(days=2) - timedelta(seconds=1))
    assert (await office.close(), (await office.statement("2026-11")).status) == (0, "open")
    office.comes(DECEMBER + timedelta(days=2))
    assert (await office.close(), (await office.statement("2026-11")).status) == (1, "final")


# Final


async def test_a_final_statement_never_changes_and_is_made_once(office: Office) -> None:
    office.meter.add(NOVEMBER, 150_000)
    office.comes(DECEMBER + timedelta(days=3))
    await office.close()
    first = await office.statement("2026-11")
    office.meter.add(NOVEMBER, 1_000_000)
    assert (await office.close(), await office.statement("2026-11")) == (0, first)


async def test_it_is_what_the_open_one_was(office: Office) -> None:
    office.meter.add(NOVEMBER, 150_000)
    office.comes(DECEMBER + timedelta(days=2))
    before = await office.statement("2026-11")
    await office.close()
    after = await office.statement("2026-11")
    same = {"status", "created_at"}
    assert before.model_dump(exclude=same) == after.model_dump(exclude=same)


async def test_the_tenant_is_told_and_its_trail_says_what_it_comes_to(office: Office) -> None:
    office.comes(DECEMBER + timedelta(days=2))
    await office.close()
    store = (await office.world.session(office.tenant)).store
    notices = [one.body for one in (await store.query(NOTIFICATION)).items]
    audited = [one.body for one in (await store.query(AUDIT)).items if one.body["action"] == "statement.created"]
    assert [(one["code"], one["data"]) for one in notices] == [("statement_final", {"month": "2026-11"})]
    assert [(one["resource_id"], one["new_value"]["total"]) for one in audited] == [("2026-11", 49_000_000)]


async def test_of_two_instances_that_make_it_at_once_one_does(office: Office, twin: World) -> None:
    office.comes(DECEMBER + timedelta(days=2))
    made = await asyncio.gather(office.close(), office.close(twin))
    store = (await office.world.session(office.tenant)).store
    assert (sorted(made), len((await store.query(NOTIFICATION)).items)) == ([0, 1], 1)


async def test_a_crash_before_it_is_stored_leaves_nothing_and_the_next_run_makes_it(office: Office) -> None:
    office.comes(DECEMBER + timedelta(days=2))
    session = await office.world.session(office.tenant)
    store = WatchedStore(session.store)

    class Crash(BaseException):
        pass

    async def crash(operations: Sequence[Operation]) -> None:
        if any(isinstance(one, Create) and one.kind == STATEMENT for one in operations):
            raise Crash

    store.before = crash
    with pytest.raises(Crash):
        await office.billing.close(replace(session, store=store))
    assert (await office.final(), await office.close(), len(await office.final())) == ([], 1, 1)


async def test_months_that_were_missed_are_made_late_the_oldest_first_up_to_three(office: Office) -> None:
    office.comes(datetime(2027, 4, 3, tzinfo=UTC))
    assert (await office.close(), [one.month for one in await office.final()]) == (3, ["2027-01", "2027-02", "2027-03"])


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ({}, None),
        ({"total": 1}, "does not add up"),
        ({"amount": 48_000_001}, "not what its quantities cost"),
        ({"quantity": 1}, "not what its quantities cost"),
    ],
)
async def test_a_statement_that_is_not_what_it_was_made_of_is_found(
    office: Office, damage: dict[str, int], finding: str | None
) -> None:
    office.meter.add(NOVEMBER, 150_000)
    office.comes(NOVEMBER + timedelta(days=9))
    await office.world.call("upgrade_plan", admin(office.tenant), {"tier": "enterprise"})
    office.comes(DECEMBER + timedelta(days=2))
    await office.close()
    session = await office.world.session(office.tenant)
    stored = await session.store.get(STATEMENT, "2026-11")
    assert stored is not None
    body = stored.body
    (body if "total" in damage else body["lines"][1]).update(damage)
    await session.store.control.commit([Replace(STATEMENT, "2026-11", body, stored.etag)])
    found = await office.billing.check(session)
    assert (found == []) if finding is None else (finding in found[0])


# What comes later


async def test_what_is_counted_after_a_statement_is_a_line_of_the_next_one_and_of_no_other(office: Office) -> None:
    office.meter.add(NOVEMBER, 100_000)
    office.comes(DECEMBER + timedelta(days=2))
    await office.close()
    office.meter.add(NOVEMBER + timedelta(days=29), 10_000)
    for month in (DECEMBER, datetime(2027, 1, 1, tzinfo=UTC)):
        office.comes(month_after(month) + timedelta(days=2))
        await office.close()
    found = {
        one.month: [(line.month, line.amount) for line in lines(one, "correction")] for one in await office.final()
    }
    assert found == {"2026-11": [], "2026-12": [("2026-11", 4_000_000)], "2027-01": []}


async def test_an_open_statement_shows_a_correction_only_where_it_will_be(office: Office) -> None:
    """In December's first days what November's is corrected by stands on nothing: it is not final yet."""
    office.comes(DECEMBER + timedelta(days=2))
    await office.close()
    office.meter.add(NOVEMBER, 110_000)
    january = month_after(DECEMBER)
    office.comes(january + timedelta(days=1))
    shown = [len(lines(await office.statement(month), "correction")) for month in ("2026-12", "2027-01")]
    assert shown == [1, 0]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 150), st.integers(1, 40), st.sampled_from([*Metric]), st.integers(-9, 900_000)),
        max_size=12,
    ),
    st.lists(st.tuples(st.integers(0, 120), st.sampled_from(["standard", "professional", "enterprise"])), max_size=4),
)
def test_whatever_comes_when_each_unit_is_billed_once(
    tmp_path_factory: pytest.TempPathFactory,
    arrivals: list[tuple[int, int, Metric, int]],
    plans: list[tuple[int, str]],
) -> None:
    """Usage of any hour that is told of up to forty days late, voids, changes of plan; six months of statements.

    The statements together say what there was, and what a statement says by itself is what its lines add up to.
    """

    async def run(folder: Path) -> None:
        world = World.over(folder, clock=FakeClock(NOVEMBER))
        office = Office(world, str((await world.onboard(trial_days=0))["id"]))
        todo = [(day + late, day, metric, value) for day, late, metric, value in arrivals]
        for day in range(0, 215):
            office.comes(NOVEMBER + timedelta(days=day, hours=3))
            for _, used, metric, value in [one for one in todo if one[0] == day]:
                at = NOVEMBER + timedelta(days=used, hours=5)
                office.meter.add(at, max(value, -office.meter.used.get((at, metric), 0)), metric)
            for tier in [tier for on, tier in plans if on == day]:
                await world.call("patch_tenant", STAFF, {"tier": tier}, params={"tenant_id": office.tenant})
            if office.world.clock.now().day == 3:
                await office.close()
        made = await office.final()
        assert [one.total for one in made] == [sum(line.amount for line in one.lines) for one in made]
        billed = [line for one in made for line in one.lines]
        for metric in (CALLS, Metric.EXECUTIONS, Metric.AI_TOKENS):
            used = sum(value for (_, one), value in office.meter.used.items() if one == metric)
            assert sum(line.quantity or 0 for line in billed if line.metric == metric) == used
        session = await world.session(office.tenant)
        account = Account.model_validate((await world.call("get_tenant", STAFF, params={"tenant_id": session.id})).json)
        for one in made:
            due = await office.billing.made(session, account, parse_rfc3339(one.start), [])
            assert sum(line.amount for line in billed if line.month == one.month) == due.total
        await world.close()

    asyncio.run(run(tmp_path_factory.mktemp("office")))


# Over HTTP


async def test_it_is_had_as_json_as_a_file_and_as_a_page(world: World) -> None:
    tenant = str((await world.onboard(trial_days=0))["id"])
    await world.call("get_me", admin(tenant))
    await world.drain()
    answers = {
        format: await world.call("get_statement", admin(tenant), params={"month": "2026-11"}, query={"format": format})
        for format in ("json", "csv", "html")
    }
    assert [one.status for one in answers.values()] == [200, 200, 200]
    assert answers["csv"].raw.startswith(b"month,kind,") and answers["html"].raw.startswith(b"<!doctype html>")
    usage = next(line for line in answers["json"].json["lines"] if line["kind"] == "usage")
    assert (usage["metric"], usage["quantity"], usage["amount"]) == ("api_calls", 1, 0)
    assert answers["csv"].headers["Content-Disposition"] == 'attachment; filename="acme-2026-11.csv"'
    assert "style-src 'sha256-" in answers["html"].headers["Content-Security-Policy"]


async def test_final_statements_are_listed_newest_first(office: Office) -> None:
    office.comes(datetime(2027, 1, 3, tzinfo=UTC))
    await office.close()
    listed = (await office.world.call("list_statements", admin(office.tenant))).json["items"]
    assert [(one["month"], one["status"]) for one in listed] == [("2026-12", "final"), ("2026-11", "final")]


async def test_the_subscription_says_what_the_plan_costs(world: World) -> None:
    tenant = str((await world.onboard(tier="professional"))["id"])
    shown = (await world.call("get_billing", admin(tenant))).json
    assert (shown["tier"], shown["status"], shown["base"], shown["currency"], shown["month"]) == (
        *("professional", "trial", 249_000_000),
        *("USD", "2026-11"),
    )
    calls = next(one for one in shown["metered"] if one["metric"] == "api_calls")
    assert (calls["included"], calls["per"], len(calls["tranches"])) == (1_000_000, 1_000, 2)


async def test_a_backup_carries_it_and_a_tenant_takes_it_away(office: Office) -> None:
    office.comes(DECEMBER + timedelta(days=2))
    await office.close()
    backup = await office.world.backed_up(office.tenant)
    exported = await office.world.call("export_tenant", admin(office.tenant), query={"kind": "statement"})
    assert (backup["counts"]["statement"], [one["item"]["month"] for one in exported.json["items"]]) == (1, ["2026-11"])


# The timer


async def run_timer(world: World) -> None:
    await world.functions["rounds"](None)


async def test_the_timer_makes_every_tenants_statement_on_the_third_day(world: World) -> None:
    tenants = [str((await world.onboard(f"acme-{number}", trial_days=0))["id"]) for number in range(2)]
    offices = [Office(world, tenant) for tenant in tenants]
    seen = []
    for day in (1, 2, 3, 4):
        offices[0].comes(datetime(2026, 12, day, 4, tzinfo=UTC))
        await run_timer(world)
        seen.append([len(await office.final()) for office in offices])
    assert seen == [[0, 0], [0, 0], [1, 1], [1, 1]]


async def test_a_suspended_tenant_has_statements_too(world: World) -> None:
    office = Office(world, str((await world.onboard(trial_days=0))["id"]))
    await world.call("suspend_tenant", STAFF, params={"tenant_id": office.tenant})
    office.comes(datetime(2026, 12, 3, 4, tzinfo=UTC))
    await run_timer(world)
    assert [one.total for one in await office.final()] == [0]


async def test_a_run_that_was_interrupted_goes_on_and_one_that_is_done_does_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office(world, str((await world.onboard(trial_days=0))["id"]))
    office.comes(datetime(2026, 12, 3, 4, tzinfo=UTC))

    class Crash(BaseException):
        pass

    async def crash(*_: Any) -> int:
        raise Crash

    with monkeypatch.context() as dying, pytest.raises(Crash):
        dying.setattr(BillingService, "made", crash)
        await run_timer(world)
    await run_timer(world)  # the lease still runs
    assert await office.final() == []
    world.clock.advance(minutes=12)
    await run_timer(world)
    assert len(await office.final()) == 1


# As text


def statement(**changes: Any) -> Statement:
    line = {
        "kind": "usage",
        "month": "2026-11",
        "description": "API calls",
        "tier": "standard",
        "metric": "api_calls",
        "from": rfc3339(NOVEMBER),
        "to": rfc3339(DECEMBER),
        "price_version": "1",
        "quantity": 150_000,
        "included": 100_000,
        "billed": 50_000,
        "amount": -1_500_001,
        "events": "/api/v1/usage/events?metric=api_calls&from=x",
    }
    return Statement.model_validate(
        {
            "month": "2026-11",
            "tenant_id": "t",
            "tenant_name": "Acme",
            "status": "final",
            "created_at": rfc3339(DECEMBER),
            "from": rfc3339(NOVEMBER),
            "to": rfc3339(DECEMBER),
            "currency": "USD",
            "price_version": "1",
            "lines": [line | changes.pop("line", {})],
            "total": -1_500_001,
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("micro", "text"),
    [
        (0, "0.00"),
        (1, "0.000001"),
        (1_500_000, "1.50"),
        (-1_500_001, "-1.500001"),
        (49_000_000, "49.00"),
        (-1, "-0.000001"),
    ],
)
def test_money_has_two_places_or_as_many_as_it_has(micro: int, text: str) -> None:
    assert money(micro) == text


def test_a_csv_file_has_a_record_for_each_line_and_one_for_the_total() -> None:
    raw = as_csv(statement()).decode()
    records = list(csv.DictReader(io.StringIO(raw, newline="")))
    assert raw.count("\r\n") == 3 and raw.count("\n") == 3
    assert [(one["kind"], one["quantity"], one["amount"], one["currency"]) for one in records] == [
        ("usage", "150000", "-1.500001", "USD"),
        ("total", "", "-1.500001", "USD"),
    ]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@sum", "\tx", "\rx"])
def test_no_cell_of_a_csv_file_is_a_formula(name: str) -> None:
    raw = as_csv(statement(tenant_name=name, line={"description": name})).decode()
    cells = [one["description"] for one in csv.DictReader(io.StringIO(raw, newline=""))]
    assert cells == [f"'{name}"] * 2


def test_a_name_with_commas_quotes_and_lines_stays_one_cell() -> None:
    name = 'A "very", long\r\nname'
    raw = as_csv(statement(tenant_name=name)).decode()
    assert list(csv.DictReader(io.StringIO(raw, newline="")))[-1]["description"] == name


def test_nothing_in_a_page_is_markup_but_its_own() -> None:
    evil = "<script>alert('&\"')</script>"
    page = as_html(statement(tenant_name=evil, line={"description": evil, "events": '"><script>'})).decode()
    assert "<script" not in page and page.count("&lt;script&gt;") == 3


def test_a_page_loads_nothing_and_leads_to_the_events() -> None:
    page = as_html(statement()).decode()
    assert "src=" not in page and "@import" not in page and "url(" not in page
    assert '<a href="/api/v1/usage/events?metric=api_calls&amp;from=x">API calls</a>' in page
    assert "-1.500001" in page and "150,000" in page
