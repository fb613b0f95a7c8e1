"""What the alerts and the workbook ask for is what the app writes: tables, columns, properties, and the very words."""

import ast
import asyncio
import json
import logging
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import shared.telemetry.insights
from functions.audit.chain import State, noted
from functions.backups.export import Export
from functions.platform import costs, health
from functions.usage.latency import PROMISED_MS
from functions.usage.slo import AVAILABLE, IN_TIME, WINDOWS
from shared.messaging.port import Message
from tests.doubles.ingestion import Ingestion, ingestion
from tests.infra.kql import TABLES, reads
from tests.unit.world import AGENT, World, admin

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
QUERIES = {path.stem: path.read_text("utf-8") for path in sorted((INFRA / "queries").glob("*.kql"))}
WORKBOOK: dict[str, Any] = json.loads((INFRA / "workbook.json").read_text("utf-8"))
CHARTS: dict[str, str] = {one["name"]: one["content"]["query"] for one in WORKBOOK["items"] if one["type"] == 3}
PARAMETERS: dict[str, str] = {
    one["name"]: one["query"]
    for item in WORKBOOK["items"]
    if item["type"] == 9
    for one in item["content"]["parameters"]
    if "query" in one
}
OF_AZURE = {"log_quota"}  # ask for what Azure writes, and no app
EVERY = {**{name: text for name, text in QUERIES.items() if name not in OF_AZURE}, **CHARTS, **PARAMETERS}
WRONG = "a part that the app works with, for the test"


@dataclass
class Written:
    """All that a busy day has written: envelopes' data, each with its properties; and the names of health's checks."""

    of: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    checks: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return asyncio.run(_written(tmp_path_factory.mktemp("day")))


async def _written(folder: Path) -> Written:
    with ingestion() as double:
        world = World.over(folder, applicationinsights_connection_string=double.connection_string)
        try:
            checks = await _busy_day(world, folder)
        finally:
            await world.close()
        return _kept(double, checks)


async def _busy_day(world: World, folder: Path) -> set[str]:
    """Everything that somebody is told of happens once."""
    tenant = (await world.onboard("acme"))["id"]
    agent = (await world.call("create_agent", admin(tenant), {**AGENT, "name": "Clerk"})).json["id"]
    await world.call("create_execution", admin(tenant), {"input": "Sum up."}, params={"agent_id": agent})
    await world.drain()
    world.core.adapters.charges.record(tenant, "get_agent", 1.0)
    await world.core.dead_letters.add("usage-events", Message("m-1", tenant, {}), "It has no type.")
    session = await world.session(tenant)
    begun = (await world.call("create_backup", admin(tenant))).json
    await Export(world.core.adapters.blobs).fail(session.past_the_fence(), begun["id"], "It was tried too often.")
    noted(session, State(), ["the head is missing"])
    logging.getLogger("flowgrid.timers").error("a timer's work failed", exc_info=RuntimeError("for the test"))
    world.clock.advance(days=3)  # without a daily round
    await world.functions["rounds"](None)
    found = await world.call("get_health")
    (folder / "blobs").rename(folder / "away")
    (folder / "blobs").write_text(WRONG)
    world.clock.advance(minutes=5)
    assert (await world.call("get_health")).status == 503
    return set(found.json["checks"])


def _kept(double: Ingestion, checks: set[str]) -> Written:
    kept = Written(checks=checks)
    for envelope in double.envelopes:
        data = {**envelope["data"]["baseData"], "time": envelope["time"], "sampleRate": envelope["sampleRate"]}
        kept.of.setdefault(envelope["data"]["baseType"], []).append(data)
    return kept


def names_of(data: dict[str, Any]) -> set[str]:
    return {one["name"] for one in data["metrics"]} if "metrics" in data else {data.get("name", "")}


@cache
def logged_errors() -> set[str]:
    """The words of every line at the level error in the code; where they are no literal, there are none."""
    found: set[str] = set()
    for path in (*(ROOT / "functions").rglob("*.py"), *(ROOT / "shared").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "error":
                found |= {
                    one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)
                }
    return found


@pytest.mark.parametrize("name", EVERY)
def test_a_query_names_tables_columns_properties_and_items_that_the_app_writes(name: str, written: Written) -> None:
    found = reads(EVERY[name])
    assert found
    for read in found:
        type, columns = TABLES[read.table]
        items = [
            one
            for one in written.of[type]
            if (not read.names or read.names & names_of(one))
            and all(any(part in own for own in names_of(one)) for part in read.parts)
        ]
        assert items, f"nothing is called {read.names or read.parts} in {read.table}"
        assert {columns[column] for column in read.columns} <= {key for one in items for key in one}
        assert read.properties <= {key for one in items for key in one["properties"]}
        for property, values in read.wanted.items():
            seen = {one["properties"].get(property) for one in items}
            known = {"message": logged_errors(), "check": written.checks, "essential": {"true", "false"}}[property]
            assert values <= known, f"nothing writes {values - known}"
            assert values & seen, f"no {property} was any of {values}"


def test_each_alert_finds_an_item_of_each_kind_that_it_asks_for(written: Written) -> None:
    events = [one for one in written.of["EventData"] if one["name"] == shared.telemetry.insights.LOGGED]
    assert {one["properties"]["message"] for one in events} >= {
        "a message cannot be handled",
        "a backup has failed",
        "the chain of an audit trail is broken",
    }
    failed = [one["properties"] for one in written.of["MetricData"] if health.FAILED in names_of(one)]
    assert {("backup_round", "false"), ("blobs", "true")} <= {(one["check"], one["essential"]) for one in failed}


def test_the_query_of_azures_own_table_is_the_documented_one() -> None:
    """https://learn.microsoft.com/azure/azure-monitor/logs/daily-cap."""
    lines = [line for line in QUERIES["log_quota"].splitlines() if not line.startswith("//")]
    assert lines == ["_LogOperation", '| where Detail contains "OverQuota"']


def test_the_burn_rates_are_those_that_the_api_tells_by_the_same_promises() -> None:
    for name, hours in (("slo_fast", 1), ("slo_slow", 6)):
        query = QUERIES[name]
        given = dict(re.findall(r"^let (\w+) = (.+);$", query, re.MULTILINE))
        assert (given["long"], float(given["limit"])) == (f"{hours}h", WINDOWS[hours])
        assert f"DurationMs > {PROMISED_MS}" in query
        assert {float(one) for one in re.findall(r"/ calls / ([\d.]+)", query)} == {
            round(1 - AVAILABLE, 6),
            round(1 - IN_TIME, 6),
        }


def test_a_tenant_is_too_expensive_from_where_the_api_says_so() -> None:
    assert f"| where Sum > {costs.TARGET}" in QUERIES["cost"]


def test_the_workbook_has_a_chart_of_each_figure_for_every_tenant_and_for_one() -> None:
    per_tenant = [query for query in CHARTS.values() if '"{Tenant}" == "*" or tenant == "{Tenant}"' in query]
    assert len(per_tenant) >= 8
    assert {costs.TOLD, "Request Units", "AI Request"} <= {
        name for query in per_tenant for read in reads(query) for name in read.names
    }


@pytest.mark.parametrize(
    "wrong",
    [
        "AppRequest\n| where Success == false",
        "AppRequests\n| where Duration > 200",
        "AppMetrics\n| where Value > 5",
        "AppEvents\n| summarize sum(itemCount)",
    ],
)
def test_a_misspelt_table_or_column_is_found(wrong: str) -> None:
    with pytest.raises(ValueError):
        reads(wrong)


def test_a_misspelt_message_is_found() -> None:
    assert "a backup has failed" in logged_errors()
    assert "a backup had failed" not in logged_errors()
