"""The provider `offline`: no model and no network, the same answer to the same question, for trying and for tests.

It calls the tools that the input speaks of, each at most once, and answers from what they say; asked for a schema, it
gives a small instance of it. All that it writes freely says that it is offline.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from shared.ai.instances import instance, words_of
from shared.ai.port import Answer, Finish, Message, Question, TokenUsage, ToolCall, ToolSpec

NAME = "offline"
SAYS = "Offline, no model was asked."
BYTES_PER_TOKEN = 4
MOST_CALLS = 5
SHOWN = 300


def answer(question: Question) -> Answer:
    """Of no cost; what it would have used is counted by a rule: `BYTES_PER_TOKEN` bytes make a token."""
    said = [message.text for message in question.messages if message.role == "user"]
    text = said[-1] if said else question.instructions
    message, finish = _said(question, text)
    usage = TokenUsage(tokens(_asked(question)), tokens(_plain(message)))
    return Answer(message, usage, question.model or NAME, 0, finish)


def tokens(text: str) -> int:
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)


def _said(question: Question, text: str) -> tuple[Message, Finish]:
    results = _results(question.messages)
    if not results and (called := _called(question.tools, text)):
        turn = len(question.messages)
        calls = [
            ToolCall(f"offline_{turn}_{number}", tool.name, instance(tool.parameters, text))
            for number, tool in enumerate(called, 1)
        ]
        return Message("assistant", calls=calls), "calls"
    if question.schema is not None:
        written = json.dumps(instance(question.schema, text, free=f"{SAYS} {_short(text)}"), ensure_ascii=False)
    else:
        found = "".join(f" {one.name or 'a tool'} says: {_short(one.text)}" for one in results)
        written = f"{SAYS} Asked: {_short(text)}{found}"
    cut = written.encode(errors="replace")[: question.max_tokens * BYTES_PER_TOKEN].decode(errors="ignore")
    return Message("assistant", cut), "stop" if cut == written else "length"


def _results(messages: Sequence[Message]) -> list[Message]:
    """What tools have said since the user has last said something."""
    last = max((number for number, message in enumerate(messages) if message.role == "user"), default=-1)
    return [message for message in messages[last + 1 :] if message.role == "tool"]


def _called(tools: Sequence[ToolSpec], text: str) -> list[ToolSpec]:
    """The tools whose name or description has a word of the input, in their own order."""
    wanted = words_of(text)
    return [tool for tool in tools if wanted & words_of(f"{tool.name} {tool.description}")][:MOST_CALLS]


def _asked(question: Question) -> str:
    tools = [{"name": tool.name, "description": tool.description, "schema": tool.parameters} for tool in question.tools]
    return question.instructions + "".join(map(_plain, question.messages)) + (_json(tools) if tools else "")


def _plain(message: Message) -> str:
    return message.text + "".join(call.name + _json(call.arguments) for call in message.calls)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=dict)


def _short(text: str) -> str:
    plain = re.sub(r"\s+", " ", text).strip()
    return plain if len(plain) <= SHOWN else plain[:SHOWN] + "…"
