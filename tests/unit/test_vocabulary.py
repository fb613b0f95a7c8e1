"""One word for one thing: statuses, jobs, times, enumerations; and how far a job has come."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from functions.backups.models import Backup
from shared.clock import rfc3339
from shared.database.port import Replace
from shared.jobs.jobs import Job
from shared.kinds import Kind
from shared.tenancy.directory import TENANT
from tests.unit.described import whole
from tests.unit.world import AGENT, STAFF, World, admin

TIME = re.compile(r"\d{4}-\d\d-\d\dT")
OURS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
OTHERS_WORDS = {"Pattern", "ElementType", "RelationshipType", "Layer"}  # the roadmap's, and ArchiMate's


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard("acme", tier="enterprise"))["id"])


def of_first_schema(kind: Kind) -> Kind:
    """The kind as a release before this one declared it."""
    return Kind(kind.name, container=kind.container, filtered=kind.filtered)


async def backed_up(world: World, tenant: str) -> dict[str, Any]:
    made = (await world.call("create_backup", admin(tenant))).json
    await world.drain()
    found: dict[str, Any] = (await world.call("get_backup", admin(tenant), params={"backup_id": made["id"]})).json
    return found


# Statuses


async def test_a_backup_that_is_written_has_succeeded_as_its_job_has(world: World, tenant: str) -> None:
    backup = await backed_up(world, tenant)
    job = (await world.call("get_job", admin(tenant), params={"job_id": backup["job_id"]})).json
    assert (backup["status"], job["status"]) == ("succeeded", "succeeded")


async def test_a_backup_that_was_stored_as_complete_has_succeeded_is_found_and_is_restored(
    world: World, tenant: str
) -> None:
    backup = await backed_up(world, tenant)
    store = (await world.session(tenant)).store
    stored = await store.get(Backup.KIND, backup["id"])
    assert stored is not None
    old = Replace(of_first_schema(Backup.KIND), backup["id"], {**stored.body, "status": "complete"}, stored.etag)
    await store.control.commit([old])
    listed = await world.call("list_backups", admin(tenant), query={"status": "succeeded", "type": "manual"})
    assert [(one["id"], one["status"]) for one in listed.json["items"]] == [(backup["id"], "succeeded")]
    world.clock.advance(seconds=1)
    asked = {"as_of": rfc3339(world.clock.now()), "target": "in_place", "confirm": "acme"}
    restore = (await world.call("create_restore", admin(tenant), asked)).json
    await world.drain()
    found = (await world.call("get_restore", admin(tenant), params={"restore_id": restore["id"]})).json
    assert (found["status"], found["report"]["backup_id"]) == ("succeeded", backup["id"]), found


async def test_no_status_has_two_names(world: World) -> None:
    words = {word for name, word in enumerated(await schemas(world)) if name == "status"}
    assert words == {
        *("queued", "running", "succeeded", "failed", "inconsistent", "pruning"),
        *("waiting", "cancelled", "begun", "ended", "dropped"),
        *("provisioning", "trial", "active", "suspended", "deleting", "invited", "disabled", "draft", "retired"),
        *("asking", "proposed", "accepted"),
        *("open", "final"),
        *("healthy", "degraded", "ok", "error"),
    }


# Jobs


async def test_a_job_is_named_by_job_id_everywhere(world: World) -> None:
    named = {name for schema in (await schemas(world)).values() for name in schema.get("properties", {})}
    assert {name for name in named if "job" in name} == {"job_id"}


async def test_a_tenant_that_was_stored_with_a_provisioning_job_shows_its_job_id(world: World, tenant: str) -> None:
    platform = world.core.adapters.database.platform
    stored = await platform.get(TENANT, tenant, tenant)
    assert stored is not None
    body = {name: value for name, value in stored.body.items() if name != "job_id"} | {"provisioning_job": tenant}
    await platform.put(Replace(of_first_schema(TENANT), tenant, body, stored.etag), tenant)
    shown = (await world.call("get_tenant", STAFF, params={"tenant_id": tenant})).json
    assert shown["job_id"] == tenant and "provisioning_job" not in shown


async def test_a_job_shows_how_far_it_has_come_and_not_what_it_goes_on_from(world: World, tenant: str) -> None:
    await world.call("create_agent", admin(tenant), AGENT)
    backup = (await world.call("create_backup", admin(tenant))).json
    where = {"job_id": backup["job_id"]}
    queued = (await world.call("get_job", admin(tenant), params=where)).json
    assert queued["progress"] == backup["progress"] == {"phase": None, "done": 0, "total": None}
    await world.drain()
    over = (await world.call("get_job", admin(tenant), params=where)).json
    made = (await world.call("get_backup", admin(tenant), params={"backup_id": backup["id"]})).json
    items = sum(made["counts"].values())
    assert over["progress"] == made["progress"] == {"phase": "finish", "done": items, "total": items}
    assert items > 1
    listed = (await world.call("list_jobs", admin(tenant))).json["items"]
    assert all({"checkpoint", "lease_until", "slices"}.isdisjoint(job) for job in (over, *listed))


async def test_a_backup_that_is_being_made_shows_its_jobs_progress_and_is_another_version_then(
    world: World, tenant: str
) -> None:
    backup = (await world.call("create_backup", admin(tenant))).json
    where = {"backup_id": backup["id"]}
    first = await world.call("get_backup", admin(tenant), params=where)
    store = (await world.session(tenant)).store
    stored = await store.get(Job.KIND, backup["job_id"])
    assert stored is not None
    body = {**stored.body, "progress": {"phase": "scan", "done": 7, "total": None}}
    await store.control.commit([Replace(Job.KIND, backup["job_id"], body, stored.etag)])
    seen = await world.call("get_backup", admin(tenant), params=where, headers={"if-none-match": first.etag})
    assert (seen.status, seen.json["progress"]["phase"], seen.json["progress"]["done"]) == (200, "scan", 7)


# Times and enumerations


async def test_every_time_that_is_shown_is_utc_with_microseconds(world: World, tenant: str) -> None:
    await world.call("create_agent", admin(tenant), AGENT)
    backup = await backed_up(world, tenant)
    asked = {"as_of": backup["as_of"].replace("Z", "+00:00"), "target": "in_place", "confirm": "acme"}
    await world.call("create_restore", admin(tenant), asked)
    await world.drain()
    trial = {"trial_ends_at": "2027-01-01T00:00:00+01:00"}
    await world.call("patch_tenant", STAFF, trial, params={"tenant_id": tenant})
    answers = [await world.call("list_tenants", STAFF), await world.call("get_health")]
    for name in ("list_agents", "list_backups", "list_restores", "list_jobs", "list_audit", "list_users", "get_usage"):
        answers.append(await world.call(name, admin(tenant)))
    for answer in answers:
        assert answer.status == 200
        odd = [text for text in texts(answer.json) if TIME.match(text) and not OURS.fullmatch(text)]
        assert odd == []


async def test_words_of_an_enumeration_are_lower_case_but_for_those_of_others(world: World) -> None:
    theirs = {"pattern", "type", "layer", "access_type", "method"}
    odd = {(name, word) for name, word in enumerated(await schemas(world)) if not re.fullmatch(r"[a-z_]+", word)}
    assert {name for name, _ in odd} <= theirs, odd


# What is looked at


async def schemas(world: World) -> dict[str, Any]:
    found: dict[str, Any] = (await world.call("get_openapi")).json["components"]["schemas"]
    return {name: whole(found, one) for name, one in found.items()}


def enumerated(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Field and word, of every enumeration of a schema."""
    for schema in found.values():
        for name, field in schema.get("properties", {}).items():
            for choice in (field, *field.get("anyOf", [])) if isinstance(field, dict) else ():
                words = choice.get("enum") or found.get(choice.get("$ref", "").rpartition("/")[2], {}).get("enum") or []
                yield from ((name, word) for word in words)


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from texts(one)
