"""What a file's identifiers mean: each model has its own, whatever another file calls its elements (0029)."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from functions.catalog.archimate import layer_of
from functions.catalog.exchange import FoundElement, FoundRelationship, ModelHeader
from functions.catalog.exchange_read import read_model
from functions.catalog.exchange_write import write_model
from functions.catalog.importing import CatalogImport
from functions.catalog.models import Element, Relationship
from shared.errors import Conflict, Invalid, NotFound, TooLarge
from shared.ids import Uuid7Ids, derived_id
from shared.kinds import Kind
from shared.work.fencing import close, reopen
from tests.unit.catalog_world import Catalog, arrow, file_of, hand_written, process
from tests.unit.world import OTHER_ID, World, entry

PAIR = (process("e1", "ours"), process("e2"), arrow("r1", "e1", "e2", "Flow"))
TURNED = (process("e1", "theirs"), process("e2"), arrow("r1", "e2", "e1", "Flow"))


@pytest.fixture
async def catalog(world: World) -> Catalog:
    return await Catalog.of(world)


async def items(catalog: Catalog) -> dict[str, dict[str, Any]]:
    """Elements and relationships as clients see them, by id."""
    stored = await catalog.stored(Element.KIND) + await catalog.stored(Relationship.KIND)
    return {one["id"]: {name: value for name, value in one.items() if name != "touched"} for one in stored}


async def import_as_before(catalog: Catalog, *found: FoundElement | FoundRelationship) -> None:
    """As imports stored what they took before models had names: ids of the tenant and the identifier, no model."""
    tenant = catalog.tenant
    change = tenant.change()
    for one in found:
        texts = {name: getattr(one, name) for name in ("type", "name", "description", "languages", "translations")}
        fields = {**texts, "properties": one.properties, "source_identifier": one.identifier}
        if isinstance(one, FoundElement):
            id = derived_id(Element.KIND, tenant.id, one.identifier)
            change.create(Element, {**fields, "layer": layer_of(one.type)}, id=id)
        else:
            ends = {"source_id": one.source, "target_id": one.target}
            ids = {end: derived_id(Element.KIND, tenant.id, identifier) for end, identifier in ends.items()}
            details = {name: getattr(one, name) for name in ("access_type", "influence", "is_directed")}
            id = derived_id(Relationship.KIND, tenant.id, one.identifier)
            change.create(Relationship, {**fields, **details, **ids}, id=id)
    await change.commit(None)


async def test_a_second_file_with_the_same_identifiers_leaves_the_firsts_elements_alone(catalog: Catalog) -> None:
    await catalog.read(file_of(*PAIR, model="one"))
    before = await items(catalog)
    report = await catalog.read(file_of(*TURNED, model="two"))
    assert (report.created, report.updated) == (3, 0)
    after = await items(catalog)
    assert {id: after[id] for id in before} == before
    assert len({one["model_id"] for one in after.values()}) == 2


async def test_both_files_again_change_nothing(catalog: Catalog) -> None:
    files = [file_of(*PAIR, model="one"), file_of(*TURNED, model="two")]
    for file in files:
        await catalog.read(file)
    batches = len(catalog.store.batches)
    assert [(await catalog.read(file)).unchanged for file in files] == [3, 3]
    assert len(catalog.store.batches) == batches


async def test_two_files_of_two_models_at_once_do_not_mix(catalog: Catalog) -> None:
    elsewhere = CatalogImport(catalog.world.core.adapters.blobs)
    reports = await asyncio.gather(
        catalog.read(file_of(*PAIR, model="one")), elsewhere.run(catalog.tenant, file_of(*TURNED, model="two"))
    )
    assert [(one.created, one.skipped) for one in reports] == [(3, 0), (3, 0)]
    names = {one["id"]: (one["name"], one["model_id"]) for one in await catalog.stored(Element.KIND)}
    for flow in await catalog.stored(Relationship.KIND):
        assert names[flow["source_id"]][1] == names[flow["target_id"]][1] == flow["model_id"]
    assert sorted(name for name, _ in names.values()) == ["ours", "theirs", "x", "x"]


async def test_the_same_new_file_twice_at_once_makes_one_model(catalog: Catalog) -> None:
    elsewhere = CatalogImport(catalog.world.core.adapters.blobs)
    one, two = await asyncio.gather(catalog.read(file_of(*PAIR)), elsewhere.run(catalog.tenant, file_of(*PAIR)))
    assert (one.model_id, one.created + two.created, one.skipped + two.skipped) == (two.model_id, 3, 0)
    assert [(one.identifier, one.last_import is not None) for one in await catalog.models()] == [("model-1", True)]


# --- merging by choice -----------------------------------------------------------------------------------------------


async def test_a_file_is_merged_into_a_model_by_its_id_or_its_identifier(catalog: Catalog) -> None:
    first = await catalog.read(file_of(*PAIR, model="one"))
    for number, named in enumerate(("one", str(first.model_id))):
        other_tool = file_of(process("e1", f"renamed {number}"), *PAIR[1:], model=f"exported-{number}")
        report = await catalog.read(other_tool, named)
        assert (report.model_id, report.created, report.updated, report.unchanged) == (first.model_id, 0, 1, 2)
    assert [one.identifier for one in await catalog.models()] == ["one"]


async def test_an_identifier_that_is_new_makes_a_model_of_its_own(catalog: Catalog) -> None:
    await catalog.read(file_of(*PAIR, model="one"))
    report = await catalog.read(file_of(*TURNED, model="one"), "draft of one")
    assert (report.created, report.updated) == (3, 0)
    assert sorted(one.identifier for one in await catalog.models()) == ["id-draft_x20_of_x20_one", "one"]
    assert (await catalog.read(file_of(*TURNED, model="one"), "draft of one")).unchanged == 3


async def test_an_id_of_no_model_makes_none(catalog: Catalog) -> None:
    with pytest.raises(NotFound):
        await catalog.read(file_of(*PAIR), Uuid7Ids().new())
    assert (await catalog.models(), await items(catalog)) == ([], {})


async def test_a_file_without_an_identifier_is_refused_and_hears_how_to_mend_it(catalog: Catalog) -> None:
    nameless = hand_written('<element identifier="a" xsi:type="Node"><name>x</name></element>')
    nameless = nameless.replace(b' identifier="m"', b"")
    with pytest.raises(Invalid, match=r"\?model="):
        await catalog.read(nameless)
    assert (await catalog.models(), await items(catalog)) == ([], {})
    assert (await catalog.read(nameless, "mine")).created == 1
    assert (await catalog.read(nameless, "mine")).unchanged == 1


# --- exports ---------------------------------------------------------------------------------------------------------


async def test_an_export_of_everything_finds_each_model_s_items_again(catalog: Catalog) -> None:
    await catalog.read(file_of(*PAIR, model="one"))
    await catalog.read(file_of(*TURNED, process("e3"), model="two"))
    await catalog.relationship(await catalog.element(), await catalog.element(), type="Flow")
    exported = await catalog.export()
    assert b'identifier="e3"' in exported and b'identifier="e1"' not in exported
    before, batches = await items(catalog), len(catalog.store.batches)
    report = await catalog.read(exported)
    assert (report.model_id, report.unchanged, report.created, report.updated, report.skipped) == (None, 10, 0, 0, 0)
    assert await items(catalog) == before and len(catalog.store.batches) == batches
    assert await catalog.export() == exported


async def test_what_was_imported_after_an_export_is_not_meant_by_it(catalog: Catalog) -> None:
    await catalog.read(file_of(*PAIR, model="one"))
    exported = await catalog.export()
    await catalog.read(file_of(*TURNED, model="two"))
    before = await items(catalog)
    report = await catalog.read(exported)
    assert (report.unchanged, report.created, report.updated, report.skipped) == (3, 0, 0, 0)
    assert await items(catalog) == before


async def test_what_can_no_longer_be_told_apart_is_skipped_with_what_to_do(catalog: Catalog) -> None:
    await catalog.read(file_of(*PAIR, model="one"))
    header, *found = read_model(await catalog.export())
    assert isinstance(header, ModelHeader)
    elements = [one for one in found if isinstance(one, FoundElement)]
    said_less = b"".join(write_model(replace(header, properties={}), elements, []))  # as a tool might write it back
    await catalog.read(file_of(*TURNED, model="two"))
    report = await catalog.read(said_less)
    assert [one.identifier for one in report.skipped_items] == ["e1", "e2"]
    assert "?model=" in report.skipped_items[0].reason
    assert (await catalog.read(said_less, "one")).unchanged == 2


async def test_what_is_new_in_an_export_of_everything_is_of_no_model(catalog: Catalog) -> None:
    await catalog.read(file_of(*PAIR, model="one"))
    exported = await catalog.export()
    edited = exported.replace(
        b"</elements>", b'<element identifier="new" xsi:type="Node"><name>x</name></element></elements>'
    )
    assert ((await catalog.read(edited)).created, (await catalog.read(edited)).unchanged) == (1, 4)
    (made,) = [one for one in await catalog.stored(Element.KIND) if one["source_identifier"] == "new"]
    assert made["model_id"] is None


# --- what was imported before models had names -----------------------------------------------------------------------


async def test_what_was_imported_before_is_taken_into_its_model_and_not_doubled(catalog: Catalog) -> None:
    await import_as_before(catalog, *PAIR)
    before = await items(catalog)
    report = await catalog.read(file_of(*PAIR, model="one"))
    assert (report.created, report.updated, report.skipped) == (0, 3, 0)
    after = await items(catalog)
    assert after.keys() == before.keys()
    assert {one["model_id"] for one in after.values()} == {report.model_id}
    aside = {"model_id", "revision", "updated_at"}
    for id, one in before.items():
        assert {name: value for name, value in after[id].items() if name not in aside} == {
            name: value for name, value in one.items() if name not in aside
        }
    assert (await catalog.read(file_of(*PAIR, model="one"))).unchanged == 3
    assert (await catalog.read(file_of(*TURNED, model="two"))).created == 3


async def test_what_was_imported_before_is_unchanged_by_an_export_of_it(catalog: Catalog) -> None:
    await import_as_before(catalog, *PAIR)
    exported = await catalog.export()
    assert (await catalog.read(exported)).unchanged == 3
    await catalog.read(file_of(*PAIR, model="one"))
    assert (await catalog.read(exported)).unchanged == 3
    assert (await catalog.read(await catalog.export("one"))).unchanged == 3


async def test_two_models_at_once_do_not_both_take_what_was_imported_before(catalog: Catalog) -> None:
    await import_as_before(catalog, *PAIR)
    elsewhere = CatalogImport(catalog.world.core.adapters.blobs)
    reports = await asyncio.gather(
        catalog.read(file_of(*PAIR, model="one")), elsewhere.run(catalog.tenant, file_of(*TURNED, model="two"))
    )
    taken = (
        sum(one.updated for one in reports),
        sum(one.created for one in reports),
        sum(one.skipped for one in reports),
    )
    assert taken == (3, 3, 0)
    assert len({one["model_id"] for one in (await items(catalog)).values()}) == 2


async def test_old_ids_are_looked_for_in_the_query_that_looks_for_the_new_ones(catalog: Catalog) -> None:
    asked: list[Sequence[str]] = []
    traces = catalog.store.traces

    async def counting(kind: Kind, ids: Sequence[str]) -> Any:
        if kind is Element.KIND:
            asked.append(ids)
        return await traces(kind, ids)

    catalog.store.traces = counting  # type: ignore[method-assign]
    catalog.tenant = replace(catalog.tenant, entry=replace(catalog.tenant.entry, copy_of=OTHER_ID))
    await catalog.read(file_of(*(process(f"id-{Uuid7Ids().new()}") for _ in range(100))))
    assert [len(ids) for ids in asked] == [200, 200]  # as many as a query takes


@pytest.mark.parametrize("before_names", [True, False], ids=["before-names", "since"])
async def test_a_copy_knows_what_was_imported_where_it_was_copied_from(
    world: World, catalog: Catalog, before_names: bool
) -> None:
    source = catalog.tenant
    catalog.tenant = replace(source, entry=entry(OTHER_ID))
    if before_names:
        await import_as_before(catalog, *PAIR)
    else:
        await catalog.read(file_of(*PAIR, model="one"))
    before = await items(catalog)
    catalog.tenant = replace(source, entry=entry(source.id, copy_of=OTHER_ID))
    exported = await catalog.export()
    assert (await catalog.read(exported)).unchanged == 3
    report = await catalog.read(file_of(*PAIR, model="one"))
    assert (report.created, report.skipped) == (0, 0)
    assert (await items(catalog)).keys() == before.keys()


# --- the model itself ------------------------------------------------------------------------------------------------


async def test_a_model_that_is_deleted_during_its_import_ends_that(catalog: Catalog) -> None:
    async def delete() -> None:
        (model,) = await catalog.models()
        await catalog.modelling.delete(catalog.tenant, model.id, None, cascade=True)

    catalog.once_before(lambda batch: any(one.kind is Relationship.KIND for one in batch), delete)
    with pytest.raises(Conflict, match="send the file again"):
        await catalog.read(file_of(*PAIR))
    assert (await catalog.models(), await items(catalog)) == ([], {})
    assert (await catalog.read(file_of(*PAIR))).created == 3


async def test_an_interrupted_import_leaves_a_model_that_says_so(catalog: Catalog) -> None:
    async def power_cut() -> None:
        raise ConnectionError("power cut")

    catalog.once_before(lambda batch: any(one.kind is Relationship.KIND for one in batch), power_cut)
    with pytest.raises(ConnectionError):
        await catalog.read(file_of(*PAIR))
    assert [one.last_import for one in await catalog.models()] == [None]
    report = await catalog.read(file_of(*PAIR))
    assert (report.unchanged, report.created) == (2, 1)
    (model,) = await catalog.models()
    assert model.last_import and (model.last_import.elements, model.last_import.relationships) == (2, 1)


async def test_an_import_that_a_restore_has_undone_in_part_is_told_to_come_again(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written before it is gone, so no report would be true."""
    fence = catalog.tenant.services.ids.new()

    async def restored() -> None:
        await close(catalog.tenant, fence)
        await reopen(catalog.tenant, fence)

    catalog.once_before(lambda batch: any(one.kind == Element.KIND for one in batch), restored)
    with pytest.raises(Conflict, match="was restored while"):
        await catalog.read(file_of(process("a"), process("b")))
    assert (await catalog.read(file_of(process("a"), process("b")))).skipped == 0


async def test_a_file_that_calls_its_model_like_anothers_id_is_a_model_of_its_own(catalog: Catalog) -> None:
    first = await catalog.read(file_of(process("a"), model="m"))
    second = await catalog.read(file_of(process("a"), model=str(first.model_id)))
    assert second.model_id != first.model_id and second.created == 1


# --- how much a model may say of itself ------------------------------------------------------------------------------


async def test_definitions_of_many_files_are_no_more_than_one_may_have(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.catalog.parts.MAX_DEFINITIONS", 30)
    files = [defining(f"{name}{number}" for number in range(20)) for name in "ab"]
    await catalog.read(files[0])
    assert (await catalog.read(files[0])).unchanged == 1
    with pytest.raises(TooLarge, match="40 property definitions"):
        await catalog.read(files[1].replace(b'identifier="e"', b'identifier="f"'))
    assert [one["source_identifier"] for one in await catalog.stored(Element.KIND)] == ["e"], "nothing was taken"
    assert (await catalog.read(await catalog.export("m"))).unchanged == 1
    assert (await catalog.read(files[1], mode="mirror")).unchanged == 1


async def test_texts_of_many_files_are_no_more_than_one_may_have(catalog: Catalog) -> None:
    """Each file says 60,000 characters more of the model."""

    def saying(key: str) -> bytes:
        said = "".join(
            f'<property propertyDefinitionRef="{key}{number}"><value>{"x" * 10_000}</value></property>'
            for number in range(6)
        )
        return defining([]).replace(b"<elements>", f"<properties>{said}</properties><elements>".encode())

    for key in "ab":
        await catalog.read(saying(key))
    with pytest.raises(TooLarge, match="of itself"):
        await catalog.read(saying("c").replace(b'identifier="e"', b'identifier="f"'))
    assert [one["source_identifier"] for one in await catalog.stored(Element.KIND)] == ["e"], "nothing was taken"
    assert (await catalog.read(await catalog.export("m"))).unchanged == 1


def defining(names: Iterable[str]) -> bytes:
    """A file of one element with property definitions of these names."""
    definitions = "".join(
        f'<propertyDefinition identifier="p{name}" type="string"><name>{name}</name></propertyDefinition>'
        for name in names
    )
    file = hand_written('<element identifier="e" xsi:type="BusinessProcess"><name>x</name></element>')
    return file.replace(b"</model>", f"<propertyDefinitions>{definitions}</propertyDefinitions></model>".encode())
