"""A disk that takes nothing more: every call is told to come again, and health says why.

Made by the operating system itself: with the limit of a file's size at nothing, no write of this process succeeds.
"""

import re
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from functions.backups.snapshot import Snapshot
from functions.kinds import KINDS
from shared.errors import Unavailable
from shared.ids import PLATFORM_TENANT_ID
from shared.work.outbox import OUTBOX
from tests.unit.world import AGENT, STAFF, World, admin

BODIES: dict[str, Any] = {"create_agent": AGENT, "import_catalog": Path("cli/samples/it4it.xml").read_bytes()}
XML = {"content-type": "application/xml"}


@contextmanager
def full_disk() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
async def fresh(tmp_path: Path) -> AsyncIterator[World]:
    """A process whose cursor key is one of its own, not yet made."""
    world = World.over(tmp_path / "data", flowgrid_cursor_key="")
    yield world
    await world.close()


async def test_every_route_answers_503_on_a_full_disk(fresh: World) -> None:
    tenant_id = (await fresh.onboard())["id"]
    answers = {}
    with full_disk():
        for route in fresh.core.endpoint.routes:
            if route.role is None:
                continue
            params = {name: tenant_id for name in ("id", *_names(route.path))}
            body = BODIES.get(route.name)
            headers = XML if isinstance(body, bytes) else {}
            caller = STAFF if route.platform else admin(tenant_id)
            answer = await fresh.call(route.name, caller, body, params=params, headers=headers)
            answers[route.name] = (answer.status, answer.headers.get("Retry-After"))
    metered = {name: answer for name, answer in answers.items() if not _staff(fresh, name)}
    assert {name: answer for name, answer in metered.items() if answer != (503, "1")} == {}
    assert {name: status for name, (status, _) in answers.items() if status >= 500 and status != 503} == {}


async def test_the_first_list_and_the_first_import_answer_503_on_a_full_disk(fresh: World) -> None:
    """They make the cursors' key and the blob folder; of the platform's own tenant no other write comes first."""
    with full_disk():
        listed = await fresh.call(
            "list_agents", STAFF, query={"limit": "1"}, headers={"x-tenant-id": PLATFORM_TENANT_ID}
        )
        imported = await fresh.call(
            "import_catalog", STAFF, BODIES["import_catalog"], headers={**XML, "x-tenant-id": PLATFORM_TENANT_ID}
        )
    assert [answer.status for answer in (listed, imported)] == [503, 503]


async def test_health_names_everything_that_a_full_disk_stops(world: World) -> None:
    await world.onboard()
    with full_disk():
        answer = await world.call("get_health")
    failing = {name for name, check in answer.json["checks"].items() if check["status"] != "ok"}
    assert (answer.status, failing) == (503, {"database", "database:shard-1", "serviceBus", "blobs"})


async def test_after_a_full_disk_everything_goes_on_and_every_answered_call_is_metered(world: World) -> None:
    tenant_id = (await world.onboard())["id"]
    who = admin(tenant_id)
    await world.queued("usage-events")
    with full_disk():
        refused = [await world.call("create_agent", who, AGENT) for _ in range(3)]
        refused += [await world.call("list_agents", who) for _ in range(3)]
    served = [await world.call("create_agent", who, AGENT), await world.call("list_agents", who)]
    assert [answer.status for answer in (*refused, *served)] == [503] * 6 + [201, 200]
    assert len(served[1].json["items"]) == 1
    calls = [event for event in await world.queued("usage-events") if event["type"] == "api_calls"]
    assert len(calls) == 2
    await world.core.services.outbox.flush()
    session = await world.session(tenant_id)
    assert (await session.store.query(OUTBOX)).items == []


def test_a_snapshot_without_room_is_an_outage_and_the_job_comes_again() -> None:
    with pytest.raises(Unavailable, match="no room"), Snapshot(KINDS) as snapshot:
        snapshot._db.execute("PRAGMA max_page_count = 10")
        snapshot._db.executemany("INSERT INTO items VALUES ('agent', ?, 1, ?)", ((n, "x" * 900) for n in range(100)))


def _names(path: str) -> list[str]:
    return re.findall(r"{(\w+)", path)


def _staff(world: World, name: str) -> bool:
    return next(route for route in world.core.endpoint.routes if route.name == name).platform
