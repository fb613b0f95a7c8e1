"""Migrations that meet others: takers side by side, an undo that comes late, clocks that differ, users at work."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.legacy.here import Here, HereTarget
from functions.agents.models import AgentFields
from functions.catalog.models import Element, ElementFields, RelationshipFields
from functions.migration import taking, undoing
from functions.migration.models import (
    AgentRow,
    ElementRow,
    Finished,
    Look,
    Migration,
    NewMigration,
    Outcomes,
    RelationshipRow,
    Rows,
    Tables,
)
from functions.migration.taking import item_id
from shared.clock import Clock
from shared.database.port import Page, Stored, Where
from shared.errors import WrongState
from shared.ids import DEFAULT_TENANT_ID
from shared.settings import Settings
from shared.tenancy.fence import Handle
from shared.work.resources import Versioned
from shared.work.session import TenantSession
from tests.unit.legacy_world import dump, old_file, run
from tests.unit.world import World, admin

FILE = NewMigration(source_sha256="0" * 64, source_name="old.db")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def place(data: Path) -> AsyncIterator[Here]:
    target = HereTarget(Settings.model_validate({"flowgrid_data_dir": data}), "admin@default.example")
    try:
        found = await target.place("default")
        assert isinstance(found, Here)
        yield found
    finally:
        await target.close()


def _elements(*keys: str) -> Rows:
    return Rows(
        elements=[
            ElementRow(legacy_id=key, fields=ElementFields(name=f"Element {key}", type="Node", properties={}))
            for key in keys
        ]
    )


def _arrow(key: str, source: str, target: str) -> Rows:
    fields = RelationshipFields(type="Association", source_id=source, target_id=target, name="", properties={})
    return Rows(relationships=[RelationshipRow(legacy_id=key, fields=fields)])


async def _take(place: Here, id: str, rows: Rows, *, session: TenantSession | None = None) -> list[str]:
    told: Outcomes = await place.migrations.take(session or place.session, id, rows)
    return [one.outcome for one in (*told.elements, *told.relationships)]


async def _keys(place: Here) -> list[str]:
    page = await place.session.store.query(Element.KIND)
    return sorted(stored.body["legacy_id"] for stored in page.items)


async def test_a_second_run_does_not_bring_back_what_was_deleted_out_of_whichever_batch(
    tmp_path: Path, data: Path
) -> None:
    old = old_file(tmp_path / "old.db")
    await run(old, data)
    world = World.over(data)
    try:
        for key in ("r2", "r25", "r-on-r"):  # the last was made in a pass of its own
            gone = {"relationship_id": item_id(DEFAULT_TENANT_ID, "relationships", key)}
            told = await world.call("delete_relationship", admin(DEFAULT_TENANT_ID), params=gone)
            assert told.status == 204, told.raw
    finally:
        await world.close()
    report = await run(old, data)
    assert report.tables["relationships"].kept == 3 and report.complete
    left = {body["legacy_id"] for body in (await dump(data)).values() if body["kind"] == "relationship"}
    assert not left & {"r2", "r25", "r-on-r"}


async def test_what_was_deleted_stays_so_though_its_batch_comes_in_another_order(place: Here) -> None:
    id = (await place.begin(FILE)).id
    await _take(place, id, _elements("1", "2", "3"))
    page = await place.session.store.query(Element.KIND)
    held = [Versioned.of(Element, stored) for stored in page.items if stored.body["legacy_id"] != "1"]
    change = place.session.change(*held)
    for one in held:
        change.delete(one)
    await change.commit(None)
    assert await _take(place, id, _elements("3", "4", "2")) == ["kept", "created", "kept"]
    assert await _keys(place) == ["1", "4"]


async def test_another_row_of_a_key_is_refused_though_what_came_of_the_first_was_changed(
    tmp_path: Path, data: Path
) -> None:
    claims = {"id": "7", "name": "Claims", "type": "BusinessProcess"}
    await run(old_file(tmp_path / "first.db", {"elements": [claims]}), data)
    world = World.over(data)
    try:
        mine = {"element_id": item_id(DEFAULT_TENANT_ID, "elements", "7")}
        told = await world.call("patch_element", admin(DEFAULT_TENANT_ID), {"description": "Mine"}, params=mine)
        assert told.status == 200, told.raw
    finally:
        await world.close()
    payroll = old_file(tmp_path / "other.db", {"elements": [{**claims, "name": "Payroll"}]})
    other = await run(payroll, data)
    assert (other.tables["elements"].kept, other.tables["elements"].quarantined) == (0, 1)
    assert [*other.reasons] == [taking.OTHER.reason]
    extra = {"id": "8", "name": "More", "type": "Node"}
    grown = await run(old_file(tmp_path / "grown.db", {"elements": [claims, extra]}), data)
    assert (grown.tables["elements"].kept, grown.tables["elements"].created) == (1, 1)


async def test_two_takers_at_once_lose_nothing_of_what_they_have_made(
    place: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = (await place.begin(FILE)).id
    await _take(place, id, _elements("1"))
    looked, both, look = 0, asyncio.Event(), taking._there

    async def together(*given: Any) -> Any:
        nonlocal looked
        found = await look(*given)
        looked += 1
        if looked == 2:
            both.set()
        await both.wait()
        return found

    monkeypatch.setattr(taking, "_there", together)
    each = [_take(place, id, _elements("1", key)) for key in ("2", "3")]
    assert await asyncio.gather(*each) == [["unchanged", "created"]] * 2
    undone = await place.undo(id)
    assert (undone.status, undone.removed) == ("ended", 3) and await _keys(place) == []


async def test_an_undo_that_comes_late_leaves_the_next_run_alone(place: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    id = (await place.begin(FILE)).id
    await _take(place, id, _elements("1", "2"))
    at, gate, look = asyncio.Event(), asyncio.Event(), undoing._next

    async def slow(*given: Any) -> Stored | None:
        if not at.is_set():
            at.set()
            await gate.wait()
        return await look(*given)

    monkeypatch.setattr(undoing, "_next", slow)
    late = asyncio.create_task(place.migrations.undo(place.session, id))
    await at.wait()
    assert (await place.undo(id)).status == "ended"
    again = await place.begin(FILE)
    assert await _take(place, id, _elements("1", "2", "3")) == ["created"] * 3
    await place.finish(id, Finished(tables=Tables(), checksum="0" * 64))
    gate.set()
    with pytest.raises(WrongState, match="begun again since"):
        await late
    assert await _keys(place) == ["1", "2", "3"]
    found = await place.migrations.get(place.session, id)
    assert (found.status, found.generation) == ("succeeded", again.generation)
    last = await place.undo(id)
    assert (last.status, last.removed, await _keys(place)) == ("ended", 3, [])
    assert (await place.begin(FILE)).status == "running"


async def test_rows_that_come_late_are_not_taken_into_the_next_run(
    place: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = await place.begin(FILE)
    await place.undo(late.id)
    await place.begin(FILE)

    async def as_it_was(*_: Any) -> Migration:
        return late

    with monkeypatch.context() as patched:
        patched.setattr(place.migrations, "get", as_it_was)
        with pytest.raises(WrongState):
            await _take(place, late.id, _elements("1"))
    assert await _keys(place) == []


class Apart:
    """A clock that is this far from the others."""

    def __init__(self, clock: Clock, by: timedelta) -> None:
        self._clock = clock
        self._by = by

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)

    def now(self) -> datetime:
        return self._clock.now() + self._by


async def test_an_undo_takes_all_away_though_batches_seem_to_be_of_another_order(data: Path, place: Here) -> None:
    """A clock that is more than a quarter of an hour ahead is followed by nobody."""
    target = HereTarget(Settings.model_validate({"flowgrid_data_dir": data}), "admin@default.example")
    try:
        other = await target.place("default")
        assert isinstance(other, Here)
        session = other.session
        apart: Any = Apart(session.services.clock, timedelta(minutes=20))
        session = replace(session, services=replace(session.services, clock=apart))
        id = (await place.begin(FILE)).id
        await _take(place, id, _elements("1", "2"))
        for number, by in enumerate((session, None, session, None), 1):
            end = "2" if number == 1 else f"r{number - 1}"
            assert await _take(place, id, _arrow(f"r{number}", "1", end), session=by) == ["created"]
        undone = await place.undo(id)
        assert (undone.status, undone.removed, undone.kept) == ("ended", 6, 0)
    finally:
        await target.close()


async def test_rows_that_are_refused_cost_a_few_reads_each(place: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    id = (await place.begin(FILE)).id
    joint = ElementFields(name="", type="Junction", properties={"junction_type": "and"})
    nodes = _elements("a", "b")
    await _take(
        place, id, nodes.model_copy(update={"elements": [*nodes.elements, ElementRow(legacy_id="j", fields=joint)]})
    )
    fields = RelationshipFields(type="Flow", source_id="a", target_id="j", name="", properties={})
    first = RelationshipRow(legacy_id="r", fields=fields.model_copy(update={"type": "Triggering"}))
    arms = [RelationshipRow(legacy_id=f"r{number}", fields=fields) for number in range(48)]
    assert await _take(place, id, Rows(relationships=[first])) == ["created"]
    reads, query = 0, Handle.query

    async def counted(self: Handle, *given: Any, **named: Any) -> Page:
        nonlocal reads
        reads += 1
        return await query(self, *given, **named)

    monkeypatch.setattr(Handle, "query", counted)
    assert await _take(place, id, Rows(relationships=arms)) == ["refused"] * 48
    assert reads <= 8 * 48, reads


async def test_in_a_copy_of_a_tenant_rows_are_the_items_that_came_with_it(place: Here) -> None:
    """A copy keeps the ids that were derived in the tenant that it was made of."""
    origin, session = "00000000-0000-0000-0000-0000000000aa", place.session
    change = session.change()
    for key in ("1", "deleted"):
        values = {**_elements(key).elements[0].fields.model_dump(), "layer": "Technology", "legacy_id": key}
        change.create(Element, values, id=item_id(origin, "elements", key))
    await change.commit(None)
    page = await session.store.query(Element.KIND, [Where("id", "=", item_id(origin, "elements", "deleted"))])
    change = session.change(held := Versioned.of(Element, page.items[0]))
    change.delete(held)
    await change.commit(None)
    session = replace(session, entry=replace(session.entry, copy_of=origin))
    id = (await place.migrations.begin(session, FILE)).id
    told = await _take(place, id, _elements("1", "2", "deleted"), session=session)
    assert told == ["unchanged", "created", "kept"]
    assert await _take(place, id, _arrow("r", "1", "2"), session=session) == ["created"]
    triage = AgentFields(name="Triage", pattern="Monitor", element_id="1")
    rows = Rows(agents=[AgentRow(legacy_id="a", fields=triage)])
    assert (await place.migrations.take(session, id, rows)).agents == [taking.CREATED]
    seen = await place.migrations.look(session, id, Look(table="elements", legacy_ids=["1", "2", "3"]))
    assert [one is not None for one in seen.digests] == [True, True, False]
    assert await _keys(place) == ["1", "2"]
