"""How an import begins and ends: in few calls, and true of whatever others do between two of them."""

from collections.abc import Sequence
from typing import Any

import pytest

from functions.catalog.import_models import Asked
from functions.catalog.importing import CatalogImport
from functions.catalog.models import Element, Model, Relationship
from functions.catalog.view_models import ModelPart, View
from shared.database.port import Create, Increment, Operation, Replace
from shared.errors import Conflict, Contended, Invalid
from shared.kinds import Kind
from shared.tenancy.fence import AUDIT, Fenced, Handle, rotate
from shared.work.fencing import close, reopen
from tests.unit.catalog_world import Catalog, arrow, file_of, process
from tests.unit.exchange_samples import EVERYTHING
from tests.unit.world import World

PAIR = (process("e1"), process("e2"), arrow("r1", "e1", "e2", "Flow"))


@pytest.fixture
async def catalog(world: World) -> Catalog:
    """Behind the fence, as tenants are."""
    made = await Catalog.of(world)
    made.store.inner = Handle(made.store.inner)
    return made


def elsewhere(catalog: Catalog) -> CatalogImport:
    """Another instance's: one tenant has one import in a process."""
    return CatalogImport(catalog.world.core.adapters.blobs)


def writes(kind: Kind, operations: Sequence[Operation]) -> bool:
    return any(one.kind is kind for one in operations if isinstance(one, Create | Replace))


async def restored(catalog: Catalog) -> None:
    fence = catalog.tenant.services.ids.new()
    await close(catalog.tenant, fence)
    await reopen(catalog.tenant, fence)


async def told(catalog: Catalog) -> list[str]:
    """The kinds of what is in the audit, without what fences say."""
    return sorted(one["action"] for one in await catalog.stored(AUDIT) if one["resource_type"] != "fence")


async def test_a_small_new_file_is_one_batch_with_its_model_which_says_so_at_once(catalog: Catalog) -> None:
    report = await catalog.read(file_of(process("a"), process("b")))
    (batch,) = catalog.store.batches
    assert sorted(one.kind for one in batch if isinstance(one, Create)) == [*[AUDIT] * 3, *["element"] * 2, "model"]
    (model,) = await catalog.models()
    assert (model.id, model.revision) == (report.model_id, 1)
    assert model.last_import and model.last_import.elements == 2
    assert await told(catalog) == ["element.created", "element.created", "model.created"]


async def test_views_folders_and_what_the_model_says_come_in_the_batch_of_what_is_last(catalog: Catalog) -> None:
    report = await catalog.read(EVERYTHING)
    last = catalog.store.batches[-1]
    assert writes(View.KIND, last) and writes(ModelPart.KIND, last) and writes(Model.KIND, last)
    assert (report.parts.created, report.views.created) == (
        len(await catalog.stored(ModelPart.KIND)),
        len(await catalog.stored(View.KIND)),
    )
    assert (await catalog.read(EVERYTHING)).parts.unchanged == report.parts.created


@pytest.mark.parametrize(
    ("items", "calls", "again"),
    [
        (100, 7, 5),  # a permit, the model, what is there; three batches, the model before the last of them
        (250, 13, 7),
    ],
)
async def test_elements_cost_few_calls_and_the_same_file_again_fewer(
    catalog: Catalog, items: int, calls: int, again: int
) -> None:
    await catalog.patch_element((await catalog.element()).id, name="y")  # the permit is known
    asked = 0

    async def count() -> None:
        nonlocal asked
        asked += 1

    file = file_of(*(process(f"e{number}") for number in range(items)))
    catalog.store.on_call = count
    await catalog.read(file)
    assert asked == calls
    await catalog.read(file)
    assert asked == calls + again


async def test_relationships_that_share_their_ends_are_taken_more_at_once(catalog: Catalog) -> None:
    star = [process("hub"), *(process(f"e{number}") for number in range(39))]
    await catalog.read(file_of(*star, *(arrow(f"r{number}", "hub", f"e{number}", "Flow") for number in range(39))))
    assert len(catalog.store.batches) == 3
    touched = [one for batch in catalog.store.batches for one in batch if isinstance(one, Increment)]
    assert [one.kind for one in touched].count(Element.KIND) == 39 + 2  # the hub once a batch


# --- what others do in between ---------------------------------------------------------------------------------------


async def test_a_model_that_another_import_makes_first_is_the_one_that_is_taken_into(catalog: Catalog) -> None:
    async def first() -> None:
        await elsewhere(catalog).run(catalog.tenant, file_of(process("a", "theirs"), process("other")))

    catalog.once_before(lambda batch: writes(Model.KIND, batch), first)
    report = await catalog.read(file_of(process("a", "ours"), process("b")))
    assert (report.created, report.updated, report.skipped) == (1, 1, 0)
    assert len(await catalog.models()) == 1
    assert sorted(one["name"] for one in await catalog.stored(Element.KIND)) == ["ours", "x", "x"]


async def test_a_model_that_was_deleted_once_is_made_again_after_its_deletion(catalog: Catalog) -> None:
    first = await catalog.read(EVERYTHING)
    assert first.model_id is not None
    await catalog.modelling.delete(catalog.tenant, first.model_id, None, cascade=True)
    again = await catalog.read(EVERYTHING)
    assert (again.model_id, again.created, again.parts.created) == (first.model_id, first.created, first.parts.created)
    (model,) = await catalog.models()
    assert model.revision > 2 and model.last_import


async def test_parts_that_another_import_makes_first_are_seen_before_they_are_changed(catalog: Catalog) -> None:
    async def first() -> None:
        await elsewhere(catalog).run(catalog.tenant, EVERYTHING)

    catalog.once_before(lambda batch: writes(ModelPart.KIND, batch), first)
    report = await catalog.read(EVERYTHING)
    assert (report.skipped, report.parts.created, report.views.created) == (0, 0, 0)
    assert report.parts.unchanged == len(await catalog.stored(ModelPart.KIND)) > 0


async def test_a_model_that_changes_before_the_last_batch_keeps_that_and_says_what_was_imported(
    catalog: Catalog,
) -> None:
    await catalog.read(file_of(process("a", "old"), name="Old"))
    (model,) = await catalog.models()

    async def described() -> None:
        said: dict[str, Any] = {"description": "by hand"}
        await catalog.tenant.modify(Model, model.id, lambda _: said, if_match=None)

    catalog.once_before(lambda batch: writes(Model.KIND, batch), described)
    report = await catalog.read(file_of(process("a", "new"), name="New"))
    assert (report.updated, report.skipped) == (1, 0)
    (model,) = await catalog.models()
    assert (model.name, model.description) == ("New", "by hand")
    assert model.last_import and model.last_import.file_sha256 == report.file_sha256


async def test_an_end_of_another_type_by_then_is_looked_at_again(catalog: Catalog) -> None:
    """What this import has seen of an end is believed no longer than it is so."""

    async def retyped() -> None:
        (end,) = [one for one in await catalog.stored(Element.KIND) if one["source_identifier"] == "e2"]
        await catalog.patch_element(end["id"], type="BusinessObject")

    serving = (process("e1"), process("e2"), arrow("r1", "e1", "e2", "Triggering"))
    catalog.once_before(lambda batch: writes(Relationship.KIND, batch), retyped)
    report = await catalog.read(file_of(*serving))
    assert [(one.identifier, one.kind) for one in report.skipped_items] == [("r1", "relationship")]
    assert "Triggering from BusinessProcess to BusinessObject" in report.skipped_items[0].reason
    assert await catalog.stored(Relationship.KIND) == []


async def test_a_power_cut_in_the_last_batch_leaves_all_of_it_or_nothing(catalog: Catalog) -> None:
    async def power_cut() -> None:
        raise ConnectionError("power cut")

    catalog.once_before(lambda batch: writes(View.KIND, batch), power_cut)
    with pytest.raises(ConnectionError):
        await catalog.read(EVERYTHING)
    assert await catalog.stored(View.KIND) == await catalog.stored(ModelPart.KIND) == []
    assert [one.last_import for one in await catalog.models()] == [None]
    report = await catalog.read(EVERYTHING)
    assert (report.views.created, report.elements.created) == (len(await catalog.stored(View.KIND)), 0)


# --- restores and backups --------------------------------------------------------------------------------------------


async def test_a_restore_before_the_last_batch_leaves_a_model_that_does_not_say_it_was_imported(
    catalog: Catalog,
) -> None:
    file = file_of(*(process(f"e{number}") for number in range(100)))
    catalog.once_before(lambda _: len(catalog.store.batches) == 1, lambda: restored(catalog))
    with pytest.raises(Conflict, match="was restored while"):
        await catalog.read(file)
    assert [one.last_import for one in await catalog.models()] == [None]
    assert (await catalog.read(file)).skipped == 0


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_restore_is_noticed_by_an_import_that_writes_nothing(catalog: Catalog, dry_run: bool) -> None:
    file = file_of(*PAIR)
    await catalog.read(file)
    asked = 0

    async def on_call() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:  # what is there of the elements
            catalog.store.on_call = None
            await restored(catalog)

    catalog.store.on_call = on_call
    with pytest.raises(Conflict, match="was restored while"):
        await catalog.read(file, dry_run=dry_run)
    assert (await catalog.read(file, dry_run=dry_run)).unchanged == 3


async def test_a_backup_s_moment_is_no_restore(catalog: Catalog) -> None:
    file = file_of(*PAIR)
    for _ in range(2):  # one that writes, one that does not
        opened: list[str] = []

        async def on_call(opened: list[str] = opened) -> None:
            if not opened:
                opened.append(catalog.store.permit)
            elif len(opened) == 1:
                opened.append("")
                await rotate(catalog.store.inner, catalog.tenant.services.ids.new(), catalog.world.clock.now())

        catalog.store.on_call = on_call
        assert (await catalog.read(file)).skipped == 0
        catalog.store.on_call = None


async def test_nothing_is_imported_into_a_tenant_that_is_being_restored(catalog: Catalog) -> None:
    await close(catalog.tenant, "a-restore")
    with pytest.raises(Fenced):
        await catalog.read(file_of(*PAIR), dry_run=True)
    await reopen(catalog.tenant, "a-restore")
    assert (await catalog.read(file_of(*PAIR), dry_run=True)).created == 3


# A model that others make or delete meanwhile


async def test_a_mirror_of_a_model_that_another_file_has_made_meanwhile_takes_nothing_away(catalog: Catalog) -> None:
    async def other() -> None:
        file = file_of(process("b1"), process("b2"), model="m2")
        await elsewhere(catalog).run(catalog.tenant, file, Asked("foo", "merge", False))

    catalog.once_before(lambda batch: writes(Model.KIND, batch), other)
    with pytest.raises(Invalid, match="m2"):
        await catalog.imports.run(catalog.tenant, file_of(process("a1"), model="m1"), Asked("foo", "mirror", False))
    assert sorted(one["source_identifier"] for one in await catalog.stored(Element.KIND)) == ["b1", "b2"]


async def test_a_model_that_others_keep_making_and_deleting_is_given_up(catalog: Catalog) -> None:
    async def others() -> None:
        catalog.store.on_call = None
        report = await elsewhere(catalog).run(catalog.tenant, file_of(process("b")))
        catalog.once_before(lambda batch: writes(Model.KIND, batch), others)
        await catalog.modelling.delete(catalog.tenant, str(report.model_id), None, cascade=True)

    catalog.once_before(lambda batch: writes(Model.KIND, batch), others)
    with pytest.raises(Contended):
        await catalog.read(file_of(process("a")))


async def test_what_was_to_go_into_a_model_that_is_deleted_before_the_last_batch_is_told_so(catalog: Catalog) -> None:
    first = await catalog.read(file_of(process("a")))

    async def gone() -> None:
        await catalog.modelling.delete(catalog.tenant, str(first.model_id), None, cascade=True)

    catalog.once_before(lambda batch: writes(Element.KIND, batch), gone)
    with pytest.raises(Conflict, match="deleted while"):
        await catalog.read(file_of(process("a"), *(process(f"n{number}") for number in range(30))))
    assert await catalog.stored(Element.KIND) == []


async def test_a_file_of_no_news_for_a_model_that_is_deleted_meanwhile_is_told_so(catalog: Catalog) -> None:
    file = file_of(*(process(f"n{number}") for number in range(250)))
    first, asked = await catalog.read(file), 0

    async def at_the_fourth() -> None:
        nonlocal asked
        asked += 1
        if asked == 4:
            catalog.store.on_call = None
            await catalog.modelling.delete(catalog.tenant, str(first.model_id), None, cascade=True)

    catalog.store.on_call = at_the_fourth
    with pytest.raises(Conflict, match="deleted while"):
        await catalog.read(file)
