"""How much of one tenant is under way at once on this instance: what others hold up is its own, not all's."""

import asyncio
from collections.abc import Callable
from weakref import WeakKeyDictionary, WeakValueDictionary

Whose = Callable[[], str]
"""Of which tenant the work at hand is; empty: of none."""


def party(whose: Whose, host: str) -> str:
    """Whose a call to a host is; where it is no tenant's, all names of a site are one's."""
    return whose() or ".".join(host.split(".")[-2:])


class Seats:
    """`most` for each tenant, in each event loop; a tenant of which nothing is under way takes no memory."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[str, asyncio.Semaphore]]
        self._of = WeakKeyDictionary()

    def of(self, tenant_id: str) -> asyncio.Semaphore:
        """To be held while it is used: the same for all who ask meanwhile."""
        here = self._of.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
        found = here.get(tenant_id)
        if found is None:
            found = here[tenant_id] = asyncio.Semaphore(self._most)
        return found
