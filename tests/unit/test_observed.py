"""What is told of each call to a queue, a store of blobs, of secrets, a model: of whom, to where, and how it went."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from shared import observed
from shared.ai.port import Answer, Connection, Message, ModelFailed, Models, Question, TokenUsage
from shared.blobs.files import FileBlobs
from shared.errors import Conflict, NotFound, Unavailable
from shared.messaging.port import Message as Sent
from shared.messaging.sqlite import SqliteMessaging
from shared.observed import ObservedBlobs, ObservedMessaging, ObservedModels, ObservedSecrets
from shared.secrets.file import FileSecrets
from shared.telemetry.log import log_fields
from shared.telemetry.port import Telemetry
from shared.tracing import Call, begun, within
from tests.unit.world import TENANT_ID, FakeClock


class KeptTelemetry(Telemetry):
    """The calls and figures that it was told of."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.figures: list[tuple[Any, ...]] = []

    def dependency(self, call: Call) -> None:
        self.calls.append(call)

    def metric(self, name: str, tenant_id: str, value: float, properties: Any, count: int = 1) -> None:
        self.figures.append((name, tenant_id, value, properties["provider"], properties["model"]))

    @property
    def told(self) -> list[tuple[str, str, str, str, bool, str]]:
        return [(c.kind, c.target, c.name, c.tenant_id, c.ok, c.result) for c in self.calls]


@pytest.fixture
def kept() -> KeptTelemetry:
    return KeptTelemetry()


async def some() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


async def test_of_blobs_the_area_is_told_and_never_a_name(kept: KeptTelemetry, tmp_path: Path) -> None:
    blobs = ObservedBlobs(FileBlobs(tmp_path), "files", kept.dependency)
    space = blobs.space("backups", TENANT_ID)
    await space.write("canary/1", some())
    with pytest.raises(Conflict):
        await space.write("canary/1", some(), overwrite=False)
    assert b"".join([chunk async for chunk in space.read("canary/1")]) == b"onetwo"
    async with aclosing(space.read("canary/1")) as chunks:  # type: ignore[type-var]
        await anext(chunks)
    with pytest.raises(NotFound):
        [chunk async for chunk in space.read("canary/2")]
    assert [one.name async for one in space.list("canary")] == ["canary/1"]
    assert await space.info("canary/1") is not None
    await space.delete("canary/1")
    await blobs.ping()
    await blobs.close()
    rows = ["write", "write", "read", "read", "read", "list", "info", "delete"]
    results = ["", "Conflict", "", "GeneratorExit", "NotFound", "", "", ""]
    assert kept.told == [
        ("files", "backups", f"{row} backups", TENANT_ID, True, result)
        for row, result in zip(rows, results, strict=True)
    ]


async def test_of_secrets_neither_name_nor_value_is_told(kept: KeptTelemetry, tmp_path: Path) -> None:
    key = Fernet.generate_key()
    secrets = ObservedSecrets(FileSecrets(tmp_path, lambda: key), "secrets", kept.dependency)
    space = secrets.space(TENANT_ID)
    reference = await space.put("canary", "value")
    assert await space.get(reference) == "value"
    await space.delete(reference)
    with pytest.raises(NotFound):
        await space.get(reference)
    await secrets.ping()
    await secrets.close()
    told = [("put", ""), ("get", ""), ("delete", ""), ("get", "NotFound")]
    assert kept.told == [("secrets", "secrets", name, TENANT_ID, True, result) for name, result in told]


async def test_of_messages_the_queue_is_told_and_they_are_of_the_sends_trace(
    kept: KeptTelemetry, tmp_path: Path
) -> None:
    inner = SqliteMessaging(tmp_path, FakeClock())
    messaging = ObservedMessaging(inner, "queue", kept.dependency, usage_queue="usage")
    with within(begun()) as span:
        await messaging.send("jobs", [Sent("m", TENANT_ID, {})])
        await messaging.send("jobs", [], delay=timedelta(seconds=1))
    (call, _), ((message, _),) = kept.calls, (await inner.receive("jobs")).messages
    assert (call.span.parent, message.traceparent) == (span.id, call.span.traceparent)
    assert kept.told[0] == ("queue", "jobs", "send jobs", TENANT_ID, True, "")
    assert await messaging.dead("jobs") == []
    await messaging.drop_dead("jobs", "m")
    await messaging.ping()
    await messaging.close()


async def test_a_call_that_fails_is_told_as_failed(
    kept: KeptTelemetry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inner = SqliteMessaging(tmp_path, FakeClock())

    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(inner, "send", away)
    messaging = ObservedMessaging(inner, "queue", kept.dependency, usage_queue="usage")
    for queue in ("jobs", "usage"):
        with pytest.raises(Unavailable):
            await messaging.send(queue, [Sent("m", TENANT_ID, {})])
    assert [row[-2:] for row in kept.told] == [(False, "Unavailable")] * 2


@pytest.mark.parametrize(("slow", "told"), [(0.0, ["send usage"]), (60.0, [])])
async def test_of_what_metering_sends_only_what_is_slow_is_told(
    slow: float, told: list[str], kept: KeptTelemetry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(observed, "SLOW_SECONDS", slow)
    inner = SqliteMessaging(tmp_path, FakeClock())
    with within(begun()) as span:
        messaging = ObservedMessaging(inner, "queue", kept.dependency, usage_queue="usage")
        await messaging.send("usage", [Sent("m", TENANT_ID, {})])
    ((message, _),) = (await inner.receive("usage")).messages
    assert ([call.name for call in kept.calls], message.traceparent) == (told, span.traceparent)
    await inner.close()


class Saying(Models):
    """Answers with these tokens, or fails."""

    def __init__(self, usage: TokenUsage | None) -> None:
        self._usage = usage

    async def ask(self, connection: Connection, question: Question) -> Answer:
        if self._usage is None:
            raise ModelFailed("It does not answer.")
        return Answer(Message("assistant", "said"), self._usage, question.model, None, "stop")

    def price(self, connection: Connection, model: str, usage: TokenUsage) -> int | None:
        return 7

    async def close(self) -> None:
        return None


@pytest.mark.parametrize(("model", "told"), [("gpt-5", "gpt-5"), ("ask ada@acme.example", "other")])
async def test_of_an_answer_tokens_wire_and_model_are_told(kept: KeptTelemetry, model: str, told: str) -> None:
    models = ObservedModels(Saying(TokenUsage(100, 20, 50)), kept)
    log_fields.set({"tenant_id": TENANT_ID})
    connection = Connection("openai", "Ada's own", key="canary")
    await models.ask(connection, Question(model, [Message("user", "canary")], 100, 5.0))
    assert kept.figures == [("AI Request", TENANT_ID, 120, "openai", told)]
    assert kept.told == [("AI", "openai", f"ask {told}", "", True, "")]
    assert models.price(connection, model, TokenUsage(1, 1)) == 7
    await models.close()


async def test_a_model_that_fails_is_a_failed_call_and_no_figure(kept: KeptTelemetry) -> None:
    with pytest.raises(ModelFailed):
        question = Question("gpt-5", [Message("user", "canary")], 100, 5.0)
        await ObservedModels(Saying(None), kept).ask(Connection("openai", "ours"), question)
    assert (kept.figures, [row[-2:] for row in kept.told]) == ([], [(False, "ModelFailed")])
