"""A release that changes what an item looks like: old items, old backups and the journal are read as the new ones."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import azure.functions as func
import pytest

from functions.kinds import KINDS
from shared.clock import rfc3339
from shared.database.documents import opened
from shared.http.crud import crud
from shared.http.endpoint import Endpoint
from shared.http.pagination import ListQuery
from shared.kinds import Kind, Kinds
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

    async def settled(self, world: World, name: str, params: dict[str, str]) -> dict[str, Any]:
        for _ in range(50):
            await world.drain()
            world.clock.advance(seconds=6)
            found: dict[str, Any] = (await world.call(name, admin(self.tenant_id), params=params)).json
            if found["status"] not in ("queued", "running"):
                return found
        raise AssertionError(found)


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
    backup = await releases.settled(releases.before, "get_backup", {"backup_id": backup["id"]})
    assert backup["status"] == "succeeded"
    await releases.new("patch_note", {"color": "blue", "size": 5}, params={"note_id": made["id"]})
    await releases.new("delete_note", params={"note_id": gone["id"]})
    asked = {"backup_id": backup["id"], "target": "in_place", "confirm": "acme"}
    restore = (await releases.new("create_restore", asked)).json
    restore = await releases.settled(releases.after, "get_restore", {"restore_id": restore["id"]})
    assert restore["status"] == "succeeded", restore
    notes = {item["id"]: item for item in (await releases.new("list_notes")).json["items"]}
    assert {id: (note["color"], note["size"]) for id, note in notes.items()} == {
        made["id"]: ("red", 1),
        gone["id"]: ("green", 1),
    }


async def test_a_point_in_time_is_found_across_releases(releases: Releases) -> None:
    backup = (await releases.old("create_backup")).json
    await releases.settled(releases.before, "get_backup", {"backup_id": backup["id"]})
    first = (await releases.old("create_note", {"colour": "red"})).json
    second = (await releases.new("create_note", {"color": "green", "size": 2})).json
    releases.after.clock.advance(seconds=1)
    instant = rfc3339(releases.after.clock.now())
    for note in (first, second):
        await releases.new("patch_note", {"color": "black", "size": 7}, params={"note_id": note["id"]})
    asked = {"as_of": instant, "target": "in_place", "confirm": "acme"}
    restore = (await releases.new("create_restore", asked)).json
    restore = await releases.settled(releases.after, "get_restore", {"restore_id": restore["id"]})
    assert restore["status"] == "succeeded", restore
    notes = {item["id"]: item for item in (await releases.new("list_notes")).json["items"]}
    assert {id: (note["color"], note["size"]) for id, note in notes.items()} == {
        first["id"]: ("red", 1),
        second["id"]: ("green", 2),
    }


def test_an_item_from_before_there_were_versions_is_of_the_first() -> None:
    body = opened(NewNote.KIND, {"id": "note:one", "kind": "note", "tenant_id": "t", "colour": "red"})
    assert body == {"size": 1, "id": "one", "kind": "note", "tenant_id": "t", "color": "red"}
