"""Models in backups, restores, copies and exports of the tenant: with what is theirs, and found again afterwards."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.clock import rfc3339
from tests.unit.catalog_world import arrow, file_of, process
from tests.unit.world import UNLIMITED, World, admin

FILES = {
    name: file_of(process("e1", name), process("e2"), arrow("r1", "e1", "e2", "Flow"), name=name, model=name)
    for name in ("one", "two")
}
XML = {"content-type": "application/xml"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World.over(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def acme(world: World) -> str:
    """A tenant with two models that call their elements alike."""
    tenant = await world.onboard("acme", limits={**UNLIMITED, "max_copies": 1})
    for file in FILES.values():
        await read(world, tenant["id"], file)
    return str(tenant["id"])


async def read(world: World, tenant_id: str, file: bytes) -> dict[str, Any]:
    answer = await world.call("import_catalog", admin(tenant_id), file, headers=XML)
    assert answer.status == 200, answer.raw
    report: dict[str, Any] = answer.json
    return report


async def restored(world: World, tenant_id: str, asked: dict[str, Any]) -> dict[str, Any]:
    begun = await world.call("create_restore", admin(tenant_id), asked)
    assert begun.status == 202, begun.raw
    restore = await world.settled("get_restore", tenant_id, {"restore_id": begun.json["id"]})
    assert restore["status"] == "succeeded", restore
    return restore


async def catalog_of(world: World, tenant_id: str) -> dict[str, Any]:
    """What there is by id, without what a restore moves."""
    found: dict[str, Any] = {}
    for name in ("list_models", "list_elements", "list_relationships"):
        items = (await world.call(name, admin(tenant_id))).json["items"]
        aside = {"tenant_id", "revision", "updated_at", "updated_by"}
        found |= {one["id"]: {key: one[key] for key in one.keys() - aside} for one in items}
    return found


async def test_a_restore_brings_models_back_with_what_is_theirs(world: World, acme: str) -> None:
    before = await catalog_of(world, acme)
    backup = await world.backed_up(acme)
    assert (backup["status"], backup["counts"]["model"]) == ("succeeded", 2)
    (model, other) = (await world.call("list_models", admin(acme))).json["items"]
    gone = await world.call("delete_model", admin(acme), params={"model_id": model["id"]}, query={"cascade": "true"})
    assert gone.status == 204
    assert len(await catalog_of(world, acme)) == 4
    await read(world, acme, FILES[other["name"]].replace(b"e1", b"e3"))
    await restored(world, acme, {"backup_id": backup["id"], "target": "in_place", "confirm": "acme"})
    assert await catalog_of(world, acme) == before
    assert [(await read(world, acme, file))["unchanged"] for file in FILES.values()] == [3, 3]


async def test_a_point_in_time_before_an_import_knows_no_model(world: World, acme: str) -> None:
    await world.backed_up(acme)
    at = rfc3339(world.clock.now())
    before = await catalog_of(world, acme)
    world.clock.advance(minutes=1)
    await read(world, acme, FILES["one"].replace(b'identifier="one"', b'identifier="three"'))
    assert len(await catalog_of(world, acme)) == len(before) + 4
    await restored(world, acme, {"as_of": at, "target": "in_place", "confirm": "acme"})
    assert await catalog_of(world, acme) == before


async def test_a_copy_finds_its_models_again_when_their_files_come(world: World, acme: str) -> None:
    backup = await world.backed_up(acme)
    twin = {"name": "Again", "slug": "again", "admin_email": "admin@again.example"}
    done = await restored(world, acme, {"backup_id": backup["id"], "target": "new_tenant", "new_tenant": twin})
    copy = done["report"]["tenant_id"]
    assert await catalog_of(world, copy) == await catalog_of(world, acme)
    assert [(await read(world, copy, file))["unchanged"] for file in FILES.values()] == [3, 3]
    exported = await world.call("export_catalog", admin(acme))
    assert (await read(world, copy, exported.raw))["unchanged"] == 6
    assert len((await world.call("list_models", admin(copy))).json["items"]) == 2


async def test_models_are_part_of_what_the_tenant_takes_away(world: World, acme: str) -> None:
    found = (await world.call("export_tenant", admin(acme), query={"kind": "model"})).json["items"]
    assert {one["item"]["identifier"] for one in found} == {"one", "two"}


async def test_anothers_model_is_named_like_one_that_never_was(world: World, acme: str) -> None:
    (model, _) = (await world.call("list_models", admin(acme))).json["items"]
    other = admin(str((await world.onboard("globex"))["id"]))
    for name, body in (("import_catalog", FILES["one"]), ("export_catalog", None)):
        answers = [
            await world.call(name, other, body, query={"model": id}, headers={**XML, "x-request-id": "same"})
            for id in (model["id"], "01900000-0000-7000-8000-00000000abcd")
        ]
        assert [answer.status for answer in answers] == [404, 404]
        assert answers[0].raw == answers[1].raw
    assert await catalog_of(world, other.tenant_id or "") == {}
