"""Elements and relationships: a model that is valid after every change, whoever changes it at the same time."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import pytest

from functions.agents.models import Agent
from functions.catalog.archimate import ELEMENT_TYPES, LAYERS, RELATIONSHIP_TYPES
from functions.catalog.deleting import BATCH
from functions.catalog.exchange import AccessType
from functions.catalog.exporting import export_model
from functions.catalog.graph import depending_on
from functions.catalog.import_models import ImportReport
from functions.catalog.models import (
    Element,
    ElementFields,
    ElementQuery,
    Model,
    Neighborhood,
    NeighborQuery,
    Relationship,
    RelationshipFields,
    RelationshipQuery,
)
from shared.auth.roles import Role
from shared.database.port import Bury, Create, Delete, Increment, Operation, Rejected, Stored
from shared.errors import Conflict, FlowgridError, Invalid, NotFound, Stale
from shared.http.openapi import describe
from shared.kinds import Kind
from shared.work.resources import PageRequest, Versioned
from shared.work.session import TRIES_AT_A_RACE, TenantSession
from tests.unit.catalog_world import Catalog
from tests.unit.world import WatchedStore, World, admin, person


@pytest.fixture
async def catalog(world: World) -> Catalog:
    return await Catalog.of(world)


def deletes(kind: Kind, operations: Sequence[Operation]) -> bool:
    return any(isinstance(one, Bury) and one.kind is kind for one in operations)


def once_looked(monkeypatch: pytest.MonkeyPatch, do: Callable[[], Awaitable[Any]]) -> None:
    """Do something else between a deletion's first look at what hangs on the item and its first batch."""

    async def look(tenant: TenantSession, ids: list[str]) -> list[Versioned[Relationship]]:
        monkeypatch.undo()
        seen = await depending_on(tenant, ids)
        await do()
        return seen

    monkeypatch.setattr("functions.catalog.deleting.depending_on", look)


async def test_an_element_has_the_layer_of_its_type(catalog: Catalog) -> None:
    element = await catalog.element("Node")
    assert element.layer == "Technology"
    assert (await catalog.patch_element(element.id, type="BusinessActor")).layer == "Business"


async def test_a_list_is_filtered_by_layer(catalog: Catalog) -> None:
    node = await catalog.element("Node")
    await catalog.element("BusinessActor")
    found = await catalog.elements.list(catalog.tenant, {"layer": "Technology"}, PageRequest(10))
    assert found.items == [node]


async def test_a_replacement_of_a_version_that_is_gone_is_refused(catalog: Catalog) -> None:
    element = await catalog.element()
    await catalog.patch_element(element.id, name="newer")
    with pytest.raises(Stale):
        await catalog.elements.replace(
            catalog.tenant, element.id, ElementFields(name="mine", type="Node"), element.etag
        )


async def test_only_a_junction_goes_without_a_name(catalog: Catalog) -> None:
    assert (await catalog.element("Junction", name="")).name == ""
    with pytest.raises(Invalid, match="name"):
        await catalog.element("Node", name=" ")


@pytest.mark.parametrize("field", ["source_id", "target_id"])
async def test_a_relationship_needs_both_its_ends(catalog: Catalog, field: str) -> None:
    element = await catalog.element()
    ends: dict[str, Any] = {"source_id": element.id, "target_id": element.id, field: "nobody"}
    with pytest.raises(Invalid, match=field):
        await catalog.relationships.create(catalog.tenant, RelationshipFields(type="Flow", **ends))


async def test_a_relationship_that_archimate_does_not_know_is_refused_with_those_it_knows(catalog: Catalog) -> None:
    actor, process = await catalog.element("BusinessActor"), await catalog.element("BusinessProcess")
    with pytest.raises(Invalid, match="Assignment"):
        await catalog.relationship(actor, process, type="Composition")


@pytest.mark.parametrize("detail", [{"access_type": "Read"}, {"influence": "+"}, {"type": "Flow", "is_directed": True}])
async def test_a_detail_of_another_type_is_refused(catalog: Catalog, detail: dict[str, object]) -> None:
    one, two = await catalog.element(), await catalog.element()
    with pytest.raises(Invalid, match=next(name for name in detail if name != "type")):
        await catalog.relationship(one, two, **detail)


async def test_a_relationship_may_end_at_a_relationship(catalog: Catalog) -> None:
    one, two, note = await catalog.element(), await catalog.element(), await catalog.element("Meaning")
    flow = await catalog.relationship(one, two, type="Flow")
    assert (await catalog.relationship(note, flow)).target_id == flow.id


async def test_relationships_never_end_at_themselves_through_others(catalog: Catalog) -> None:
    one, two = await catalog.element(), await catalog.element()
    first = await catalog.relationship(one, two)
    second = await catalog.relationship(one, first)
    third = await catalog.relationship(one, second)
    with pytest.raises(Invalid, match="target_id"):
        await catalog.patch_relationship(first.id, target_id=third.id)


async def test_a_new_type_must_suit_the_relationships(catalog: Catalog) -> None:
    actor, process = await catalog.element("BusinessActor"), await catalog.element()
    assigned = await catalog.relationship(actor, process, type="Assignment")
    with pytest.raises(Conflict) as refused:
        await catalog.patch_element(process.id, type="Node")
    assert [one["id"] for one in refused.value.members["relationships"]] == [assigned.id]
    assert (await catalog.patch_element(process.id, type="BusinessFunction")).type == "BusinessFunction"


async def test_an_element_with_relationships_is_kept_and_they_are_listed(catalog: Catalog) -> None:
    one, two, note = await catalog.element(), await catalog.element(), await catalog.element("Meaning")
    flow = await catalog.relationship(one, two, type="Flow")
    on_it = await catalog.relationship(note, flow)
    with pytest.raises(Conflict) as refused:
        await catalog.delete_element(two.id)
    assert {listed["id"] for listed in refused.value.members["relationships"]} == {flow.id, on_it.id}
    assert refused.value.members["total"] == 2


async def test_a_cascade_takes_what_hangs_on_an_element_and_nothing_else(catalog: Catalog) -> None:
    one, two, note = await catalog.element(), await catalog.element(), await catalog.element("Meaning")
    await catalog.relationship(note, await catalog.relationship(one, two, type="Flow"))
    kept = await catalog.relationship(one, note)
    await catalog.delete_element(two.id, cascade=True)
    assert [left["id"] for left in await catalog.stored(Relationship.KIND)] == [kept.id]
    assert {left["id"] for left in await catalog.stored(Element.KIND)} == {one.id, note.id}


async def test_an_element_that_an_agent_works_on_is_kept_even_in_a_cascade(catalog: Catalog) -> None:
    element = await catalog.element()
    agent = {"id": "a", "name": "Intake", "created_at": element.created_at, "element_id": element.id}
    await catalog.store.commit([Create(Agent.KIND, "a", agent)])
    with pytest.raises(Conflict) as refused:
        await catalog.delete_element(element.id, cascade=True)
    assert refused.value.members["agents"] == [{"id": "a", "name": "Intake"}]


async def test_a_relationship_that_others_end_at_needs_a_cascade(catalog: Catalog) -> None:
    one, two = await catalog.element(), await catalog.element()
    flow = await catalog.relationship(one, two, type="Flow")
    await catalog.relationship(one, flow)
    with pytest.raises(Conflict):
        await catalog.relationships.delete(catalog.tenant, flow.id, None, cascade=False)
    await catalog.relationships.delete(catalog.tenant, flow.id, None, cascade=True)
    assert await catalog.stored(Relationship.KIND) == []


async def test_a_large_cascade_that_is_interrupted_leaves_a_valid_model_and_is_finished_by_the_next(
    catalog: Catalog,
) -> None:
    hub, other = await catalog.element(), await catalog.element()
    for _ in range(BATCH + 10):
        await catalog.relationship(hub, await catalog.relationship(hub, other, type="Flow"))

    async def power_cut(operations: Sequence[Operation]) -> None:
        if len(catalog.store.batches) > done + 1:
            raise ConnectionError("power cut")

    done = len(catalog.store.batches)
    catalog.store.before = power_cut
    with pytest.raises(ConnectionError):
        await catalog.delete_element(hub.id, cascade=True)
    assert await catalog.dangling() == []
    assert len(await catalog.stored(Relationship.KIND)) < 2 * (BATCH + 10)
    catalog.store.before = None
    await catalog.delete_element(hub.id, cascade=True)
    assert await catalog.stored(Relationship.KIND) == []
    assert [left["id"] for left in await catalog.stored(Element.KIND)] == [other.id]


async def test_a_cascade_that_has_begun_goes_on_although_the_element_is_changed_meanwhile(catalog: Catalog) -> None:
    hub, other = await catalog.element(), await catalog.element()
    for _ in range(BATCH + 10):
        await catalog.relationship(hub, other, type="Flow")
    catalog.once_before(
        lambda operations: deletes(Element.KIND, operations), lambda: catalog.patch_element(hub.id, name="changed")
    )
    await catalog.delete_element(hub.id, if_match=hub.etag, cascade=True)
    assert [left["id"] for left in await catalog.stored(Element.KIND)] == [other.id]
    assert await catalog.stored(Relationship.KIND) == []


async def test_a_cascade_goes_on_as_long_as_it_gets_further(catalog: Catalog) -> None:
    hub, other = await catalog.element(), await catalog.element()
    for _ in range(TRIES_AT_A_RACE * BATCH + 10):
        await catalog.relationship(hub, other, type="Flow")
    met = False

    async def meet_every_other(operations: Sequence[Operation]) -> None:
        nonlocal met
        met = not met
        if met:
            raise Rejected("stale", 0)

    catalog.store.before = meet_every_other
    await catalog.delete_element(hub.id, cascade=True)
    assert await catalog.stored(Relationship.KIND) == []


async def test_a_cascade_that_an_agent_ends_says_what_was_deleted_before(catalog: Catalog) -> None:
    hub, other = await catalog.element(), await catalog.element()
    for _ in range(BATCH + 10):
        await catalog.relationship(hub, other, type="Flow")
    agent = {"id": "a", "name": "Intake", "created_at": hub.created_at, "element_id": hub.id}
    comes: list[Operation] = [Create(Agent.KIND, "a", agent), Increment(Element.KIND, hub.id, {"touched": 1})]
    catalog.once_before(lambda operations: deletes(Element.KIND, operations), lambda: catalog.store.inner.commit(comes))
    with pytest.raises(Conflict, match=rf"{BATCH} of its relationships had been deleted before"):
        await catalog.delete_element(hub.id, cascade=True)
    assert len(await catalog.stored(Relationship.KIND)) == 10


async def test_a_cascade_over_large_relationships_goes_in_batches_that_fit(catalog: Catalog) -> None:
    hub, other = await catalog.element(), await catalog.element()
    large = {str(number): "x" * 20_000 for number in range(10)}
    for _ in range(12):
        await catalog.relationship(hub, other, type="Flow", properties=large)
    await catalog.delete_element(hub.id, cascade=True)
    assert await catalog.stored(Relationship.KIND) == []


async def test_deleting_an_element_while_it_gets_relationships_leaves_none_dangling(catalog: Catalog) -> None:
    for cascade in (False, True) * 6:
        one, two = await catalog.element(), await catalog.element()
        results = await asyncio.gather(
            catalog.relationship(one, two, type="Flow"),
            catalog.delete_element(two.id, cascade=cascade),
            catalog.relationship(two, one, type="Flow"),
            return_exceptions=True,
        )
        assert all(isinstance(one, FlowgridError) for one in results if isinstance(one, BaseException)), results
    assert await catalog.dangling() == []


async def test_a_relationship_that_is_made_just_before_the_deletion_is_seen_by_it(catalog: Catalog) -> None:
    one, two = await catalog.element(), await catalog.element()
    catalog.once_before(
        lambda operations: deletes(Element.KIND, operations), lambda: catalog.relationship(one, two, type="Flow")
    )
    with pytest.raises(Conflict):
        await catalog.delete_element(two.id)
    assert len(await catalog.stored(Relationship.KIND)) == 1


async def test_a_relationship_at_a_relationship_that_a_cascade_has_looked_at_is_seen_by_it(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, note = await catalog.element(), await catalog.element(), await catalog.element("Meaning")
    flow = await catalog.relationship(one, two, type="Flow")
    once_looked(monkeypatch, lambda: catalog.relationship(note, flow))
    await catalog.delete_element(two.id, cascade=True)
    assert await catalog.dangling() == []


async def test_a_relationship_that_is_moved_away_from_a_cascade_is_kept(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = await catalog.element(), await catalog.element(), await catalog.element()
    flow = await catalog.relationship(one, two, type="Flow")
    once_looked(monkeypatch, lambda: catalog.patch_relationship(flow.id, target_id=three.id))
    await catalog.delete_element(two.id, cascade=True)
    assert [left["target_id"] for left in await catalog.stored(Relationship.KIND)] == [three.id]


async def test_neighbors_are_found_breadth_first_up_to_the_depth(catalog: Catalog) -> None:
    chain = [await catalog.element(name=f"step {number}") for number in range(4)]
    for source, target in pairwise(chain):
        await catalog.relationship(source, target, type="Flow")
    around = await catalog.elements.neighbors(catalog.tenant, chain[0].id, NeighborQuery(depth=2))
    assert [(one.element.id, one.distance) for one in around.elements] == [(chain[1].id, 1), (chain[2].id, 2)]
    assert len(around.relationships) == 2
    assert not around.truncated


@pytest.mark.parametrize(
    ("direction", "found"), [("in", ["before"]), ("out", ["after"]), ("both", ["after", "before"])]
)
async def test_neighbors_are_looked_for_in_one_direction_or_both(
    catalog: Catalog, direction: str, found: list[str]
) -> None:
    center = await catalog.element()
    await catalog.relationship(await catalog.element(name="before"), center, type="Flow")
    await catalog.relationship(center, await catalog.element(name="after"), type="Flow")
    query = NeighborQuery.model_validate({"direction": direction})
    around = await catalog.elements.neighbors(catalog.tenant, center.id, query)
    assert [one.element.name for one in around.elements] == found


async def test_neighbors_of_one_type_of_relationship_only(catalog: Catalog) -> None:
    center, fed, served = await catalog.element(), await catalog.element(), await catalog.element()
    await catalog.relationship(center, fed, type="Flow")
    await catalog.relationship(center, served, type="Serving")
    around = await catalog.elements.neighbors(catalog.tenant, center.id, NeighborQuery(type="Flow"))
    assert [one.element.id for one in around.elements] == [fed.id]


async def test_too_many_neighbors_are_cut_off_and_that_is_said(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.catalog.graph.MOST_NEIGHBORS", 3)
    center = await catalog.element()
    for _ in range(5):
        await catalog.relationship(center, await catalog.element(), type="Flow")
    around = await catalog.elements.neighbors(catalog.tenant, center.id, NeighborQuery())
    assert (len(around.elements), len(around.relationships), around.truncated) == (3, 3, True)


async def test_what_is_not_there_has_no_neighbors(catalog: Catalog) -> None:
    with pytest.raises(NotFound):
        await catalog.elements.neighbors(catalog.tenant, "nobody", NeighborQuery())


async def test_the_routes_answer_with_the_roles_that_they_declare(world: World) -> None:
    tenant = (await world.onboard())["id"]
    user, viewer = person(tenant, Role.USER), person(tenant, Role.VIEWER)
    body = {"name": "x", "type": "Node"}
    assert (await world.call("create_element", viewer, body)).status == 403
    made = await world.call("create_element", user, body)
    assert (made.status, made.json["layer"]) == (201, "Technology")
    at = {"element_id": made.json["id"]}
    assert (await world.call("get_neighbors", viewer, params=at)).json["center"]["id"] == made.json["id"]
    assert (await world.call("replace_element", user, body, params=at)).status == 428
    assert (await world.call("delete_element", user, params=at)).status == 403
    assert (await world.call("delete_element", admin(tenant), params=at, query={"cascade": "true"})).status == 204


async def test_characters_that_no_exchange_file_can_hold_are_refused(world: World) -> None:
    tenant = (await world.onboard())["id"]
    for wrong in (
        {"name": "a\x01b"},
        {"name": "x", "properties": {"k\x00": "v"}},
        {"name": "x", "description": "\x1f"},
    ):
        answer = await world.call("create_element", admin(tenant), {"type": "Node", **wrong})
        assert answer.status == 400, wrong


async def test_an_export_leaves_nothing_out_in_silence(catalog: Catalog) -> None:
    one, two = await catalog.element(), await catalog.element()
    lost = await catalog.relationship(one, two, type="Flow")
    await catalog.store.commit([Delete(Element.KIND, two.id)])
    with pytest.raises(Conflict) as refused:
        await export_model(catalog.tenant)
    assert refused.value.members["relationships"] == [lost.id]


async def test_what_comes_while_a_model_is_exported_comes_with_its_ends(catalog: Catalog) -> None:
    await catalog.element()
    store = ComingStore(catalog)
    text = (await export_model(replace(catalog.tenant, store=store))).decode()
    assert text.count("<element ") == 3 and text.count("<relationship ") == 1


class ComingStore(WatchedStore):
    """Between the elements and the relationships of a scan, one of each kind comes."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog.store)
        self.catalog = catalog

    async def scan(self, kinds: Sequence[Kind], *, since: str | None = None) -> AsyncIterator[list[Stored]]:
        if kinds == [Relationship.KIND]:
            one, two = await self.catalog.element(), await self.catalog.element()
            await self.catalog.relationship(one, two, type="Flow")
        async for page in super().scan(kinds, since=since):
            yield page


def test_what_is_around_an_element_has_one_spelling(world: World) -> None:
    routes = {route.name: route for route in world.core.endpoint.routes}
    assert routes["get_neighbors"].path == "v1/elements/{element_id}/neighbors"
    said = json.dumps(describe(list(routes.values()), version="1"))
    assert "eighbor" in said and "eighbour" not in said


def test_words_of_archimate_are_spelled_as_it_spells_them_and_all_others_in_lower_case() -> None:
    shown = (Element, Relationship, Model, Neighborhood, ImportReport, ElementQuery, RelationshipQuery, NeighborQuery)
    found: set[str] = set()

    def look(schema: Any) -> None:
        if isinstance(schema, dict):
            found.update(one for one in schema.get("enum", []))
        for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else []:
            look(inner)

    for model in shown:
        look(model.model_json_schema())
    words = {*ELEMENT_TYPES, *RELATIONSHIP_TYPES, *LAYERS, *get_args(AccessType)}
    assert {"BusinessProcess", "ReadWrite", "both", "relationship"} <= found
    assert {one for one in found - words if one != one.lower()} == set()
