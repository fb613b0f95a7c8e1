"""Keys of providers. Each lies under a name of its own in the secrets, and on record before it does.

So wherever a process dies, no key is left that nobody knows of: what is on record and no provider refers to goes, at
once where all goes well, else in an hourly round. That also holds for what a restore leaves behind.
"""

from datetime import timedelta

from functions.providers.models import Provider
from shared.clock import rfc3339
from shared.database.port import Create, Delete, Rejected, Where
from shared.errors import FlowgridError
from shared.kinds import Kind
from shared.secrets.port import Secrets, reference
from shared.work.session import TenantSession

KEY = Kind("provider_key")
SETTLED = timedelta(hours=1)  # no request takes as long, whatever its clock says
ROUND_ITEMS = 200


class Keys:
    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    async def keep(self, tenant: TenantSession, provider_id: str, key: str) -> str:
        """A new secret, and the reference to it; not in use until the provider refers to it."""
        services = tenant.services
        name = f"provider-{services.ids.new()}"
        record = {"created_at": rfc3339(services.clock.now()), "provider_id": provider_id}
        await tenant.past_the_fence().store.commit([Create(KEY, name, record)])
        return await self._secrets.space(tenant.id).put(name, key)

    async def forget(self, tenant: TenantSession, reference: str) -> None:
        """A key that no provider refers to any more; where this fails, the round does it."""
        try:
            await self._drop(tenant, reference.removeprefix("secret:"))
        except FlowgridError:
            return

    async def sweep(self, tenant: TenantSession) -> int:
        """Forget what no provider refers to: how many those were. What is younger than `SETTLED` may be on its way."""
        before = rfc3339(tenant.services.clock.now() - SETTLED)
        forgotten, after = 0, None
        while True:
            page = await tenant.store.query(KEY, [Where("created_at", "<", before)], limit=ROUND_ITEMS, after=after)
            for stored in page.items:
                provider = await tenant.store.get(Provider.KIND, stored.body["provider_id"])
                if provider is None or provider.body["key_reference"] != reference(stored.body["id"]):
                    await self._drop(tenant, stored.body["id"])
                    forgotten += 1
            after = page.next
            if after is None:
                return forgotten

    async def _drop(self, tenant: TenantSession, name: str) -> None:
        """The secret first: without its record nobody would know of it."""
        await self._secrets.space(tenant.id).delete(reference(name))
        try:
            await tenant.past_the_fence().store.commit([Delete(KEY, name)])
        except Rejected:  # another has done it
            return
