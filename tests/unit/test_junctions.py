"""All relationships at a junction are of one type (ArchiMate 3.2, 5.5.1), whoever makes them, and when."""

from collections.abc import Sequence

import pytest

from functions.catalog.models import Relationship
from shared.database.port import Create, Operation
from shared.errors import Contended, Invalid
from tests.unit.catalog_world import Catalog, arrow, file_of, process
from tests.unit.world import World


@pytest.fixture
async def catalog(world: World) -> Catalog:
    return await Catalog.of(world)


async def test_a_second_type_at_a_junction_is_refused(catalog: Catalog) -> None:
    one, two, junction = await catalog.element(), await catalog.element(), await catalog.element("Junction", name="")
    await catalog.relationship(one, junction, type="Flow")
    with pytest.raises(Invalid, match="joins relationships of another type: Flow"):
        await catalog.relationship(junction, two, type="Triggering")
    await catalog.relationship(junction, two, type="Flow")


async def test_the_only_one_may_change_its_type_and_one_of_several_may_not(catalog: Catalog) -> None:
    one, two, junction = await catalog.element(), await catalog.element(), await catalog.element("Junction", name="")
    first = await catalog.relationship(one, junction, type="Flow")
    await catalog.patch_relationship(first.id, type="Triggering")
    await catalog.relationship(junction, two, type="Triggering")
    with pytest.raises(Invalid, match="Triggering"):
        await catalog.patch_relationship(first.id, type="Flow")


async def test_two_that_join_a_junction_at_once_are_not_of_two_types(catalog: Catalog) -> None:
    """Both have looked before either was there; the second one looks again."""
    one, two, junction = await catalog.element(), await catalog.element(), await catalog.element("Junction", name="")

    def makes_one(operations: Sequence[Operation]) -> bool:
        return any(isinstance(each, Create) and each.kind is Relationship.KIND for each in operations)

    catalog.once_before(makes_one, lambda: catalog.relationship(one, junction, type="Flow"))
    with pytest.raises((Invalid, Contended)):
        await catalog.relationship(junction, two, type="Triggering")
    assert {each["type"] for each in await catalog.stored(Relationship.KIND)} == {"Flow"}


async def test_of_a_file_those_that_are_not_as_the_first_are_skipped(catalog: Catalog) -> None:
    arms = [arrow("r1", "a", "j", "Flow"), arrow("r2", "j", "b", "Triggering"), arrow("r3", "j", "b", "Flow")]
    report = await catalog.read(file_of(process("a"), process("b"), process("j", "", type="Junction"), *arms))
    assert [(one.identifier, "are Flow" in one.reason) for one in report.skipped_items] == [("r2", True)]
    assert report.relationships.created == 2


async def test_a_file_that_changes_all_of_them_is_taken(catalog: Catalog) -> None:
    junction = process("j", "", type="Junction")
    for type in ("Flow", "Triggering"):
        arms = [arrow(f"r{number}", f"e{number}", "j", type) for number in range(30)]
        report = await catalog.read(file_of(*(process(f"e{number}") for number in range(30)), junction, *arms))
        assert report.skipped == 0
    assert {one["type"] for one in await catalog.stored(Relationship.KIND)} == {"Triggering"}


async def test_a_file_meets_what_somebody_else_has_joined_to_the_junction(catalog: Catalog) -> None:
    junction = process("j", "", type="Junction")
    await catalog.read(file_of(process("a"), junction))
    [held] = [one for one in await catalog.models()]
    assert held.identifier == "model-1"
    found = {one["source_identifier"]: one for one in await catalog.stored(catalog.elements.model.KIND)}
    mine = await catalog.element()
    end = await catalog.elements.get(catalog.tenant, found["j"]["id"])
    await catalog.relationship(mine, end, type="Flow")
    report = await catalog.read(file_of(process("a"), junction, arrow("r", "a", "j", "Triggering")))
    assert (report.skipped, "another type" in report.skipped_items[0].reason) == (1, True)
