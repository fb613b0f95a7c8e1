"""Health, jobs, sweeps, logs: what operators look at."""

import asyncio
import io
import json
import logging
from typing import Any

import pytest

from functions.platform.health import HealthService
from functions.platform.timer import blueprint
from shared.context import log_fields
from shared.errors import Unavailable
from shared.jobs import enqueue
from shared.telemetry.log import JsonLines, configure
from shared.version import VERSION
from tests.unit.world import FakeClock, World, admin


async def well() -> None:
    return None


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
                name: {"status": "ok", "message": None} for name in ("database", "messaging", "blobs", "secrets")
            },
            "version": VERSION,
            "timestamp": "2026-11-24T12:00:00.000000Z",
        },
    )


async def test_a_service_without_its_database_is_degraded_and_says_why() -> None:
    health = await HealthService({"database": away, "blobs": well}, FakeClock()).check()
    assert (health.status, health.checks["database"].message, health.checks["blobs"].status) == (
        "degraded",
        "the disk is full",
        "ok",
    )


async def test_a_service_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("functions.platform.health.CHECK_SECONDS", 0.01)
    health = await HealthService({"database": silent}, FakeClock()).check()
    assert health.checks["database"].message == "no answer within 0.01 s"


async def test_a_degraded_service_answers_503(world: World) -> None:
    world.core.settings.flowgrid_data_dir.mkdir(parents=True, exist_ok=True)
    (world.core.settings.flowgrid_data_dir / "blobs").write_text("in the way")
    answer = await world.call("get_health")
    assert (answer.status, answer.json["checks"]["blobs"]["status"]) == (503, "error")


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

    (function,) = blueprint({"one": one, "two": two})._function_builders
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
