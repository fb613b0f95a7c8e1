"""When API keys were last used: noted once an hour, beside the call, so that no read waits for a write.

It is an entry of the audit trail, too: which key, from where, by which program. A crash loses at most that note.
"""

import asyncio
import logging
from collections import OrderedDict
from dataclasses import replace
from datetime import timedelta

from shared.apart import apart
from shared.clock import Clock, parse_rfc3339, rfc3339
from shared.errors import NotFound, Stale
from shared.members.apikeys import ApiKey
from shared.work.resources import load
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.auth")
EVERY = timedelta(hours=1)
AGAIN = timedelta(minutes=1)  # after a note that could not be written
MOST_NOTED = 4096
MOST_AT_ONCE = 100


class KeyUses:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._writing: set[asyncio.Task[None]] = set()

    def note(self, session: TenantSession) -> None:
        """Note this call, if it is by a key whose hour has no note yet; beyond `MOST_AT_ONCE` a later call does."""
        key = session.caller.key
        if key is None or len(self._writing) >= MOST_AT_ONCE:
            return
        now, named = self._clock.now(), (session.id, key.id)
        recent = key.last_used_at is not None and now - parse_rfc3339(key.last_used_at) < EVERY
        if recent or self._clock.monotonic() < self._next.get(named, float("-inf")):
            return
        self._wait(named, EVERY)
        task = asyncio.create_task(self._write(replace(session, idempotency=None, relays=None), key.id))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def flush(self) -> None:
        """What is being written is."""
        await asyncio.gather(*self._writing)

    async def _write(self, session: TenantSession, id: str) -> None:
        with apart(logger, "the use of an API key was not noted", tenant_id=session.id, api_key_id=id):
            self._wait((session.id, id), AGAIN)
            try:
                held = await load(session, ApiKey, id)
                used = {"last_used_at": rfc3339(self._clock.now())}
                change = session.change(held)
                await change.commit(change.update(held, used, action="used"))
            except (NotFound, Stale):  # it was revoked, or another instance was faster
                pass
            self._wait((session.id, id), EVERY)

    def _wait(self, named: tuple[str, str], until: timedelta) -> None:
        self._next[named] = self._clock.monotonic() + until.total_seconds()
        self._next.move_to_end(named)
        if len(self._next) > MOST_NOTED:
            self._next.popitem(last=False)
