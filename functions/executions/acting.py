"""What a run does in the world: asks a model, uses a tool. Bounded in time and tries; watched, so that it can be ended.

Nothing is written here. What may have been done and is not known is told as `Undecided`, never repeated.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from functions.executions.conversing import MESSAGES, result_text
from functions.executions.holding import Pause
from functions.tools.port import Tool, ToolFailed
from shared.ai.port import Answer, Connection, Message, ModelFailed, Models, Question
from shared.errors import FlowgridError, Unavailable
from shared.tenancy.fence import Fenced, Overtaken
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.executions")
T = TypeVar("T")
CALL_SECONDS = 100.0  # for one call of a model
TOOL_SECONDS = 60.0
TRIES = 3
LONGEST_PAUSE = 30.0
POLL_SECONDS = 0.5
TOKENS_A_MESSAGE = 16  # that no text of it says


@dataclass(frozen=True)
class Stop:
    """Why a run ends although it is not done; `lost`: it is another's, and nothing is to be written."""

    status: str
    reason: str
    error: str | None = None
    lost: bool = False


class Undecided(Exception):
    """A tool was called, and nobody knows whether it was done."""


async def watched(work: Coroutine[Any, Any, T], look: Callable[[], Awaitable[Stop | None]], pause: Pause) -> T | Stop:
    """What the work comes to; or why it was ended: it is looked for a reason every half second."""
    doing, watching = asyncio.ensure_future(work), asyncio.ensure_future(_watch(look, pause))
    try:
        await asyncio.wait([doing, watching], return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        return watching.result()
    finally:
        for task in (doing, watching):
            task.cancel()
        await asyncio.gather(doing, watching, return_exceptions=True)


async def _watch(look: Callable[[], Awaitable[Stop | None]], pause: Pause) -> Stop:
    while True:
        await pause(POLL_SECONDS)
        try:
            stop = await look()
        except Unavailable as error:
            logger.info("a run could not be looked at", extra={"reason": error.message})
            continue
        if stop is not None:
            return stop


class Asking:
    """One question, asked until it is answered or was asked enough; `tried`: how often so far."""

    def __init__(self, models: Models, connection: Connection, question: Question, pause: Pause) -> None:
        self.tried = 0
        self._models = models
        self._connection = connection
        self._question = question
        self._pause = pause

    async def answer(self) -> Answer:
        """Raises `ModelFailed`, when it is no use trying again or was tried enough."""
        for self.tried in range(1, TRIES + 1):
            try:
                return await self._models.ask(self._connection, self._question)
            except ModelFailed as error:
                if not error.again or self.tried == TRIES:
                    raise
                await self._pause(_before_again(error.retry_after, self.tried))
        raise AssertionError("the last try either returns or raises")


async def use(tool: Tool, session: TenantSession, arguments: Mapping[str, Any], key: str, pause: Pause) -> str:
    """The result as a model is told it. Raises `ToolFailed` with what it is told instead, and `Undecided`."""
    for tried in range(1, TRIES + 1):
        try:
            async with asyncio.timeout(TOOL_SECONDS):
                return result_text(await tool.use(session, arguments, key))
        except ToolFailed as error:
            if error.unknown and not tool.idempotent:
                raise Undecided from error
            raise
        except (Unavailable, TimeoutError) as error:
            undone = isinstance(error, Fenced | Overtaken)
            if not tool.idempotent and not undone:
                raise Undecided from error
            if tried == TRIES:
                raise ToolFailed("This tool does not answer now.") from error
            await pause(_before_again(getattr(error, "retry_after", None), tried))
        except FlowgridError as error:
            raise ToolFailed(error.message) from error
        except Exception as error:
            logger.error("a tool failed", exc_info=error, extra={"tenant_id": session.id, "tool": tool.spec.name})
            if not tool.idempotent:
                raise Undecided from error
            raise ToolFailed("This tool failed, for a reason that is ours to mend.") from error
    raise AssertionError("the last try either returns or raises")


def tokens_at_most(question: Question) -> int:
    """How many tokens a question and its answer may come to: a token is rarely less than two bytes of text."""
    told = len(question.instructions.encode(errors="replace"))
    for spec in question.tools:
        told += len(spec.description) + len(str(dict(spec.parameters)))
    if question.schema is not None:
        told += len(str(dict(question.schema)))
    told += sum(map(_sent, question.messages))
    return told // 2 + TOKENS_A_MESSAGE * (len(question.messages) + 1) + question.max_tokens


def _sent(message: Message) -> int:
    """Bytes of what goes to the provider: our own fields, or what its adapter keeps, which says the same and more."""
    own = Message(message.role, message.text, message.calls, message.call_id, message.name)
    return max(len(MESSAGES.dump_json([own])), len((message.opaque or "").encode(errors="replace")))


def _before_again(asked: float | None, tried: int) -> float:
    return min(LONGEST_PAUSE, max(0.0, asked) if asked is not None else float(2**tried))
