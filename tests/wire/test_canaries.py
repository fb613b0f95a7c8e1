"""Canaries: what opens something is where it is kept and where it was asked for, and nowhere else.

Keys, secrets of webhooks out and in, addresses of chats, links on cards, tokens in URLs: through a tenant's day in
which each is used, misused, turned over, backed up and exported; then all that Flowgrid wrote, sent or said is looked
through.
"""

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from shared.auth.apikeys import SHOWN
from shared.telemetry.log import JsonLines, configure
from shared.tenancy.fence import AUDIT
from tests.doubles.ingestion import Ingestion, ingestion
from tests.doubles.models import says
from tests.unit.hooks_world import OTHER, SECRETS, delivered, hook_of
from tests.unit.keys_world import by_key, key_of, member
from tests.unit.test_api_keys_canary import kept
from tests.unit.world import Answer, admin
from tests.wire.chat_world import EVENTS, SECRET_PATH, SIGNING, Chat, buttons, token_of

SHOWING = ("create_api_key", "rotate_api_key", "create_webhook", "rotate_webhook_secret", "create_hook", "rotate_hook")
READING = (
    *("list_api_keys", "list_webhooks", "list_webhook_deliveries", "list_executions", "list_jobs"),
    *("list_audit", "export_audit", "export_tenant", "list_usage_events", "list_notifications", "get_analytics"),
)
KNOWING = ("list_hooks", "deliver_to_hook", "ask_decision")  # tell a token to who may see its hook, or has sent it


@pytest.fixture
def insights() -> Iterator[Ingestion]:
    with ingestion() as double:
        yield double


@pytest.fixture
def written() -> Iterator[Callable[[], str]]:
    """What a worker writes that logs all it can: its root logger takes what libraries tell as information."""
    kept: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(self.format(record))

    keeping, loggers = Keeping(), [logging.getLogger(name) for name in ("", "flowgrid")]
    keeping.setFormatter(JsonLines())
    levels = [logger.level for logger in loggers]
    configure("DEBUG")
    for logger, level in zip(loggers, (logging.INFO, logging.DEBUG), strict=True):
        logger.addHandler(keeping)
        logger.setLevel(level)
    yield lambda: "\n".join(kept)
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(keeping)
        logger.setLevel(level)


@dataclass
class Day:
    """`secrets`: all canaries, by what they are. `answers`: by the operation that gave them."""

    chat: Chat
    secrets: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    answers: list[tuple[str, Answer]] = field(default_factory=list)

    @property
    def tenant(self) -> str:
        return self.chat.runs.tenant

    def note(self, name: str, answer: Answer) -> Answer:
        self.answers.append((name, answer))
        return answer

    async def call(self, name: str, caller: Any, body: Any = None, **rest: Any) -> Answer:
        return self.note(name, await self.chat.runs.world.call(name, caller, body, **rest))

    async def keys(self) -> None:
        """One is made, used, turned over, mistyped and sent in vain."""
        world = self.chat.runs.world
        grace = await member(world, self.tenant)
        made = await key_of(world, grace)
        turned = (await self.call("rotate_api_key", grace, params={"api_key_id": made["id"]})).json
        for what, text in (("key", made["key"]), ("key, turned over", turned["key"])):
            self.secrets[what] = text.split("_")[4][SHOWN:64]
            for name, tried in (("get_me", text), ("create_agent", text), ("get_me", text[:-1] + "x"), ("get_me", "")):
                self.note(
                    name, await by_key(world, tried, name, {"name": "", "pattern": "x"} if "_a" in name else None)
                )
            query = {"cursor": text}
            await world.call("list_agents", grace, query=query, search=f"?cursor={text}")  # who sends it reads it again
            await world.call("get_agent", grace, params={"agent_id": text})
        await world.core.key_uses.flush()

    async def inbound(self) -> None:
        """Hooks of each style: right and wrong deliveries, made-up URLs, and the secret turned over."""
        world, grace = self.chat.runs.world, await member(self.chat.runs.world, self.tenant, "hook@acme.example")
        agent = await self.chat.runs.agent("filing", [says("Filed.")])
        for style in SECRETS:
            hook = await hook_of(world, grace, agent, style)
            token = hook["path"].rpartition("/")[2]
            self.tokens[f"URL of a {style} hook"] = token
            self.secrets |= {f"{style} secret": SECRETS[style], f"{style} secret, new": OTHER[style]}
            params = {"hook_id": hook["id"]}
            await self.call("rotate_hook", grace, {"secret": OTHER[style], "overlap_hours": 1}, params=params)
            self.note("deliver_to_hook", await delivered(world, hook))
            for number, secret in enumerate((OTHER[style], "wrong-wrong-wrong-wrong-wrong-wr", SECRETS[style])):
                if secret.startswith("wrong") and style == "standard":
                    continue
                self.note("deliver_to_hook", await delivered(world, hook, {"n": number}, secret=secret))
            made_up = {**hook, "path": f"{hook['path'][:-4]}AAAA"}
            self.tokens[f"made-up URL of a {style} hook"] = made_up["path"].rpartition("/")[2]
            self.note("deliver_to_hook", await delivered(world, made_up))
            await self.call("revoke_hook", grace, params=params)
            self.note("deliver_to_hook", await delivered(world, hook, {"n": 9}))

    async def outbound(self) -> None:
        """Events are told, refused and told again; cards are answered, from Slack and by the page."""
        boss, receiver = admin(self.tenant), self.chat.receiver
        body = {"url": f"{receiver.url}/own", "events": EVENTS}
        own = (await self.call("create_webhook", boss, body, headers={"idempotency-key": "once"})).json
        await self.call("create_webhook", boss, body, headers={"idempotency-key": "once"})
        new = (await self.call("rotate_webhook_secret", boss, params={"webhook_id": own["id"]})).json
        self.secrets |= {"webhook secret": own["secret"], "webhook secret, new": new["secret"]}
        self.secrets |= {"Slack's signing secret": SIGNING, "address of a chat": SECRET_PATH}
        slack, _ = await self.chat.hook("slack"), await self.chat.hook("teams")
        wrong = {"url": f"{receiver.url}/{SECRET_PATH}", "events": ["nonsense"], "format": "teams"}
        await self.call("create_webhook", boss, wrong)
        await self.call("create_webhook", boss, {**wrong, "events": EVENTS, "url": f"ftp://x/{SECRET_PATH}"})
        chats = f"/slack/{SECRET_PATH}", f"/teams/{SECRET_PATH}"
        receiver.says |= {chats[0]: 500, chats[1]: (302, {"location": f"/{SECRET_PATH}"})}
        await self.chat.ordering()
        receiver.says.clear()
        for _ in range(10):
            if all(any("waiting" in one.body.decode() for one in receiver.taken(path)) for path in chats):
                break
            self.chat.runs.world.clock.advance(minutes=6)
            await self.chat.runs.world.sweep()
            await self.chat.runs.drain()
        button = buttons(self.chat.told("slack", "waiting"))["approve"]
        link = token_of(self.chat.told("teams", "waiting"))
        self.tokens |= {"link on a card": link, "a button's value": button["value"]}
        self.note("take_slack_answer", await self.chat.clicked(slack, button, secret="guessed"))
        self.note("ask_decision", await self.chat.page(link))
        self.note("ask_decision", await self.chat.page(link[:-3] + "AAA"))
        self.note("take_slack_answer", await self.chat.clicked(slack, button))
        self.note("take_decision", await self.chat.page(link, "approve"))
        deliveries = (await self.call("list_webhook_deliveries", boss)).json
        for one in deliveries["items"][:6]:
            await self.call("redeliver_webhook_delivery", boss, params={"delivery_id": one["id"]})

    async def read(self) -> None:
        world, boss = self.chat.runs.world, admin(self.tenant)
        await self.call("list_hooks", boss)
        await world.backed_up(self.tenant)
        for name in READING:
            await self.call(name, boss)
        await world.core.services.outbox.flush()


@pytest.fixture
async def day(tmp_path: Path, insights: Ingestion) -> AsyncIterator[Day]:
    more = {"applicationinsights_connection_string": insights.connection_string, "flowgrid_environment": "staging"}
    async with Chat.over(tmp_path / "data", **more) as chat:
        yield Day(chat)


async def test_nothing_that_opens_something_is_written_sent_or_told_anywhere_else(
    day: Day, insights: Ingestion, written: Callable[[], str]
) -> None:
    await day.keys()
    await day.outbound()
    await day.inbound()
    await day.read()
    session = await day.chat.runs.world.session(day.tenant)
    trail = json.dumps([one.body async for page in session.store.scan([AUDIT]) for one in page])
    lies = dict(kept(day.chat.runs.world.core.settings.flowgrid_data_dir))
    await day.chat.runs.world.core.adapters.telemetry.close()

    told, logged = "\n".join(insights.raw), written()
    statuses = {name: {one.status for of, one in day.answers if of == name} for name, _ in day.answers}
    assert statuses["deliver_to_hook"] == {202, 401} and statuses["take_slack_answer"] == {200, 401}
    assert {name: statuses[name] for name in READING} == {name: {200} for name in READING}
    assert "POST /api/hooks/in/{hook_token}" in told and "POST 127.0.0.1" in told and "hook.rotated" in trail
    assert "a delivery was refused" in logged and any("/blobs/" in where and ".zst" in where for where in lies)

    everywhere = {"telemetry": told, "a log": logged, "the audit": trail}
    for name, one in day.answers:
        if not showing(name, one):
            where = f"an answer of {name}"
            everywhere[where] = everywhere.get(where, "") + one.raw.decode()
    everywhere |= {where: data.decode(errors="replace") for where, data in lies.items() if "/database/" not in where}
    assert found(everywhere, day.secrets) == []
    assert found({where: text for where, text in everywhere.items() if not where.endswith(KNOWING)}, day.tokens) == []
    databases = {where: data.decode("latin-1") for where, data in lies.items() if "/database/" in where}
    assert databases and found(databases, day.secrets) == []
    assert len(day.secrets) == 6 + 2 * len(SECRETS) and len(day.tokens) == 2 + 2 * len(SECRETS)


def showing(name: str, answer: Answer) -> bool:
    """What it makes is told in it."""
    return name in SHOWING and answer.status < 300


def found(texts: Mapping[str, str], canaries: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(where, what) for where, text in texts.items() for what, one in canaries.items() if one in text]
