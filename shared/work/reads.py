"""Reads that take much away at once: each is in the audit trail before its answer goes out."""

from typing import Any

from shared.kinds import Kind
from shared.work.session import TenantSession


async def note_read(tenant: TenantSession, what: str, **told: Any) -> None:
    """Write who takes `what` away, one batch of its own; whoever cannot be told of gets nothing (`Unavailable`).

    Past the fence: while a tenant is restored it is read, and an export changes no resource.
    """
    change = tenant.past_the_fence().change()
    change.audit("read", Kind("export"), what, 1, None, told)
    await change.commit(None)
