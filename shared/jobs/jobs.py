"""Long jobs: durable, in slices, under a lease; whatever vanishes half-way is taken up again by the sweep.

A job is an item of its tenant. A message on the jobs queue runs one slice of it: claim the lease, work (the lease is
renewed meanwhile), store the checkpoint, send the continuation. Handlers are idempotent from their last checkpoint on.

A message names the revision that it is about: who reads an earlier one, or none, asks a replica that is behind (docs/
decisions/0024). What a slice reads is no older than its claim, which is a commit of its own process.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.apart import apart
from shared.auth.caller import Caller, RequestInfo
from shared.clock import SKEW, rfc3339, runs
from shared.database.port import Create, Database, Rejected, Replace, Where
from shared.errors import FlowgridError, Full, Unavailable
from shared.jobs.messages import named
from shared.kinds import Kind
from shared.messaging.port import Message, Messaging
from shared.telemetry.log import reason_of
from shared.tenancy.directory import Directory
from shared.work.change import Change
from shared.work.resources import Resource, Versioned, load
from shared.work.scope import Services
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.jobs")

LEASE = timedelta(seconds=90)
RENEW_SECONDS = 30.0
LONGEST_LEASE = timedelta(minutes=6)  # of a job that waits for its next try
FINISH_TRIES = 5
START_WITHIN = timedelta(minutes=1)
MAX_ATTEMPTS = 10
MAX_BACKOFF_SECONDS = 300
UNFINISHED = ["queued", "running"]
JobStatus = Literal["queued", "running", "succeeded", "failed"]


class Progress(BaseModel):
    """How far a job has come."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    phase: str | None = Field(None, description="What is being done; null until there is something to tell.")
    done: int = Field(0, description="Items that this phase has done.")
    total: int | None = Field(None, description="Items that it will have done at its end; null: not known.")


class Job(Resource):
    """A long job as it is stored; `attempts` counts the tries of the current slice."""

    KIND: ClassVar[Kind] = Kind("job", filtered=("type", "status", "lease_until"), sorted=("updated_at",))

    type: str = Field(description="What it does.")
    status: JobStatus = Field(description="How far it is.")
    input: dict[str, Any] = Field(description="What it was asked to do.")
    result: dict[str, Any] | None = Field(None, description="What it has come to, once it has succeeded.")
    error: str | None = Field(None, description="Why it failed, or what it waits for.")
    checkpoint: dict[str, Any] = Field(default_factory=dict, description="Where it goes on.")
    progress: Progress = Field(Progress(), description="How far it has come.")
    slices: int = Field(0, description="Parts done so far.")
    attempts: int = Field(0, description="Tries of the current part.")
    lease_until: str = Field(description="Until when whoever runs it has it.")


@dataclass(frozen=True)
class Done:
    """The job has succeeded, with this result; `done`: of how many items, None: as many as were told last."""

    result: Mapping[str, Any]
    done: int | None = None


@dataclass(frozen=True)
class Continue:
    """A slice is done; the next begins at this checkpoint, which nobody is shown but as this progress."""

    checkpoint: Mapping[str, Any]
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True)
class Wait:
    """Nothing can be done before something else is over: the same slice again, after a pause, as often as it takes."""

    reason: str
    seconds: int


Slice = Callable[[TenantSession, Job], Awaitable[Done | Continue | Wait]]
GiveUp = Callable[[TenantSession, Job], Awaitable[None]]


def enqueue(
    change: Change, session: TenantSession, queue: str, type: str, input: Mapping[str, Any], *, id: str | None = None
) -> Job:
    """A new job, committed and sent with the change. The same `id` again is `Conflict` at commit."""
    now = session.services.clock.now()
    job = Job(
        id=id or session.services.ids.new(),
        tenant_id=session.id,
        revision=1,
        created_at=change.at,
        updated_at=change.at,
        created_by=session.user_id,
        updated_by=session.user_id,
        type=type,
        status="queued",
        input=dict(input),
        lease_until=rfc3339(now + START_WITHIN),
    )
    change.write(Create(Job.KIND, job.id, job.model_dump(mode="json")))
    change.send(queue, _message(job, f"{job.id}:0"))
    return job


def again(change: Change, session: TenantSession, queue: str, held: Versioned[Job]) -> Job:
    """A failed job, begun anew where it stopped and sent with the change; `Conflict` at commit if it has changed."""
    old = held.value
    lease = rfc3339(session.services.clock.now() + START_WITHIN)
    changes = {"status": "queued", "attempts": 0, "slices": 0, "lease_until": lease, "revision": old.revision + 1}
    job = old.model_copy(update={**changes, "updated_at": change.at})
    change.write(Replace(Job.KIND, job.id, job.model_dump(mode="json"), held.etag))
    change.send(queue, _message(job, f"{job.id}:again:{job.revision}"))
    return job


class Jobs:
    """Runs slices. `handlers`: what to call for each type of job.

    `give_up`: what to call when a job of a type fails for good, before it is stored as failed: it gives back what the
    job holds. It may be called again; while it raises `Unavailable`, the job goes on, only to give up later, as
    it does at `Full`: giving back adds to the journal too (0022). Its own state only replaces, which is taken.
    """

    def __init__(
        self,
        handlers: Mapping[str, Slice],
        give_up: Mapping[str, GiveUp],
        *,
        queue: str,
        directory: Directory,
        database: Database,
        messaging: Messaging,
        services: Services,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._handlers = handlers
        self._give_up = give_up
        self._queue = queue
        self._directory = directory
        self._database = database
        self._messaging = messaging
        self._services = services
        self._pause = pause

    async def run(self, tenant_id: str, job_id: str, revision: int = 1) -> None:
        """Run one slice, unless the job is finished or in somebody else's hands.

        `Unavailable` while there is no such tenant, or no such revision of the job: its message comes again.
        """
        entry, store, held = await named(
            self._directory, Job, tenant_id, job_id, revision, noun="job", pause=self._pause
        )
        caller = Caller(held.value.created_by, None, None, tenant_id, None)
        session = TenantSession(entry, store, caller, RequestInfo(job_id, "", "flowgrid-jobs"), self._services)
        claimed = await self._claim(session, held)
        if claimed is not None:
            await self._work(session, claimed)

    async def sweep(self) -> int:
        """Send again the message of every job whose lease has run out; returns how many."""
        now = self._services.clock.now()
        active, sweep = Where("status", "in", UNFINISHED), self._database.platform.sweep
        stalled = (await sweep(Job.KIND, [active, Where("lease_until", "<", rfc3339(now))])).items
        # and what was leased before the clock was set back
        ahead = Where("lease_until", ">", rfc3339(now + LONGEST_LEASE + SKEW))
        stalled += (await sweep(Job.KIND, [active, ahead])).items
        for stored in stalled:
            with apart(logger, "a stalled job is left to the next sweep", job_id=stored.body["id"]):
                job = Job.model_validate(stored.body)
                await self._send(job, f"{job.id}:{job.slices}:{job.lease_until}")
        return len(stalled)

    async def _claim(self, session: TenantSession, held: Versioned[Job]) -> Job | None:
        job, now = held.value, self._services.clock.now()
        if job.status in ("succeeded", "failed"):
            return None
        if job.status == "running" and runs(job.lease_until, now, LONGEST_LEASE):
            return None
        changes = {"status": "running", "lease_until": rfc3339(now + LEASE), "attempts": job.attempts + 1}
        try:
            return await self._save(session, held, **changes)
        except Rejected:
            return None

    async def _work(self, session: TenantSession, job: Job) -> None:
        try:
            if job.attempts > MAX_ATTEMPTS:
                raise FlowgridError(f"gave up after {MAX_ATTEMPTS} attempts at the same slice")
            async with self._renewed(session, job):
                if job.type not in self._handlers:
                    raise Unavailable(f"This release knows no jobs of the type {job.type}.")
                outcome = await self._handlers[job.type](session, job)
        except Unavailable as error:
            await self._again(session, job, str(error), _backoff(job))
            return
        except Exception as error:
            expected = isinstance(error, FlowgridError)
            logger.log(
                logging.WARNING if expected else logging.ERROR,
                "job failed",
                exc_info=None if expected else error,
                extra={"tenant_id": session.id, "job_id": job.id, "job_type": job.type, "reason": reason_of(error)},
            )
            message = reason_of(error) if expected else "Something went wrong on our side; quote the job id."
            await self._fail(session, job, message)
            return
        if isinstance(outcome, Done):
            done = job.progress.done if outcome.done is None else outcome.done
            ended = {"result": dict(outcome.result), "progress": Progress(phase="finish", done=done, total=done)}
            await self._finish(session, job, status="succeeded", error=None, **ended)
        elif isinstance(outcome, Wait):
            await self._again(session, job, outcome.reason, timedelta(seconds=outcome.seconds), attempts=0)
        else:
            now = rfc3339(self._services.clock.now() + START_WITHIN)
            reached = {"checkpoint": dict(outcome.checkpoint), "progress": outcome.progress, "slices": job.slices + 1}
            saved = await self._finish(
                session, job, status="queued", **reached, attempts=0, lease_until=now, error=None
            )
            if saved is not None:
                await self._send(saved, f"{job.id}:{saved.slices}")

    async def _fail(self, session: TenantSession, job: Job, reason: str) -> None:
        try:
            if job.type in self._give_up:
                if not await self._renew(session, job):  # what it holds is by now held for the runner that goes on
                    logger.warning("a slice outlived its lease", extra={"tenant_id": session.id, "job_id": job.id})
                    return
                async with self._renewed(session, job):
                    await self._give_up[job.type](session, job)
        except Unavailable as error:
            await self._again(session, job, str(error), _backoff(job))
            return
        except Full as full:
            logger.error("a full partition keeps a job", extra={"tenant_id": session.id, "job_id": job.id})
            waits = " ".join(dict.fromkeys([reason, str(full), "What it holds is given back once there is room."]))
            await self._again(session, job, waits, timedelta(seconds=MAX_BACKOFF_SECONDS), attempts=0)
            return
        await self._finish(session, job, status="failed", error=reason)

    async def _again(self, session: TenantSession, job: Job, reason: str, delay: timedelta, **changes: Any) -> None:
        until = rfc3339(self._services.clock.now() + delay + START_WITHIN)
        saved = await self._finish(session, job, status="queued", lease_until=until, error=reason, **changes)
        if saved is not None:
            await self._send(saved, f"{job.id}:{job.slices}:{job.revision}", delay=delay)

    async def _finish(self, session: TenantSession, job: Job, **changes: Any) -> Job | None:
        """Store what a slice has come to; None when it outlived its lease and another runner has taken over."""
        for _ in range(FINISH_TRIES):
            held = await load(session, Job, job.id)
            if held.value.revision != job.revision:
                break
            with suppress(Rejected):  # taken over just now, or only renewed: look again
                return await self._save(session, held, **changes)
        logger.warning("a slice outlived its lease", extra={"tenant_id": session.id, "job_id": job.id})
        return None

    @asynccontextmanager
    async def _renewed(self, session: TenantSession, job: Job) -> AsyncIterator[None]:
        """Renew the lease while the block runs, as long as it is ours."""

        async def renew() -> None:
            while True:
                await self._pause(RENEW_SECONDS)
                try:
                    if not await self._renew(session, job):
                        return
                except FlowgridError as error:
                    logger.warning("a lease could not be renewed", extra={"job_id": job.id, "reason": error.message})

        renewing = asyncio.create_task(renew(), name=f"lease of job {job.id}")
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])

    async def _renew(self, session: TenantSession, job: Job) -> bool:
        """A longer lease at the same revision; False when the job is in other hands."""
        for _ in range(FINISH_TRIES):
            stored = await session.store.get(Job.KIND, job.id)
            if stored is None or stored.body["revision"] != job.revision:
                break
            body = {**stored.body, "lease_until": rfc3339(self._services.clock.now() + LEASE)}
            with suppress(Rejected):  # the next look says why
                await session.store.control.commit([Replace(Job.KIND, job.id, body, stored.etag)])
                return True
        return False

    async def _save(self, session: TenantSession, held: Versioned[Job], **changes: Any) -> Job:
        job = held.value
        now = max(rfc3339(self._services.clock.now()), job.updated_at)
        saved = job.model_copy(update={**changes, "revision": job.revision + 1, "updated_at": now})
        await session.store.control.commit([Replace(Job.KIND, job.id, saved.model_dump(mode="json"), held.etag)])
        return saved

    async def _send(self, job: Job, message_id: str, *, delay: timedelta | None = None) -> None:
        await self._messaging.send(self._queue, [_message(job, message_id)], delay=delay)


def _message(job: Job, id: str) -> Message:
    return Message(id, job.tenant_id, {"job_id": job.id, "revision": job.revision})


def _backoff(job: Job) -> timedelta:
    return timedelta(seconds=min(2**job.attempts, MAX_BACKOFF_SECONDS))
