"""Secrets of resources: a resource holds a reference, the secret store the value. None is lost, and none stays behind.

Two stores share no transaction. So a secret is put first, under a name that was never used, and is loose until the
batch that writes its reference says otherwise; the one that this displaces becomes loose in the same batch. What has
been loose for an hour is forgotten by a round: calls that were begun with it are over then.
"""

from contextlib import suppress
from datetime import timedelta

from shared.clock import rfc3339
from shared.database.port import Create, Delete, Rejected, Where
from shared.errors import NotFound
from shared.kinds import Kind
from shared.secrets.port import Secrets, name_of, reference
from shared.work.change import Change
from shared.work.session import TenantSession

LOOSE = Kind("loose_secret", transient=True)
KEPT = timedelta(hours=1)
PAGE_ITEMS = 100
_NAME = "kept-"


class KeptSecrets:
    """Write-only values: whoever writes the resource gives them, whoever calls for the tenant reads them."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    async def put(self, tenant: TenantSession, value: str) -> str:
        """The reference to a value, which is forgotten after an hour if no change holds it."""
        id = tenant.services.ids.new()
        await tenant.store.commit([Create(LOOSE, id, {"created_at": rfc3339(tenant.services.clock.now())})])
        return await self._secrets.space(tenant.id).put(_NAME + id, value)

    def move(self, change: Change, old: str | None, new: str | None) -> None:
        """Say in a change which reference its resource no longer has, and which it has now.

        `Conflict` at commit when the new one is forgotten already.
        """
        if old == new:
            return
        if new is not None:
            change.write(Delete(LOOSE, _id(new)))
        if old is not None:
            change.write(Create(LOOSE, _id(old), {"created_at": change.at}))

    async def get(self, tenant: TenantSession, reference: str) -> str | None:
        """The value; None when it is not kept any more, as after a restore to before it was changed."""
        try:
            return await self._secrets.space(tenant.id).get(reference)
        except NotFound:
            return None

    async def forget_loose(self, tenant: TenantSession) -> int:
        """Forget what no resource has held for an hour; returns how many. Done again after a crash, it does no harm."""
        store, space = tenant.store.control, self._secrets.space(tenant.id)
        before = rfc3339(tenant.services.clock.now() - KEPT)
        forgotten = 0
        while True:
            page = await store.query(LOOSE, [Where("created_at", "<", before)], limit=PAGE_ITEMS)
            for stored in page.items:
                id = str(stored.body["id"])
                await space.delete(reference(_NAME + id))
                with suppress(Rejected):  # another round was faster
                    await store.commit([Delete(LOOSE, id)])
                forgotten += 1
            if page.next is None:
                return forgotten


def _id(reference: str) -> str:
    return name_of(reference).removeprefix(_NAME)
