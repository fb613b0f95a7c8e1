"""What goes wrong with a model call, through the real SDKs: one request, one error that says what to do."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from shared.ai.models import AiModels
from shared.ai.port import (
    ModelFailed,
    ModelMalformed,
    ModelRefused,
    ModelThrottled,
    ModelTimeout,
    ModelUnavailable,
    Wire,
)
from shared.outgoing.client import Outgoing
from tests.doubles.ai import AiDouble, Fault, Reply, ai_double
from tests.wire.ai_connections import KEY, WIRES, connection, question


@pytest.fixture
async def models(provider: AiDouble) -> AsyncIterator[AiModels]:
    outgoing = Outgoing(frozenset({("127.0.0.1", provider.port)}))
    own = AiModels(outgoing)
    yield own
    await own.close()
    await outgoing.close()


def error(kind: str, code: str | None = None) -> str:
    """As both of them write it, near enough."""
    inner = {"type": kind, "code": code, "message": f"No: {kind}, your key {KEY} is known to us."}
    return json.dumps({"type": "error", "error": inner})


FAULTS = {
    "throttled": (Fault(429, {"retry-after": "7"}, error("rate_limit_error")), ModelThrottled, 7.0),
    "throttled without a time": (Fault(429, {}, error("rate_limit_error")), ModelThrottled, None),
    "wrong key": (Fault(401, {}, error("authentication_error", "invalid_api_key")), ModelRefused, None),
    "not allowed": (Fault(403, {}, error("permission_error")), ModelRefused, None),
    "unknown model": (Fault(404, {}, error("not_found_error", "model_not_found")), ModelRefused, None),
    "bad request": (Fault(400, {}, error("invalid_request_error")), ModelRefused, None),
    "redirect": (Fault(302, {"location": "http://169.254.169.254/"}), ModelRefused, None),
    "trouble": (Fault(500, {}, error("api_error")), ModelUnavailable, None),
    "gateway": (Fault(502, {}, "<html>Bad gateway</html>"), ModelUnavailable, None),
    "down": (Fault(503, {"retry-after": "30"}, error("api_error")), ModelUnavailable, 30.0),
    "overloaded": (Fault(529, {}, error("overloaded_error")), ModelUnavailable, None),
    "cut": (Fault(), ModelUnavailable, None),
    "no json": (Fault(200, {}, '{"id": "half'), ModelMalformed, None),
    "a page": (Fault(200, {"content-type": "text/html"}, "<html>Sign in</html>"), ModelMalformed, None),
    "other json": (Fault(200, {}, '{"hello": "world"}'), ModelMalformed, None),
    "a list": (Fault(200, {}, "[1, 2]"), ModelMalformed, None),
    "null": (Fault(200, {}, "null"), ModelMalformed, None),
}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("name", FAULTS)
async def test_a_failed_call_is_made_once_and_its_error_says_what_to_do(
    name: str, wire: Wire, provider: AiDouble, models: AiModels
) -> None:
    fault, kind, retry_after = FAULTS[name]
    provider.script = [fault]
    with pytest.raises(ModelFailed) as failed:
        await models.ask(connection(provider, wire), question(wire))
    assert (type(failed.value), failed.value.retry_after) == (kind, retry_after), failed.value
    assert len(provider.asked) == 1
    assert KEY not in failed.value.message and len(failed.value.message) < 600


@pytest.mark.parametrize("wire", WIRES)
async def test_a_call_that_hangs_is_given_up_in_time(wire: Wire, provider: AiDouble, models: AiModels) -> None:
    await models.ask(connection(provider, wire), question(wire))  # what is loaded once is loaded
    provider.script = [Fault(hangs=True)]
    with pytest.raises(ModelTimeout):
        await models.ask(connection(provider, wire), question(wire, seconds=0.15))
    assert (await models.ask(connection(provider, wire), question(wire))).message.text == "done"


@pytest.mark.parametrize("wire", WIRES)
async def test_a_call_that_is_cancelled_ends_at_once(wire: Wire, provider: AiDouble, models: AiModels) -> None:
    provider.script = [Fault(hangs=True)]
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    provider.on_asked = lambda: loop.call_soon_threadsafe(asked.set)
    call = asyncio.create_task(models.ask(connection(provider, wire), question(wire)))
    await asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await models.ask(connection(provider, wire), question(wire))).message.text == "done"


@pytest.mark.parametrize("wire", WIRES)
async def test_nobody_there_is_unavailable(wire: Wire, models: AiModels, provider: AiDouble) -> None:
    closed = connection(provider, wire)
    with ai_double() as gone:
        port = gone.port
    outgoing = Outgoing(frozenset({("127.0.0.1", port)}))
    own = AiModels(outgoing)
    url = (closed.base_url or "").replace(str(provider.port), str(port))
    with pytest.raises(ModelUnavailable):
        await own.ask(replace(closed, base_url=url), question(wire))
    await outgoing.close()


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("url", ["https://127.0.0.1:{port}", "https://169.254.169.254", "https://localhost:{port}"])
async def test_a_private_address_is_refused_without_a_call(wire: Wire, url: str, provider: AiDouble) -> None:
    outgoing = Outgoing()
    private = replace(connection(provider, wire), base_url=url.format(port=provider.port))
    with pytest.raises(ModelRefused, match=r"not a public address|private network"):
        await AiModels(outgoing).ask(private, question(wire))
    assert provider.asked == []
    await outgoing.close()


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_beyond_all_bounds_is_not_read(
    wire: Wire, provider: AiDouble, models: AiModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.script = [Reply("x" * 9_000_000)]
    with pytest.raises(ModelMalformed, match="more than 8388608 bytes"):
        await models.ask(connection(provider, wire), question(wire))


@pytest.mark.parametrize("wire", ["openai", "azure_openai"])
async def test_what_the_providers_filter_holds_back_is_refused(
    wire: Wire, provider: AiDouble, models: AiModels
) -> None:
    provider.script = [Reply("", finish="content_filter")]
    with pytest.raises(ModelRefused, match="filter"):
        await models.ask(connection(provider, wire), question(wire))


async def test_a_quota_that_is_used_up_is_not_waited_for(provider: AiDouble, models: AiModels) -> None:
    provider.script = [Fault(429, {}, error("insufficient_quota", "insufficient_quota"))]
    with pytest.raises(ModelRefused):
        await models.ask(connection(provider, "openai"), question("openai"))


@pytest.mark.parametrize("key", ["sk-it's/a+key", "sk-back\\slash", 'sk-"quoted"'])
@pytest.mark.parametrize("wire", WIRES)
async def test_a_key_is_not_told_however_its_provider_repeats_it(
    wire: Wire, key: str, provider: AiDouble, models: AiModels
) -> None:
    provider.script = [Fault(401, body=json.dumps({"error": {"message": f'bad "key" {key}'}}))]
    with pytest.raises(ModelFailed) as failed:
        await models.ask(connection(provider, wire, key), question(wire))
    bare = str.maketrans("", "", "\\'\"")
    assert key.translate(bare) not in failed.value.message.translate(bare)
