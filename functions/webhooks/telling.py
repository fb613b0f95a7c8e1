"""Handing out what has happened: one delivery for each webhook that is told of it, the oldest event first.

Whoever hands out takes the oldest that is left, whichever its message names. So what depends on an earlier change gets
into no line before that, however the queue mixes them, and whichever two hand out at once.
"""

import logging
from dataclasses import dataclass
from typing import Any

from functions.webhooks.messages import nudge
from functions.webhooks.models import KEPT_SECONDS, MAX_WAITING, Delivery, Line, Webhook, stored
from shared.clock import rfc3339
from shared.database.port import Create, Delete, Increment, Rejected, Replace, Stored
from shared.errors import Conflict
from shared.messaging.port import Message
from shared.work.change import Change
from shared.work.happenings import HAPPENED
from shared.work.notices import notify_once
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.webhooks")
AT_ONCE = 25  # webhooks: three operations each, in one batch
MOST = 200  # batches for a message; another goes on
MOST_WEBHOOKS = 200


class FullLine(Conflict):
    """Too many deliveries wait for this webhook."""

    code = "line_full"
    meaning = "As many deliveries wait for this webhook as may."
    remedy = "Mend its receiver, or switch it off: what waits is then cancelled; replay what is still wanted."

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"{MAX_WAITING} deliveries wait for this webhook already.", webhook_id=webhook_id)
        self.webhook_id = webhook_id


@dataclass(frozen=True)
class Event:
    """One of those that a change has left."""

    id: str
    type: str
    at: str
    data: dict[str, Any]

    def delivery(self, tenant_id: str, webhook_id: str, *, dropped: bool) -> Delivery:
        payload = {"type": self.type, "timestamp": self.at, "tenant_id": tenant_id, "data": self.data}
        return Delivery(
            id=f"{self.id}.{webhook_id}",  # in its line, of two at one instant the earlier one comes first
            created_at=self.at,
            webhook_id=webhook_id,
            event_id=self.id,
            type=self.type,
            status="dropped" if dropped else "queued",
            due_at=None if dropped else self.at,
            payload=payload,
        )


async def hand_out(tenant: TenantSession) -> None:
    """All that is left; again, or two at once, do no harm: who finds that another is at it leaves the rest to them.

    What was there when somebody lost against another, that one finds: they have written later.
    """
    session = tenant.past_the_fence().without_key()
    await session.store.catch_up()
    full, refused = set[str](), ""
    for _ in range(MOST):
        found = (await session.store.query(HAPPENED, limit=1)).items
        if not found or refused not in ("", found[0].etag):
            break
        refused = ""
        try:
            await _hand_out(session, found[0], full)
        except FullLine as error:
            full.add(error.webhook_id)
        except Conflict:  # another has handed it out, or a webhook has gone: then it is as it was
            refused = found[0].etag
    else:
        services = session.services
        change = session.change()
        change.send(services.deliveries_queue, Message(services.ids.new(), session.id, {"happened": ""}))
        await change.commit(None)
    for id in full:
        await _tell(session, id)


async def _hand_out(session: TenantSession, happened: Stored, full: set[str]) -> None:
    """The first of its events, to as many webhooks as go into one batch."""
    left, told = happened.body["left"], happened.body["told"]
    event = Event(**left[0])
    hooks = [
        Webhook.model_validate(one.body) for one in (await session.store.query(Webhook.KIND, limit=MOST_WEBHOOKS)).items
    ]
    listening = [one.id for one in hooks if one.enabled and event.type in one.events and one.id not in told]
    change = session.change()
    now = listening[:AT_ONCE]
    if len(listening) > len(now):
        change.write(Replace(HAPPENED, happened.body["id"], _body(happened, left, [*told, *now]), happened.etag))
    elif len(left) > 1:
        change.write(Replace(HAPPENED, happened.body["id"], _body(happened, left[1:], []), happened.etag))
    else:
        change.write(Delete(HAPPENED, happened.body["id"], happened.etag))
    for id in now:
        put_in_line(session, change, event.delivery(session.id, id, dropped=id in full))
    await change.commit(None)


def put_in_line(session: TenantSession, change: Change, delivery: Delivery) -> None:
    """A new delivery. At commit `FullLine`, which says of which webhook, or `Conflict` where that has gone."""
    id = delivery.webhook_id
    if delivery.status == "dropped":
        change.write(Create(Delivery.KIND, delivery.id, stored(delivery), ttl=KEPT_SECONDS))
        return
    change.write(Create(Delivery.KIND, delivery.id, stored(delivery)))
    lengthen(change, id)
    nudge(change, session, id)


def lengthen(change: Change, webhook_id: str, by: int = 1) -> None:
    """So many more wait in this line."""

    def why(rejected: Rejected) -> Conflict:
        full = rejected.reason == "condition"
        return FullLine(webhook_id) if full else Conflict("There is no such webhook any more.")

    change.write(Increment(Line.KIND, webhook_id, {"waiting": by}, {"waiting": MAX_WAITING}), why)


def _body(happened: Stored, left: list[Any], told: list[str]) -> dict[str, Any]:
    return {"created_at": happened.body["created_at"], "left": left, "told": told}


async def _tell(session: TenantSession, id: str) -> None:
    """Once a day."""
    day = rfc3339(session.services.clock.now())[:10]
    text = (
        f"{MAX_WAITING} deliveries wait for this webhook; it is told nothing new until some of them are over. What is "
        "dropped is in its log, and can be replayed (POST /api/v1/webhooks/{webhook_id}/replay)."
    )
    await notify_once(
        session, f"webhook_full:{id}:{day}", "webhook_full", "Too much waits for a webhook", text, {"webhook_id": id}
    )
