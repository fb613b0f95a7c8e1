"""A run in somebody's hands: every write replaces it by the ETag held, so who has lost it can write nothing.

An answer may be lost, of a write that was done or was not: each write leaves a mark of its own in the run, and whoever
does not know looks for it before anything is done a second time.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from functions.executions.models import LEASE, RENEW_SECONDS, Execution, stored
from shared.clock import rfc3339
from shared.database.port import Rejected, Replace
from shared.errors import FlowgridError, Unavailable, Unknown
from shared.work.change import Change
from shared.work.resources import Versioned
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.executions")
Pause = Callable[[float], Awaitable[None]]
Build = Callable[[Change, Execution], Awaitable[None]]
COMMIT_PAUSES = (0.1, 0.5, 2.0, 5.0)  # what a model has said was paid for: it is not given up at once
LOOKS = 3


class Lost(FlowgridError):
    """Another has this run now, or it is over; nothing was written."""

    def __init__(self) -> None:
        super().__init__("This run was changed by another meanwhile.")


class Hold:
    """One run, as last read or written. `lost`: it is known to be another's.

    `pauses`: between the tries of a write for which the database has no time.
    """

    def __init__(
        self,
        session: TenantSession,
        held: Versioned[Execution],
        pause: Pause = asyncio.sleep,
        pauses: Sequence[float] = COMMIT_PAUSES,
    ) -> None:
        self.session = session.without_key()
        self.lost = False
        self._held = held
        self._pause = pause
        self._pauses = pauses
        self._beats = {held.value.mark}
        self._lock = asyncio.Lock()

    @property
    def execution(self) -> Execution:
        return self._held.value

    async def save(self, build: Build | None = None, **changes: Any) -> Execution:
        """Replace the run by itself with these changes, in one batch with what `build` adds; the run as it is then.

        Raises `Lost`, and what `build` or a rejection of its operations raises: then nothing was written.
        """
        async with self._lock:
            marks: set[str] = set()
            for pause in (*self._pauses, None):
                try:
                    new = await self._commit(build, changes, marks)
                except (Lost, Unknown):
                    if await self._find(marks):
                        return self.execution
                    if self.lost:
                        raise Lost from None
                    if pause is None:
                        raise
                except Unavailable:
                    if pause is None:
                        raise
                else:
                    if not await self._find({new.mark}):
                        raise Lost
                    return self.execution
                await self._pause(pause)
        raise AssertionError("the last try either returns or raises")

    async def _commit(self, build: Build | None, changes: dict[str, Any], marks: set[str]) -> Execution:
        held, mark = self._held, self.session.services.ids.new()
        change = self.session.change(held)
        at = {"revision": held.value.revision + 1, "updated_at": change.at, "updated_by": self.session.user_id}
        new = held.value.model_copy(update={**changes, **at, "mark": mark})
        change.write(Replace(Execution.KIND, new.id, stored(new), held.etag), lambda _: Lost())
        if build is not None:
            await build(change, new)
        marks.add(mark)
        await change.commit(None)
        return new

    async def _find(self, marks: set[str]) -> bool:
        """Read the run anew: whether the last write was one of these; if it was another's, the run is lost."""
        found = await self._read()
        mark = "" if found is None else found.value.mark
        if found is None or mark not in marks | self._beats:
            self.lost = True
            return False
        self._held = found
        if mark not in marks:  # as it was, but for its lease
            return False
        self._beats = {mark}
        return True

    async def _read(self) -> Versioned[Execution] | None:
        for look in range(LOOKS):
            try:
                found = await self.session.store.get(Execution.KIND, self.execution.id)
                return None if found is None else Versioned.of(Execution, found)
            except Unavailable:
                if look == LOOKS - 1:
                    raise
                await self._pause(COMMIT_PAUSES[look])
        return None

    @asynccontextmanager
    async def renewed(self) -> AsyncIterator[None]:
        """Renew the lease while the block runs, as long as the run is ours."""
        renewing = asyncio.create_task(self._renew(), name=f"lease of run {self.execution.id}")
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])

    async def _renew(self) -> None:
        while not self.lost:
            await self._pause(RENEW_SECONDS)
            try:
                await self.renew()
            except FlowgridError as error:
                extra = {"execution_id": self.execution.id, "reason": error.message}
                logger.warning("the lease of a run could not be renewed", extra=extra)

    async def renew(self) -> None:
        """A longer lease at the same revision, unless the run is lost."""
        async with self._lock:
            held, mark = self._held, self.session.services.ids.new()
            until = rfc3339(self.session.services.clock.now() + LEASE)
            body = {**stored(held.value), "lease_until": until, "mark": mark}
            self._beats.add(mark)
            try:
                await self.session.store.commit([Replace(Execution.KIND, held.value.id, body, held.etag)])
            except (Rejected, Unknown):
                logger.info("a lease was not renewed", extra={"execution_id": held.value.id})
            await self._find(set())
