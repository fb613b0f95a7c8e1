"""Health: what is looked at, by whom, how often, and what it says where calls go on all the same."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from unittest.mock import ANY

import pytest

from functions.audit.segments import Segments
from functions.backups import retention
from functions.backups.service import BackupService
from functions.backups.soundness import Soundness
from functions.platform.freshness import Freshness
from functions.platform.health import HealthService, Seen
from functions.platform.own_ai import OwnAi
from functions.platform.seals import Seals
from functions.usage.fleet import FLEET
from functions.usage.hours import HOUR
from shared.ai.port import Connection
from shared.database.port import Swept
from shared.database.sqlite import REGISTRY
from shared.errors import Concern, Unavailable
from shared.outgoing.client import Outgoing
from shared.telemetry.port import Telemetry
from tests.unit.world import AGENT, FakeClock, World, admin

Ask = Callable[[], Awaitable[Seen | None]]


class Asked:
    """A check that counts how often it is made, and answers what it is told to."""

    def __init__(self, wrong: Exception | None = None, seen: Seen | None = None) -> None:
        self.times = 0
        self.wrong = wrong
        self.seen = seen
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self) -> Seen | None:
        self.times += 1
        self.begun.set()
        await self.open.wait()
        if self.wrong is not None:
            raise self.wrong
        return self.seen


# What it says


@pytest.mark.parametrize("wrong", [Unavailable("away"), Concern("look at this"), RuntimeError("a mistake of ours")])
async def test_what_calls_go_on_without_makes_it_degraded_and_not_failing(wrong: Exception) -> None:
    health = await HealthService({"database": Asked()}, {"redis": Asked(wrong)}, {}, FakeClock()).check()
    assert (health.status, health.fails, health.checks["redis"].status) == ("degraded", False, "error")


async def test_what_calls_fail_without_makes_it_failing() -> None:
    health = await HealthService({"database": Asked(Unavailable("away"))}, {"redis": Asked()}, {}, FakeClock()).check()
    assert (health.status, health.fails, health.checks["database"].message) == ("degraded", True, "away")


async def test_a_mistake_of_a_check_is_told_without_what_is_in_it() -> None:
    health = await HealthService({"database": Asked(RuntimeError("secret"))}, {}, {}, FakeClock()).check()
    assert health.checks["database"].message == "it could not be looked at (RuntimeError)"


async def test_a_check_tells_how_long_it_took_and_what_it_has_seen() -> None:
    clock = FakeClock()

    async def slow() -> Seen:
        clock.advance(seconds=0.25)
        return Seen("two days", age_seconds=172_800, waiting=3)

    check = (await HealthService({}, {}, {"backups": slow}, clock).check()).checks["backups"]
    assert check.model_dump() == {
        "status": "ok",
        "essential": False,
        "message": "two days",
        "latency_ms": 250.0,
        "age_seconds": 172_800,
        "waiting": 3,
    }


async def test_telemetry_is_told_of_each_look_that_found_an_error_and_of_no_other() -> None:
    told = list[tuple[str, float, Mapping[str, str]]]()

    class Recording(Telemetry):
        def metric(
            self, name: str, tenant_id: str, value: float, properties: Mapping[str, str], count: int = 1
        ) -> None:
            told.append((name, value, properties))

    away, clock = Asked(Unavailable("away")), FakeClock()
    health = HealthService(
        {"database": away}, {"redis": Asked()}, {"backups": Asked(Concern("old"))}, clock, Recording()
    )
    await health.check()
    await health.check()  # which looks at nothing anew
    failed = [("database", "true"), ("backups", "false")]
    assert told == [("Check Failed", 1, {"check": name, "essential": essential}) for name, essential in failed]


# How often it looks


async def test_a_hundred_at_once_make_one_look() -> None:
    ask = Asked()
    ask.open.clear()
    health = HealthService({"database": ask}, {}, {}, FakeClock())
    asking = [asyncio.create_task(health.check()) for _ in range(100)]
    await ask.begun.wait()
    ask.open.set()
    answers = await asyncio.gather(*asking)
    assert (ask.times, {one.status for one in answers}) == (1, {"healthy"})


async def test_who_hangs_up_takes_the_look_from_nobody() -> None:
    ask = Asked()
    ask.open.clear()
    health = HealthService({"database": ask}, {}, {}, FakeClock())
    first, second = (asyncio.create_task(health.check()) for _ in range(2))
    await ask.begun.wait()
    first.cancel()
    ask.open.set()
    assert (await second).status == "healthy"
    assert ask.times == 1


@pytest.mark.parametrize(
    ("group", "wrong", "seconds"),
    [
        (0, None, 5),
        (0, Unavailable("away"), 1),
        (1, None, 5),
        (1, Concern("look"), 1),
        (2, None, 60),
        (2, Concern("look"), 15),
    ],
)
async def test_an_answer_is_kept_for_seconds_a_bad_one_for_fewer(
    group: int, wrong: Exception | None, seconds: float
) -> None:
    clock, ask = FakeClock(), Asked(wrong)
    essential, others, concerns = ({"it": ask} if number == group else {} for number in range(3))
    health = HealthService(essential, others, concerns, clock)
    seen = []
    for passed in (0, seconds - 0.1, 0.1, 0):
        clock.advance(seconds=passed)
        await health.check()
        seen.append(ask.times)
    assert seen == [1, 1, 2, 2]


async def test_what_is_well_again_is_told_after_a_second() -> None:
    clock, ask = FakeClock(), Asked(Unavailable("away"))
    health = HealthService({"database": ask}, {}, {}, clock)
    before = await health.check()
    ask.wrong = None
    clock.advance(seconds=1)
    assert (before.fails, (await health.check()).status) == (True, "healthy")


# Alive


async def test_a_probe_of_the_process_asks_nobody_and_is_never_locked_out(world: World) -> None:
    world.core.endpoint.global_limit = 1
    answers = [await world.call("get_live") for _ in range(3)]
    assert [(one.status, one.json) for one in answers] == [(200, {"status": "ok", "commit": None})] * 3
    assert answers[0].headers.get("RateLimit-Limit") is None
    assert (await world.call("get_health")).status == 200  # nothing of the window was taken
    assert (await world.call("get_health")).status == 429


async def test_a_probe_of_the_process_answers_where_everything_else_is_away(world: World) -> None:
    await world.onboard()
    for path in world.core.settings.flowgrid_data_dir.rglob("*.db"):
        path.unlink()
    assert ((await world.call("get_health")).status, (await world.call("get_live")).status) == (503, 200)


@pytest.mark.parametrize("known", [None, "0123456789012345678901234567890123456789"])
async def test_a_process_tells_of_which_commit_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch, known: str | None
) -> None:
    monkeypatch.setattr("functions.platform.http.commit", lambda: known)
    assert (await world.call("get_live")).json == {"status": "ok", "commit": known}


# How old the last of it is


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard(tier="enterprise"))["id"])


async def check(world: World, name: str) -> dict[str, Any]:
    world.clock.advance(minutes=1)
    found: dict[str, Any] = (await world.call("get_health")).json["checks"][name]
    return found


async def test_the_last_round_of_backups_is_told_by_its_age_and_missed_after_a_day(world: World, tenant: str) -> None:
    assert (await check(world, "backup_round"))["message"] == "there was none yet"
    await world.functions["backup_daily"](None)
    await world.drain()
    world.clock.advance(hours=1)
    assert (await check(world, "backup_round"))["age_seconds"] == 3660
    world.clock.advance(hours=26)
    missed = await check(world, "backup_round")
    assert (missed["status"], missed["message"]) == ("error", "The last daily backup round ended 27 hours ago.")
    world.clock.advance(days=4)
    assert (await check(world, "backup_round"))["message"].startswith("No daily backup round has come to its end")
    await world.functions["backup_daily"](None)
    assert (await check(world, "backup_round"))["status"] == "ok"


async def test_a_backup_that_could_not_be_begun_is_begun_the_same_day_and_told_until_then(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*args: Any, **kwargs: Any) -> Any:
        raise Unavailable("The shard is away.")

    monkeypatch.setattr(BackupService, "begin_daily", away)
    await world.functions["backup_daily"](None)
    told = await check(world, "backup_round")
    monkeypatch.undo()
    world.clock.advance(minutes=31)
    await world.sweep()
    await world.drain()
    made = (await world.call("list_backups", admin(tenant))).json["items"]
    assert (told["status"], told["message"]) == ("error", "No daily backup was begun for 1 tenants; see the log.")
    assert [one["status"] for one in made] == ["succeeded"]
    assert (await check(world, "backup_round"))["status"] == "ok"


async def test_old_backups_that_could_not_be_removed_are_told(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*args: Any, **kwargs: Any) -> Any:
        raise Unavailable("The shard is away.")

    await world.functions["backup_daily"](None)
    monkeypatch.setattr(retention, "being_restored", away)
    await world.functions["backup_retention"](None)
    told = await check(world, "backup_round")
    monkeypatch.undo()
    world.clock.advance(minutes=31)
    await world.sweep()
    assert told["message"] == "Old backups of 1 tenants could not be removed; see the log."
    assert (await check(world, "backup_round"))["status"] == "ok"


async def test_hours_that_nobody_closes_are_told(world: World, tenant: str) -> None:
    await world.call("get_me", admin(tenant))
    await world.drain()
    world.clock.advance(minutes=90)
    well = await check(world, "rollups")
    world.clock.advance(minutes=10)
    late = await check(world, "rollups")
    await world.functions["close_usage"](None)
    closed = await check(world, "rollups")
    assert [one["status"] for one in (well, late, closed)] == ["ok", "error", "ok"]
    assert (late["waiting"], late["age_seconds"]) == (1, 42 * 60)
    assert closed["age_seconds"] == 43 * 60  # since the hour began that was summed up last
    world.clock.advance(hours=1)
    assert (await check(world, "rollups"))["message"] == "The usage timer sums nothing up."


async def test_events_that_wait_are_counted_and_a_concern_after_minutes(world: World, tenant: str) -> None:
    await world.call("create_agent", admin(tenant), AGENT)  # what it sent is not forgotten yet
    waits = await check(world, "outbox")
    world.clock.advance(minutes=5)
    late = await check(world, "outbox")
    await world.sweep()
    assert [(one["status"], one["waiting"]) for one in (waits, late)] == [("ok", 1), ("error", 1)]
    assert (waits["age_seconds"], late["age_seconds"]) == (60, 420)
    assert (await check(world, "outbox"))["waiting"] == 0


async def test_health_tells_that_audit_trails_are_not_sealed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.onboard("acme")
    assert (await check(world, "audit_seals"))["message"] == "there was none yet"
    await world.functions["rounds"](None)
    world.clock.advance(minutes=2)
    sealed = await check(world, "audit_seals")
    assert (sealed["status"], sealed["age_seconds"]) == ("ok", 180)
    world.clock.advance(hours=4)
    missed = await check(world, "audit_seals")
    assert (missed["status"], missed["message"][:39]) == ("error", "No sealing of audit trails has come to ")

    async def away(*args: Any, **kwargs: Any) -> Any:
        raise Unavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(Segments, "write", away)
        await world.functions["rounds"](None)
    failed = await check(world, "audit_seals")
    assert (failed["status"], failed["waiting"]) == ("error", 1)
    world.clock.advance(hours=1)
    await world.functions["rounds"](None)
    assert (await check(world, "audit_seals"))["status"] == "ok"


async def test_what_cannot_be_known_while_a_database_is_away_is_that_databases_to_say(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = world.core
    fresh = Freshness(
        core.adapters.database, core.ledger, world.clock, backups="b", retention="r", hours=HOUR, summed=FLEET
    )

    async def away(*args: Any, **kwargs: Any) -> Any:
        raise Unavailable("away")

    for name in ("get", "query", "sweep"):
        monkeypatch.setattr(core.adapters.database.platform, name, away)
    seals = Seals(core.adapters.database, core.ledger, world.clock)
    seen = [await ask() for ask in (fresh.backup_round, fresh.rollups, fresh.outbox, seals.check)]
    assert {one.message for one in seen} == {"not known while a database is away"}


@pytest.mark.parametrize("name", ["outbox", "rollups"])
async def test_what_was_not_found_where_nobody_could_look_is_not_said_to_be_none(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    database: Any = world.core.adapters.database
    read = database._files.read

    async def but_the_shards(file: str, *args: Any, **kwargs: Any) -> Any:
        if file != REGISTRY:
            raise Unavailable("It is away.")
        return await read(file, *args, **kwargs)

    monkeypatch.setattr(database._files, "read", but_the_shards)
    found = await check(world, name)
    assert (found["message"], found.get("waiting")) == ("not known while a database is away", None)


async def test_backups_that_failed_are_told_while_their_database_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, answers = world.core.adapters.database.platform, [Swept([ANY]), Swept([], ["shard-1"]), Swept([])]

    async def swept(*args: Any, **kwargs: Any) -> Swept:
        return answers.pop(0)

    monkeypatch.setattr(platform, "sweep", swept)
    sound = Soundness(world.core.adapters.database, world.clock)
    told = []
    for _ in range(3):
        try:
            await sound.check()
            told.append("")
        except Concern as concern:
            told.append(concern.message[:2])
        world.clock.advance(minutes=6)
    assert told == ["1 ", "1 ", ""]


# The platform's own AI


async def test_an_ai_whose_key_is_not_known_now_is_no_error_of_the_ai() -> None:
    async def no_secrets() -> Connection | None:
        raise Unavailable("the secrets are away")

    seen = await OwnAi(no_secrets, Outgoing()).check()
    assert seen.message == "not known while the secrets are away"


async def test_an_ai_that_may_not_be_called_degrades_and_fails_nothing(tmp_path: Any) -> None:
    world = World.over(
        tmp_path,
        flowgrid_ai_wire="azure_openai",
        flowgrid_ai_base_url="https://127.0.0.1:9",
        flowgrid_ai_models="gpt",
    )
    answer = await world.call("get_health")
    assert (answer.status, answer.json["status"]) == (200, "degraded")
    assert answer.json["checks"]["openai"]["message"] == "The address of the AI provider may not be called."
    await world.close()
