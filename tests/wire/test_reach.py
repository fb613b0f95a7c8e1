"""Whether a provider is there: one call of its list of models, with the key as it wants it, and not one token."""

from pathlib import Path

import pytest

from shared.ai.port import ModelFailed, ModelRefused, ModelUnavailable, Wire
from shared.ai.reach import reach
from shared.outgoing.client import Outgoing
from tests.doubles.ai import AiDouble, Fault, key_of
from tests.unit.world import World
from tests.wire.ai_connections import KEY, WIRES, connection

PATHS: dict[Wire, str] = {
    "openai": "/v1/models?",
    "azure_openai": "/openai/models?api-version=2024-10-21",
    "anthropic": "/v1/models?limit=1",
}


@pytest.fixture
def outgoing(provider: AiDouble) -> Outgoing:
    return Outgoing(frozenset({("127.0.0.1", provider.port)}))


@pytest.mark.parametrize("wire", WIRES)
async def test_a_provider_that_is_there_is_asked_for_its_models_with_its_key(
    provider: AiDouble, outgoing: Outgoing, wire: Wire
) -> None:
    assert await reach(outgoing, connection(provider, wire)) is None
    (asked,) = provider.asked
    assert (asked.path, key_of(asked.headers)) == (PATHS[wire], KEY)
    assert provider.billed[KEY, "answers"] == 0
    await outgoing.close()


@pytest.mark.parametrize(
    ("fault", "failed"),
    [
        (Fault(401), ModelRefused),
        (Fault(403), ModelRefused),
        (Fault(500), ModelUnavailable),
        (Fault(503), ModelUnavailable),
        (Fault(0), ModelUnavailable),
    ],
)
async def test_a_provider_that_is_not_there_or_takes_no_key_says_which(
    provider: AiDouble, outgoing: Outgoing, fault: Fault, failed: type[ModelFailed]
) -> None:
    provider.script = [fault]
    with pytest.raises(failed) as raised:
        await reach(outgoing, connection(provider, "openai"))
    assert KEY not in str(raised.value)
    await outgoing.close()


async def test_a_provider_that_is_busy_is_there(provider: AiDouble, outgoing: Outgoing) -> None:
    provider.script = [Fault(429)]
    assert await reach(outgoing, connection(provider, "openai")) == "it answered 429"
    await outgoing.close()


async def test_the_apps_own_identity_is_shown_to_nobody_for_this(provider: AiDouble, outgoing: Outgoing) -> None:
    provider.script = [Fault(401)]
    said = await reach(outgoing, connection(provider, "azure_openai", None))
    assert said == "it answers; whether it takes the app's own identity is seen by the first run"
    assert key_of(provider.asked[0].headers) == ""
    await outgoing.close()


async def test_nobody_at_the_address_is_told(provider: AiDouble, outgoing: Outgoing) -> None:
    there = connection(provider, "openai")
    gone = Outgoing(frozenset({("127.0.0.1", 9)}))
    with pytest.raises(ModelUnavailable):
        await reach(gone, type(there)("openai", "gone", "http://127.0.0.1:9/v1", KEY))
    await gone.close()


async def test_health_tells_of_the_platforms_own_ai_and_recovers_with_it(provider: AiDouble, tmp_path: Path) -> None:
    """Degraded and not failing while it is away; looked at four times a minute then, and once when it is well."""
    world = World.over(
        tmp_path,
        flowgrid_ai_wire="azure_openai",
        flowgrid_ai_base_url=provider.url,
        flowgrid_ai_models="gpt",
        flowgrid_outgoing_allowed=f"127.0.0.1:{provider.port}",
    )
    provider.script = [Fault(503)]
    seen = []
    for seconds in (0, 14, 1, 59, 1):
        world.clock.advance(seconds=seconds)
        answer = await world.call("get_health")
        openai = answer.json["checks"]["openai"]
        seen.append((answer.status, answer.json["status"], openai["status"], len(provider.asked)))
    assert seen == [
        (200, "degraded", "error", 1),
        (200, "degraded", "error", 1),
        (200, "healthy", "ok", 2),
        (200, "healthy", "ok", 2),
        (200, "healthy", "ok", 3),
    ]
    await world.close()
