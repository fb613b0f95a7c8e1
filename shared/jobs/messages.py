"""What a message is about, in the revision that it names.

Whoever reads an earlier one, or none, asks a replica that is behind (docs/decisions/0024).
"""

from collections.abc import Awaitable, Callable

from shared.database.port import TenantStore
from shared.errors import Unavailable
from shared.tenancy.directory import Directory, TenantEntry
from shared.work.resources import R, Versioned

LOOK_AGAIN_SECONDS = (0.05, 0.2, 0.5, 1.0)  # replicas are behind by milliseconds


async def named(
    directory: Directory,
    model: type[R],
    tenant_id: str,
    id: str,
    revision: int,
    *,
    noun: str,
    pause: Callable[[float], Awaitable[None]],
) -> tuple[TenantEntry, TenantStore, Versioned[R]]:
    """The item, no older than `revision`, with its tenant; `Unavailable` when it is not seen within two seconds."""
    for seconds in (*LOOK_AGAIN_SECONDS, None):
        entry = await directory.entry(tenant_id)
        if entry is not None:
            store = directory.open(entry)
            stored = await store.get(model.KIND, id)
            if stored is not None and stored.body["revision"] >= revision:
                return entry, store, Versioned.of(model, stored)
        if seconds is not None:
            await pause(seconds)
    raise Unavailable(f"There is no revision {revision} of {noun} {id} of tenant {tenant_id} (yet).")
