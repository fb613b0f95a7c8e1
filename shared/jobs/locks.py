"""Locks in a tenant's partition, each held by a job for as long as that is unfinished: nobody has to give one back."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.database.port import Create, Replace, TenantStore
from shared.errors import Conflict, Stale
from shared.jobs.jobs import UNFINISHED, Job
from shared.work.change import Change
from shared.work.fencing import LOCK
from shared.work.session import TRIES_AT_A_RACE

T = TypeVar("T")


class Locked(Conflict):
    """The lock is another job's; `job_id` names it."""

    code = "locked"
    meaning = "Another job is at it; `job_id` names it."
    remedy = "Wait for that job's end."

    def __init__(self, message: str, job_id: str) -> None:
        super().__init__(message, job_id=job_id)
        self.job_id = job_id


async def take(change: Change, store: TenantStore, name: str, job_id: str, refusal: str) -> None:
    """Add to the change that the job takes the lock. `Locked`, with this `refusal`, while another has it.

    Of two that take it at once, the second gets `Conflict` at its commit, and `Locked` when it looks again.
    """
    held = await store.get(LOCK, name)
    body = {"created_at": change.at, "job_id": job_id}
    if held is None:
        change.write(Create(LOCK, name, body))
        return
    if held.body["job_id"] == job_id:
        return
    holder = await store.get(Job.KIND, held.body["job_id"])
    if holder is not None and holder.body["status"] in UNFINISHED:
        raise Locked(refusal, held.body["job_id"])
    change.write(Replace(LOCK, name, body, held.etag))


async def looking_again(work: Callable[[], Awaitable[T]]) -> T:
    """Work whose change takes a lock: done anew when it lost a race, so that whoever comes second hears why."""
    for _ in range(TRIES_AT_A_RACE - 1):
        try:
            return await work()
        except Locked:
            raise
        except (Conflict, Stale):
            continue
    return await work()
