"""A release that changes what an item looks like: old items, old backups and the journal are read as the new ones."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import azure.functions as func
import pytest

from functions.agents.cases import Case
from functions.agents.models import Agent
from functions.catalog.models import Element, Model, Relationship
from functions.catalog.view_models import ModelPart, View
from functions.design.models import Design
from functions.kinds import KINDS
from functions.providers.models import Provider
from functions.tools.models import Tool
from shared.clock import rfc3339
from shared.database.documents import opened
from shared.database.port import Increment
from shared.http.crud import crud
from shared.http.endpoint import Endpoint
from shared.http.pagination import ListQuery
from shared.kinds import Kind, Kinds
from shared.members.users import User
from shared.work.resources import Body, Resource
from shared.work.service import ResourceService
from tests.unit.world import UNLIMITED, Answer, FakeClock, World, admin


def _in_english(body: dict[str, Any]) -> dict[str, Any]:
    return {"color" if name == "colour" else name: value for name, value in body.items()}


def _with_size(body: dict[str, Any]) -> dict[str, Any]:
    return {"size": 1, **body}


class OldFields(Body):
    colour: str


class OldNote(Resource):
    KIND: ClassVar[Kind] = Kind("note", backup="restored", journalled=True, exported=True)

    colour: str


class NewFields(Body):
    color: str
    size: int = 1


class NewNote(Resource):
    KIND: ClassVar[Kind] = Kind(
        "note", backup="restored", journalled=True, exported=True, upcasts=[_in_english, _with_size]
    )

    color: str
    size: int


class OldNotes(ResourceService[OldNote, OldFields]):
    model = OldNote


class NewNotes(ResourceService[NewNote, NewFields]):
    model = NewNote


def _old(endpoint: Endpoint) -> func.Blueprint:
    routes, body = func.Blueprint(), {"colour": "red"}
    crud(endpoint, routes, OldNotes(), path="notes", fields=OldFields, query=ListQuery, example=body, patch=body)
    return routes


def _new(endpoint: Endpoint) -> func.Blueprint:
    routes, body = func.Blueprint(), {"color": "red"}
    crud(endpoint, routes, NewNotes(), path="notes", fields=NewFields, query=ListQuery, example=body, patch=body)
    return routes


class Releases:
    """The same data under the release before and the one after."""

    def __init__(self, folder: Path) -> None:
        clock = FakeClock()
        self.before = World.over(folder, clock=clock, kinds=Kinds(*KINDS, OldNote.KIND), more=_old)
        self.after = World.over(folder, clock=clock, process=1, kinds=Kinds(*KINDS, NewNote.KIND), more=_new)
        self.tenant_id = ""

    async def old(self, name: str, body: Any = None, **more: Any) -> Answer:
        self.before.clock.advance(seconds=1)
        return await self.before.call(name, admin(self.tenant_id), body, **more)

    async def new(self, name: str, body: Any = None, **more: Any) -> Answer:
        self.after.clock.advance(seconds=1)
        return await self.after.call(name, admin(self.tenant_id), body, **more)


@pytest.fixture
async def releases(tmp_path: Path) -> AsyncIterator[Releases]:
    made = Releases(tmp_path)
    made.tenant_id = str((await made.before.onboard("acme", limits=UNLIMITED))["id"])
    yield made
    await made.before.close()
    await made.after.close()


async def test_an_old_item_is_shown_changed_and_exported_as_a_new_one(releases: Releases) -> None:
    made = (await releases.old("create_note", {"colour": "red"})).json
    one = {"note_id": made["id"]}
    shown = await releases.new("get_note", params=one)
    assert (shown.json["color"], shown.json["size"], shown.json["revision"]) == ("red", 1, 1)
    assert [item["color"] for item in (await releases.new("list_notes")).json["items"]] == ["red"]
    exported = (await releases.new("export_tenant", query={"kind": "note"})).json["items"]
    assert [one["item"]["color"] for one in exported] == ["red"]
    changed = await releases.new("patch_note", {"size": 3}, params=one, headers={"if-match": shown.etag})
    assert (changed.json["color"], changed.json["size"], changed.json["revision"]) == ("red", 3, 2)


async def test_what_a_newer_release_wrote_is_refused_by_the_older_and_not_lost(releases: Releases) -> None:
    made = (await releases.new("create_note", {"color": "red", "size": 9})).json
    one = {"note_id": made["id"]}
    assert (await releases.old("get_note", params=one)).status == 503
    assert (await releases.old("patch_note", {"colour": "blue"}, params=one)).status == 503
    assert (await releases.new("get_note", params=one)).json["size"] == 9


async def test_an_old_backup_is_restored_as_new_items(releases: Releases) -> None:
    made = (await releases.old("create_note", {"colour": "red"})).json
    gone = (await releases.old("create_note", {"colour": "green"})).json
    backup = (await releases.old("create_backup")).json
    backup = await releases.before.settled("get_backup", releases.tenant_id, {"backup_id": backup["id"]})
    assert backup["status"] == "succeeded"
    await releases.new("patch_note", {"color": "blue", "size": 5}, params={"note_id": made["id"]})
    await releases.new("delete_note", params={"note_id": gone["id"]})
    asked = {"backup_id": backup["id"], "target": "in_place", "confirm": "acme"}
    restore = (await releases.new("create_restore", asked)).json
    restore = await releases.after.settled("get_restore", releases.tenant_id, {"restore_id": restore["id"]})
    assert restore["status"] == "succeeded", restore
    notes = {item["id"]: item for item in (await releases.new("list_notes")).json["items"]}
    assert {id: (note["color"], note["size"]) for id, note in notes.items()} == {
        made["id"]: ("red", 1),
        gone["id"]: ("green", 1),
    }


async def test_a_point_in_time_is_found_across_releases(releases: Releases) -> None:
    backup = (await releases.old("create_backup")).json
    await releases.before.settled("get_backup", releases.tenant_id, {"backup_id": backup["id"]})
    first = (await releases.old("create_note", {"colour": "red"})).json
    second = (await releases.new("create_note", {"color": "green", "size": 2})).json
    releases.after.clock.advance(seconds=1)
    instant = rfc3339(releases.after.clock.now())
    for note in (first, second):
        await releases.new("patch_note", {"color": "black", "size": 7}, params={"note_id": note["id"]})
    asked = {"as_of": instant, "target": "in_place", "confirm": "acme"}
    restore = (await releases.new("create_restore", asked)).json
    restore = await releases.after.settled("get_restore", releases.tenant_id, {"restore_id": restore["id"]})
    assert restore["status"] == "succeeded", restore
    notes = {item["id"]: item for item in (await releases.new("list_notes")).json["items"]}
    assert {id: (note["color"], note["size"]) for id, note in notes.items()} == {
        first["id"]: ("red", 1),
        second["id"]: ("green", 2),
    }


async def test_an_older_release_leaves_a_newer_ones_backup_as_it_is(releases: Releases) -> None:
    """It cannot read it: that says nothing about the backup."""
    await releases.new("create_note", {"color": "red", "size": 9})
    backup = (await releases.new("create_backup")).json
    one = {"backup_id": backup["id"]}
    await releases.after.settled("get_backup", releases.tenant_id, one)
    assert (await releases.old("verify_backup", params=one)).status == 503
    asked = {**one, "target": "in_place", "confirm": "acme"}
    restore = {"restore_id": (await releases.new("create_restore", asked)).json["id"]}
    await releases.before.drain()  # the older release takes a slice of it, and leaves it
    kept = (await releases.new("get_backup", params=one)).json
    assert (kept["status"], kept["error"]) == ("succeeded", None)
    assert (await releases.after.settled("get_restore", releases.tenant_id, restore))["status"] == "succeeded"
    assert [note["size"] for note in (await releases.new("list_notes")).json["items"]] == [9]


async def test_a_backup_that_does_not_keep_a_kind_takes_nothing_of_it_away(tmp_path: Path) -> None:
    """A release back and forth again: what the older one backed up lacks what it did not know."""
    clock = FakeClock()
    before = World.over(tmp_path, clock=clock)
    after = World.over(tmp_path, clock=clock, process=1, kinds=Kinds(*KINDS, NewNote.KIND), more=_new)
    releases = Releases.__new__(Releases)
    releases.before, releases.after = before, after
    releases.tenant_id = str((await before.onboard("acme", limits=UNLIMITED))["id"])
    empty = (await releases.old("create_backup")).json  # of a time when there were no notes
    await before.settled("get_backup", releases.tenant_id, {"backup_id": empty["id"]})
    note = (await releases.new("create_note", {"color": "red"})).json
    lacking = (await releases.old("create_backup")).json
    await before.settled("get_backup", releases.tenant_id, {"backup_id": lacking["id"]})
    asked = {"backup_id": lacking["id"], "target": "in_place", "confirm": "acme"}
    restore = (await releases.new("create_restore", asked)).json
    restore = await after.settled("get_restore", releases.tenant_id, {"restore_id": restore["id"]})
    assert (restore["status"], "keeps no notes" in restore["error"]) == ("failed", True)
    assert [one["id"] for one in (await releases.new("list_notes")).json["items"]] == [note["id"]]
    restore = (await releases.new("create_restore", {**asked, "backup_id": empty["id"]})).json
    restore = await after.settled("get_restore", releases.tenant_id, {"restore_id": restore["id"]})
    assert (restore["status"], restore["report"]["deleted"]) == ("succeeded", {"note": 1})
    await before.close()
    await after.close()


async def test_what_is_counted_up_unread_cannot_change_its_schema(releases: Releases) -> None:
    store = (await releases.after.session(releases.tenant_id)).store
    with pytest.raises(ValueError, match="cannot be counted up unread"):
        await store.commit([Increment(NewNote.KIND, "one", {"size": 1})])


STORED = {  # kind -> its schema, and the fields that items of it have beside the envelope
    "agent": (
        3,
        "config description element_id instructions legacy_id model name pattern provider schedule status tools",
    ),
    "case": (1, "agent_id expected input name"),
    "design": (
        1,
        "answers brief execution_id feedback made model proposal provider questions status",
    ),
    "element": (
        3,
        "description languages layer legacy_id model_id name properties source_identifier translations type",
    ),
    "mcp_server": (
        1,
        "approval auth_header auth_prefix changes idempotent name protocol_version refreshed_at safe secret_reference "
        "timeout_seconds tools url",
    ),
    "model": (2, "description identifier languages last_import name properties translations version"),
    "model_part": (1, "model_id number rows section"),
    "provider": (1, "api_version base_url default_model key_reference models name wire"),
    "relationship": (
        3,
        "access_type description influence is_directed languages legacy_id model_id name properties source_id "
        "source_identifier target_id translations type",
    ),
    "tool": (
        1,
        "approval auth_header auth_prefix description headers idempotency_header idempotent max_answer_bytes method "
        "name parameters query secret_reference timeout_seconds url",
    ),
    "user": (1, "email issuer last_login_at name role status subject"),
    "view": (
        1,
        "connections description languages model_id name nodes properties source_identifier styles translations "
        "viewpoint viewpoint_ref",
    ),
}


RESTORED = [Agent, Case, Design, Element, Model, ModelPart, Provider, Relationship, Tool, User, View]


@pytest.mark.parametrize("model", RESTORED, ids=lambda model: model.KIND)
def test_a_field_that_an_older_release_would_lose_comes_with_a_version(model: type[Resource]) -> None:
    """A release that does not know a field writes the item back without it, unless the version keeps it away."""
    fields = set(model.model_fields) - set(Resource.model_fields)
    assert (model.KIND.schema, " ".join(sorted(fields))) == STORED[model.KIND], "add a step to `upcasts`, then this"


def test_every_kind_that_is_restored_has_its_fields_on_record() -> None:
    assert {*STORED} == {kind.name for kind in KINDS.restored}


def test_an_item_from_before_there_were_versions_is_of_the_first() -> None:
    body = opened(NewNote.KIND, {"id": "note:one", "kind": "note", "tenant_id": "t", "colour": "red"})
    assert body == {"size": 1, "id": "one", "kind": "note", "tenant_id": "t", "color": "red"}
