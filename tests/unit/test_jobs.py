"""Long jobs: in slices, under a lease, and taken up again by the sweep whatever happened to their runner."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.clock import rfc3339
from shared.database.port import Operation
from shared.errors import Conflict, Full, NotFound, Throttled, Unavailable
from shared.jobs.jobs import MAX_ATTEMPTS, Continue, Done, Job, Jobs, Wait, enqueue
from shared.jobs.messages import LOOK_AGAIN_SECONDS
from shared.messaging.port import Message
from shared.work.resources import PageRequest, Versioned, load
from shared.work.session import TenantSession
from tests.unit.world import OTHER_ID, TENANT_ID, WatchedStore, World, admin, entry, register, session

QUEUE = "jobs"
JOB_ID = "0190c2a8-7e10-7abc-8def-00000000000b"
Work = Callable[[TenantSession, Job], Awaitable[Done | Continue | Wait]]


async def nothing() -> None:
    """Happens meanwhile."""


class Bench:
    """A world with one tenant, one job type, and what its handler does next."""

    def __init__(self, world: World, session: TenantSession) -> None:
        self.world = world
        self.session = session
        self.seen: list[dict[str, Any]] = []
        self.work: Work = self.done
        self.given_up: list[str] = []
        self.giving_up: Exception | None = None
        self.paused: list[float] = []
        self.looked_again: Callable[[], Awaitable[object]] = nothing
        self.asleep = asyncio.Event()
        self.renewals = asyncio.Semaphore(0)
        self.jobs = self.runner()

    async def pause(self, seconds: float) -> None:
        """Stands still until `renewals` lets it go on; before another look at the job, `looked_again` is done."""
        if seconds in LOOK_AGAIN_SECONDS:
            await self.looked_again()
            return
        self.paused.append(seconds)
        self.asleep.set()
        await self.renewals.acquire()

    def runner(self) -> Jobs:
        core = self.world.core
        return Jobs(
            {"count": self._slice},
            {"count": self._give_up},
            queue=QUEUE,
            directory=core.directory,
            database=core.adapters.database,
            messaging=core.adapters.messaging,
            services=core.services,
            pause=self.pause,
        )

    async def renewal(self) -> None:
        """One more renewal of the lease begins and ends."""
        self.asleep.clear()
        self.renewals.release()
        await self.asleep.wait()

    async def _slice(self, session: TenantSession, job: Job) -> Done | Continue | Wait:
        self.seen.append(dict(job.checkpoint))
        return await self.work(session, job)

    async def _give_up(self, session: TenantSession, job: Job) -> None:
        self.given_up.append(job.status)
        if self.giving_up is not None:
            raise self.giving_up

    async def done(self, session: TenantSession, job: Job) -> Done:
        return Done({"counted": len(self.seen)})

    async def start(self, type: str = "count", **input: Any) -> Job:
        change = self.session.change()
        return await change.commit(enqueue(change, self.session, QUEUE, type, input, id=JOB_ID))

    async def run(self, jobs: Jobs | None = None) -> None:
        await (jobs or self.jobs).run(self.session.id, JOB_ID)

    async def job(self) -> Job:
        return (await load(self.session, Job, JOB_ID)).value

    async def due(self) -> int:
        """How many messages of the queue are due, taking them."""
        return len(await self.world.queued(QUEUE))


@pytest.fixture
async def bench(world: World) -> Bench:
    return Bench(world, session(world.core, entry(), await register(world.core), admin(TENANT_ID)))


def raising(error: Exception) -> Work:
    async def work(session: TenantSession, job: Job) -> Done | Continue:
        raise error

    return work


# Starting


async def test_a_new_job_is_queued_with_its_message(bench: Bench) -> None:
    job = await bench.start(number=7)
    message = {"job_id": JOB_ID, "revision": 1}
    assert (job.status, job.input, await bench.world.queued(QUEUE)) == ("queued", {"number": 7}, [message])


async def test_a_job_of_the_same_id_is_started_once(bench: Bench) -> None:
    await bench.start()
    with pytest.raises(Conflict):
        await bench.start()


async def test_a_job_that_is_refused_sends_no_message(bench: Bench) -> None:
    await bench.start()
    await bench.due()
    with pytest.raises(Conflict):
        await bench.start()
    assert await bench.due() == 0


# Slices


async def test_a_job_that_is_done_keeps_its_result(bench: Bench) -> None:
    await bench.start()
    await bench.run()
    job = await bench.job()
    assert (job.status, job.result, job.error) == ("succeeded", {"counted": 1}, None)


async def test_a_slice_that_is_not_the_last_keeps_its_checkpoint_and_sends_the_next(bench: Bench) -> None:
    async def half(session: TenantSession, job: Job) -> Continue:
        return Continue({"at": 1})

    bench.work = half
    await bench.start()
    await bench.due()
    await bench.run()
    job = await bench.job()
    assert (job.status, job.checkpoint, job.slices, job.attempts, await bench.due()) == ("queued", {"at": 1}, 1, 0, 1)


async def test_the_next_slice_begins_at_the_checkpoint(bench: Bench) -> None:
    async def thirds(session: TenantSession, job: Job) -> Done | Continue:
        at = job.checkpoint.get("at", 0)
        return Continue({"at": at + 1}) if at < 2 else Done({})

    bench.work = thirds
    await bench.start()
    while await bench.due():
        await bench.run()
    assert (bench.seen, (await bench.job()).status) == ([{}, {"at": 1}, {"at": 2}], "succeeded")


async def test_a_job_works_in_its_tenant_for_the_one_who_started_it(bench: Bench) -> None:
    sessions: list[TenantSession] = []

    async def look(session: TenantSession, job: Job) -> Done:
        sessions.append(session)
        return Done({})

    bench.work = look
    job = await bench.start()
    await bench.run()
    assert [(one.id, one.user_id) for one in sessions] == [(TENANT_ID, job.created_by)]


@pytest.mark.parametrize("work", ["done", "failed"])
async def test_the_message_of_a_finished_job_changes_nothing(bench: Bench, work: str) -> None:
    bench.work = bench.done if work == "done" else raising(Conflict("no"))
    await bench.start()
    await bench.run()
    before = await bench.job()
    await bench.run()
    assert (await bench.job(), len(bench.seen)) == (before, 1)


async def test_the_message_of_a_job_that_is_not_there_comes_again(bench: Bench) -> None:
    """A replica may be behind: who has it taken for done loses the job until the sweep."""
    with pytest.raises(Unavailable):
        await bench.run()
    assert bench.seen == []


async def test_the_message_of_a_tenant_that_is_not_there_comes_again(bench: Bench) -> None:
    with pytest.raises(Unavailable):
        await bench.jobs.run("0190c2a8-7e10-7abc-8def-00000000dead", JOB_ID)
    assert bench.seen == []


async def test_a_job_of_another_tenant_is_not_found(bench: Bench) -> None:
    await bench.start()
    await register(bench.world.core, OTHER_ID)
    with pytest.raises(Unavailable):
        await bench.jobs.run(OTHER_ID, JOB_ID)
    assert bench.seen == []


async def test_a_job_that_a_replica_has_not_heard_of_is_looked_for_again(bench: Bench) -> None:
    bench.looked_again = bench.start
    await bench.run()
    assert (await bench.job()).status == "succeeded"


async def test_a_message_about_a_later_revision_waits_for_it(bench: Bench) -> None:
    """What another instance has just queued may still be read as running: its message would be taken for done."""

    async def more(session: TenantSession, job: Job) -> Continue:
        return Continue({"number": 1})

    bench.work = more
    await bench.start()
    await bench.run()
    [_, again] = await bench.world.queued(QUEUE)
    assert again == {"job_id": JOB_ID, "revision": 3}
    bench.work = bench.done
    with pytest.raises(Unavailable):
        await bench.jobs.run(TENANT_ID, JOB_ID, 4)
    assert len(bench.seen) == 1
    await bench.jobs.run(TENANT_ID, JOB_ID, again["revision"])
    assert (await bench.job()).status == "succeeded"


# The lease


async def test_a_job_in_hand_is_not_taken_by_a_second_runner(bench: Bench) -> None:
    async def meanwhile(session: TenantSession, job: Job) -> Done:
        await bench.run(bench.runner())
        return Done({})

    bench.work = meanwhile
    await bench.start()
    await bench.run()
    assert len(bench.seen) == 1


async def test_two_runners_that_claim_at_once_are_one(bench: Bench) -> None:
    """Both have read the job before either has claimed it: the second claim is refused by its ETag."""
    await bench.start()
    store = bench.session.store
    stored = await store.get(Job.KIND, JOB_ID)
    assert stored is not None
    await bench.run()
    claimed = await bench.jobs._claim(bench.session, Versioned.of(Job, stored))
    assert claimed is None


async def test_a_runner_that_vanished_is_replaced_after_its_lease(bench: Bench) -> None:
    class Killed(BaseException):
        pass

    async def vanish(session: TenantSession, job: Job) -> Done:
        raise Killed

    bench.work = vanish
    await bench.start()
    with pytest.raises(Killed):
        await bench.run()
    bench.work = bench.done
    bench.world.clock.advance(seconds=91)
    await bench.run()
    job = await bench.job()
    assert (job.status, job.attempts) == ("succeeded", 2)


async def test_a_runner_that_outlived_its_lease_does_not_undo_what_its_successor_did(bench: Bench) -> None:
    async def too_slow(session: TenantSession, job: Job) -> Continue:
        bench.world.clock.advance(seconds=91)
        bench.work = bench.done
        await bench.run(bench.runner())
        return Continue({"at": "an old checkpoint"})

    bench.work = too_slow
    await bench.start()
    await bench.due()
    await bench.run()
    assert ((await bench.job()).status, await bench.due()) == ("succeeded", 0)


async def test_a_runner_has_a_lease_of_ninety_seconds(bench: Bench) -> None:
    async def look(session: TenantSession, job: Job) -> Done:
        return Done({"until": job.lease_until})

    bench.work = look
    await bench.start()
    await bench.run()
    assert (await bench.job()).result == {"until": rfc3339(bench.world.clock.now() + timedelta(seconds=90))}


@pytest.mark.parametrize(("seconds", "seen"), [(89, 0), (90, 1)])
async def test_a_killed_runner_is_replaced_when_its_lease_has_run_out_and_no_earlier(
    bench: Bench, seconds: int, seen: int
) -> None:
    async def vanish(session: TenantSession, job: Job) -> Done:
        raise asyncio.CancelledError

    bench.work = vanish
    await bench.start()
    with pytest.raises(asyncio.CancelledError):
        await bench.run()
    bench.world.clock.advance(seconds=seconds)
    bench.seen.clear()
    bench.work = bench.done
    await bench.run()
    assert len(bench.seen) == seen


async def test_a_slice_at_work_keeps_its_lease_however_long_it_takes(bench: Bench) -> None:
    async def long(session: TenantSession, job: Job) -> Done:
        await asyncio.sleep(0)
        for _ in range(5):
            bench.world.clock.advance(seconds=30)
            await bench.renewal()
        bench.world.clock.advance(seconds=89)
        await bench.run(bench.runner())
        return Done({"swept": await bench.jobs.sweep(), "revision": (await bench.job()).revision == job.revision})

    bench.work = long
    await bench.start()
    await bench.run()
    job = await bench.job()
    assert (len(bench.seen), job.status, job.result) == (1, "succeeded", {"swept": 0, "revision": True})
    assert set(bench.paused) == {30.0}


async def test_a_paused_runner_does_not_renew_what_its_successor_has(bench: Bench) -> None:
    async def paused(session: TenantSession, job: Job) -> Continue:
        await asyncio.sleep(0)
        bench.world.clock.advance(seconds=91)
        bench.work = bench.done
        await bench.run(bench.runner())
        before = await bench.job()
        bench.renewals.release()
        for _ in range(20):
            await asyncio.sleep(0)
        return Continue({"unchanged": before == await bench.job()})

    bench.work = paused
    await bench.start()
    await bench.run()
    assert (await bench.job()).status == "succeeded"


async def test_a_lease_that_cannot_be_renewed_now_is_renewed_next_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def long(session: TenantSession, job: Job) -> Done:
        await asyncio.sleep(0)
        with monkeypatch.context() as broken:
            broken.setattr(session.store, "get", away)
            bench.world.clock.advance(seconds=30)
            await bench.renewal()
        bench.world.clock.advance(seconds=30)
        await bench.renewal()
        return Done({"until": (await bench.job()).lease_until})

    async def away(*_: Any) -> None:
        raise Unavailable("away")

    bench.work = long
    await bench.start()
    began = bench.world.clock.now()
    await bench.run()
    assert (await bench.job()).result == {"until": rfc3339(began + timedelta(seconds=150))}


async def test_a_slice_whose_lease_is_renewed_while_it_finishes_is_finished(bench: Bench) -> None:
    """The renewal has moved the ETag between the look and the write: look again."""
    await bench.start()
    store = WatchedStore(bench.session.store)
    claimed = await bench.jobs._claim(bench.session, await load(bench.session, Job, JOB_ID))
    assert claimed is not None
    tenant = replace(bench.session, store=store)

    async def renewed(operations: Sequence[Operation]) -> None:
        store.before = None
        assert await bench.jobs._renew(bench.session, claimed)

    store.before = renewed
    assert await bench.jobs._finish(tenant, claimed, status="succeeded")
    assert (await bench.job()).status == "succeeded"


async def test_a_slice_that_is_taken_over_while_it_finishes_is_not_finished(
    bench: Bench, log: pytest.LogCaptureFixture
) -> None:
    await bench.start()
    store = WatchedStore(bench.session.store)
    claimed = await bench.jobs._claim(bench.session, await load(bench.session, Job, JOB_ID))
    assert claimed is not None
    tenant = replace(bench.session, store=store)

    async def taken_over(operations: Sequence[Operation]) -> None:
        store.before = None
        bench.world.clock.advance(seconds=91)
        assert await bench.jobs._claim(bench.session, await load(bench.session, Job, JOB_ID)) is not None

    store.before = taken_over
    assert not await bench.jobs._finish(tenant, claimed, status="succeeded")
    assert (await bench.job()).status == "running"
    assert "a slice outlived its lease" in log.messages


@pytest.mark.parametrize("number", range(2))
async def test_a_store_that_is_away_while_a_job_is_claimed_or_finished_only_delays_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    await bench.start()
    await bench.due()
    store, commits = bench.session.store, []
    commit = store.commit

    async def away(operations: Sequence[Operation]) -> None:
        commits.append(operations)
        if len(commits) - 1 == number:
            raise Unavailable("away")
        await commit(operations)

    monkeypatch.setattr(store, "commit", away)
    with pytest.raises(Unavailable):
        await bench.run()
    bench.world.clock.advance(seconds=91)
    assert (await bench.jobs.sweep(), await bench.due()) == (1, 1)
    await bench.run()
    assert (await bench.job()).status == "succeeded"


# The sweep


async def test_the_sweep_sends_a_job_again_whose_message_was_lost(bench: Bench) -> None:
    await bench.start()
    await bench.due()
    bench.world.clock.advance(minutes=2)
    assert (await bench.jobs.sweep(), await bench.due()) == (1, 1)


async def test_the_sweep_leaves_a_job_alone_whose_lease_runs(bench: Bench) -> None:
    async def meanwhile(session: TenantSession, job: Job) -> Done:
        bench.world.clock.advance(seconds=89)
        return Done({"swept": await bench.jobs.sweep()})

    bench.work = meanwhile
    await bench.start()
    await bench.run()
    assert (await bench.job()).result == {"swept": 0}


async def test_the_sweep_sends_one_message_however_often_it_comes(bench: Bench) -> None:
    await bench.start()
    await bench.due()
    bench.world.clock.advance(minutes=2)
    for _ in range(3):
        await bench.jobs.sweep()
    assert await bench.due() == 1


@pytest.mark.parametrize("work", ["done", "failed"])
async def test_the_sweep_leaves_finished_jobs_alone(bench: Bench, work: str) -> None:
    bench.work = bench.done if work == "done" else raising(Conflict("no"))
    await bench.start()
    await bench.run()
    bench.world.clock.advance(hours=1)
    assert await bench.jobs.sweep() == 0


# Failures


async def test_a_service_that_is_away_makes_the_slice_come_again(bench: Bench) -> None:
    bench.work = raising(Unavailable("the disk is away"))
    await bench.start()
    await bench.run()
    job = await bench.job()
    assert (job.status, job.error, job.attempts) == ("queued", "the disk is away", 1)


async def test_each_try_waits_twice_as_long_as_the_one_before(bench: Bench) -> None:
    bench.work = raising(Throttled("slowly"))
    await bench.start()
    await bench.due()
    waited: list[int] = []
    for _ in range(9):
        await bench.run()
        waited.append(0)
        while not await bench.due():
            bench.world.clock.advance(seconds=1)
            waited[-1] += 1
    assert waited == [2, 4, 8, 16, 32, 64, 128, 256, 300]


async def test_a_slice_that_waits_for_its_next_try_has_a_minute_more_to_begin(bench: Bench) -> None:
    bench.work = raising(Throttled("slowly"))
    await bench.start()
    await bench.due()
    for _ in range(2):
        await bench.run()
    job = await bench.job()
    assert job.lease_until == rfc3339(bench.world.clock.now() + timedelta(seconds=64))
    await bench.due()
    bench.world.clock.advance(seconds=64)
    assert await bench.jobs.sweep() == 0
    bench.world.clock.advance(seconds=1)
    assert await bench.jobs.sweep() == 1


async def test_a_slice_that_succeeds_after_failures_clears_the_error(bench: Bench) -> None:
    bench.work = raising(Unavailable("the disk is away"))
    await bench.start()
    await bench.run()
    bench.work = bench.done
    await bench.run()
    assert (await bench.job()).error is None


async def test_a_slice_is_given_up_after_ten_tries(bench: Bench) -> None:
    bench.work = raising(Unavailable("the disk is away"))
    await bench.start()
    for _ in range(15):
        await bench.run()
    job = await bench.job()
    assert (len(bench.seen), job.status, job.error) == (10, "failed", "gave up after 10 attempts at the same slice")


async def test_a_new_slice_has_ten_tries_of_its_own(bench: Bench) -> None:
    async def moody(session: TenantSession, job: Job) -> Continue:
        if len(bench.seen) % 2:
            raise Unavailable("away")
        return Continue({"at": len(bench.seen)})

    bench.work = moody
    await bench.start()
    for _ in range(30):
        await bench.run()
    assert (await bench.job()).status == "queued"


async def test_a_job_that_must_not_be_done_fails_with_the_reason(bench: Bench) -> None:
    bench.work = raising(NotFound("There is no such backup."))
    await bench.start()
    await bench.run()
    job = await bench.job()
    assert (job.status, job.error) == ("failed", "There is no such backup.")


async def test_an_unexpected_error_fails_the_job_in_words_that_tell_no_secret(
    bench: Bench, log: pytest.LogCaptureFixture
) -> None:
    bench.work = raising(RuntimeError("password=hunter2"))
    await bench.start()
    await bench.run()
    job = await bench.job()
    assert (job.status, job.error) == ("failed", "Something went wrong on our side; quote the job id.")
    (line,) = [vars(one) for one in log.records if one.message == "job failed"]
    assert (line["job_id"], line["reason"]) == (job.id, "RuntimeError")


async def test_an_unexpected_error_is_logged_with_its_trace(bench: Bench, log: pytest.LogCaptureFixture) -> None:
    bench.work = raising(RuntimeError("password=hunter2"))
    await bench.start()
    await bench.run()
    (record,) = [one for one in log.records if one.levelno == logging.ERROR]
    assert record.exc_info is not None and record.exc_info[0] is RuntimeError


async def test_a_job_of_an_unknown_type_waits_for_a_release_that_knows_it(bench: Bench) -> None:
    await bench.start("no such type")
    await bench.run()
    job = await bench.job()
    assert (job.status, job.error) == ("queued", "This release knows no jobs of the type no such type.")


# Consumers


async def test_a_message_that_names_no_job_becomes_a_dead_letter(world: World) -> None:
    await world.core.adapters.messaging.send("jobs", [Message("m-1", TENANT_ID, {"job": 7}), Message("m-2", "", {})])
    await world.drain()
    letters = await world.core.dead_letters.list(PageRequest(10))
    assert [one.reason for one in letters.items] == ["names no job of a tenant"] * 2


async def test_updated_at_of_a_job_does_not_move_backwards(bench: Bench) -> None:
    job = await bench.start()
    bench.world.clock.advance(hours=-1)
    await bench.run()
    assert (await bench.job()).updated_at == job.updated_at


async def test_a_new_job_has_a_minute_to_begin(bench: Bench) -> None:
    job = await bench.start()
    assert job.lease_until == rfc3339(bench.world.clock.now() + timedelta(minutes=1))


# Giving up, and waiting for something else


async def test_a_job_that_fails_for_good_first_gives_back_what_it_holds(bench: Bench) -> None:
    bench.work = raising(Conflict("no"))
    await bench.start()
    await bench.run()
    assert (bench.given_up, (await bench.job()).status) == (["running"], "failed")


async def test_a_job_that_succeeds_or_is_tried_again_gives_nothing_back(bench: Bench) -> None:
    bench.work = raising(Unavailable("later"))
    await bench.start()
    await bench.run()
    bench.work = bench.done
    await bench.run()
    assert (bench.given_up, (await bench.job()).status) == ([], "succeeded")


async def test_a_job_that_cannot_give_back_what_it_holds_is_not_over(bench: Bench) -> None:
    bench.work, bench.giving_up = raising(Conflict("no")), Unavailable("the store is away")
    await bench.start()
    await bench.run()
    assert (await bench.job()).status == "queued"
    bench.giving_up = None
    await bench.run()
    assert (bench.given_up, (await bench.job()).status) == (["running", "running"], "failed")


async def test_a_job_that_has_no_room_to_give_back_what_it_holds_says_so_and_goes_on_once_there_is(
    bench: Bench,
) -> None:
    bench.work, bench.giving_up = raising(Conflict("No.")), Full("20 GB are all.")
    await bench.start()
    for _ in range(MAX_ATTEMPTS + 2):
        await bench.run()
    job = await bench.job()
    told = "No. 20 GB are all. What it holds is given back once there is room."
    assert (job.status, job.attempts, job.error) == ("queued", 0, told)
    bench.giving_up = None
    await bench.run()
    assert ((await bench.job()).status, (await bench.job()).error) == ("failed", "No.")


async def test_a_job_may_wait_for_something_else_more_often_than_it_may_fail(bench: Bench) -> None:
    async def wait(session: TenantSession, job: Job) -> Wait:
        return Wait("another backup is under way", seconds=5)

    bench.work = wait
    await bench.start()
    await bench.due()
    for _ in range(12):
        await bench.run()
        assert await bench.due() == 0
        bench.world.clock.advance(seconds=5)
        assert await bench.due() == 1
    job = await bench.job()
    assert (job.status, job.attempts, job.error) == ("queued", 0, "another backup is under way")
