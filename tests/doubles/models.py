"""A model that answers by a script, and counts for itself what it has answered.

The script of an agent is found by its instructions, and the reply by how many turns the conversation has had: so the
same question is answered alike, however often it is asked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.ai.port import Answer, Connection, Finish, Message, Models, Question, TokenUsage, ToolCall
from shared.errors import Invalid

USAGE = TokenUsage(100, 10, 30)


@dataclass(frozen=True)
class Reply:
    """What a model says; `calls` as (tool, arguments); `raises` in place of an answer; `hangs` until told."""

    text: str = ""
    calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    usage: TokenUsage = USAGE
    cost: int | None = 7
    finish: Finish = "stop"
    raises: Exception | None = None
    hangs: bool = False
    id: str = ""  # of all its calls; none: each has its own


def says(text: str, **fields: Any) -> Reply:
    return Reply(text, **fields)


def calls(*wanted: tuple[str, Mapping[str, Any]], text: str = "", **fields: Any) -> Reply:
    return Reply(text, wanted, finish="calls", **fields)


@dataclass
class ScriptedModels(Models):
    """`scripts`: instructions -> replies, the last of which is given again and again. `before` each answer."""

    scripts: dict[str, list[Reply]] = field(default_factory=dict)
    asked: list[Question] = field(default_factory=list)
    answered: list[Answer] = field(default_factory=list)
    prices: int | None = 0
    before: Callable[[Question], Awaitable[None]] | None = None
    after: Callable[[Question], Awaitable[None]] | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    hanging: int = 0

    async def ask(self, connection: Connection, question: Question) -> Answer:
        if self.before is not None:
            await self.before(question)
        self.asked.append(question)
        turns = sum(message.role == "assistant" for message in question.messages)
        script = self.scripts[question.instructions]
        reply = script[min(turns, len(script) - 1)]
        if reply.hangs:
            self.hanging += 1
            try:
                await self.gate.wait()
            finally:
                self.hanging -= 1
        if reply.raises is not None:
            raise reply.raises
        wanted = [
            ToolCall(reply.id or f"call-{turns}-{number}", name, arguments)
            for number, (name, arguments) in enumerate(reply.calls)
        ]
        message = Message("assistant", reply.text, tuple(wanted))
        answer = Answer(message, reply.usage, question.model, reply.cost, reply.finish)
        self.answered.append(answer)
        if self.after is not None:
            await self.after(question)
        return answer

    @property
    def billed(self) -> int:
        """Tokens of all answers, those that nobody has received included."""
        return sum(answer.usage.input + answer.usage.output for answer in self.answered)

    def price(self, connection: Connection, model: str, usage: TokenUsage) -> int | None:
        return self.prices

    async def close(self) -> None:
        return None


async def anywhere(session: object, provider: str, model: str) -> tuple[Connection, str]:
    """Every provider is the script, but the one that is `nowhere`."""
    if provider == "nowhere":
        raise Invalid.of("provider", "is no provider", provider)
    return Connection("offline", provider), model or "offline"
