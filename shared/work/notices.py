"""What a tenant must be told, each thing once: a notice is an item whose id follows from what it is about.

A second one with the same key is refused by the store with the whole change that it is in. So it is written in a change
of its own (`notify_once`), or in one that happens once anyhow (`notify`).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Create
from shared.errors import Conflict
from shared.ids import derived_id
from shared.kinds import Kind
from shared.work.change import Change
from shared.work.session import TenantSession

NOTIFICATION = Kind("notification", backup="history", append_only=True, exported=True, path="notifications")
KEPT = timedelta(days=400)  # a year's, and some time to look back at it
Code = Literal[
    "trial_ending",
    "trial_over",
    "tenant_suspended",
    "plan_changed",
    "plan_kept",
    "statement_final",
    "quota_near",
    "quota_reached",
    "backup_failed",
    "staff_access",
    "webhook_off",
    "webhook_full",
]


def notice(
    tenant_id: str, key: str, at: str, code: Code, title: str, text: str, data: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The document of a notice, with its id: for who keeps it until it can be written (`creation`)."""
    return {
        "id": derived_id(NOTIFICATION, tenant_id, key),
        "created_at": at,
        "expires_at": rfc3339(parse_rfc3339(at) + KEPT),
        "code": code,
        "title": title,
        "text": text,
        "data": dict(data or {}),
    }


def creation(document: Mapping[str, Any]) -> Create:
    """The operation that tells it; rejected as `exists` where the tenant has been told before."""
    return Create(NOTIFICATION, document["id"], dict(document), ttl=int(KEPT.total_seconds()))


def notify(change: Change, key: str, code: Code, title: str, text: str, data: Mapping[str, Any] | None = None) -> None:
    """Tell the tenant of something if, and only if, the change is committed, with an entry in the audit trail.

    `key` (`quota_near:agents:2026-11`) says what it is about, for ever: at commit the whole change is a `Conflict`
    where the tenant has been told of that before.
    """
    document = notice(change.tenant_id, key, change.at, code, title, text, data)
    change.write(creation(document))
    change.audit("created", NOTIFICATION, document["id"], 1, None, document)
    change.tell(f"notification.{code}", NOTIFICATION, document["id"], 1, document)


async def notify_once(
    session: TenantSession, key: str, code: Code, title: str, text: str, data: Mapping[str, Any] | None = None
) -> bool:
    """As `notify`, in a change of its own; False where the tenant has been told before. One point read then."""
    if await session.store.get(NOTIFICATION, derived_id(NOTIFICATION, session.id, key)) is not None:
        return False
    change = session.without_key().change()  # its answer is not the request's
    notify(change, key, code, title, text, data)
    try:
        await change.commit(None)
    except Conflict:
        return False
    return True
