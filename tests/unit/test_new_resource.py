"""What a new resource takes is one declaration (notes.py): all that has to know of it does, or says what is missing."""

import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import functions
import shared
from functions.kinds import KINDS
from shared.auth.roles import Role
from shared.database.cosmos.containers import indexing
from shared.kinds import Kind, Kinds
from shared.tenancy.plans import PLANS, Tier
from shared.work.resources import Resource
from tests.unit.notes import Note, blueprint
from tests.unit.world import UNLIMITED, World, admin, person

WITH_NOTES = Kinds(*KINDS, Note.KIND)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World.over(tmp_path, kinds=WITH_NOTES, more=blueprint)
    yield made
    await made.close()


@pytest.fixture
async def acme(world: World) -> str:
    tenant = await world.onboard("acme", limits={**UNLIMITED, "max_copies": 1})
    return str(tenant["id"])


async def _note(world: World, tenant_id: str, **fields: Any) -> dict[str, Any]:
    answer = await world.call("create_note", admin(tenant_id), {"title": "Ask Grace", **fields})
    assert answer.status == 201, answer.raw
    note: dict[str, Any] = answer.json
    return note


# Its routes


async def test_it_is_made_read_listed_replaced_changed_and_deleted(world: World, acme: str) -> None:
    note = await _note(world, acme, color="blue")
    one, who = {"note_id": note["id"]}, admin(acme)
    await _note(world, acme)
    assert (await world.call("get_note", who, params=one)).json == note
    listed = await world.call("list_notes", who, query={"color": "blue"})
    assert [item["id"] for item in listed.json["items"]] == [note["id"]]
    version = {"if-match": (await world.call("get_note", who, params=one)).etag}
    replaced = await world.call("replace_note", who, {"title": "Ask Ada"}, params=one, headers=version)
    assert (replaced.status, replaced.json["color"], replaced.json["revision"]) == (200, "yellow", 2)
    assert (await world.call("patch_note", who, {"color": "red"}, params=one, headers=version)).status == 412
    assert (await world.call("patch_note", who, {"color": "red"}, params=one)).json["title"] == "Ask Ada"
    assert (await world.call("delete_note", who, params=one)).status == 204
    assert (await world.call("get_note", who, params=one)).status == 404


@pytest.mark.parametrize(
    ("name", "role", "status"),
    [
        ("list_notes", Role.VIEWER, 200),
        ("create_note", Role.VIEWER, 403),
        ("create_note", Role.USER, 201),
        ("delete_note", Role.USER, 403),
    ],
)
async def test_who_may_do_what_is_the_usual(world: World, acme: str, name: str, role: Role, status: int) -> None:
    body = {"title": "x"} if name == "create_note" else None
    params = {"note_id": (await _note(world, acme))["id"]} if name == "delete_note" else {}
    assert (await world.call(name, person(acme, role), body, params=params)).status == status


async def test_what_it_names_must_be_there_and_cannot_be_deleted(world: World, acme: str) -> None:
    """By `refers`."""
    refused = await world.call("create_note", admin(acme), {"title": "x", "element_id": acme})
    assert (refused.status, refused.json["errors"][0]["field"]) == (400, "element_id")
    element = (await world.call("create_element", admin(acme), {"name": "Billing", "type": "BusinessProcess"})).json
    note = await _note(world, acme, element_id=element["id"])
    deleted = await world.call("delete_element", admin(acme), params={"element_id": element["id"]})
    assert (deleted.status, deleted.json["notes"][0]["id"]) == (409, note["id"])


# What has to know of it


async def test_each_change_of_it_is_in_the_audit(world: World, acme: str) -> None:
    """By `journalled`."""
    note = await _note(world, acme)
    entries = (await world.call("list_audit", admin(acme), query={"resource_id": note["id"]})).json["items"]
    assert [(one["action"], one["new_value"]["title"]) for one in entries] == [("note.created", "Ask Grace")]


async def test_a_backup_carries_it_and_a_restore_brings_it_back(world: World, acme: str) -> None:
    """By `backup`."""
    note = await _note(world, acme)
    backup = await world.backed_up(acme)
    assert (backup["status"], backup["counts"]["note"]) == ("succeeded", 1)
    await world.call("patch_note", admin(acme), {"title": "Lost"}, params={"note_id": note["id"]})
    extra = await _note(world, acme, title="Too much")
    asked = {"backup_id": backup["id"], "target": "in_place", "confirm": "acme"}
    begun = await world.call("create_restore", admin(acme), asked)
    assert begun.status == 202, begun.raw
    restore = await world.settled("get_restore", acme, {"restore_id": begun.json["id"]})
    assert restore["status"] == "succeeded", restore
    back = await world.call("get_note", admin(acme), params={"note_id": note["id"]})
    assert (back.json["title"], back.json["revision"]) == ("Ask Grace", 3)
    assert (await world.call("get_note", admin(acme), params={"note_id": extra["id"]})).status == 404


async def test_nobody_else_sees_it(world: World, acme: str) -> None:
    note = await _note(world, acme)
    other = admin(str((await world.onboard("globex"))["id"]))
    one = {"note_id": note["id"]}
    for name, body in (("get_note", None), ("patch_note", {"title": "x"}), ("delete_note", None)):
        assert (await world.call(name, other, body, params=one)).status == 404
    assert (await world.call("list_notes", other)).json["items"] == []
    assert (await world.call("get_note", admin(acme), params=one)).json == note


async def test_it_is_part_of_what_the_tenant_takes_away(world: World, acme: str) -> None:
    """By `exported`."""
    note = await _note(world, acme)
    found = (await world.call("export_tenant", admin(acme), query={"kind": "note"})).json
    assert found == {"items": [{"kind": "note", "item": note}], "next_cursor": None}


async def test_what_the_tenant_takes_away_is_all_of_it_however_small_the_pages(world: World, acme: str) -> None:
    notes = [(await _note(world, acme))["id"] for _ in range(3)]
    element = (await world.call("create_element", admin(acme), {"name": "Billing", "type": "BusinessProcess"})).json
    found, cursor = list[str](), None
    while True:
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await world.call("export_tenant", admin(acme), query=query)).json
        found += [f"{one['kind']} {one['item']['id']}" for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    users = [f"user {user['id']}" for user in (await world.call("list_users", admin(acme))).json["items"]]
    assert sorted(found) == sorted([*users, f"element {element['id']}", *(f"note {id}" for id in notes)])


async def test_only_a_kind_that_is_exported_can_be_asked_for(world: World, acme: str) -> None:
    refused = await world.call("export_tenant", admin(acme), query={"kind": "lock"})
    assert (refused.status, refused.json["errors"][0]["field"]) == (400, "kind")


async def test_it_is_described(world: World) -> None:
    described: Any = (await world.call("get_openapi")).json
    assert {"get", "post"} <= set(described["paths"]["/api/v1/notes"])
    assert {"get", "put", "patch", "delete"} <= set(described["paths"]["/api/v1/notes/{note_id}"])
    assert "Note" in described["components"]["schemas"]


def test_what_it_is_filtered_by_is_indexed() -> None:
    """By `filtered`."""
    paths = {one["path"] for one in indexing("items", WITH_NOTES)["includedPaths"]}
    assert "/color/?" in paths and "/color/?" not in {one["path"] for one in indexing("items", KINDS)["includedPaths"]}


# What cannot be forgotten


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.startswith("shared.database."):  # an adapter's own
            yield importlib.import_module(found.name)


def test_every_kind_is_listed() -> None:
    stored = {
        getattr(value, "KIND", value)
        for module in (*_modules(functions), *_modules(shared))
        for value in vars(module).values()
        if isinstance(value, Kind) or (isinstance(value, type) and isinstance(getattr(value, "KIND", None), Kind))
    }
    assert stored - {*KINDS} == set(), "add it to functions/kinds.py"


def test_a_resource_is_backed_up_or_says_why_not() -> None:
    """A new kind that is journalled is the tenant's own, and lost without a backup.

    A backup is in none; what was taken out of the usage stays out, whatever the tenant restores.
    """
    not_restored = {kind for kind in KINDS if kind.journalled} - {*KINDS.restored}
    assert not_restored == {"backup", "usage_adjustment"}, "say backup='restored' in its declaration, or why not here"


def test_what_is_restored_can_be_taken_away() -> None:
    assert {*KINDS.restored} <= {*KINDS.exported}, "say exported=True in its declaration"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.counter])
def test_a_counter_has_a_number_in_every_plan(kind: Kind) -> None:
    assert all(PLANS[tier].quota(kind.counter or "") > 0 for tier in Tier), "add it to Plan.quota"


def test_a_field_that_refers_is_a_field_and_is_indexed() -> None:
    models = {one.KIND: one for one in _resources(Resource) if one.KIND in KINDS and one.KIND.refers}
    assert models
    for kind, model in models.items():
        assert set(kind.refers) <= set(model.model_fields) & {*kind.filtered}


def _resources(model: type[Resource]) -> Iterator[type[Resource]]:
    for one in model.__subclasses__():
        if hasattr(one, "KIND") and one.__module__.startswith(("functions.", "shared.")):
            yield one
        yield from _resources(one)


# What is declared wrongly


def test_what_is_restored_has_to_be_journalled() -> None:
    with pytest.raises(ValueError, match="has to be journalled"):
        Kind("note", backup="restored")


def test_a_name_is_declared_once() -> None:
    with pytest.raises(ValueError, match="declared twice: agent"):
        Kinds(*KINDS, Kind("agent"))


def test_what_is_referred_to_is_declared() -> None:
    with pytest.raises(ValueError, match="note refers to paper, which is not declared"):
        Kinds(Kind("note", refers={"paper_id": ("paper",)}))


def test_kinds_that_refer_to_each_other_cannot_be_restored_in_any_order() -> None:
    one = Kind("one", refers={"a": ("two",)}, backup="restored", journalled=True)
    two = Kind("two", refers={"b": ("one",)}, backup="restored", journalled=True)
    with pytest.raises(ValueError, match="refer to each other: one, two"):
        _ = Kinds(one, two).restored


def test_what_is_referred_to_is_restored_first() -> None:
    assert [*KINDS.restored] == [
        "user",
        "model",
        "element",
        "relationship",
        "view",
        "model_part",
        "agent",
        "case",
        "design",
        "provider",
        "tool",
        "mcp_server",
    ]
    order = [kind.name for kind in Kinds(Note.KIND, *KINDS).restored]
    assert order.index("note") > order.index("element")
