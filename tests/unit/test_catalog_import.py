"""Exchange files in and out: a rerun changes nothing, whatever went wrong before, and nothing is lost on the way."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.catalog import importing
from functions.catalog.archimate import ELEMENT_TYPES, allowed_types
from functions.catalog.exchange import JUNCTION, FoundElement, FoundRelationship, ModelHeader, Skipped
from functions.catalog.exchange_read import read_model
from functions.catalog.exporting import Exports
from functions.catalog.graph import MOST_NESTED
from functions.catalog.importing import CatalogImport
from functions.catalog.models import Element, ElementFields, Model, Relationship
from functions.catalog.taking import Progress
from shared.database.port import Create, Delete, Operation
from shared.errors import Invalid, TooLarge, Unavailable
from shared.kinds import Kind
from shared.tenancy.fence import AUDIT, Handle, rotate
from tests.unit.catalog_world import Catalog, arrow, file_of, hand_written, process
from tests.unit.world import WatchedStore, World, admin, entry

SAMPLE = Path(__file__).parents[2] / "cli" / "samples" / "it4it.xml"


@pytest.fixture
async def catalog(world: World) -> Catalog:
    return await Catalog.of(world)


def chain(length: int) -> list[FoundElement | FoundRelationship]:
    """Elements, each leading to the next."""
    elements: list[FoundElement | FoundRelationship] = [process(f"e{n}", f"step {n}") for n in range(length)]
    return elements + [arrow(f"r{n}", f"e{n}", f"e{n + 1}", "Flow") for n in range(length - 1)]


async def test_the_same_file_again_writes_nothing(catalog: Catalog) -> None:
    file = SAMPLE.read_bytes()
    first = await catalog.read(file)
    assert first.created > 0 and first.skipped == 0
    before = len(catalog.store.batches)
    again = await catalog.read(file)
    assert (again.created, again.updated, again.unchanged, again.skipped) == (0, 0, first.created, 0)
    assert len(catalog.store.batches) == before


async def test_our_own_export_of_an_import_changes_nothing(catalog: Catalog) -> None:
    first = await catalog.read(SAMPLE.read_bytes())
    again = await catalog.read(await catalog.export())
    assert (again.unchanged, again.created, again.updated, again.skipped) == (first.created, 0, 0, 0)


async def test_a_batch_holds_at_most_forty_items_of_a_file_each_with_its_audit_entry(catalog: Catalog) -> None:
    await catalog.read(file_of(*chain(100)))
    made = [[one.kind for one in batch if isinstance(one, Create)] for batch in catalog.store.batches]
    assert all(kinds.count(Element.KIND) + kinds.count(Relationship.KIND) <= 40 for kinds in made)
    assert sum(kinds.count(AUDIT) for kinds in made) == 199 + 2  # the model is made, and says what was imported


async def test_what_differs_is_updated_and_what_clients_made_is_left_alone(catalog: Catalog) -> None:
    mine = await catalog.element(name="mine")
    await catalog.read(file_of(process("a", "old"), process("b")))
    report = await catalog.read(file_of(process("a", "new"), process("b")))
    assert (report.elements.updated, report.elements.unchanged) == (1, 1)
    names = {one["name"]: one["revision"] for one in await catalog.stored(Element.KIND)}
    assert names == {"mine": mine.revision, "new": 2, "x": 1}


async def test_relationships_at_relationships_come_after_them_wherever_they_stand_in_the_file(catalog: Catalog) -> None:
    arrows = [arrow("third", "a", "second"), arrow("second", "a", "first"), arrow("first", "a", "b", "Flow")]
    report = await catalog.read(file_of(process("a"), process("b"), *arrows))
    assert (report.relationships.created, report.skipped) == (3, 0)
    assert await catalog.dangling() == []


async def test_what_cannot_be_taken_is_reported_with_its_reason(catalog: Catalog) -> None:
    actor = FoundElement("actor", "BusinessActor", name="A")
    report = await catalog.read(
        file_of(
            actor,
            process("p"),
            arrow("lost", "p", "nobody"),
            arrow("wrong", "actor", "p", "Composition"),
            arrow("round", "p", "trip"),
            arrow("trip", "p", "round"),
        )
    )
    reasons = {one.identifier: one.reason for one in report.skipped_items}
    assert reasons.keys() == {"lost", "wrong", "round", "trip"}
    assert "nobody" in reasons["lost"]
    assert "Assignment" in reasons["wrong"]
    assert (report.skipped, report.relationships.skipped, report.elements.created) == (4, 4, 2)


async def test_a_long_list_of_skipped_items_is_cut_and_counted(catalog: Catalog) -> None:
    report = await catalog.read(file_of(process("p"), *(arrow(f"r{number}", "p", "nobody") for number in range(300))))
    assert (report.skipped, len(report.skipped_items)) == (300, 200)


async def test_one_item_that_is_too_large_is_skipped_and_the_others_are_taken(catalog: Catalog) -> None:
    report = await catalog.read(file_of(process("a"), process("huge", description="x" * 300_000), process("b")))
    assert report.elements.created == 2
    assert [one.identifier for one in report.skipped_items] == ["huge"]


async def test_items_that_are_too_large_for_one_batch_together_are_all_taken(catalog: Catalog) -> None:
    long = {f"part {number}": "x" * 20_000 for number in range(5)}
    report = await catalog.read(file_of(*(process(f"e{number}", properties=long) for number in range(30))))
    assert (report.elements.created, report.skipped) == (30, 0)


async def test_the_file_is_kept_as_it_came_and_only_once(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    file = file_of(process("a"))
    report = await catalog.read(file)
    assert report.file_sha256 == sha256(file).hexdigest()
    space = catalog.world.core.adapters.blobs.space("imports", catalog.tenant.id)
    kept = await space.info(f"{report.file_sha256}.xml")
    assert b"".join([chunk async for chunk in space.read(f"{report.file_sha256}.xml")]) == file
    await catalog.read(file)
    assert await space.info(f"{report.file_sha256}.xml") == kept


async def test_a_file_that_is_none_names_the_line_and_changes_nothing(catalog: Catalog) -> None:
    with pytest.raises(Invalid, match=r"line 2"):
        await catalog.read(hand_written("").replace(b"<elements>", b"\n<oops"))
    assert await catalog.stored(Element.KIND) == []


@pytest.mark.parametrize("after", [False, True], ids=["before-the-batch", "after-the-batch"])
@pytest.mark.parametrize("nth", [1, 2, 3, 5])
async def test_an_interrupted_import_is_finished_by_a_rerun(catalog: Catalog, nth: int, after: bool) -> None:
    items = [*chain(60), arrow("note", "e0", "r0")]
    count = 0

    async def power_cut(operations: Sequence[Operation]) -> None:
        nonlocal count
        count += 1
        if count == nth:
            if after:
                await catalog.store.inner.commit(operations)
            raise ConnectionError("power cut")

    catalog.store.before = power_cut
    with pytest.raises(ConnectionError):
        await catalog.read(file_of(*items))
    assert await catalog.dangling() == []
    catalog.store.before = None
    report = await catalog.read(file_of(*items))
    assert (report.created + report.unchanged, report.updated, report.skipped) == (120, 0, 0)
    ids = [one["resource_id"] for one in await catalog.stored(AUDIT) if one["resource_type"] != Model.KIND]
    assert len(ids) == len(set(ids)) == 120


async def test_two_imports_of_one_file_at_the_same_time_both_succeed(catalog: Catalog) -> None:
    file = file_of(*chain(90))
    elsewhere = CatalogImport(catalog.world.core.adapters.blobs)  # one tenant has one import in a process
    one, two = await asyncio.gather(catalog.read(file), elsewhere.run(catalog.tenant, file))
    assert (one.skipped, two.skipped) == (0, 0)
    assert one.created + two.created == 179


async def test_a_batch_that_meets_another_writer_is_tried_again(catalog: Catalog) -> None:
    await catalog.read(file_of(process("a", "old"), process("b", "old")))
    stored = await catalog.stored(Element.KIND)
    catalog.once_before(lambda _: True, lambda: catalog.patch_element(stored[0]["id"], description="edited"))
    report = await catalog.read(file_of(process("a", "new"), process("b", "new")))
    assert (report.updated, report.skipped) == (2, 0)


async def test_an_end_that_is_deleted_during_the_import_costs_only_the_relationships_at_it(catalog: Catalog) -> None:
    async def delete_one() -> None:
        gone = next(one for one in await catalog.stored(Element.KIND) if one["name"] == "step 3")
        await catalog.store.inner.commit([Delete(Element.KIND, gone["id"])])

    catalog.once_before(lambda batch: any(one.kind is Relationship.KIND for one in batch), delete_one)
    report = await catalog.read(file_of(*chain(8)))
    assert [one.identifier for one in report.skipped_items] == ["r2", "r3"]
    assert await catalog.dangling() == []


async def test_a_type_that_the_relationships_here_forbid_is_not_taken(catalog: Catalog) -> None:
    await catalog.read(file_of(process("a"), process("b"), arrow("r", "a", "b", "Triggering")))
    report = await catalog.read(file_of(process("a", type="Contract"), process("b", "new")))
    assert [one.identifier for one in report.skipped_items] == ["a"]
    assert report.elements.updated == 1


async def test_two_types_that_are_changed_by_one_file_are_checked_against_each_other(catalog: Catalog) -> None:
    await catalog.read(
        file_of(process("a", type="Stakeholder"), process("b", type="Grouping"), arrow("r", "a", "b", "Composition"))
    )
    await catalog.read(file_of(process("a", type="Driver"), process("b", type="Stakeholder")))
    types = {one["id"]: one["type"] for one in await catalog.stored(Element.KIND)}
    for one in await catalog.stored(Relationship.KIND):
        assert one["type"] in allowed_types(types[one["source_id"]], types[one["target_id"]])


async def test_what_was_deleted_and_is_imported_again_goes_on_from_its_deletion(catalog: Catalog) -> None:
    await catalog.read(file_of(process("a")))
    (made,) = await catalog.stored(Element.KIND)
    await catalog.delete_element(made["id"])
    report = await catalog.read(file_of(process("a")))
    (again,) = await catalog.stored(Element.KIND)
    assert (report.created, again["id"], again["revision"]) == (1, made["id"], 3)


async def test_an_import_that_meets_a_backups_moment_goes_on(catalog: Catalog, world: World) -> None:
    partition = catalog.store.inner
    catalog.store = WatchedStore(Handle(partition))
    catalog.tenant = replace(catalog.tenant, store=catalog.store)
    await catalog.element()  # the process knows the tenant's permit
    moment = world.clock.now() + timedelta(seconds=1)
    catalog.once_before(lambda _: True, lambda: rotate(Handle(partition), "next", moment))
    report = await catalog.read(file_of(*chain(3)))
    assert (report.created, report.skipped) == (5, 0)


async def test_the_effort_of_sorting_relationships_grows_with_their_number_only(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the sorting counts: nothing is stored."""
    looks = 0

    async def apply(*_: object) -> None:
        return None

    def ends_known(one: FoundRelationship, progress: Progress) -> bool:
        nonlocal looks
        looks += 1
        return known(one, progress)

    known = importing._ends_known
    monkeypatch.setattr(importing, "take", apply)
    monkeypatch.setattr(importing, "_ends_known", ends_known)
    deep = [arrow(f"deep{number}", "a", f"deep{number + 1}") for number in range(2000)]
    wide = [arrow(f"wide{number}", "a", "b", "Flow") for number in range(2000)]
    await catalog.read(file_of(process("a"), process("b"), *deep, *wide))
    assert 4000 <= looks <= 2 * MOST_NESTED * 4000


async def test_a_name_in_several_languages_comes_out_as_it_went_in(catalog: Catalog) -> None:
    file = hand_written(
        '<element identifier="a" xsi:type="Node"><documentation xml:lang="de">D</documentation>'
        '<documentation xml:lang="en">E</documentation><name xml:lang="en">N</name></element>'
    )
    await catalog.read(file)
    again = await catalog.read(await catalog.export())
    assert (again.unchanged, again.updated) == (1, 0)


async def test_identifiers_that_are_no_xml_names_are_found_again_after_an_export(catalog: Catalog) -> None:
    await catalog.read(hand_written('<element identifier="1 a" xsi:type="Node"><name>x</name></element>'))
    again = await catalog.read(await catalog.export())
    assert (again.unchanged, again.created) == (1, 0)


async def test_an_element_and_a_relationship_of_the_same_identifier_are_both_exported(catalog: Catalog) -> None:
    await catalog.read(file_of(process("same"), process("b")))
    await catalog.read(file_of(process("c"), process("d"), arrow("same", "c", "d")))
    again = await catalog.read(await catalog.export())
    assert (again.unchanged, again.created, again.skipped) == (5, 0, 0)


async def test_a_relationship_that_comes_during_an_export_does_not_break_it(catalog: Catalog) -> None:
    one = await catalog.element()
    scan = catalog.store.scan

    def late(kinds: Sequence[Kind], **more: Any) -> Any:
        async def pages() -> Any:
            if list(kinds) == [Relationship.KIND]:
                await catalog.relationship(one, await catalog.element(name="late"), type="Flow")
            async for page in scan(kinds, **more):
                yield page

        return pages()

    catalog.store.scan = late  # type: ignore[method-assign]  # it scans, after the other one has written
    found = list(read_model(await catalog.export()))
    there = {item.identifier for item in found if isinstance(item, FoundElement)}
    assert all({item.source, item.target} <= there for item in found if isinstance(item, FoundRelationship))


async def test_what_a_client_edits_after_an_import_survives_an_export(catalog: Catalog) -> None:
    rich = process(
        "a",
        "Störung",
        description="Beschreibung",
        properties={"Owner": "IT"},
        languages={"name": "de", "description": "de", "property:Owner": "de"},
        translations={"en": {"name": "Incident", "description": "Text", "property:Owner": "Ops"}},
    )
    await catalog.read(file_of(rich, FoundElement("j", "Junction", properties={JUNCTION: "or"})))
    for one in await catalog.stored(Element.KIND):
        if one["type"] == "Junction":
            assert (await catalog.patch_element(one["id"], description="edited")).properties == {JUNCTION: "or"}
        else:
            edited = await catalog.patch_element(one["id"], description="", properties={"Owner": None})
            assert (edited.properties, edited.translations) == ({}, {"en": {"name": "Incident"}})
    again = await catalog.read(await catalog.export())
    assert (again.unchanged, again.updated) == (2, 0)


async def test_import_and_export_over_http(world: World) -> None:
    tenant = (await world.onboard())["id"]
    xml = {"content-type": "application/xml"}
    report = await world.call("import_catalog", admin(tenant), file_of(process("a")), headers=xml)
    assert (report.status, report.json["created"]) == (200, 1)
    exported = await world.call("export_catalog", admin(tenant))
    assert b'identifier="a"' in exported.raw


async def test_a_repeated_import_under_one_idempotency_key_gives_the_whole_report_again(world: World) -> None:
    tenant = (await world.onboard())["id"]
    headers = {"content-type": "application/xml", "idempotency-key": "k"}
    file = file_of(*chain(60))
    first = await world.call("import_catalog", admin(tenant), file, headers=headers)
    again = await world.call("import_catalog", admin(tenant), file, headers=headers)
    assert first.json["created"] == 119
    assert again.json == first.json
    gone = first.json["model_id"]
    where, query = {"model_id": gone}, {"cascade": "true"}
    assert (await world.call("delete_model", admin(tenant), params=where, query=query)).status == 204
    late = await world.call("import_catalog", admin(tenant), file, headers=headers)
    assert (late.status, late.json["id"]) == (409, gone)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[chr(c) for c in range(32)]), max_size=6)
KEYS = st.sampled_from(["Owner", "Cost", "a b"])
SENT: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    name=st.text("ab ", min_size=1, max_size=3).map(lambda name: name + "x"),
    type=st.sampled_from(ELEMENT_TYPES),
    description=TEXT.filter(lambda text: "\ufffe" not in text and "\uffff" not in text),
    properties=st.dictionaries(KEYS, st.sampled_from(["", "v\r\n w"]), max_size=3).flatmap(
        lambda given: st.sampled_from([given, {**given, JUNCTION: "or"}, {**given, JUNCTION: "and"}])
    ),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sent=st.lists(SENT, min_size=1, max_size=6), data=st.data())
def test_importing_an_export_of_anything_changes_nothing(sent: list[dict[str, Any]], data: st.DataObject) -> None:
    async def run() -> None:
        with TemporaryDirectory() as folder:
            world = World.over(Path(folder))
            try:
                catalog = await Catalog.of(world)
                made: list[Element] = []
                for fields in sent:
                    made.append(await catalog.elements.create(catalog.tenant, ElementFields(**fields)))
                for source in made:
                    target = data.draw(st.sampled_from(made))
                    if allowed := allowed_types(source.type, target.type):
                        with suppress(Invalid):  # a second type at a junction
                            await catalog.relationship(source, target, type=data.draw(st.sampled_from(allowed)))
                exported = await catalog.export()
                report = await catalog.read(exported)
                assert (report.created, report.updated, report.skipped) == (0, 0, 0), report
                assert await catalog.export() == exported
            finally:
                await world.close()

    asyncio.run(run())


async def test_a_model_that_no_import_would_take_back_is_not_exported(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await catalog.element(description="&" * 1000)
    monkeypatch.setattr("functions.catalog.exporting.MAX_FILE_BYTES", 5000)
    with pytest.raises(TooLarge, match="backup"):
        await catalog.export()  # 1,000 characters are 5,000 bytes in XML
    await catalog.element(description="x" * 6000)
    with pytest.raises(TooLarge, match="backup"):
        await catalog.export()


@pytest.mark.parametrize(
    "texts",
    [
        {"name": "n" * 900},
        {"properties": {"k" * 250: "v", "l" * 250: "", "m" * 250: ""}},
        {"name": "n", "languages": {"name": "en"}, "translations": {"de": {"name": "n" * 900}}},
    ],
    ids=["names", "keys", "translations"],
)
async def test_a_model_that_would_be_too_large_is_not_collected_first(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, texts: dict[str, Any]
) -> None:
    await catalog.read(file_of(*(process(f"e{number}", **texts) for number in range(10))))
    monkeypatch.setattr("functions.catalog.exporting.MAX_FILE_BYTES", 5000)
    monkeypatch.setattr("functions.catalog.exporting._write", lambda *_: b"")
    with pytest.raises(TooLarge, match="backup"):
        await catalog.export()


@pytest.mark.parametrize("named", ["m", None])
async def test_views_count_with_all_that_they_say(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, named: str | None
) -> None:
    box = f'<node identifier="n" xsi:type="Label" x="0" y="0" w="9" h="9"><label>{"x" * 900}</label></node>'
    views = "".join(f'<view identifier="v{n}" xsi:type="Diagram"><name>V</name>{box}</view>' for n in range(10))
    file = hand_written('<element identifier="e" xsi:type="BusinessProcess"><name>x</name></element>')
    file = file.replace(b"</model>", f"<views><diagrams>{views}</diagrams></views></model>".encode())
    assert (await catalog.read(file)).views.created == 10
    written: list[int] = []

    def write(*held: Any) -> bytes:
        written.append(len(held[4]))
        return b""

    monkeypatch.setattr("functions.catalog.exporting._write", write)
    await catalog.export(named)
    monkeypatch.setattr("functions.catalog.exporting.MAX_FILE_BYTES", 9_000)
    with pytest.raises(TooLarge, match="backup"):
        await catalog.export(named)
    assert written == [10]


async def test_a_model_of_more_items_than_an_import_takes_is_not_exported(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await catalog.element(), await catalog.element()
    await catalog.relationship(one, two, type="Flow")
    monkeypatch.setattr("functions.catalog.exporting.MAX_ITEMS", 3)
    await catalog.export()
    monkeypatch.setattr("functions.catalog.exporting.MAX_ITEMS", 2)
    with pytest.raises(TooLarge, match="more than 2 items"):
        await catalog.export()


async def test_a_tenant_exports_once_at_a_time_and_hears_when_to_come_again(world: World) -> None:
    tenant = (await world.onboard())["id"]
    answers = await asyncio.gather(*(world.call("export_catalog", admin(tenant)) for _ in range(3)))
    assert sorted(answer.status for answer in answers) == [200, 503, 503]
    assert {answer.headers.get("Retry-After") for answer in answers if answer.status == 503} == {"5"}
    assert (await world.call("export_catalog", admin(tenant))).status == 200


async def test_a_process_writes_a_few_exports_at_once(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.catalog.exporting.AT_ONCE", 2)
    exports = Exports()
    tenants = [replace(catalog.tenant, entry=entry(str(number))) for number in range(3)]
    done = await asyncio.gather(*map(exports.run, tenants), return_exceptions=True)
    assert [type(one) for one in done] == [bytes, bytes, Unavailable]
    assert isinstance(await exports.run(tenants[2]), bytes)


async def test_an_identifier_of_a_file_that_is_the_own_id_of_another_item_is_written_once(catalog: Catalog) -> None:
    one, two = await catalog.element(), await catalog.element()
    flow = await catalog.relationship(one, two, type="Flow")
    await catalog.read(file_of(process(f"id-{flow.id}")))
    found = [item for item in read_model(await catalog.export()) if not isinstance(item, ModelHeader)]
    assert len(found) == 4 and not any(isinstance(item, Skipped) for item in found)
