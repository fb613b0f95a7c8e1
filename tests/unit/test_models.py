"""Models: listed, exported alone, deleted with all that is theirs or not at all (0029)."""

from collections.abc import Sequence
from typing import Any

import pytest

from functions.agents.models import Agent
from functions.catalog.deleting import BATCH, delete_model
from functions.catalog.exchange import FoundElement, FoundRelationship, ModelHeader
from functions.catalog.exchange_read import read_model
from functions.catalog.models import Element, Model, Relationship
from shared.auth.roles import Role
from shared.database.port import Bury, Create, Increment, Operation
from shared.errors import Conflict, Unavailable
from shared.http.pagination import MAX_LIMIT
from shared.work.fencing import close, reopen
from shared.work.resources import PageRequest
from tests.unit.catalog_world import Catalog, arrow, file_of, process
from tests.unit.world import World, admin, person

PAIR = (process("e1", "ours"), process("e2"), arrow("r1", "e1", "e2", "Flow"))
XML = {"content-type": "application/xml"}


@pytest.fixture
async def catalog(world: World) -> Catalog:
    return await Catalog.of(world)


async def model_of(catalog: Catalog, *items: FoundElement | FoundRelationship, identifier: str = "one") -> Model:
    """The model that a file with these has made."""
    report = await catalog.read(file_of(*items, name=f"Model {identifier}", model=identifier))
    return await catalog.modelling.get(catalog.tenant, str(report.model_id))


async def by_name(catalog: Catalog, name: str) -> Any:
    return next(one for one in await catalog.stored(Element.KIND) if one["name"] == name)


async def test_a_model_tells_what_was_imported_last_when_and_by_whom(catalog: Catalog) -> None:
    model = await model_of(catalog, *PAIR)
    assert (model.name, model.identifier, model.created_by) == ("Model one", "one", catalog.tenant.user_id)
    last = model.last_import
    assert last is not None
    assert (last.by, last.identifier, last.elements, last.relationships) == (catalog.tenant.user_id, "one", 2, 1)
    catalog.world.clock.advance(hours=1)
    assert await model_of(catalog, *PAIR) == model  # which changed nothing
    await catalog.read(file_of(process("e1", "theirs"), name="Draft", model="other"), "one")
    again = await catalog.modelling.get(catalog.tenant, model.id)
    assert (again.name, again.identifier, again.revision) == ("Draft", "one", model.revision + 1)
    assert again.last_import is not None and again.last_import.at > last.at
    assert (again.last_import.identifier, again.last_import.elements) == ("other", 1)


async def test_a_file_that_puts_edited_elements_right_is_the_last_import_again(catalog: Catalog) -> None:
    model = await model_of(catalog, *PAIR)
    await catalog.patch_element((await by_name(catalog, "ours"))["id"], name="edited")
    catalog.world.clock.advance(hours=1)
    again = await model_of(catalog, *PAIR)
    assert model.last_import and again.last_import and again.last_import.at > model.last_import.at


async def test_elements_and_relationships_are_listed_by_model(catalog: Catalog) -> None:
    model = await model_of(catalog, *PAIR)
    await model_of(catalog, *PAIR, identifier="two")
    by_hand = await catalog.relationship(await catalog.element(), await catalog.element(), type="Flow")
    assert by_hand.model_id is None
    page = PageRequest(MAX_LIMIT, None)
    elements = await catalog.elements.list(catalog.tenant, {"model_id": model.id}, page)
    relationships = await catalog.relationships.list(catalog.tenant, {"model_id": model.id}, page)
    assert (len(elements.items), len(relationships.items)) == (2, 1)
    assert {one.model_id for one in [*elements.items, *relationships.items]} == {model.id}


async def test_what_a_client_changes_stays_of_its_model(catalog: Catalog) -> None:
    model = await model_of(catalog, *PAIR)
    element = await by_name(catalog, "ours")
    assert (await catalog.patch_element(element["id"], name="edited")).model_id == model.id


# --- exporting one ---------------------------------------------------------------------------------------------------


async def test_one_model_is_exported_alone_under_its_own_identifiers(catalog: Catalog) -> None:
    await model_of(catalog, *PAIR, identifier="two")
    await model_of(catalog, *PAIR)
    await catalog.relationship(await catalog.element(), await catalog.element(), type="Flow")
    exported = await catalog.export("one")
    header, *found = list(read_model(exported))
    assert isinstance(header, ModelHeader)
    assert (header.identifier, header.name, header.properties) == ("one", "Model one", {})
    named = [one.identifier for one in found if isinstance(one, FoundElement | FoundRelationship)]
    assert (named, len(found)) == (["e1", "e2", "r1"], 3)
    batches = len(catalog.store.batches)
    assert (await catalog.read(exported)).unchanged == 3
    assert len(catalog.store.batches) == batches


async def test_what_a_models_relationships_are_at_is_exported_with_it_and_said(catalog: Catalog) -> None:
    await model_of(catalog, process("e9", "elsewhere"), identifier="two")
    model = await model_of(catalog, *PAIR)
    mine, beyond = await catalog.element(name="mine"), await by_name(catalog, "elsewhere")
    (flow,) = [one for one in await catalog.stored(Relationship.KIND) if one["model_id"] == model.id]
    await catalog.patch_relationship(flow["id"], source_id=mine.id, target_id=beyond["id"])
    exported = await catalog.export("one")
    header, *found = list(read_model(exported))
    assert isinstance(header, ModelHeader)
    said = header.properties["flowgrid:beyond"]
    assert said.startswith("2 not of this model") and mine.id in said and beyond["id"] in said
    names = {one.identifier for one in found if isinstance(one, FoundElement)}
    assert names == {"e1", "e2", f"id-{mine.id}", f"id-{beyond['id']}"}
    before = await catalog.stored(Element.KIND)
    report = await catalog.read(exported)
    assert (report.unchanged, report.created, report.updated, report.skipped) == (5, 0, 0, 0)
    assert await catalog.stored(Element.KIND) == before


async def test_a_relationship_beyond_a_model_brings_what_it_is_at_itself(catalog: Catalog) -> None:
    await model_of(catalog, *PAIR)
    chain = await catalog.relationship(await catalog.element(), await catalog.element(), type="Flow")
    for _ in range(10):
        chain = await catalog.relationship(await catalog.element(), chain)
    (flow,) = [one for one in await catalog.stored(Relationship.KIND) if one["source_identifier"] == "r1"]
    await catalog.patch_relationship(flow["id"], type="Association", target_id=chain.id)
    report = await catalog.read(await catalog.export("one"))
    assert (report.unchanged, report.created, report.updated, report.skipped) == (26, 0, 0, 0)


# --- deleting --------------------------------------------------------------------------------------------------------


def buried(batch: Sequence[Operation]) -> int:
    return sum(isinstance(one, Bury) for one in batch)


async def test_a_model_that_has_elements_is_not_deleted_alone(catalog: Catalog) -> None:
    model = await model_of(catalog, *PAIR)
    with pytest.raises(Conflict, match="cascade"):
        await catalog.modelling.delete(catalog.tenant, model.id, None, cascade=False)
    assert await catalog.models() == [model]
    for element in await catalog.stored(Element.KIND):
        await catalog.delete_element(element["id"], cascade=True)
    await catalog.modelling.delete(catalog.tenant, model.id, None, cascade=False)
    assert await catalog.models() == []


async def test_a_model_is_deleted_with_all_that_is_its_in_batches(catalog: Catalog) -> None:
    other = await model_of(catalog, *PAIR, identifier="two")
    steps = [process(f"s{number}", f"step {number}") for number in range(BATCH * 2 + 5)]
    flows = [arrow(f"f{number}", f"s{number}", f"s{number + 1}", "Flow") for number in range(len(steps) - 1)]
    model = await model_of(catalog, *steps, *flows, arrow("note", "s0", "f0"))
    third = await catalog.elements.get(catalog.tenant, (await by_name(catalog, "step 3"))["id"])
    await catalog.relationship(await catalog.element(name="mine"), third, type="Flow")
    await catalog.modelling.delete(catalog.tenant, model.id, None, cascade=True)
    assert await catalog.models() == [other]
    left = {one["name"] for one in await catalog.stored(Element.KIND)}
    assert (left, len(await catalog.stored(Relationship.KIND))) == ({"mine", "ours", "x"}, 1)
    assert max(map(buried, catalog.store.batches)) <= BATCH
    assert await catalog.dangling() == []


async def test_relationships_of_a_model_between_others_elements_go_with_it(catalog: Catalog) -> None:
    model = await model_of(catalog, *PAIR)
    (flow,) = await catalog.stored(Relationship.KIND)
    one, two = await catalog.element(), await catalog.element()
    await catalog.patch_relationship(flow["id"], source_id=one.id, target_id=two.id)
    await catalog.modelling.delete(catalog.tenant, model.id, None, cascade=True)
    assert (await catalog.models(), await catalog.stored(Relationship.KIND)) == ([], [])
    assert {left["id"] for left in await catalog.stored(Element.KIND)} == {one.id, two.id}


async def test_a_model_whose_elements_agents_work_on_keeps_all_of_them(catalog: Catalog) -> None:
    model = await model_of(catalog, *PAIR)
    agent = {"id": "a", "name": "Intake", "created_at": "", "element_id": (await by_name(catalog, "x"))["id"]}
    await catalog.store.inner.commit([Create(Agent.KIND, "a", agent)])
    with pytest.raises(Conflict, match="Agents refer to these elements") as refused:
        await catalog.modelling.delete(catalog.tenant, model.id, None, cascade=True)
    assert refused.value.members["agents"] == [{"id": "a", "name": "Intake"}]
    assert (len(await catalog.stored(Element.KIND)), len(await catalog.stored(Relationship.KIND))) == (2, 1)


async def test_an_agent_that_comes_during_a_deletion_ends_it_and_that_says_what_is_gone(catalog: Catalog) -> None:
    model = await model_of(catalog, *(process(f"s{number}") for number in range(BATCH + 1)))
    last = max(one["id"] for one in await catalog.stored(Element.KIND))
    agent = {"id": "a", "name": "Intake", "created_at": "", "element_id": last}
    comes: list[Operation] = [Create(Agent.KIND, "a", agent), Increment(Element.KIND, last, {"touched": 1})]
    catalog.once_before(lambda batch: buried(batch) == 1, lambda: catalog.store.inner.commit(comes))
    with pytest.raises(Conflict, match=rf"{BATCH} of its items had been deleted before"):
        await catalog.modelling.delete(catalog.tenant, model.id, None, cascade=True)
    assert [one["id"] for one in await catalog.stored(Element.KIND)] == [last]
    assert await catalog.models() == [model]


async def test_a_deletion_ends_where_a_restore_has_come_in_between(catalog: Catalog) -> None:
    """What has been brought back is not what it was asked to delete."""
    report = await catalog.read(file_of(*(process(f"e{number}") for number in range(100))))
    fence, batches = catalog.tenant.services.ids.new(), 0

    def second(batch: Sequence[Operation]) -> bool:
        nonlocal batches
        batches += any(isinstance(one, Bury) for one in batch)
        return batches == 2

    async def restored() -> None:
        await close(catalog.tenant, fence)
        await reopen(catalog.tenant, fence)

    catalog.once_before(second, restored)
    with pytest.raises(Conflict, match="was restored while"):
        await delete_model(catalog.tenant, str(report.model_id), None, cascade=True)
    assert len(await catalog.stored(Element.KIND)) == 20


async def test_an_import_that_comes_before_the_model_goes_is_deleted_as_well(catalog: Catalog) -> None:
    model = await model_of(catalog, *PAIR)
    late = file_of(process("late"), model="one")
    catalog.once_before(
        lambda batch: any(isinstance(one, Bury) and one.kind is Model.KIND for one in batch), lambda: catalog.read(late)
    )
    await catalog.modelling.delete(catalog.tenant, model.id, None, cascade=True)
    assert (await catalog.models(), await catalog.stored(Element.KIND)) == ([], [])


async def test_a_deletion_that_takes_too_long_says_so_and_goes_on_when_it_comes_again(catalog: Catalog) -> None:
    model = await model_of(catalog, *(process(f"s{number}") for number in range(BATCH * 3)))

    async def later() -> None:
        catalog.world.clock.advance(seconds=1000)

    catalog.once_before(lambda batch: buried(batch) > 0, later)
    with pytest.raises(Unavailable, match="goes on there"):
        await catalog.modelling.delete(catalog.tenant, model.id, None, cascade=True)
    assert len(await catalog.stored(Element.KIND)) == BATCH * 2
    await catalog.modelling.delete(catalog.tenant, model.id, None, cascade=True)
    assert (await catalog.models(), await catalog.stored(Element.KIND)) == ([], [])


async def test_a_model_that_was_deleted_and_comes_again_goes_on_from_its_deletion(catalog: Catalog) -> None:
    model = await model_of(catalog, *PAIR)
    await catalog.modelling.delete(catalog.tenant, model.id, None, cascade=True)
    again = await model_of(catalog, *PAIR)
    assert (again.id, again.revision > model.revision + 1) == (model.id, True)


# --- over HTTP -------------------------------------------------------------------------------------------------------


async def test_models_over_http(world: World) -> None:
    tenant = (await world.onboard())["id"]
    user, viewer = person(tenant, Role.USER), person(tenant, Role.VIEWER)
    report = await world.call("import_catalog", user, file_of(*PAIR, model="one"), query={"model": "a b"}, headers=XML)
    (model,) = (await world.call("list_models", viewer)).json["items"]
    assert (report.json["model_id"], model["identifier"]) == (model["id"], "id-a_x20_b")
    at = {"model_id": model["id"]}
    got = await world.call("get_model", viewer, params=at)
    assert got.json == model and got.etag
    assert len((await world.call("list_elements", viewer, query=at)).json["items"]) == 2
    exported = await world.call("export_catalog", viewer, query={"model": "a b"})
    assert b'identifier="e1"' in exported.raw
    assert 'filename="acme-a-b-2026-11-24.xml"' in exported.headers["Content-Disposition"]
    assert (await world.call("export_catalog", viewer, query={"model": "none"})).status == 404
    assert (await world.call("delete_model", user, params=at, query={"cascade": "true"})).status == 403
    assert (await world.call("delete_model", admin(tenant), params=at)).status == 409
    stale = {"if-match": '"9-0"'}
    gone = await world.call("delete_model", admin(tenant), params=at, query={"cascade": "true"}, headers=stale)
    assert gone.status == 412
    gone = await world.call("delete_model", admin(tenant), params=at, query={"cascade": "true"})
    assert gone.status == 204
    assert (await world.call("list_elements", viewer)).json["items"] == []
    audited = (await world.call("list_audit", admin(tenant), query={"resource_type": "model"})).json["items"]
    assert [one["action"] for one in audited] == ["model.deleted", "model.updated", "model.created"]


async def test_a_repeated_import_under_one_key_into_another_model_is_another_request(world: World) -> None:
    tenant = (await world.onboard())["id"]
    headers = {**XML, "idempotency-key": "k"}
    file = file_of(*PAIR, model="one")
    first = await world.call("import_catalog", admin(tenant), file, headers=headers)
    other = await world.call(
        "import_catalog", admin(tenant), file, headers=headers, query={"model": "two"}, search="?model=two"
    )
    assert (first.status, other.status) == (200, 422)
