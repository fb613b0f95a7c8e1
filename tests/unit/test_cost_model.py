"""The cost model: what was measured times what a list asks, with nothing between that is not named."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.app import app
from cli.cost.deployed import deployed
from cli.cost.load import MIX, Load, measured, mix_of
from cli.cost.model import BUS_OPERATIONS, Bill, bill
from cli.cost.plot import FLEETS, svg
from cli.cost.quantities import Work
from cli.cost.report import GOAL, MOST, beside_the_roadmap, dearest, items_of
from cli.cost.scale import SIZES, limits, shards, stamps
from cli.errors import CliError
from functions.platform.price_list import HOURS as PRICED_HOURS
from functions.platform.price_list import LIST, Listed, Meter
from functions.platform.prices import PRICES
from tests.infra.snapshot import snapshot

SVG = "{http://www.w3.org/2000/svg}"
ROOT = Path(__file__).parents[2]


def quantities(made: Bill) -> dict[Meter, float]:
    sums: defaultdict[Meter, float] = defaultdict(float)
    for row in made.rows:
        sums[row.meter] += row.quantity
    return sums


@pytest.mark.parametrize(
    "load", [Load(), Load(tenants=3, calls=7), Load(gateway=True, redis=True, private=True, ready=2)]
)
def test_what_a_meter_costs_is_its_quantity_times_its_price(load: Load) -> None:
    made = bill(load)
    for meter, quantity in quantities(made).items():
        cost = sum(row.cost for row in made.rows if row.meter is meter)
        assert cost == pytest.approx(LIST[meter].of(quantity)), meter
    assert made.total == pytest.approx(sum(LIST[meter].of(quantity) for meter, quantity in quantities(made).items()))


def test_a_tenants_call_costs_what_the_bench_has_measured_of_it() -> None:
    load = Load(mix={"create agent": 1.0})
    rows = {(row.item, row.what, row.meter): row.quantity for row in bill(load).rows}
    figures = measured()["work"]["create agent"]
    assert rows["database", "calls", Meter.REQUEST_UNITS] == load.per_month * figures["request_units"]
    assert rows["messages", "calls", Meter.BUS_OPERATIONS] == load.per_month * figures["messages"] * BUS_OPERATIONS
    assert rows["functions", "calls", Meter.EXECUTIONS] == load.per_month
    assert rows["sent", "answers", Meter.SENT_GB] == load.per_month * figures["answer_bytes"] / 10**9


def test_steps_and_free_amounts_are_each_paid_for_what_is_within_them() -> None:
    listed = Listed(((0, 0), (10, 2_000_000), (100, 1_000_000)), 1, "", "")
    assert [listed.of(quantity) for quantity in (0, 10, 11, 100, 150)] == [0, 0, 2, 180, 230]


@pytest.mark.parametrize("meter", Meter)
def test_every_price_says_where_it_is_from_when_it_was_read_and_whether_anything_confirms_it(meter: Meter) -> None:
    listed = LIST[meter]
    assert listed.source and date.fromisoformat(listed.read) and listed.per > 0
    assert listed.steps[0][0] == 0 and list(listed.steps) == sorted(listed.steps)
    assert listed.confirmed is ("from memory" not in listed.source)


def test_what_tenants_are_told_that_they_cost_is_by_the_same_list() -> None:
    by = PRICES[-1].by
    assert by["request_units"].of(10**9) == LIST[Meter.REQUEST_UNITS].of(10**9) * 10**6
    assert by["compute"].of(10**9) == pytest.approx((LIST[Meter.GB_SECONDS].of(0.04 * 10**9 + 100_000)) * 10**6)


@profile(max_examples=50, deadline=None)
@given(tenants=st.integers(1, 5_000), calls=st.integers(1, 50_000), more=st.integers(1, 5_000))
def test_more_tenants_and_more_calls_never_cost_less(tenants: int, calls: int, more: int) -> None:
    load = Load(tenants=tenants, calls=calls)
    for larger in (replace(load, tenants=tenants + more), replace(load, calls=calls + more)):
        assert bill(larger).total >= bill(load).total * (1 - 1e-9)


SWITCHES = [(name, True) for name in ("gateway", "redis", "private", "long_backup")]


@pytest.mark.parametrize(("option", "value"), [*SWITCHES, ("dedicated", 5), ("sample", 1.0), ("shards", 2)])
def test_each_option_costs_something(option: str, value: float) -> None:
    other: Any = {option: value}
    assert bill(replace(Load(), **other)).total > bill(Load()).total


def test_an_instance_that_is_always_ready_is_dearer_for_few_calls_and_cheaper_for_many() -> None:
    saved = [bill(Load(calls=calls)).total - bill(Load(calls=calls, ready=1)).total for calls in (10, 10_000)]
    assert saved[0] < 0 < saved[1]


def test_what_more_instances_do_than_are_ready_is_paid_on_demand() -> None:
    load = Load(tenants=1_000, ready=2)
    rows = [row for row in bill(load).rows if row.item == "functions" and row.what == "calls"]
    busy = {row.meter: row.quantity for row in rows}
    share = 2 / Work(load).instances
    assert busy[Meter.READY_BUSY] / (busy[Meter.READY_BUSY] + busy[Meter.GB_SECONDS]) == pytest.approx(share)


@pytest.mark.parametrize("name", ["dev", "prod", "private"])
def test_where_it_is_deployed_is_reckoned_as_its_snapshot_says(name: str) -> None:
    there, made = deployed(name, Load()), snapshot(name)
    site = made.one("Microsoft.Web/sites")["properties"]["functionAppConfig"]["scaleAndConcurrency"]
    assert (there.memory, there.shards) == (
        site["instanceMemoryMB"],
        sum("shard" in one["name"] for one in made.all("Microsoft.DocumentDB/databaseAccounts/sqlDatabases")),
    )
    premium = made.one("Microsoft.ServiceBus/namespaces")["sku"]["name"] == "Premium"
    meters = quantities(bill(there))
    assert (Meter.BUS_PREMIUM in meters, Meter.BUS in meters, there.private) == (premium, not premium, premium)
    assert (Meter.REDIS in meters) is bool(made.all("Microsoft.Cache/redisEnterprise"))
    assert there.gateway is bool(made.all("Microsoft.ApiManagement/service"))
    assert meters.get(Meter.ENDPOINTS, 0) == PRICED_HOURS * len(made.all("Microsoft.Network/privateEndpoints"))
    assert (Meter.AUTOSCALE in meters) is not (Meter.REQUEST_UNITS in meters)


def test_autoscale_is_paid_for_a_tenth_of_its_most_at_the_least_and_never_for_more_than_that() -> None:
    def units(load: Load) -> float:
        return sum(row.quantity for row in bill(load).rows if row.what == "shards")

    idle, busy = Load(tenants=1, calls=1, autoscale=4_000), Load(tenants=50_000, autoscale=4_000)
    assert [units(idle), units(busy)] == pytest.approx([4 * PRICED_HOURS * 1.0, 40 * PRICED_HOURS * 1.0])


def test_a_hundred_tenants_with_ten_thousand_calls_a_day_cost_less_than_two_and_a_half_dollars_each() -> None:
    load = Load(tenants=100, calls=10_000)
    for each in (bill(load).per_tenant, bill(deployed("dev", load)).per_tenant):
        assert GOAL < each < 2.5 < MOST


def test_the_audit_is_as_large_as_the_entries_of_the_calls_that_are_made() -> None:
    """An update's has two values, a deletion's one: not as large as the mean of whatever the bench has written."""
    for name in ("create agent", "update agent", "get agent"):
        (row,) = [row for row in bill(Load(mix={name: 1.0})).rows if row.what == "audit"]
        stored = measured()["work"][name]["audit_bytes"] * Load().per_month / 30 * 360 * Load().assumed.index
        assert row.quantity == pytest.approx(stored / 10**9)


def test_the_assumptions_are_told_and_each_of_them_moves_the_bill_or_a_limit() -> None:
    load = Load(gateway=True, private=True, ready=0)
    before = (bill(load).total, [one.tenants for one in limits(load)])
    for name, value, means in load.assumed.told():
        other = replace(load, assumed=replace(load.assumed, **{name: value * 7}))
        if name == "host_line_bytes":  # the host writes none, by host.json
            continue
        if name == "users":
            other = replace(other, tenants=1_000)
        assert means and (bill(other).total, [one.tenants for one in limits(other)]) != before, name


def test_every_row_of_the_roadmap_has_one_of_ours_beside_it() -> None:
    shown = [row for row, *_ in beside_the_roadmap(Load())]
    assert shown[:7] == [
        "Azure SQL, shared",
        "Azure SQL, an enterprise tenant's own",
        "Azure AD B2C",
        "Azure API Management",
        "Application Insights",
        "Redis Cache",
        "Azure Service Bus",
    ]
    assert {"All", "To break even, a tenant"} <= set(shown)
    assert all(cost.startswith("$") for *_, cost in beside_the_roadmap(Load()))


def test_the_roadmaps_rows_are_all_that_there_is_but_for_what_is_sent_and_kept_secret() -> None:
    made, names = bill(Load()), ("database", "blobs", "sign-in", "logs", "watching", "messages", "functions")
    rest = set(made.items()) - set(names)
    assert rest == {"sent", "secrets"} and sum(made.item(name) for name in rest) < made.total / 100


def test_the_plot_has_a_curve_for_each_item_that_is_seen_over_ten_to_a_thousand_tenants() -> None:
    made = bill(Load())
    root = ElementTree.fromstring(svg(Load()))
    curves = {str(one.get("id")): str(one.get("points")).split() for one in root.iter(f"{SVG}polyline")}
    seen = {name for name, cost in made.items().items() if cost / 100 >= 0.01}
    assert seen | {"all"} <= set(curves) <= set(made.items()) | {"all"}
    assert (FLEETS[0], FLEETS[-1]) == (10, 1_000) and 100 in FLEETS
    assert {len(points) for points in curves.values()} == {len(FLEETS)}
    assert len({one.get("stroke") for one in root.iter(f"{SVG}polyline")}) == len(curves)


def test_a_dearer_item_is_drawn_above_a_cheaper_one() -> None:
    root = ElementTree.fromstring(svg(Load()))
    at = FLEETS.index(100)
    heights = {
        str(one.get("id")): float(str(one.get("points")).split()[at].split(",")[1])
        for one in root.iter(f"{SVG}polyline")
    }
    names = [name for name in bill(Load()).items() if name in heights]
    assert [heights["all"], *(heights[name] for name in names)] == sorted(heights.values())


def test_the_readme_has_the_table_that_the_command_prints() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    printed = CliRunner().invoke(app, ["cost"]).stdout
    for row in items_of(Load()):
        cells = [cell.replace("**", "") for cell in row]
        assert f"| {' | '.join(row)} |" in readme
        assert any(all(cell in line for cell in cells) for line in printed.splitlines()), cells


def test_what_takes_most_of_the_bill_is_named_first_and_all_that_is_named_is_most_of_it() -> None:
    made = bill(Load())
    shares = [int(part.split()[-1].rstrip("%")) for part in dearest(made).split(", ")]
    assert shares == sorted(shares, reverse=True) and 80 < sum(shares) <= 100
    assert dearest(made).startswith(f"{next(iter(made.items()))} ")


def test_the_command_answers_as_json_what_it_has_reckoned() -> None:
    done = CliRunner().invoke(app, ["cost", "--tenants", "7", "--calls", "100", "--mix", "create agent=1", "--json"])
    told = json.loads(done.stdout)
    made = bill(Load(tenants=7, calls=100, mix={"create agent": 1.0}))
    assert (told["tenants"], told["usd"], told["usd_per_tenant"]) == (7, made.total, made.per_tenant)
    assert sum(row["usd"] for row in told["rows"]) == pytest.approx(told["usd"])
    assert "blobs, GB and month" in told["unconfirmed"]


def test_the_command_writes_the_plot_and_tells_the_limits(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["cost", "--scale", "--json", "--plot", str(tmp_path / "cost.svg")])
    assert ElementTree.parse(tmp_path / "cost.svg").getroot().tag == f"{SVG}svg"
    assert [row["tenants"] for row in json.loads(done.stdout)["sizes"]] == [f"{size:,}" for size in SIZES]


def test_a_mix_is_shares_of_calls_that_were_measured() -> None:
    assert mix_of("get agent=3, create agent=1") == {"get agent": 0.75, "create agent": 0.25}
    assert sum(MIX.values()) == pytest.approx(1)


@pytest.mark.parametrize("wrong", ["", "get agent", "get agent=x", "dance=1", "get agent=0", "get agent=-1"])
def test_what_is_no_mix_is_told_in_a_line(wrong: str) -> None:
    with pytest.raises(CliError, match="--mix"):
        mix_of(wrong)
    done = CliRunner().invoke(app, ["cost", "--mix", wrong])
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)


@pytest.mark.parametrize(
    ("what", "need", "most"),
    [
        ("a sweep within its half minute", Work.sweep_seconds, 30),
        ("the hourly rounds within the function's time", Work.round_seconds, 600),
    ],
)
def test_a_limit_is_reached_by_as_many_tenants_as_need_just_so_much(
    what: str, need: Callable[[Work], float], most: float
) -> None:
    (limit,) = [one for one in limits(Load()) if one.what == what]
    assert need(Work(Load(tenants=limit.tenants))) <= most
    assert need(Work(Load(tenants=limit.tenants + limit.tenants // 500 + 2))) > most


def test_limits_come_in_the_order_in_which_they_are_reached_and_more_calls_reach_them_sooner() -> None:
    usual, busy = ([one.tenants for one in limits(Load(calls=calls))] for calls in (10_000, 100_000))
    assert usual == sorted(usual) and sum(busy) < sum(usual)


def test_more_tenants_need_no_fewer_shards_and_stamps() -> None:
    needed = [(shards(Load(), size), stamps(Load(), size)) for size in SIZES]
    assert needed == sorted(needed) and needed[0] != needed[-1]
