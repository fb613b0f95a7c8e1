"""A tenant with webhooks, a clock that is moved, and a receiver on real HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import standardwebhooks
from pytest import MonkeyPatch

from tests.doubles.receiver import Received, Receiver, receiving
from tests.unit.world import AGENT, Answer, FakeClock, World, admin

AGENTS = ["agent.created", "agent.updated", "agent.deleted"]


@dataclass
class WebhooksWorld:
    world: World
    receiver: Receiver
    tenant: str

    @classmethod
    @asynccontextmanager
    async def over(cls, folder: Path) -> AsyncIterator["WebhooksWorld"]:
        clock = FakeClock()
        with receiving(clock.now) as receiver:
            world = World.over(folder, clock=clock, flowgrid_outgoing_allowed=receiver.address)
            try:
                yield cls(world, receiver, (await world.onboard("acme"))["id"])
            finally:
                await world.close()

    async def call(self, name: str, body: Any = None, **params: str) -> Answer:
        return await self.world.call(name, admin(self.tenant), body, params=params)

    async def hook(self, path: str = "/a", events: list[str] | None = None, **fields: Any) -> dict[str, Any]:
        """A webhook, with its secret."""
        body = {"url": f"{self.receiver.url}{path}", "events": events or AGENTS, **fields}
        answer = await self.call("create_webhook", body)
        assert answer.status == 201, answer.raw
        made: dict[str, Any] = answer.json
        return made

    async def agent(self, name: str = "Claims intake", **fields: Any) -> dict[str, Any]:
        answer = await self.call("create_agent", {**AGENT, "name": name, **fields})
        assert answer.status == 201, answer.raw
        made: dict[str, Any] = answer.json
        return made

    async def shown(self, hook: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = (await self.call("get_webhook", webhook_id=hook["id"])).json
        return found

    async def log(self, hook: dict[str, Any], **query: str) -> list[dict[str, Any]]:
        """The deliveries, the oldest first."""
        asked = {"webhook_id": hook["id"], "sort": "created_at", "limit": "200", **query}
        answer = await self.world.call("list_webhook_deliveries", admin(self.tenant), query=asked)
        assert answer.status == 200, answer.raw
        items: list[dict[str, Any]] = answer.json["items"]
        return items

    async def pass_time(self, minutes: float, steps: int = 1) -> None:
        """In so many steps, each with the sweep and all that is due."""
        for _ in range(steps):
            self.world.clock.advance(minutes=minutes / steps)
            await self.world.sweep()
            await self.world.drain()

    def names(self, path: str) -> list[str]:
        """Of the agents that were told of and acknowledged."""
        return [one.json["data"]["object"]["name"] for one in self.receiver.taken(path)]


def verified(received: Received, secret: str, monkeypatch: MonkeyPatch) -> Any:
    """What the library makes of it, at the time at which it came."""

    class Then(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Then":
            return cls.fromtimestamp(received.at.timestamp(), tz)

    monkeypatch.setattr("standardwebhooks.webhooks.datetime", Then)
    return standardwebhooks.Webhook(secret).verify(received.body, dict(received.headers))
