"""The ports with somebody who is told of each call, where telemetry is on. What is called, never with what.

The database and the outgoing client tell of their own calls, as only they know of request units, and of statuses.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import timedelta
from time import perf_counter, time
from typing import cast

from shared.ai.port import Answer, Connection, Models, Question, TokenUsage
from shared.blobs.port import BlobInfo, Blobs, BlobSpace
from shared.errors import Conflict, NotFound, Stale
from shared.messaging.port import Message, Messaging
from shared.secrets.port import Secrets, SecretSpace
from shared.telemetry.log import log_fields
from shared.telemetry.port import Telemetry
from shared.tracing import Call, Tell, call_of, calling, timed

SLOW_SECONDS = 0.1
ANSWERS = (NotFound, Conflict, Stale, GeneratorExit)  # no failures; the last: a stream that is read no further
_MODEL = re.compile(r"[A-Za-z0-9._:/-]{1,100}")


class ObservedMessaging(Messaging):
    """Of sends to `usage_queue` only those that fail or are slow: each call has one, which its request spans."""

    def __init__(self, inner: Messaging, kind: str, tell: Tell, *, usage_queue: str) -> None:
        self._inner, self._kind, self._tell, self._usage_queue = inner, kind, tell, usage_queue

    async def send(self, queue: str, messages: Sequence[Message], *, delay: timedelta | None = None) -> None:
        what = (self._kind, queue, f"send {queue}", messages[0].tenant_id if messages else "")
        if queue == self._usage_queue:
            with _Trouble(self._tell, what):
                await self._inner.send(queue, messages, delay=delay)
        else:
            with calling(self._tell, *what):
                await self._inner.send(queue, messages, delay=delay)

    async def dead(self, queue: str, *, most: int = 100) -> list[tuple[Message, str]]:
        return await self._inner.dead(queue, most=most)

    async def drop_dead(self, queue: str, id: str) -> None:
        await self._inner.drop_dead(queue, id)

    async def ping(self) -> None:
        await self._inner.ping()

    async def close(self) -> None:
        await self._inner.close()


class _Trouble:
    """The block is a call that is told of when it was slow or has failed. Each request has one: it costs two clocks."""

    __slots__ = ("_since", "_started", "_tell", "_what")

    def __init__(self, tell: Tell, what: tuple[str, str, str, str]) -> None:
        self._tell, self._what = tell, what

    def __enter__(self) -> None:
        self._started, self._since = time(), perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        seconds = perf_counter() - self._since
        if kind is not None or seconds >= SLOW_SECONDS:
            call = call_of(*self._what)
            call.started, call.seconds = self._started, seconds
            if kind is not None:
                call.ok, call.result = False, kind.__name__
            self._tell(call)


class ObservedBlobs(Blobs):
    def __init__(self, inner: Blobs, kind: str, tell: Tell) -> None:
        self._inner, self._kind, self._tell = inner, kind, tell

    def space(self, area: str, tenant_id: str) -> BlobSpace:
        return _BlobSpace(self._inner.space(area, tenant_id), self._kind, area, tenant_id, self._tell)

    async def ping(self) -> None:
        await self._inner.ping()

    async def close(self) -> None:
        await self._inner.close()


class _BlobSpace(BlobSpace):
    """A stream is one call, from its first piece to its last, whoever makes or takes them being waited for."""

    def __init__(self, inner: BlobSpace, kind: str, area: str, tenant_id: str, tell: Tell) -> None:
        self._inner, self._kind, self._area, self._tenant_id, self._tell = inner, kind, area, tenant_id, tell

    async def write(self, name: str, chunks: AsyncIterable[bytes], *, overwrite: bool = True) -> BlobInfo:
        with timed(self._tell, self._call("write"), ANSWERS):
            return await self._inner.write(name, chunks, overwrite=overwrite)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        with timed(self._tell, self._call("read"), ANSWERS):
            async with aclosing(cast(AsyncGenerator[bytes, None], self._inner.read(name))) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def info(self, name: str) -> BlobInfo | None:
        with timed(self._tell, self._call("info"), ANSWERS):
            return await self._inner.info(name)

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        with timed(self._tell, self._call("list"), ANSWERS):
            async with aclosing(cast(AsyncGenerator[BlobInfo, None], self._inner.list(prefix))) as blobs:
                async for found in blobs:
                    yield found

    async def delete(self, name: str) -> None:
        with timed(self._tell, self._call("delete"), ANSWERS):
            await self._inner.delete(name)

    def _call(self, what: str) -> Call:
        return call_of(self._kind, self._area, f"{what} {self._area}", self._tenant_id)


class ObservedSecrets(Secrets):
    def __init__(self, inner: Secrets, kind: str, tell: Tell) -> None:
        self._inner, self._kind, self._tell = inner, kind, tell

    def space(self, tenant_id: str) -> SecretSpace:
        return _SecretSpace(self._inner.space(tenant_id), self._kind, tenant_id, self._tell)

    async def ping(self) -> None:
        await self._inner.ping()

    async def close(self) -> None:
        await self._inner.close()


class _SecretSpace(SecretSpace):
    def __init__(self, inner: SecretSpace, kind: str, tenant_id: str, tell: Tell) -> None:
        self._inner, self._kind, self._tenant_id, self._tell = inner, kind, tenant_id, tell

    async def put(self, name: str, value: str) -> str:
        with timed(self._tell, self._call("put")):
            return await self._inner.put(name, value)

    async def get(self, reference: str) -> str:
        with timed(self._tell, self._call("get"), ANSWERS):
            return await self._inner.get(reference)

    async def delete(self, reference: str) -> None:
        with timed(self._tell, self._call("delete"), ANSWERS):
            await self._inner.delete(reference)

    def _call(self, what: str) -> Call:
        return call_of(self._kind, "secrets", what, self._tenant_id)


class ObservedModels(Models):
    """Each answer is a figure, `AI Request`: its tokens, and by which wire; a provider's name is its tenant's."""

    def __init__(self, inner: Models, telemetry: Telemetry) -> None:
        self._inner, self._telemetry = inner, telemetry

    async def ask(self, connection: Connection, question: Question) -> Answer:
        model = question.model if _MODEL.fullmatch(question.model) else "other"
        since = perf_counter()
        with calling(self._telemetry.dependency, "AI", connection.wire, f"ask {model}"):
            answer = await self._inner.ask(connection, question)
        spent = round((perf_counter() - since) * 1000)
        told = {"provider": connection.wire, "model": model, "duration": str(spent)}
        tokens = answer.usage.input + answer.usage.output
        self._telemetry.metric("AI Request", log_fields.get({}).get("tenant_id", ""), tokens, told)
        return answer

    def price(self, connection: Connection, model: str, usage: TokenUsage) -> int | None:
        return self._inner.price(connection, model, usage)

    async def close(self) -> None:
        await self._inner.close()
