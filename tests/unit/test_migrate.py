"""An old database becomes a tenant's data: all of it or told why not, again without effect, and undone."""

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.errors import CliError
from functions.migration.taking import item_id
from functions.migration.undoing import CHANGED, NAMED
from shared.ids import DEFAULT_TENANT_ID
from tests.unit.legacy_world import (
    Rows,
    dump,
    mended,
    none,
    old_file,
    run,
    settled,
    undo,
    without_history,
)
from tests.unit.world import STAFF, World, admin


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return old_file(tmp_path / "old.db")


def _id(table: Any, key: str) -> str:
    return item_id(DEFAULT_TENANT_ID, table, key)


async def test_every_row_becomes_an_item_of_the_default_tenant(old: Path, data: Path) -> None:
    report = await run(old, data)
    counts = {name: (one.source, one.created, one.quarantined) for name, one in report.tables.items()}
    assert counts == {"elements": (60, 60, 0), "relationships": (31, 31, 0), "agents": (3, 3, 0)}
    assert report.complete and report.compared == 94 and report.quarantine is None
    found = await dump(data)
    element = found[f"element:{_id('elements', 'e7')}"]
    assert (element["name"], element["legacy_id"], element["layer"]) == ("Element 7", "e7", "Business")
    assert element["properties"] == {"Owner": "Operations", "legacy_created_at": "2025-11-03T09:15:00.000000Z"}
    upon = found[f"relationship:{_id('relationships', 'r-on-r')}"]
    assert (upon["source_id"], upon["target_id"]) == (_id("elements", "e0"), _id("relationships", "r1"))
    agent = found[f"agent:{_id('agents', 'a1')}"]
    assert (agent["element_id"], agent["instructions"], agent["status"]) == (
        _id("elements", "e1"),
        "Look first.",
        "active",
    )
    assert agent["config"] == {
        "instructions": "Look first.",
        "temperature": 0.0,
        "legacy_created_at": "2025-11-03T09:15:00.000000Z",
    }
    assert found["counter:agents"]["value"] == 3


async def test_each_item_has_its_entry_in_the_trail_and_the_migration_wrote_it(old: Path, data: Path) -> None:
    await run(old, data)
    entries = [body for name, body in (await dump(data)).items() if name.startswith("audit:")]
    made = [one for one in entries if one["action"].endswith(".created") and one["resource_type"] in _MADE]
    assert len(made) == 94 and {one["user_id"] for one in made} == {"migration"}


_MADE = ("element", "relationship", "agent")


async def test_a_second_run_changes_nothing(old: Path, data: Path) -> None:
    first = await run(old, data)
    before = await dump(data)
    second = await run(old, data)
    assert await dump(data) == before
    assert [one.unchanged for one in second.tables.values()] == [60, 31, 3]
    assert (second.runs, second.checksum_stored) == (first.runs, first.checksum_stored)


async def test_the_old_file_and_its_folder_are_as_they_were(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    old = old_file(folder / "old.db")
    before = sha256(old.read_bytes()).hexdigest()
    await run(old, data)
    assert sha256(old.read_bytes()).hexdigest() == before and [*folder.iterdir()] == [old]


async def test_a_dry_run_says_the_same_and_makes_nothing(old: Path, data: Path) -> None:
    dry = await run(old, data, dry_run=True)
    with pytest.raises(FileNotFoundError):
        os.stat(data)
    real = await run(old, data)
    assert (dry.tables, dry.complete) == (real.tables, True)


async def test_an_undo_leaves_no_trace_but_in_the_trail(tmp_path: Path, old: Path, data: Path) -> None:
    empty = old_file(tmp_path / "empty.db", {"elements": []})
    begun = await run(empty, data)
    await undo(begun.runs["default"], data)
    before = await dump(data)
    report = await run(old, data)
    found = await undo(report.runs["default"], data)
    assert (found["status"], found["removed"], found["kept"]) == ("ended", 94, 0)
    after = await dump(data)
    assert without_history(after) == without_history(before)
    assert before.items() <= after.items()  # of the trail nothing has gone


async def test_what_was_undone_can_be_migrated_again(old: Path, data: Path) -> None:
    report = await run(old, data)
    await undo(report.runs["default"], data)
    again = await run(old, data)
    assert again.complete and [one.created for one in again.tables.values()] == [60, 31, 3]


async def test_an_undo_leaves_what_was_changed_since_and_what_that_needs(old: Path, data: Path) -> None:
    report = await run(old, data)
    world = World.over(data)
    try:
        boss = admin(DEFAULT_TENANT_ID)
        arrow = {"relationship_id": _id("relationships", "r5")}
        changed = await world.call("patch_relationship", boss, {"name": "Mine"}, params=arrow)
        assert changed.status == 200, changed.raw
    finally:
        await world.close()
    found = await undo(report.runs["default"], data)
    told = {(one["legacy_id"], one["reason"]) for one in found["kept_items"]}
    assert told == {("r5", CHANGED), ("e5", NAMED), ("e6", NAMED)}
    assert (found["removed"], found["kept"]) == (91, 3)
    left = {body["legacy_id"] for body in (await dump(data)).values() if body.get("legacy_id")}
    assert left == {"r5", "e5", "e6"}


async def test_what_somebody_changed_or_deleted_is_kept_so_by_a_second_run(old: Path, data: Path) -> None:
    await run(old, data)
    world = World.over(data)
    try:
        boss = admin(DEFAULT_TENANT_ID)
        await world.call("patch_element", boss, {"name": "Mine"}, params={"element_id": _id("elements", "e5")})
        gone = await world.call("delete_agent", boss, params={"agent_id": _id("agents", "a2")})
        assert gone.status == 204, gone.raw
    finally:
        await world.close()
    before = await dump(data)
    report = await run(old, data)
    assert (report.tables["elements"].kept, report.tables["agents"].kept) == (1, 1)
    assert report.complete and _items(await dump(data)) == _items(before)


def _items(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: body for name, body in settled(found).items() if name.partition(":")[0] in _MADE}


async def test_no_row_is_taken_while_a_run_is_undone(old: Path, data: Path) -> None:
    report = await run(old, data)
    id = report.runs["default"]
    world = World.over(data)
    try:
        boss = admin(DEFAULT_TENANT_ID)
        await world.call("patch_element", boss, {"name": "Mine"}, params={"element_id": _id("elements", "e5")})
        await world.call("undo_migration", boss, params={"migration_id": id})
        rows = {"elements": [{"legacy_id": "late", "fields": {"name": "Late", "type": "Node"}}]}
        late = await world.call("take_rows", boss, rows, params={"migration_id": id})
        assert (late.status, late.json["code"]) == (409, "wrong_state")
    finally:
        await world.close()


async def test_rows_of_several_tenants_go_where_they_are_mapped_to(tmp_path: Path, data: Path) -> None:
    world = World.over(data)
    acme = await world.onboard("acme")
    await world.close()
    rows: list[dict[str, Any]] = [
        {"id": 1, "tenant_id": None, "name": "Ours", "type": "Node"},
        {"id": 1, "tenant_id": "A", "name": "Theirs", "type": "Node"},
        {"id": 2, "tenant_id": "B", "name": "Whose?", "type": "Node"},
    ]
    flow = {"type": "Flow", "source_id": 1, "target_id": 1}
    arrows = [{"id": 1, "tenant_id": "A", **flow}, {"id": 2, "tenant_id": "A", **flow, "target_id": 2}]
    tables: Rows = {"elements": rows, "relationships": arrows}
    old = old_file(tmp_path / "old.db", tables)
    report = await run(old, data, maps=["A=acme"])
    assert {name: (one.migrated, one.quarantined) for name, one in report.tables.items()} == {
        "elements": (2, 1),
        "relationships": (1, 1),  # an end in another tenant is no end
        "agents": (0, 0),
    }
    assert report.complete and set(report.runs) == {"default", "acme"}
    names = {body["name"] for body in (await dump(data, acme["id"])).values() if body["kind"] == "element"}
    assert names == {"Theirs"}


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("table", ["elements", "relationships"])
async def test_old_tenants_with_equal_keys_are_not_mapped_to_one(
    tmp_path: Path, data: Path, table: str, dry_run: bool
) -> None:
    world = World.over(data)
    acme = await world.onboard("acme")
    await world.close()
    nodes: list[dict[str, Any]] = [
        {"id": 1, "tenant_id": "A", "name": "Ours", "type": "Node"},
        {"id": 2, "tenant_id": "B", "name": "Theirs", "type": "Node"},
        {"id": 3, "tenant_id": "B", "name": "Theirs too", "type": "Node"},
    ]
    arrow = {"id": 1, "tenant_id": "B", "type": "Flow", "source_id": 2, "target_id": 3}  # a key that ends may have
    tables: Rows = {"elements": nodes, "relationships": [arrow]}
    if table == "elements":
        tables = {"elements": [*nodes, {**nodes[0], "id": "1", "tenant_id": "B"}]}
    old = old_file(tmp_path / "old.db", tables)
    with pytest.raises(CliError, match="'A', 'B' are mapped to one: rows of several of them have the key '1'"):
        await run(old, data, maps=["A=acme", "B=acme"], dry_run=dry_run)
    assert not [body for body in (await dump(data, acme["id"])).values() if body["kind"] in _MADE]


async def test_old_tenants_without_equal_keys_may_become_one(tmp_path: Path, data: Path) -> None:
    rows = [{"id": number, "tenant_id": whose, "name": "N", "type": "Node"} for number, whose in enumerate("AB")]
    report = await run(old_file(tmp_path / "old.db", {"elements": rows}), data, maps=["A=default", "B=default"])
    assert report.complete and report.tables["elements"].created == 2


async def test_agents_beyond_the_quota_wait_in_the_quarantine(tmp_path: Path, data: Path) -> None:
    world = World.over(data)
    await world.onboard("acme", max_agents=2)
    await world.close()
    old = old_file(tmp_path / "old.db", {"agents": [_agent(number) for number in range(5)]})
    report = await run(old, data, tenant="acme")
    agents = report.tables["agents"]
    assert (agents.migrated, agents.quarantined, report.complete) == (2, 3, True)
    assert set(report.reasons) == {"Agent quota exceeded"}


async def test_arms_of_another_type_at_a_junction_are_in_the_quarantine(tmp_path: Path, data: Path) -> None:
    nodes = [{"id": f"n{number}", "name": f"Node {number}", "type": "Node"} for number in range(4)]
    joint = {"id": "j", "name": None, "type": "Junction"}
    types = ("Flow", "Flow", "Flow", "Triggering")
    arms = [
        {"id": f"r{number}", "type": type, "source_id": f"n{number}", "target_id": "j"}
        for number, type in enumerate(types)
    ]
    tables: Rows = {"elements": [*nodes, joint], "relationships": arms}
    report = await run(old_file(tmp_path / "old.db", tables), data)
    arrows = report.tables["relationships"]
    assert (arrows.migrated, arrows.quarantined, report.complete) == (3, 1, True)
    assert "joins relationships of another type" in next(iter(report.reasons))


def _agent(number: int) -> dict[str, Any]:
    return {"id": number, "name": "Triage", "pattern": "Monitor", "config": "{}"}


def test_the_command_says_where_all_rows_are_and_exits_by_it(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = {"elements": [{"id": 1, "name": "One", "type": "Node"}, {"id": 2, "name": "", "type": "Node"}]}
    old = old_file(tmp_path / "old.db", rows)
    given = ["--data", str(data), "--settings", str(none(data))]
    ran = CliRunner().invoke(app, ["migrate", str(old), "--json", *given])
    told = json.loads(ran.stdout)
    assert (ran.exit_code, told["complete"], told["quarantine"]) == (1, True, "old.quarantine.jsonl")
    lines = mended(tmp_path / "old.quarantine.jsonl", {"elements 2": {"name": "Two"}})
    again = CliRunner().invoke(app, ["migrate", str(lines), *given])
    assert again.exit_code == 0 and "checksum equal" in again.stdout
    back = CliRunner().invoke(app, ["migrate", "--undo", told["runs"]["default"], *given])
    assert back.exit_code == 0 and "1 items removed, 0 left" in back.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "Name the file to migrate, or the run to --undo."),
        (["old.db", "--map", "nothing"], "should be VALUE=TENANT"),
        (["old.db", "--tenant", "nobody"], "There is no tenant of this slug"),
        (["old.db", "--quarantine", "old.db"], "is the source"),
        (["old.db", "--api", "http://127.0.0.1:1"], "needs --token"),
        (["--undo", "0190c2a8-7e10-7abc-8def-000000000001"], "cannot be opened"),
    ],
)
def test_what_is_wrong_with_the_call_is_told_in_one_line(
    tmp_path: Path, old: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(app, ["migrate", *given, "--settings", str(none(old)), "--data", str(tmp_path / "data")])
    assert ran.exit_code == 2 and said in ran.stderr and len(ran.stderr.splitlines()) == 1


async def test_no_file_is_overwritten_by_a_quarantine_not_even_the_source(tmp_path: Path, data: Path) -> None:
    old = old_file(tmp_path / "old.jsonl.part", {"elements": [{"id": 1, "name": "", "type": "Node"}]})
    before, lines = old.read_bytes(), tmp_path / "old.jsonl"
    first = await run(old, data, quarantine=lines)
    lines.write_text("mended by hand")
    dry = await run(old, data, quarantine=lines, dry_run=True)
    again = await run(old, data, quarantine=lines)
    told = [first.quarantine, dry.quarantine, again.quarantine]
    assert told == [str(tmp_path / name) for name in ("old.jsonl", "old-2.jsonl", "old-3.jsonl")]
    assert old.read_bytes() == before and lines.read_text() == "mended by hand"
    assert (tmp_path / "old-3.jsonl").stat().st_mode & 0o777 == 0o600
    written = {"old.jsonl.part", "old.jsonl", "old-2.jsonl", "old-3.jsonl"}
    assert set(os.listdir(tmp_path)) == written | {"settings.json", "data"}


async def test_a_tenant_that_is_suspended_takes_nothing(old: Path, data: Path) -> None:
    world = World.over(data)
    acme = await world.onboard("acme")
    await world.call("suspend_tenant", STAFF, params={"tenant_id": acme["id"]})
    await world.close()
    with pytest.raises(CliError, match="suspended"):
        await run(old, data, tenant="acme")
