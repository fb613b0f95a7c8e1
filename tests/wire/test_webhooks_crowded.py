"""Receivers that hang and lines that are full: nobody else waits for them, and nothing is lost without a word."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

import functions.webhooks.telling as telling
from functions.webhooks.lines import Lines
from functions.webhooks.messages import look_at
from functions.webhooks.models import Delivery, Webhook
from functions.webhooks.sending import Answered, Ready, Sender
from functions.webhooks.working import Deliverer
from shared.clock import rfc3339
from shared.messaging.places import SIDE_BY_SIDE
from shared.messaging.port import Message
from shared.work.happenings import HAPPENED
from shared.work.session import TenantSession
from tests.unit.world import UNLIMITED, World
from tests.wire.webhooks_world import WebhooksWorld

MOST = 3


@pytest.fixture
async def acme(tmp_path: Path) -> AsyncIterator[WebhooksWorld]:
    async with WebhooksWorld.over(tmp_path) as made:
        yield made


# A line that is full


async def test_a_full_line_takes_nothing_more_says_so_once_a_day_and_is_replayed(
    acme: WebhooksWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "MAX_WAITING", MOST)
    away, well = await acme.hook("/away"), await acme.hook("/well")
    acme.receiver.says["/away"] = 503
    names = [f"agent {number}" for number in range(2 * MOST)]
    for name in names:
        await acme.agent(name)
        await acme.world.drain()
    assert acme.names("/well") == names, "another line is as long as ever"
    assert [one["status"] for one in await acme.log(away)] == ["queued"] * MOST + ["dropped"] * MOST
    told = [one for one in await notifications(acme) if one["code"] == "webhook_full"]
    assert len(told) == 1 and told[0]["data"] == {"webhook_id": away["id"]} and "replay" in told[0]["text"]

    acme.receiver.says["/away"] = 200
    await acme.pass_time(60, steps=12)
    assert acme.names("/away") == names[:MOST]
    range_of_it = {"since": "2026-11-01T00:00:00Z", "status": "dropped"}
    assert (await acme.call("replay_webhook_deliveries", range_of_it, webhook_id=away["id"])).status == 200
    await acme.pass_time(60, steps=12)
    assert acme.names("/away") == names and len({one.id for one in acme.receiver.taken("/away")}) == len(names)
    assert len(acme.names("/well")) == len(names) == len(await acme.log(well))


async def notifications(acme: WebhooksWorld) -> list[dict[str, Any]]:
    answer = await acme.call("list_notifications")
    assert answer.status == 200, answer.raw
    items: list[dict[str, Any]] = answer.json["items"]
    return items


# A receiver that hangs


@dataclass
class Hanging:
    """Receivers of `who` hang until they are let go; `begun` and `told` count calls by tenant."""

    world: World
    who: str
    begun: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    another: asyncio.Event = field(default_factory=asyncio.Event)

    async def ready(self, tenant: TenantSession, webhook: Webhook) -> Ready:
        return Ready(webhook, ["a key"], webhook.url)

    async def send(self, ready: Ready, delivery: Delivery) -> Answered:
        tenant = delivery.payload["tenant_id"]
        self.begun.append(tenant)
        if tenant == self.who:
            await self.released.wait()
        else:
            self.another.set()
        self.told.append(tenant)
        return Answered(rfc3339(self.world.clock.now()), 1, 204)


async def listening(acme: WebhooksWorld, tenant: str, how_many: int) -> list[str]:
    """Webhooks of a tenant, each with one event in its line."""
    made = WebhooksWorld(acme.world, acme.receiver, tenant)
    hooks = [await made.hook(f"/{tenant}/{number}") for number in range(how_many)]
    await made.agent()
    return [hook["id"] for hook in hooks]


async def test_a_tenant_whose_receivers_hang_keeps_nobody_elses_deliveries_waiting(acme: WebhooksWorld) -> None:
    world, core = acme.world, acme.world.core
    limits = {**UNLIMITED, "max_webhooks": 2 * SIDE_BY_SIDE}
    loud, quiet = [(await world.onboard(slug, limits=limits))["id"] for slug in ("loud", "quiet")]
    hanging = Hanging(world, loud)
    lines = Lines(cast(Sender, hanging), core.adapters.messaging)
    deliverer = Deliverer(lines, core.directory, core.services, core.dead_letters, core.adapters.messaging)
    queued = [(loud, id) for id in await listening(acme, loud, 2 * SIDE_BY_SIDE)]
    queued += [(quiet, id) for id in await listening(acme, quiet, 2)]
    for tenant in (loud, quiet):
        await deliverer.take(Message(core.services.ids.new(), tenant, {"happened": ""}))
    messages = [look_at(core.services.ids.new(), tenant, id, urgent=True) for tenant, id in queued]

    working = asyncio.ensure_future(deliverer.take_all(messages))
    await asyncio.wait_for(hanging.another.wait(), 60)
    assert hanging.told.count(loud) == 0 and not working.done(), "the loud tenant's receivers hang all the while"
    assert hanging.begun.count(loud) <= SIDE_BY_SIDE // 2
    hanging.released.set()
    await working
    assert hanging.told.count(quiet) == 2

    while len(hanging.told) + len(acme.receiver.calls) < len(queued):  # what had no place is elsewhere a bit later
        before = len(acme.receiver.calls)
        world.clock.advance(seconds=3)
        await world.drain()
        assert len(acme.receiver.calls) > before, "nothing moves any more"
    assert hanging.told.count(loud) + len(acme.receiver.calls) == 2 * SIDE_BY_SIDE


async def test_of_a_burst_one_hands_out_and_the_others_leave_it_to_them(
    acme: WebhooksWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, core, tried = acme.world, acme.world.core, list[str]()
    await listening(acme, acme.tenant, 3)
    for number in range(20):
        await acme.agent(f"agent {number}")
    inner = telling._hand_out

    async def counted(session: TenantSession, *rest: Any) -> None:
        tried.append(session.id)
        await inner(session, *rest)

    monkeypatch.setattr(telling, "_hand_out", counted)
    lines = Lines(cast(Sender, Hanging(world, "")), core.adapters.messaging)
    deliverer = Deliverer(lines, core.directory, core.services, core.dead_letters, core.adapters.messaging)
    await deliverer.take_all([Message(core.services.ids.new(), acme.tenant, {"happened": ""}) for _ in range(20)])
    entry = await core.directory.entry(acme.tenant)
    assert entry is not None
    store = core.directory.open(entry)
    assert (await store.query(HAPPENED)).items == []
    assert len(tried) <= 20 + 20, "each of them loses once at most"
