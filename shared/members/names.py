"""What belongs to one tenant only (slugs, issuers, addresses and identities of users): reserved before it is used."""

import json
from datetime import timedelta

from shared.clock import Clock, parse_rfc3339, rfc3339
from shared.database.port import Create, Database, Delete, Document, Rejected, Replace, Stored
from shared.errors import Taken
from shared.ids import PLATFORM_TENANT_ID, derived_id
from shared.jobs.jobs import Job
from shared.members.users import OWN_ISSUER, User
from shared.tenancy.directory import RESERVATION, Directory

ORPHAN_AFTER = timedelta(minutes=1)
TRIES_AT_A_RACE = 5
SLUG, EMAIL, IDENTITY, ISSUER = "slug", "email", "identity", "issuer"


class Names:
    """Names that all tenants share (slugs), reserved for a holder before it exists. `Taken` when another has it."""

    def __init__(self, database: Database, directory: Directory, clock: Clock) -> None:
        self._platform = database.platform
        self._directory = directory
        self._clock = clock

    async def reserve(
        self, sort: str, name: str, *, holder: str, job: str | None = None, attempt: str | None = None
    ) -> None:
        """Take a name for `holder`: a tenant (`<id>`), a user (`<tenant id>/<user id>`) or an issuer (`issuer_holder`).

        Again for the same holder is no error, `Conflict` when it is somebody else's. A reservation that is a minute old
        and whose holder never came to be, or to be bound to it (a crash in between), is taken over; not while the `job`
        (`<tenant id>/<job id>`) that makes its holder is under way. `attempt`: whose it is, where a holder may begin
        again under the same id; from then on it is the new attempt's.
        """
        id = derived_id(sort, name)
        own = {"sort": sort, "name": name, "holder": holder, "job": job, "attempt": attempt}
        body = {"created_at": rfc3339(self._clock.now()), **own}
        mine: Create | Replace = Create(RESERVATION, id, body)  # a free name costs one call
        for _ in range(TRIES_AT_A_RACE):
            try:
                await self._platform.put(mine, PLATFORM_TENANT_ID)
                return
            except Rejected:
                held = await self._platform.get(RESERVATION, PLATFORM_TENANT_ID, id)
            if held is not None and held.body["holder"] != holder:
                if not self._old(held) or await self._in_use(held.body):
                    break
            elif held is not None and not self._old(held) and held.body.get("attempt") == attempt:
                return
            # one's own old reservation is renewed, or it would be an orphan to others before it is used
            mine = Replace(RESERVATION, id, body, held.etag) if held else Create(RESERVATION, id, body)
        raise Taken(f"The {sort} {name} is taken.", field=sort)

    async def holder(self, sort: str, name: str) -> str | None:
        """Who has it reserved, were it long ago and for somebody who never came to be; one point read."""
        held = await self._platform.get(RESERVATION, PLATFORM_TENANT_ID, derived_id(sort, name))
        return None if held is None else str(held.body["holder"])

    async def release(self, sort: str, name: str, *, holder: str, attempt: str | None = None) -> None:
        """Give a name back; nothing happens when it is not this holder's, or that of another `attempt` (if given)."""
        id = derived_id(sort, name)
        held = await self._platform.get(RESERVATION, PLATFORM_TENANT_ID, id)
        if held is None or held.body["holder"] != holder or attempt not in (None, held.body.get("attempt")):
            return
        try:
            await self._platform.put(Delete(RESERVATION, id, held.etag), PLATFORM_TENANT_ID)
        except Rejected:
            return

    async def _in_use(self, reservation: Document) -> bool:
        tenant_id, _, item = reservation["holder"].partition("/")
        entry = await self._directory.entry(tenant_id)
        if entry is None or not item:
            return entry is not None or await self._under_way(reservation.get("job"))
        sort, name = reservation["sort"], reservation["name"]
        if sort == ISSUER:
            own = await self._directory.open(entry).get(OWN_ISSUER, issuer_held(reservation["holder"])[1])
            return own is not None and bool(name == pair(own.body["issuer"], own.body["audience"]))
        stored = await self._directory.open(entry).get(User.KIND, item)
        issuer, subject = (stored.body.get("issuer"), stored.body.get("subject")) if stored else (None, None)
        if issuer is None or subject is None:
            return False
        return sort != IDENTITY or bool(name == identity(issuer, subject))

    async def _under_way(self, job: str | None) -> bool:
        tenant_id, _, id = (job or "").partition("/")
        store = await self._directory.store(tenant_id) if job else None
        stored = await store.get(Job.KIND, id) if store else None
        return stored is not None and stored.body["status"] in ("queued", "running")

    def _old(self, held: Stored) -> bool:
        return self._clock.now() - parse_rfc3339(held.body["created_at"]) > ORPHAN_AFTER


def identity(issuer: str, subject: str) -> str:
    """The name of an identity: who a token speaks of, whatever else it says."""
    return f"{issuer} {subject}"


def pair(issuer: str, audience: str) -> str:
    """The name of a tenant's own issuer: whose tokens, and what for."""
    return json.dumps([issuer, audience])


def issuer_holder(tenant_id: str, id: str, attempt: str) -> str:
    """The holder of a pair. Ids of issuers are used again, so each attempt to make one holds for itself: another one
    of the same id neither shares a reservation nor gives it back.
    """
    return f"{tenant_id}/{id}/{attempt}"


def issuer_held(holder: str | None) -> tuple[str, str]:
    """The ids of tenant and issuer that hold a pair; empty ones where nobody does."""
    tenant_id, _, rest = (holder or "").partition("/")
    return tenant_id, rest.partition("/")[0]
