"""Secrets of resources: a resource holds a reference, the secret store the value. None is lost, and none stays behind.

Two stores share no transaction. So each secret lies under a name that was never used, on record before it does, and is
loose until the batch that writes its reference says otherwise; the one that this displaces becomes loose in the same
batch. A restore writes references and knows nothing of that. So an hourly round compares each record with its resource:
what is not referred to becomes loose, what is referred to is loose no more, and what has been loose for an hour is
forgotten: calls that were begun with it are over then.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from shared.clock import rfc3339
from shared.database.port import Create, Delete, Document, Read, Rejected, Replace, Stored, Upsert, Where
from shared.errors import Conflict, NotFound
from shared.kinds import Kind
from shared.secrets.port import Secrets, name_of, reference
from shared.tenancy.fence import PERMIT, Fenced, current
from shared.work.change import Change
from shared.work.resources import Resource
from shared.work.session import TenantSession

RECORD = Kind("kept_secret")
LOOSE_FOR = timedelta(hours=1)  # no request and no call takes as long, whatever its clock says
PAGE_ITEMS = 100
TOO_LATE = "This took so long that its secret is forgotten again; send it once more."


class KeptSecrets:
    """Write-only values: whoever writes the resource gives them, whoever calls for the tenant reads them."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    async def put(self, tenant: TenantSession, kind: Kind, id: str, value: str) -> str:
        """The reference to a value for this resource; forgotten after an hour or two if no change holds it."""
        name = f"kept-{tenant.services.ids.new()}"
        now = rfc3339(tenant.services.clock.now())
        await tenant.store.commit([Create(RECORD, name, _record(kind, id, now, loose_since=now))])
        return await self._secrets.space(tenant.id).put(name, value)

    async def move(self, tenant: TenantSession, change: Change, of: Resource, old: str | None, new: str | None) -> None:
        """Say in the change of a resource which reference it has no longer, and which it has now.

        `Conflict`, now or at commit, when the new one is forgotten already.
        """
        if old == new:
            return
        if new is not None:
            held = await tenant.store.get(RECORD, name_of(new))
            if held is None or held.body["going"]:
                raise Conflict(TOO_LATE)
            record = _record(of.KIND, of.id, held.body["created_at"])
            change.write(Replace(RECORD, name_of(new), record, held.etag), lambda _: Conflict(TOO_LATE))
        if old is not None:  # of one that a restore has brought back there may be no record any more
            change.write(Upsert(RECORD, name_of(old), _record(of.KIND, of.id, change.at, loose_since=change.at)))

    async def get(self, tenant: TenantSession, reference: str) -> str | None:
        """The value; None when it is not kept any more, as after a restore to before it was changed."""
        try:
            return await self._secrets.space(tenant.id).get(reference)
        except NotFound:
            return None

    async def compare(self, tenant: TenantSession) -> int:
        """The round; returns how many secrets it has forgotten. Again, or twice at once, it does no harm."""
        store, forgotten = tenant.store.control, 0
        after: tuple[str, str] | None = None
        while True:
            page = await store.query(RECORD, limit=PAGE_ITEMS, after=after)
            if not page.items:
                return forgotten
            await store.catch_up()
            try:
                permit = Read(PERMIT, (await current(store)).body["id"])  # before the resources are looked at
            except Fenced:  # what a restore is about to refer to is known when it is over
                return forgotten
            referred = await _referred(tenant, page.items)
            for stored in page.items:
                forgotten += await self._judge(tenant, permit, stored, str(stored.body["id"]) in referred)
            after = page.next
            if after is None:
                return forgotten

    async def _judge(self, tenant: TenantSession, permit: Read, stored: Stored, referred: bool) -> bool:
        """Whether it is forgotten now.

        A change that refers to it writes its record, and a restore takes the permit away first: whoever has come
        between fails the condition. So a secret is marked before it goes, and what is marked nobody can hold.
        """
        now, store, name = tenant.services.clock.now(), tenant.store.control, str(stored.body["id"])
        since = stored.body["loose_since"]
        if (referred and since is None) or (since is not None and since >= rfc3339(now - LOOSE_FOR)):
            return False
        going = not referred and since is not None
        marked: Document = {**stored.body, "loose_since": None if referred else rfc3339(now), "going": going}
        try:
            await store.commit([permit, Replace(RECORD, name, marked, stored.etag)])
        except Rejected:  # the next round looks again
            return False
        if going:
            await self._secrets.space(tenant.id).delete(reference(name))
            with suppress(Rejected):  # another round was faster
                await store.commit([Delete(RECORD, name)])
        return going


async def _referred(tenant: TenantSession, records: Sequence[Stored]) -> set[str]:
    """The names of those that their resources refer to; one query for each kind."""
    found: set[str] = set()
    for kind in {record.body["resource_type"] for record in records}:
        of_kind = [record.body for record in records if record.body["resource_type"] == kind]
        ids = sorted({body["resource_id"] for body in of_kind})
        resources = await tenant.store.query(
            tenant.services.kinds.named(kind), [Where("id", "in", ids)], limit=PAGE_ITEMS
        )
        fields = {resource.body["id"]: resource.body.values() for resource in resources.items}
        found |= {body["id"] for body in of_kind if reference(body["id"]) in fields.get(body["resource_id"], ())}
    return found


def _record(kind: Kind, id: str, created_at: str, loose_since: str | None = None) -> Document:
    """`loose_since` None: held. `going`: the secret is about to be forgotten, or is."""
    of = {"resource_type": kind.name, "resource_id": id}
    return {"created_at": created_at, **of, "loose_since": loose_since, "going": False}
