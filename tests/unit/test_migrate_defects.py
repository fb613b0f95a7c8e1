"""What real files hold: each row is migrated, or in quarantine with its reason until it is mended."""

import asyncio
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cli.legacy.dates import as_rfc3339
from cli.legacy.mapping import Defect, mapped
from cli.legacy.reading import Read
from functions.migration.models import MODELS
from tests.unit.legacy_world import dump, mended, old_file, run

LONG = "x" * 20_001
E: Final[dict[str, Any]] = {"id": "e", "name": "One", "type": "Node"}
R: Final[dict[str, Any]] = {"id": "r", "type": "Association", "source_id": "n1", "target_id": "n2"}
A: Final[dict[str, Any]] = {"id": "a", "name": "Triage", "pattern": "Monitor"}
DEFECTS: Final[list[tuple[str, dict[str, Any], str]]] = [
    ("elements", {**E, "id": None}, "it has no key (id)"),
    ("elements", {**E, "id": ""}, "it has no key (id)"),
    ("elements", {**E, "id": "k" * 256}, "its key has 256 characters; at most 255 can be kept"),
    ("elements", {**E, "name": None}, "name is empty"),
    ("elements", {**E, "name": "  "}, "name is empty"),
    ("elements", {**E, "name": "n" * 1001}, "name: String should have at most 1000 characters"),
    ("elements", {**E, "name": b"text:caf\xe9"}, "name is no valid UTF-8"),
    ("elements", {**E, "name": b"\xff\xfe"}, "name is no text, but bytes"),
    ("elements", {**E, "name": "bell \x07"}, "has the character U+0007"),
    ("elements", {**E, "type": "Spaceship"}, "type 'Spaceship' is none of"),
    ("elements", {**E, "type": None}, "type is empty"),
    ("elements", {**E, "description": LONG}, "description: String should have at most 20000 characters"),
    ("elements", {**E, "properties": "{broken"}, "properties is no valid JSON"),
    ("elements", {**E, "properties": '["a"]'}, "properties is JSON, but no object"),
    ("elements", {**E, "properties": '{"a": 1, "a": 2}'}, "a name comes twice in one object"),
    ("elements", {**E, "properties": '{"a": NaN}'}, "NaN is no number of JSON"),
    ("elements", {**E, "properties": '{"a": "\\ud800"}'}, "properties.a"),
    ("elements", {**E, "properties": "[" * 100_000}, "nested too deep"),
    ("elements", {**E, "picture": b"\x89PNG"}, "picture holds bytes, which no property can"),
    ("elements", {**E, "tenant_id": "who?"}, "tenant_id 'who?' is mapped to no tenant (--map)"),
    ("elements", {**E, "tenant_id": b"\x00"}, "tenant_id is no text"),
    ("relationships", {**R, "target_id": "nobody"}, "its end 'nobody' is not there, or was not taken"),
    ("relationships", {**R, "source_id": None}, "source_id is empty, or no key"),
    ("relationships", {**R, "type": "Composition", "source_id": "n1", "target_id": "p"}, "knows no Composition"),
    ("relationships", {**R, "type": "Likes"}, "type 'Likes' is none of"),
    ("relationships", {**R, "source_id": "r"}, "its end 'r25' is not there, or was not taken"),
    ("relationships", {**R, "access_type": "Read"}, "access_type belongs to a relationship of type Access only"),
    ("agents", {**A, "pattern": "Boss"}, "pattern 'Boss' is none of"),
    ("agents", {**A, "config": "yes"}, "config is no valid JSON"),
    ("agents", {**A, "config": '{"n": 9007199254740993}'}, "is an integer beyond 2^53"),
    ("agents", {**A, "element_id": "nobody"}, "its element 'nobody' is not there, or was not taken"),
    ("agents", {**A, "status": "asleep"}, "status 'asleep' is none of"),
    ("agents", {**A, "name": "n" * 256}, "name: String should have at most 255 characters"),
    ("agents", {**A, "description": LONG}, "description: String should have at most 5000 characters"),
    ("elements", {**E, "properties": '{"a": 3.14159265358979323846}'}, "has more digits than a number can keep"),
    ("elements", {**E, "properties": '{"a": [1e999]}'}, "1e999 has more digits than a number can keep"),
    ("elements", {**E, "properties": '{"a": 1e99999999999999999999}'}, "99 has more digits than a number can keep"),
    ("agents", {**A, "config": '{"a": 0.1000000000000000000001}'}, "has more digits than a number can keep"),
]
GOOD: Final = [
    {"id": "n1", "name": "One", "type": "Node"},
    {"id": "n2", "name": "Two", "type": "Node"},
    {"id": "p", "name": "Pay", "type": "BusinessProcess"},
]


GOOD_BY_TABLE: Final = {"elements": E, "relationships": R, "agents": A}


async def test_a_file_with_every_defect_is_all_told_and_its_mended_quarantine_goes_to_nothing(tmp_path: Path) -> None:
    tables: dict[str, list[Mapping[str, Any]]] = {"elements": [*GOOD], "relationships": [], "agents": []}
    for number, (table, row, _) in enumerate(DEFECTS):
        own = row["id"] in ("e", "r", "a")
        key = f"{row['id']}{number}" if own else row["id"]
        itself = {"source_id": key} if row.get("source_id") == "r" else {}
        tables[table].append({**row, "id": key, **itself})
    twice = {"id": "twice", "name": "One of two", "type": "Node"}
    tables["elements"] += [twice, {**twice, "name": "Two of two"}]
    data, lines = tmp_path / "data", tmp_path / "old.quarantine.jsonl"

    report = await run(old_file(tmp_path / "old.db", tables), data, quarantine=lines)
    told = [json.loads(line) for line in lines.read_bytes().splitlines()]
    for name, one in report.tables.items():
        assert one.source == len(tables[name]) == one.migrated + one.quarantined, name
    assert report.complete and len(told) == len(DEFECTS) + 1 == sum(report.reasons.values())
    for table, _, reason in DEFECTS:
        assert any(one["table"] == table and reason in one["reason"] for one in told), reason
    assert [one["row"]["name"] for one in told if one["reason"] == "another row has the key 'twice' too"]

    for number, one in enumerate(told):  # somebody mends each row, and leaves what is right of it
        one["row"] = {**GOOD_BY_TABLE[one["table"]], "id": f"mended-{number}"}
    lines.write_text("".join(json.dumps(one) + "\n" for one in told), encoding="utf-8")
    again = await run(lines, data, quarantine=tmp_path / "left.jsonl")
    assert (again.complete, again.quarantine) == (True, None)
    assert {name: one.created for name, one in again.tables.items()} == {
        name: one.quarantined for name, one in report.tables.items()
    }
    items = [body for body in (await dump(data)).values() if body.get("legacy_id")]
    assert len(items) == sum(map(len, tables.values()))


async def test_bytes_go_into_the_quarantine_and_come_back(tmp_path: Path) -> None:
    old = old_file(tmp_path / "old.db", {"elements": [{**E, "name": b"text:caf\xe9"}]})
    lines = tmp_path / "lines.jsonl"
    await run(old, tmp_path / "data", quarantine=lines)
    assert json.loads(lines.read_bytes())["row"]["name"] == {"base64": "Y2Fm6Q=="}
    still = await run(lines, tmp_path / "data", quarantine=tmp_path / "still.jsonl")
    assert still.tables["elements"].quarantined == 1
    done = await run(mended(lines, {"elements e": {"name": "caf\u00e9"}}), tmp_path / "data")
    assert done.quarantine is None and done.complete


def _fields(table: Any, row: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    one = mapped(table, Read(0, dict(row)))
    return one.row.fields.model_dump(), one.notes


def test_what_can_be_written_otherwise_without_loss_is_and_is_told() -> None:
    fields, notes = _fields("elements", {**E, "id": 7, "name": " One ", "type": "archimate:business-process"})
    assert (fields["name"], fields["type"]) == ("One", "BusinessProcess")
    assert notes == ["type 'archimate:business-process' is BusinessProcess", "the name had spaces around it"]
    fields, notes = _fields("elements", {**E, "properties": '{"n": 1.5, "deep": {"a": [true]}, "t": "x"}', "cost": 9})
    assert fields["properties"] == {"n": "1.5", "deep": '{"a": [true]}', "t": "x", "cost": "9"}
    fields, _ = _fields("elements", {**E, "properties": '{"a": 0.30000000000000004, "b": 1e5, "c": 1.50}'})
    assert fields["properties"] == {"a": "0.30000000000000004", "b": "100000.0", "c": "1.5"}
    fields, _ = _fields("elements", {**E, "properties": '{"cost": "8"}', "cost": 9})
    assert fields["properties"] == {"cost": "8", "legacy_cost": "9"}
    fields, notes = _fields("agents", {**A, "pattern": "MONITOR", "status": None, "big": 2**60})
    assert (fields["pattern"], fields["status"], fields["config"]["big"]) == ("Monitor", "active", str(2**60))
    fields, notes = _fields("relationships", {**R, "type": "AssociationRelationship", "is_directed": 1, "name": None})
    assert (fields["type"], fields["is_directed"], fields["name"]) == ("Association", True, "")
    fields, notes = _fields("elements", {**E, "created_at": "last spring"})
    assert fields["properties"] == {"legacy_created_at": "last spring"} and notes


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("2025-11-03 09:15:00", "2025-11-03T09:15:00.000000Z"),
        ("2025-11-03", "2025-11-03T00:00:00.000000Z"),
        ("2025-11-03T09:15:00.25+02:00", "2025-11-03T07:15:00.250000Z"),
        ("2025-11-03T09:15:00Z", "2025-11-03T09:15:00.000000Z"),
        (1762161300, "2025-11-03T09:15:00.000000Z"),
        (1762161300123, "2025-11-03T09:15:00.123000Z"),
        ("2025-13-03", None),
        ("0001-01-01 00:00:00+05:00", None),
        ("03/11/2025", None),
        (7, None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_dates_are_instants_or_stay_as_they_were(told: Any, meant: str | None) -> None:
    assert as_rfc3339(told) == meant


GENERATE = Phase.generate
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["Node", "Device", "flow", "Association", "Monitor", "e1", "1", "{}", '{"a": 1}', "2025-11-03"]),
)
VALUES = st.one_of(
    st.none(),
    TEXTS,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.binary(max_size=6),
    st.binary(max_size=6).map(lambda raw: b"text:" + raw),
)
KEYS = st.one_of(st.sampled_from(["e1", "e2", 1, 2, None]), VALUES)
COMMON = {"id": KEYS, "name": VALUES, "type": TEXTS, "description": VALUES, "created_at": VALUES, "Extra col": VALUES}
TABLES: Any = st.fixed_dictionaries(
    {
        "elements": st.lists(st.fixed_dictionaries(COMMON, optional={"properties": VALUES}), max_size=8),
        "relationships": st.lists(
            st.fixed_dictionaries({**COMMON, "source_id": KEYS, "target_id": KEYS}, optional={"is_directed": VALUES}),
            max_size=8,
        ),
        "agents": st.lists(
            st.fixed_dictionaries({**COMMON, "pattern": TEXTS}, optional={"config": VALUES, "element_id": KEYS}),
            max_size=4,
        ),
    }
)


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck], phases=[GENERATE])
@given(tables=TABLES)
def test_whatever_a_file_holds_migrated_and_quarantined_are_all_of_it(tables: dict[str, Any]) -> None:
    _all_of_it(tables)


@pytest.mark.long
@pytest.mark.timeout(1200)
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck])
@given(tables=TABLES)
def test_whatever_many_files_hold_migrated_and_quarantined_are_all_of_it(tables: dict[str, Any]) -> None:
    _all_of_it(tables)


def _all_of_it(tables: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        old, lines = old_file(Path(folder) / "old.db", tables), Path(folder) / "lines.jsonl"
        report = asyncio.run(run(old, Path(folder) / "data", quarantine=lines))
        for name, one in report.tables.items():
            assert one.source == len(tables[name]) == one.migrated + one.quarantined, report.as_json()
        told = lines.read_bytes().splitlines() if report.quarantine else []
        assert report.complete and len(told) == sum(one.quarantined for one in report.tables.values())
        if told:  # fed back as it is, nothing of it is lost or taken
            again = asyncio.run(run(lines, Path(folder) / "data", quarantine=Path(folder) / "again.jsonl"))
            assert sum(one.source for one in again.tables.values()) == len(told) and again.complete


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    table=st.sampled_from([*MODELS]),
    row=st.dictionaries(st.sampled_from([*COMMON, "properties", "config"]), VALUES),
)
def test_a_row_is_an_item_or_has_a_reason(table: Any, row: dict[str, Any]) -> None:
    try:
        assert mapped(table, Read(0, row)).row.legacy_id
    except Defect as defect:
        assert str(defect)
