"""Health, jobs, sweeps, logs: what operators look at."""

import asyncio
import io
import json
import logging
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from functions.platform.health import HealthService
from functions.platform.timer import blueprint
from shared.database.sqlite import REGISTRY
from shared.errors import Unavailable
from shared.jobs.jobs import enqueue
from shared.telemetry.log import JsonLines, configure, log_fields
from shared.telemetry.port import OFF
from shared.version import VERSION
from tests.unit.world import FakeClock, World, admin


async def well() -> None:
    return None


ESSENTIAL = ("database", "database:shard-1", "serviceBus", "blobs", "secrets")


NOTHING = {"message": None, "age_seconds": None, "waiting": None}
OTHER = {"status": "ok", "essential": False, "latency_ms": 0.0, **NOTHING}


async def away() -> None:
    raise Unavailable("the disk is full")


# Health


async def test_a_healthy_service_says_so(world: World) -> None:
    answer = await world.call("get_health")
    assert (answer.status, answer.json) == (
        200,
        {
            "status": "healthy",
            "checks": {
                **{name: {**OTHER, "essential": True} for name in ESSENTIAL},
                "openai": {**OTHER, "message": "none is set up; tenants use providers of their own"},
                "backup_round": {**OTHER, "message": "there was none yet"},
                "audit_seals": {**OTHER, "message": "there was none yet"},
                "rollups": {**OTHER, "message": "there was none yet"},
                "outbox": {**OTHER, "waiting": 0},
                **dict.fromkeys(("database:dedicated", "redis", "backups", "invariants", "rounds", "places"), OTHER),
            },
            "version": VERSION,
            "timestamp": "2026-11-24T12:00:00.000000Z",
        },
    )


async def test_a_service_without_its_database_is_degraded_and_says_why() -> None:
    health = await HealthService({"database": away, "blobs": well}, {}, {}, FakeClock()).check()
    assert (health.status, health.checks["database"].message, health.checks["blobs"].status) == (
        "degraded",
        "the disk is full",
        "ok",
    )


async def test_a_service_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("functions.platform.health.CHECK_SECONDS", 0.01)
    health = await HealthService({"database": silent}, {}, {}, FakeClock()).check()
    assert health.checks["database"].message == "no answer within 0.01 s"


async def test_a_degraded_service_answers_503(world: World) -> None:
    world.core.settings.flowgrid_data_dir.mkdir(parents=True, exist_ok=True)
    (world.core.settings.flowgrid_data_dir / "blobs").write_text("in the way")
    answer = await world.call("get_health")
    assert (answer.status, answer.json["checks"]["blobs"]["status"]) == (503, "error")


@pytest.mark.parametrize(
    ("part", "file"), [("database", "registry"), ("database:shard-1", "shard-1"), ("serviceBus", "queues")]
)
async def test_a_file_that_is_gone_is_told_by_the_part_that_needs_it(world: World, part: str, file: str) -> None:
    tenant_id = (await world.onboard())["id"]
    await world.call("list_agents", admin(tenant_id))
    (path,) = world.core.settings.flowgrid_data_dir.rglob(f"{file}.db")
    path.unlink()
    answer = await world.call("get_health")
    failing = {name: check["message"] for name, check in answer.json["checks"].items() if check["status"] != "ok"}
    assert (answer.status, list(failing)) == (503, [part])
    assert "not the file that was opened" in failing[part]


async def test_a_database_of_one_tenant_that_is_gone_is_told_without_its_name(world: World) -> None:
    for slug in ("acme", "globex"):
        await world.onboard(slug, tier="enterprise")
    lost = next(world.core.settings.flowgrid_data_dir.rglob("tenant-*.db"))
    lost.unlink()
    answer = await world.call("get_health")
    told = answer.json["checks"]["database:dedicated"]
    assert told["message"] == "1 of 2 databases of single tenants cannot be used."
    assert (answer.status, answer.json["status"]) == (200, "degraded")  # every other tenant's calls go on


@pytest.mark.parametrize("part", ["database", "database:shard-1"])
async def test_a_database_that_only_writes_is_not_healthy(
    world: World, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    await world.onboard()
    database: Any = world.core.adapters.database
    read, lost = database._files.read, part.removeprefix("database:").replace("database", REGISTRY)

    async def refused(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == lost:
            raise Unavailable("It is not read.")
        return await read(name, *args, **kwargs)

    monkeypatch.setattr(database._files, "read", refused)
    answer = await world.call("get_health")
    assert (answer.status, answer.json["checks"][part]["status"]) == (503, "error")


async def test_a_database_that_only_reads_is_not_healthy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.sqlite.BUSY_TIMEOUT_SECONDS", 0.01)
    await world.onboard()
    path = world.core.settings.flowgrid_data_dir / "database" / "shard-1.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = await world.call("get_health")
    assert [name for name, check in answer.json["checks"].items() if check["status"] != "ok"] == ["database:shard-1"]


# Jobs


async def test_an_admin_sees_a_job_of_the_own_tenant_only(world: World) -> None:
    tenants = [(await world.onboard(slug, tier="enterprise"))["id"] for slug in ("acme", "globex")]
    session = await world.session(tenants[0])
    change = session.change()
    job = await change.commit(enqueue(change, session, "jobs", "count", {}))
    answers = [await world.call("get_job", admin(tenant), params={"job_id": job.id}) for tenant in tenants]
    assert [answer.status for answer in answers] == [200, 404]


# Sweeps


async def test_a_sweep_that_fails_does_not_keep_the_others_from_running() -> None:
    ran: list[str] = []

    async def one() -> int:
        raise Unavailable("away")

    async def two() -> int:
        ran.append("two")
        return 1

    (function,) = blueprint({"one": one, "two": two}, OFF)._function_builders
    await function.build(None).get_user_function()(None)
    assert ran == ["two"]


# Logs


def line(**extra: Any) -> dict[str, Any]:
    record = logging.getLogger("flowgrid.test").makeRecord(
        "flowgrid.test", logging.WARNING, __file__, 1, "hello %s", ("world",), None, extra=extra
    )
    parsed: dict[str, Any] = json.loads(JsonLines().format(record))
    return parsed


def test_a_log_line_is_one_json_object_with_its_extras() -> None:
    logged = line(tenant_id="t-1", odd=object)
    assert (logged["level"], logged["logger"], logged["message"], logged["tenant_id"]) == (
        "warning",
        "flowgrid.test",
        "hello world",
        "t-1",
    )


def test_a_log_line_names_the_request_that_it_belongs_to() -> None:
    token = log_fields.set({"request_id": "r-1"})
    logged = line()
    log_fields.reset(token)
    assert logged["request_id"] == "r-1"


def test_logs_are_configured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("flowgrid")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr("sys.stderr", stream := io.StringIO())
    level = logger.level
    for _ in range(2):
        configure("WARNING")
    logging.getLogger("flowgrid.test").warning("once")
    logging.getLogger("flowgrid.test").info("too low")
    logger.setLevel(level)
    assert [json.loads(one)["message"] for one in stream.getvalue().splitlines()] == ["once"]
