"""What agents change in the catalog: by a tool whose calls are approved, whole or not at all, and once."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from functions.catalog.models import Element, Relationship
from functions.tools.port import ToolFailed
from functions.tools.proposing import MAX_ITEMS, Propose
from shared.database.port import Create, Operation
from shared.errors import Unavailable
from shared.tenancy.fence import AUDIT
from tests.unit.catalog_world import Catalog
from tests.unit.world import World

PORTAL = {"key": "portal", "name": "Portal", "type": "ApplicationComponent"}


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    world = World.over(tmp_path)
    yield await Catalog.of(world)
    await world.close()


async def propose(catalog: Catalog, key: str = "run:3:call", **parts: Any) -> Any:
    return await Propose().use(catalog.tenant, {"reason": "It is missing.", **parts}, key)


async def test_elements_come_with_relationships_to_what_is_there(catalog: Catalog) -> None:
    claims = await catalog.element(name="Claims")
    there = {"key": "claims", "existing_id": claims.id, "name": "Claims", "type": "BusinessProcess"}
    serving = {"type": "Serving", "source": "portal", "target": "claims"}
    made = await propose(catalog, elements=[PORTAL, there], relationships=[serving])
    new = await catalog.elements.get(catalog.tenant, made["elements"]["portal"])
    arrow = await catalog.relationships.get(catalog.tenant, made["relationships"][0])
    assert (new.name, new.layer) == ("Portal", "Application")
    assert (arrow.source_id, arrow.target_id) == (new.id, claims.id)
    assert made["elements"]["claims"] == claims.id


async def test_it_is_one_batch_with_its_audit(catalog: Catalog) -> None:
    catalog.store.batches.clear()
    await propose(catalog, elements=[PORTAL])
    (batch,) = catalog.store.batches
    assert [one.body["action"] for one in batch if isinstance(one, Create) and one.kind == AUDIT] == ["element.created"]


async def test_the_same_call_again_is_made_once(catalog: Catalog) -> None:
    assert await propose(catalog, elements=[PORTAL]) == await propose(catalog, elements=[PORTAL])
    assert len(await catalog.stored(Element.KIND)) == 1
    await propose(catalog, "run:4:call", elements=[PORTAL])
    assert len(await catalog.stored(Element.KIND)) == 2


async def test_of_two_runners_of_one_call_one_makes_it(catalog: Catalog) -> None:
    async def other() -> None:
        await propose(catalog, elements=[PORTAL])

    catalog.once_before(lambda _: True, other)
    made = await propose(catalog, elements=[PORTAL])
    assert [one["id"] for one in await catalog.stored(Element.KIND)] == [made["elements"]["portal"]]


async def test_an_answer_that_is_lost_is_found_again(catalog: Catalog) -> None:
    async def lost(operations: Sequence[Operation]) -> None:
        catalog.store.before = None
        await catalog.store.inner.commit(operations)
        raise Unavailable("the answer is lost")

    catalog.store.before = lost
    with pytest.raises(Unavailable):
        await propose(catalog, elements=[PORTAL])
    made = await propose(catalog, elements=[PORTAL])
    assert [one["id"] for one in await catalog.stored(Element.KIND)] == [made["elements"]["portal"]]


async def test_what_is_there_is_changed_and_keeps_the_rest(catalog: Catalog) -> None:
    claims = await catalog.element(name="Clams", properties={"Owner": "Ada"})
    made = await propose(catalog, changes=[{"id": claims.id, "name": "Claims"}])
    now = await catalog.elements.get(catalog.tenant, claims.id)
    assert (now.name, now.properties, now.revision, made["changed"]) == ("Claims", {"Owner": "Ada"}, 2, [claims.id])


async def test_what_changes_meanwhile_is_looked_at_again(catalog: Catalog) -> None:
    claims = await catalog.element(name="Clams")
    catalog.once_before(lambda _: True, lambda: catalog.patch_element(claims.id, description="Of the sea?"))
    await propose(catalog, changes=[{"id": claims.id, "name": "Claims"}])
    now = await catalog.elements.get(catalog.tenant, claims.id)
    assert (now.name, now.description) == ("Claims", "Of the sea?")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"elements": [{**PORTAL, "type": "Portal"}]}, "elements.0.type"),
        ({"elements": [PORTAL], "more": 1}, "more: Extra inputs"),
        ({"elements": [{**PORTAL, "existing_id": "nobody"}]}, "is no element of this tenant"),
        ({"relationships": [{"type": "Serving", "source": "a", "target": "b"}]}, "is no key of an element"),
        ({}, "these are 0"),
        ({"elements": [{**PORTAL, "key": f"k{n}"} for n in range(12)], "changes": [{"id": "x"}] * 9}, "these are 21"),
        ({"changes": [{"id": "x"}, {"id": "x"}]}, "changed once"),
        ({"changes": [{"id": "x", "name": "y"}]}, "There is no such element"),
        ({"changes": [{"id": "x", "name": ""}]}, "changes.0.name"),
    ],
)
async def test_what_cannot_be_made_is_told_and_nothing_is_made(
    catalog: Catalog, parts: dict[str, Any], said: str
) -> None:
    with pytest.raises(ToolFailed, match=said):
        await propose(catalog, **parts)
    assert await catalog.stored(Element.KIND) == []


async def test_what_archimate_does_not_allow_is_told_with_what_it_does(catalog: Catalog) -> None:
    goal = {"key": "goal", "name": "Joy", "type": "Goal"}
    arrow = {"type": "Serving", "source": "portal", "target": "goal"}
    with pytest.raises(ToolFailed, match=r"ArchiMate 3\.2 allows from ApplicationComponent to Goal: Realization"):
        await propose(catalog, elements=[PORTAL, goal], relationships=[arrow])
    assert await catalog.stored(Relationship.KIND) == []


async def test_the_largest_call_fits_into_one_batch(catalog: Catalog) -> None:
    ends = [await catalog.element() for _ in range(MAX_ITEMS)]
    there = [
        {"key": f"e{number}", "existing_id": one.id, "name": "x", "type": "BusinessProcess"}
        for number, one in enumerate(ends)
    ]
    arrows = [
        {"type": "Flow", "source": f"e{number}", "target": f"e{(number + 1) % MAX_ITEMS}"}
        for number in range(MAX_ITEMS)
    ]
    made = await propose(catalog, elements=there, relationships=arrows)
    assert len(made["relationships"]) == MAX_ITEMS
