"""Mirroring a file into its model, a dry run of it, and models that go with all that is theirs."""

from dataclasses import replace

import pytest

from functions.agents.models import Agent, AgentFields
from functions.catalog.models import Element, Model, Relationship
from functions.catalog.view_models import ModelPart, View
from shared.errors import InUse, Invalid
from shared.kinds import Kind
from tests.unit.catalog_world import Catalog, arrow, file_of, hand_written, process
from tests.unit.exchange_samples import EVERYTHING
from tests.unit.world import World

KINDS = (Element.KIND, Relationship.KIND, View.KIND, ModelPart.KIND, Model.KIND)
WHOLE = (process("a"), process("b"), process("c"), arrow("ab", "a", "b"), arrow("ab-c", "ab", "c"))


@pytest.fixture
async def catalog(world: World) -> Catalog:
    return await Catalog.of(world)


async def there(catalog: Catalog, kind: Kind) -> set[str]:
    return {str(one.get("source_identifier")) for one in await catalog.stored(kind)}


async def everything(catalog: Catalog) -> list[dict[str, object]]:
    return [one for kind in KINDS for one in await catalog.stored(kind)]


async def agents(catalog: Catalog, element_id: str, count: int) -> None:
    """So many agents of an element."""
    fields = {**AgentFields(name="x", pattern="Monitor").model_dump(), "element_id": element_id}
    for start in range(0, count, 20):
        change = catalog.tenant.change()
        for _ in range(min(20, count - start)):
            change.create(Agent, fields)
        await change.commit(None)


async def test_a_mirror_removes_exactly_what_is_gone_and_a_dry_run_says_so_before(catalog: Catalog) -> None:
    await catalog.read(EVERYTHING, "another")
    await catalog.read(file_of(*WHOLE))
    before, batches = await everything(catalog), len(catalog.store.batches)
    less = file_of(process("a", "renamed"), process("c"), process("d"))
    preview = await catalog.read(less, mode="mirror", dry_run=True)
    assert await everything(catalog) == before and len(catalog.store.batches) == batches
    done = await catalog.read(less, mode="mirror")
    for report in (preview, done):
        assert (report.created, report.updated, report.unchanged, report.removed, report.skipped) == (1, 1, 1, 3, 0)
        gone = {(one.kind, one.identifier) for one in report.removed_items}
        assert gone == {("element", "b"), ("relationship", "ab"), ("relationship", "ab-c")}
    left = {"smith", "forging", "order", "either"}
    assert await there(catalog, Element.KIND) == {"a", "c", "d"} | left
    assert await there(catalog, Relationship.KIND) == {"does", "reads", "on", "then"}
    assert await catalog.dangling() == []


async def test_a_merge_removes_nothing(catalog: Catalog) -> None:
    await catalog.read(file_of(*WHOLE))
    report = await catalog.read(file_of(process("a")))
    assert (report.removed, report.unchanged) == (0, 1)
    assert await there(catalog, Element.KIND) == {"a", "b", "c"}


async def test_what_others_refer_to_stays_and_is_told(catalog: Catalog) -> None:
    await catalog.read(file_of(*WHOLE))
    found = {one["source_identifier"]: one["id"] for one in await catalog.stored(Element.KIND)}
    mine = await catalog.element()
    [element] = [Element.model_validate(one) for one in await catalog.stored(Element.KIND) if one["id"] == found["b"]]
    theirs = await catalog.relationship(mine, element)
    await agents(catalog, found["c"], 1)
    for dry_run in (True, False):
        report = await catalog.read(file_of(process("z")), mode="mirror", dry_run=dry_run)
        assert {one.identifier for one in report.removed_items} == {"a", "ab", "ab-c"}
        assert {one.identifier: theirs.id in one.reason for one in report.skipped_items} == {"b": True, "c": False}
    assert await there(catalog, Element.KIND) == {"b", "c", "z", "None"}
    assert await catalog.dangling() == []


async def test_an_element_stays_for_its_agent_however_many_another_has(catalog: Catalog) -> None:
    """A page of agents is full of those of one of the two."""
    await catalog.read(file_of(process("a"), process("b"), process("c"), process("d")))
    found = {one["source_identifier"]: one["id"] for one in await catalog.stored(Element.KIND)}
    await agents(catalog, found["a"], 200)
    await agents(catalog, found["b"], 1)
    report = await catalog.read(file_of(process("c")), mode="mirror")
    assert {one.identifier for one in report.removed_items} == {"d"}
    assert {one.identifier for one in report.skipped_items} == {"a", "b"}
    assert await there(catalog, Element.KIND) == {"a", "b", "c"}


async def test_what_a_file_has_and_cannot_be_taken_is_not_removed(catalog: Catalog) -> None:
    await catalog.read(file_of(*WHOLE))
    wrong = file_of(*WHOLE[:4], replace(arrow("ab-c", "ab", "c"), type="Composition"))
    report = await catalog.read(wrong, mode="mirror")
    assert (report.removed, report.skipped) == (0, 1)
    assert await there(catalog, Relationship.KIND) == {"ab", "ab-c"}


async def test_what_a_reader_cannot_take_is_not_removed_whatever_it_is_called(catalog: Catalog) -> None:
    """Identifiers that begin with a digit are no XML names, and are kept as ones that are."""

    def file(type: str, access: str, x: str) -> bytes:
        elements = "".join(
            f'<element identifier="{id}" xsi:type="{kind}"><name>{id}</name></element>'
            for id, kind in (("a", "BusinessProcess"), ("1b", type), ("c", "BusinessObject"))
        )
        arrow = f'<relationship identifier="7r" xsi:type="Access" source="a" target="c" accessType="{access}"/>'
        box = f'<node identifier="n" xsi:type="Label" x="{x}" y="0" w="9" h="9"><label>t</label></node>'
        view = f'<view identifier="9v" xsi:type="Diagram"><name>V</name>{box}</view>'
        return hand_written(elements, arrow).replace(
            b"</model>", f"<views><diagrams>{view}</diagrams></views></model>".encode()
        )

    assert (await catalog.read(file("BusinessRole", "Read", "0"))).created == 5
    wrong = await catalog.read(file("InfrastructureService", "reads", "here"), mode="mirror")
    assert {one.identifier for one in wrong.skipped_items} == {"1b", "7r", "9v"}
    assert (wrong.removed, wrong.unchanged) == (0, 2)


@pytest.mark.parametrize("source", ['source="a" target="b"', 'target="b"', ""])
async def test_a_relationship_of_archis_that_has_lost_an_end_is_not_removed(catalog: Catalog, source: str) -> None:
    whole = (
        '<archimate:model xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xmlns:archimate="http://www.archimatetool.com/archimate" name="m" id="m" version="4.9.0">'
        '<folder name="All" id="f" type="business"><element xsi:type="archimate:BusinessProcess" name="a" id="a"/>'
        '<element xsi:type="archimate:BusinessProcess" name="b" id="b"/>'
        '<element xsi:type="archimate:FlowRelationship" id="ab" source="a" target="b"/></folder></archimate:model>'
    )
    assert (await catalog.read(whole.encode())).created == 3
    report = await catalog.read(whole.replace('source="a" target="b"', source).encode(), mode="mirror")
    assert (report.removed, await there(catalog, Relationship.KIND)) == (0, {"ab"})
    assert [one.kind for one in report.skipped_items] == ([] if "source" in source else ["relationship"])


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_file_with_nothing_in_it_is_no_mirror(catalog: Catalog, dry_run: bool) -> None:
    await catalog.read(file_of(*WHOLE))
    for empty in (file_of(), file_of(process("q", type="Q"))):
        with pytest.raises(Invalid, match="delete that"):
            await catalog.read(empty, mode="mirror", dry_run=dry_run)
    assert await there(catalog, Element.KIND) == {"a", "b", "c"}


async def test_another_models_file_is_no_mirror_until_it_was_merged(catalog: Catalog) -> None:
    """Tools give a model a new identifier when it is saved under another name."""
    await catalog.read(file_of(*WHOLE))
    other = file_of(*WHOLE[:3], model="model-2")
    for dry_run in (True, False):
        with pytest.raises(Invalid, match=r"otherwise than model-1.*mode=merge"):
            await catalog.read(other, "model-1", mode="mirror", dry_run=dry_run)
    assert (await catalog.read(other, "model-1")).unchanged == 3
    assert (await catalog.read(other, "model-1", mode="mirror")).removed == 2
    own = file_of(*WHOLE[:2], model="model-1")
    assert (await catalog.read(own, mode="mirror")).removed == 1


async def test_a_dry_run_of_a_new_file_makes_no_model(catalog: Catalog) -> None:
    report = await catalog.read(EVERYTHING, dry_run=True)
    assert (report.created, report.skipped, report.parts.created > 0) == (10, 0, True)
    assert await everything(catalog) == []
    assert (await catalog.read(EVERYTHING)).created == 10


async def test_a_model_goes_with_its_views_and_folders(catalog: Catalog) -> None:
    await catalog.read(EVERYTHING, "another")
    left = await everything(catalog)
    report = await catalog.read(EVERYTHING)
    with pytest.raises(InUse):
        await catalog.modelling.delete(catalog.tenant, str(report.model_id), None, cascade=False)
    await catalog.modelling.delete(catalog.tenant, str(report.model_id), None, cascade=True)
    assert await everything(catalog) == left
