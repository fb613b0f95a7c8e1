"""The log of a webhook's deliveries, and what is asked to be told again: it stands in line as everything does."""

from collections.abc import Mapping, Sequence
from typing import Any

from functions.webhooks.messages import nudge
from functions.webhooks.models import (
    ABOUT_USERS,
    OVER,
    TEST,
    Delivery,
    DeliveryReplay,
    ReplayedDeliveries,
    Webhook,
    stored,
)
from functions.webhooks.telling import Event, lengthen, put_in_line
from shared.auth.scopes import KeyScope
from shared.clock import rfc3339
from shared.database.port import Order, Replace, Where
from shared.errors import Conflict, NotFound, WrongState
from shared.work.change import Change
from shared.work.resources import Listing, PageRequest, Versioned, bounded_page, load
from shared.work.session import TenantSession


class Deliveries:
    """Reads what the lines write; puts in line again what is over."""

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[Delivery]:
        """One query; those of a webhook that has gone as well."""
        found = await bounded_page(tenant.store, Delivery.KIND, filters, page)
        return Listing([_seen(tenant, Delivery.model_validate(one.body)) for one in found.items], found.next)

    async def get(self, tenant: TenantSession, id: str) -> Delivery:
        """`NotFound` in the same words for what never was and for another tenant's."""
        return _seen(tenant, (await self._held(tenant, id)).value)

    async def redeliver(self, tenant: TenantSession, id: str) -> Delivery:
        """Once more from the first attempt on, under the same id. `WrongState` for one that is not over."""
        held = await self._held(tenant, id)
        hook = await self._enabled(tenant, held.value.webhook_id)
        if held.value.status not in OVER:
            raise WrongState("This delivery is not over yet.", status=held.value.status)
        change = tenant.change()
        again = _again(tenant, change, held)
        self._line_up(tenant, change, hook, "redelivered", [again])
        return await change.commit(_seen(tenant, again))

    async def replay(self, tenant: TenantSession, webhook_id: str, asked: DeliveryReplay) -> ReplayedDeliveries:
        """Of a range of time, the oldest first, in one batch."""
        hook = await self._enabled(tenant, webhook_id)
        until = asked.until or rfc3339(tenant.services.clock.now())
        wanted = [asked.status] if asked.status else list(OVER)
        where = [Where("webhook_id", "=", webhook_id), Where("status", "in", wanted)]
        between = [Where("created_at", ">=", asked.since), Where("created_at", "<", until)]
        found = await tenant.store.query(Delivery.KIND, [*where, *between], order=Order(), limit=asked.limit + 1)
        held = [Versioned.of(Delivery, one) for one in found.items]
        change = tenant.change()
        again = [_again(tenant, change, one) for one in held[: asked.limit]]
        if not again:
            return ReplayedDeliveries(replayed=0, next_since=None)
        self._line_up(tenant, change, hook, "replayed", again)
        rest = held[asked.limit :]
        return await change.commit(
            ReplayedDeliveries(replayed=len(again), next_since=rest[0].value.created_at if rest else None)
        )

    async def test(self, tenant: TenantSession, webhook_id: str) -> Delivery:
        """An event that is about nothing but the webhook."""
        hook = await self._enabled(tenant, webhook_id)
        change = tenant.change()
        data = {"type": "webhook", "id": hook.id, "revision": hook.revision, "href": f"/api/v1/webhooks/{hook.id}"}
        event = Event(tenant.services.ids.new(), TEST, change.at, data)
        made = event.delivery(tenant.id, hook.id, dropped=False)
        put_in_line(tenant, change, made)
        return await change.commit(made)

    def _line_up(
        self, tenant: TenantSession, change: Change, hook: Webhook, action: str, again: Sequence[Delivery]
    ) -> None:
        lengthen(change, hook.id, len(again))
        nudge(change, tenant, hook.id, urgent=True)
        told = {"deliveries": [one.id for one in again]}
        change.audit(action, Webhook.KIND, hook.id, hook.revision, None, told)

    async def _enabled(self, tenant: TenantSession, id: str) -> Webhook:
        webhook = (await load(tenant, Webhook, id)).value
        if not webhook.enabled:
            raise WrongState("This webhook is switched off; enable it first.")
        return webhook

    async def _held(self, tenant: TenantSession, id: str) -> Versioned[Delivery]:
        found = await tenant.store.get(Delivery.KIND, id)
        if found is None:
            raise NotFound("There is no such delivery.")
        return Versioned.of(Delivery, found)


def _seen(tenant: TenantSession, delivery: Delivery) -> Delivery:
    """For a key that is not for members, who they are is left out: they are named, as what is too large is."""
    if not delivery.type.startswith(ABOUT_USERS) or tenant.caller.may(KeyScope.MEMBERS):
        return delivery
    data = {name: value for name, value in delivery.payload["data"].items() if name != "object"}
    return delivery.model_copy(update={"payload": {**delivery.payload, "data": data}})


def _again(tenant: TenantSession, change: Change, held: Versioned[Delivery]) -> Delivery:
    new = held.value.model_copy(update={"status": "queued", "tried": 0, "due_at": change.at})
    meanwhile = Conflict("This delivery has just changed; look again.")
    change.write(Replace(Delivery.KIND, new.id, stored(new), held.etag), lambda _: meanwhile)
    return new
