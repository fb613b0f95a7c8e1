"""Relationships at relationships: no chain is longer than an import takes, whoever lengthens it at the same time."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.catalog.archimate import ELEMENT_TYPES, RELATIONSHIP_TYPES
from functions.catalog.exchange import FoundElement
from functions.catalog.graph import MOST_NESTED
from functions.catalog.models import Element, Relationship
from shared.auth.roles import Role
from shared.database.port import Create, Replace
from shared.errors import FlowgridError, Invalid
from tests.unit.catalog_world import Catalog, arrow, file_of, process
from tests.unit.world import World, person


@pytest.fixture
async def catalog(world: World) -> Catalog:
    return await Catalog.of(world)


async def chain(catalog: Catalog, length: int, at: Element | Relationship | None = None) -> list[Relationship]:
    """So many relationships, each at the one before, the first at an element (or `at` something)."""
    made: list[Relationship] = []
    one = await catalog.element()
    end = at or await catalog.element()
    for _ in range(length):
        made.append(await catalog.relationship(one, made[-1] if made else end))
    return made


async def longest(catalog: Catalog) -> int:
    ends = {one["id"]: (one["source_id"], one["target_id"]) for one in await catalog.stored(Relationship.KIND)}

    def length(id: str) -> int:
        return 1 + max(map(length, ends[id])) if id in ends else 0

    return max(map(length, ends), default=0)


async def into_an_empty_tenant(catalog: Catalog) -> int:
    """How much of an export another tenant's import leaves out."""
    exported = await catalog.export()
    with TemporaryDirectory() as folder:
        world = World.over(Path(folder))
        try:
            report = await (await Catalog.of(world)).read(exported)
        finally:
            await world.close()
    there = [len(await catalog.stored(kind)) for kind in (Element.KIND, Relationship.KIND)]
    return sum(there) - report.created + report.skipped


async def test_a_relationship_onto_a_chain_that_is_full_is_a_bad_request(world: World) -> None:
    tenant = (await world.onboard())["id"]
    user = person(tenant, Role.USER)
    ids = [(await world.call("create_element", user, {"name": "x", "type": "Node"})).json["id"] for _ in range(2)]
    statuses = []
    for _ in range(MOST_NESTED + 1):
        body = {"type": "Association", "source_id": ids[0], "target_id": ids[-1]}
        answer = await world.call("create_relationship", user, body)
        statuses.append(answer.status)
        ids.append(answer.json.get("id", ids[-1]))
    assert statuses == [201] * MOST_NESTED + [400]


async def test_chains_are_not_joined_to_one_that_is_too_long(catalog: Catalog) -> None:
    lower, upper = await chain(catalog, 12), await chain(catalog, 9)
    with pytest.raises(Invalid, match="target_id"):
        await catalog.patch_relationship(upper[0].id, target_id=lower[-1].id)
    joined = await catalog.patch_relationship(upper[0].id, target_id=lower[-2].id)
    assert (joined.target_id, await longest(catalog)) == (lower[-2].id, MOST_NESTED)


async def test_a_chain_is_as_long_as_an_import_takes(catalog: Catalog) -> None:
    await chain(catalog, MOST_NESTED)
    assert await into_an_empty_tenant(catalog) == 0


async def test_two_who_lengthen_one_chain_at_its_two_ends_do_not_both_succeed(catalog: Catalog) -> None:
    lower, upper = await chain(catalog, 11), await chain(catalog, 9)
    moved = lambda batch: any(isinstance(one, Replace) for one in batch)  # noqa: E731
    catalog.once_before(moved, lambda: chain(catalog, 1, upper[-1]))
    with pytest.raises(Invalid):
        await catalog.patch_relationship(upper[0].id, target_id=lower[-1].id)
    assert await longest(catalog) <= MOST_NESTED


async def test_a_relationship_is_not_put_onto_a_chain_that_grows_below_it(catalog: Catalog) -> None:
    lower, upper = await chain(catalog, 11), await chain(catalog, 9)

    async def join() -> None:
        await catalog.patch_relationship(upper[0].id, target_id=lower[-1].id)

    one = await catalog.element()
    catalog.once_before(lambda batch: any(isinstance(item, Create) for item in batch), join)
    with pytest.raises(Invalid):
        await catalog.relationship(one, upper[-1])
    assert await longest(catalog) == MOST_NESTED


async def test_an_import_does_not_lengthen_a_chain_of_others_beyond_it(catalog: Catalog) -> None:
    parts = (process("a"), process("b"), arrow("base", "a", "b"))
    await catalog.read(file_of(*parts, arrow("r", "a", "b")))
    mine = next(one for one in await catalog.stored(Relationship.KIND) if one["source_identifier"] == "r")
    await chain(catalog, MOST_NESTED - 1, Relationship.model_validate(mine))
    report = await catalog.read(file_of(*parts, arrow("r", "a", "base")))
    assert [one.identifier for one in report.skipped_items] == ["r"]
    assert await longest(catalog) == MOST_NESTED


async def test_an_imported_relationship_suits_its_ends_as_others_have_changed_them(catalog: Catalog) -> None:
    actor = FoundElement("a", "BusinessActor", name="A")
    await catalog.read(file_of(actor, process("p")))

    async def change() -> None:
        (one,) = [one for one in await catalog.stored(Element.KIND) if one["type"] == "BusinessActor"]
        await catalog.patch_element(one["id"], type="Contract")

    catalog.once_before(lambda batch: any(one.kind is Relationship.KIND for one in batch), change)
    report = await catalog.read(file_of(actor, process("p"), arrow("r", "a", "p", "Assignment")))
    assert [one.identifier for one in report.skipped_items] == ["r"]
    assert "Contract" in report.skipped_items[0].reason


async def test_a_new_type_from_a_file_brings_its_layer_and_is_checked_against_what_comes_at_the_same_time(
    catalog: Catalog,
) -> None:
    await catalog.read(file_of(process("a"), process("b")))
    report = await catalog.read(file_of(process("a", type="Node"), process("b")))
    assert report.elements.updated == 1
    assert {one["type"]: one["layer"] for one in await catalog.stored(Element.KIND)} == {
        "Node": "Technology",
        "BusinessProcess": "Business",
    }
    one, two = [Element.model_validate(one) for one in await catalog.stored(Element.KIND)]
    node, other = (one, two) if one.type == "Node" else (two, one)
    catalog.once_before(lambda _: True, lambda: catalog.relationship(node, other, type="Serving"))
    report = await catalog.read(file_of(process("a", type="Contract"), process("b")))
    assert [one.identifier for one in report.skipped_items] == ["a"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_is_accepted_is_exported_to_what_an_import_takes_whole(data: st.DataObject) -> None:
    async def run() -> None:
        with TemporaryDirectory() as folder:
            world = World.over(Path(folder))
            try:
                await work(await Catalog.of(world))
            finally:
                await world.close()

    async def work(catalog: Catalog) -> None:
        types = data.draw(st.lists(st.sampled_from(ELEMENT_TYPES), min_size=2, max_size=4))
        elements = [await catalog.element(type) for type in types]
        for _ in range(2):
            await chain(catalog, data.draw(st.integers(1, MOST_NESTED)))
        relationships = [Relationship.model_validate(one) for one in await catalog.stored(Relationship.KIND)]
        for _ in range(data.draw(st.integers(1, 12))):
            ends: list[Element | Relationship] = [*elements, *relationships]
            end = data.draw(st.sampled_from(ends))
            try:
                if data.draw(st.booleans()):
                    type = data.draw(st.sampled_from(RELATIONSHIP_TYPES))
                    relationships.append(
                        await catalog.relationship(data.draw(st.sampled_from(elements)), end, type=type)
                    )
                else:
                    moved = data.draw(st.sampled_from(relationships))
                    await catalog.patch_relationship(moved.id, target_id=end.id)
            except FlowgridError:
                continue
        assert await longest(catalog) <= MOST_NESTED
        assert await into_an_empty_tenant(catalog) == 0

    asyncio.run(run())
