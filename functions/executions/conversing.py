"""The steps of a run as they are read and kept: what they add to the conversation is theirs, or a blob's when large."""

import json
from collections.abc import AsyncIterator, Sequence

from pydantic import ConfigDict, TypeAdapter

from functions.executions.models import AREA, MAX_INLINE_BYTES, Execution, Snapshot, Step
from shared.ai.port import Message
from shared.blobs.port import Blobs
from shared.database.port import Order, TenantStore, Where
from shared.errors import NotFound
from shared.work.resources import Resource

MESSAGES = TypeAdapter(list[Message], config=ConfigDict(defer_build=True))
MAX_RESULT_BYTES = 64 * 1024  # of a tool's or a child's, as a model is told it
CUT = "\n[cut: it was longer than a model is told]"


async def snapshot_of(store: TenantStore, execution_id: str) -> Snapshot:
    """The agent as it was. `NotFound` once it has been purged."""
    found = await store.get(Snapshot.KIND, execution_id)
    if found is None:
        raise NotFound("What this run was given is not kept any more.")
    return Snapshot.model_validate(found.body)


async def steps_of(store: TenantStore, execution: Execution) -> list[Step]:
    """All steps in their order, without what is in blobs; one query for each 200."""
    found: list[Step] = []
    after: tuple[str, str] | None = None
    while True:
        page = await store.query(Step.KIND, of_run(execution.id), order=Order("id"), after=after)
        found += [Step.model_validate(stored.body) for stored in page.items]
        after = page.next
        if after is None:
            return found


def of_run(execution_id: str) -> list[Where]:
    """Which steps are of this run: those whose ids begin with its id."""
    return [Where("id", ">", f"{execution_id}."), Where("id", "<", f"{execution_id}/")]


class Conversing:
    """Reads and keeps the messages of one tenant's steps."""

    def __init__(self, blobs: Blobs, tenant_id: str) -> None:
        self._space = blobs.space(AREA, tenant_id)

    async def whole(self, step: Step) -> Step:
        """The step with its messages."""
        if step.blob is None:
            return step
        raw = b"".join([chunk async for chunk in self._space.read(step.blob)])
        return step.model_copy(update={"messages": MESSAGES.validate_json(raw)})

    async def kept(self, step: Step, epoch: int) -> Step:
        """The step as it is to be stored: large messages are in a blob by now.

        The blob's name is this epoch's and attempt's, so that nobody who has lost the run overwrites what another has
        written.
        """
        raw = MESSAGES.dump_json(list(step.messages))
        if len(raw) <= MAX_INLINE_BYTES:
            return step.model_copy(update={"blob": None})
        name = f"{step.execution_id}/{step.number:05}-{epoch}-{step.attempts}.json"
        await self._space.write(name, _once(raw))
        return step.model_copy(update={"blob": name})


def bare(step: Step) -> Step:
    """Without the messages that its blob holds."""
    return step if step.blob is None else step.model_copy(update={"messages": []})


def said(step: Step) -> str | None:
    """The text of a step's last message; None without one."""
    return step.messages[-1].text if step.messages else None


def result_text(result: object) -> str:
    """A tool's result as a model is told it: text as it is, anything else as JSON; bounded."""
    text = result if isinstance(result, str) else json.dumps(_plain(result), ensure_ascii=False, default=str)
    return cut(text)


def cut(text: str) -> str:
    raw = text.encode(errors="replace")
    if len(raw) <= MAX_RESULT_BYTES:
        return raw.decode()
    return raw[:MAX_RESULT_BYTES].decode(errors="ignore") + CUT


def size_of(messages: Sequence[Message]) -> int:
    return sum(len(MESSAGES.dump_json([message])) for message in messages)


def _plain(result: object) -> object:
    return result.model_dump(mode="json") if isinstance(result, Resource) else result


async def _once(raw: bytes) -> AsyncIterator[bytes]:
    yield raw
