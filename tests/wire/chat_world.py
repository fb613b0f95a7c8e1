"""A tenant whose runs are answered from cards, and a receiver that is Slack and Teams at once."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from functions.catalog.service import ElementService, RelationshipService
from functions.design.tools import WizardTools
from functions.executions.assembly import Executions
from functions.executions.working import World as Runs
from functions.tools.catalog import CatalogTools
from functions.tools.port import Toolboxes
from functions.webhooks.answering import slack_signature
from functions.webhooks.links import unproved
from shared.auth.caller import Caller
from tests.doubles.models import ScriptedModels, anywhere, calls, says
from tests.doubles.receiver import Receiver, receiving
from tests.doubles.time import Time
from tests.unit.keys_world import member
from tests.unit.runs_world import LIMITS, Desk, RunsWorld
from tests.unit.world import Answer, FakeClock, World

SIGNING = "8f742231b10e8888abcd99yyyzzz85a5"
EVENTS = ["execution.waiting", "execution.succeeded", "agent.created"]
PUBLIC = "https://flowgrid.test"
SECRET_PATH = "a-secret-path"


@dataclass
class Chat:
    """A tenant whose agents' calls wait for approval, and a receiver of its cards."""

    runs: RunsWorld
    receiver: Receiver
    boss: Caller

    @classmethod
    @asynccontextmanager
    async def over(cls, folder: Path, **settings: Any) -> AsyncIterator["Chat"]:
        clock, models, desk = FakeClock(), ScriptedModels(), Desk()
        time = Time(clock)
        toolbox = Toolboxes(CatalogTools(ElementService(), RelationshipService()), desk)
        parts = Runs(toolbox, models, anywhere, WizardTools(), time.pause)
        with receiving(clock.now) as receiver:
            own = {"flowgrid_outgoing_allowed": receiver.address, "flowgrid_public_url": PUBLIC, **settings}
            world = World.over(folder, clock=clock, runs=parts, **own)
            made = await world.onboard("acme", limits=LIMITS)
            boss = await member(world, made["id"], "boss@acme.example")
            runs = RunsWorld(world, models, time, made["id"], desk, Executions.of(world.core, parts))
            yield cls(runs, receiver, boss)
            await world.close()

    async def hook(self, kind: str, **fields: Any) -> dict[str, Any]:
        own = {"signing_secret": SIGNING} if kind == "slack" else {}
        body = {
            "format": kind,
            "url": f"{self.receiver.url}/{kind}/{SECRET_PATH}",
            "events": EVENTS,
            "approvals": "admin",
        }
        answer = await self.runs.world.call("create_webhook", self.boss, {**body, **own, **fields})
        assert answer.status == 201, answer.raw
        made: dict[str, Any] = answer.json
        return made

    async def ordering(self) -> str:
        """A run that waits for an approval, told of."""
        script = [calls(("order", {"what": "paper"})), says("Done.")]
        found = await self.runs.run(await self.runs.agent("clerk", script, tools=["order"]))
        assert found["waiting_for"] == "approval"
        await self.runs.drain()
        return str(found["id"])

    def told(self, kind: str, what: str) -> Any:
        """The card of this event."""
        found = [one.json for one in self.receiver.of(f"/{kind}/{SECRET_PATH}") if what in one.body.decode()]
        return found[-1]

    def button_of(self, hook: dict[str, Any]) -> dict[str, Any]:
        """Approve, on the card that this webhook of Slack's was sent."""
        cards = [one.json for one in self.receiver.of(f"/slack/{SECRET_PATH}") if b"waiting" in one.body]
        (found,) = [one for one in (buttons(card)["approve"] for card in cards) if _webhook_of(one) == hook["id"]]
        return found

    async def clicked(
        self, hook: dict[str, Any], button: dict[str, Any], secret: str = SIGNING, late: int = 0
    ) -> Answer:
        """What Slack posts."""
        action = {"type": "button", "action_id": button["action_id"], "value": button["value"]}
        payload = {"type": "block_actions", "user": {"id": "U1"}, "actions": [action]}
        body = urlencode({"payload": json.dumps(payload)}).encode()
        at = str(int(self.runs.world.clock.now().timestamp()) - late)
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "x-slack-request-timestamp": at,
            "x-slack-signature": slack_signature(secret, at, body).decode(),
        }
        params = {"hook": f"{self.runs.tenant}.{hook['id']}"}
        answer = await self.runs.world.call("take_slack_answer", None, body, params=params, headers=headers)
        await self.runs.drain()
        return answer

    async def page(self, token: str, choice: str | None = None) -> Answer:
        params, form = {"token": token}, {"content-type": "application/x-www-form-urlencoded"}
        if choice is None:
            return await self.runs.world.call("ask_decision", None, params=params)
        body = urlencode({"decision": choice}).encode()
        answer = await self.runs.world.call("take_decision", None, body, params=params, headers=form)
        await self.runs.drain()
        return answer


def buttons(message: Any) -> dict[str, dict[str, Any]]:
    (actions,) = [one for one in message["blocks"] if one["type"] == "actions"]
    return {one["action_id"]: one for one in actions["elements"]}


def _webhook_of(button: dict[str, Any]) -> str:
    return unproved(button["value"]).webhook


def token_of(message: Any) -> str:
    (action,) = message["attachments"][0]["content"]["actions"]
    assert action["type"] == "Action.OpenUrl" and action["url"].startswith(f"{PUBLIC}/api/hooks/decisions/")
    return str(action["url"].rpartition("/")[2])
