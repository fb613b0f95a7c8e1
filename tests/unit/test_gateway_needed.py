"""A deployment behind a gateway: who comes around it is refused before anything else is looked at."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest

from shared.auth.gateway import MOST, Gateways
from shared.errors import AroundTheGateway, Unavailable
from shared.issuers import Gateway
from shared.tenancy.plans import PLANS, Tier
from tests.unit.issuers import KEYS, ONE, TWO, Web
from tests.unit.test_settings import wrong
from tests.unit.world import AGENT, OTHER_ID, STAFF, Answer, FakeClock, World, admin

AUDIENCE = "api://flowgrid-backend"
GATEWAY = Gateway(issuer=ONE, audience=AUDIENCE, caller="gateway-object-id")


def token(kid: str = "k1", **changes: Any) -> str:
    now = int(time.time())
    own = {"iss": ONE, "aud": AUDIENCE, "sub": "s", "oid": GATEWAY.caller, "nbf": now, "exp": now + 600}
    return "Bearer " + jwt.encode({**own, **changes}, KEYS[kid], "RS256", headers={"kid": kid})


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime.now(UTC))


def make(web: Web, clock: FakeClock, *gateways: Gateway) -> Gateways:
    return Gateways(gateways, web.keys(clock), now=lambda: clock.now().timestamp())


@pytest.fixture
def gateways(web: Web, clock: FakeClock) -> Gateways:
    return make(web, clock, GATEWAY)


async def test_where_there_is_no_gateway_calls_come_from_anywhere(web: Web, clock: FakeClock) -> None:
    await make(web, clock).admit(None)


async def test_a_token_of_the_gateways_identity_is_let_through(gateways: Gateways) -> None:
    await gateways.admit(token())


@pytest.mark.parametrize(
    ("what", "sent"),
    [
        ("none", None),
        ("no token", "Bearer gateway"),
        ("another scheme", token().replace("Bearer", "Basic")),
        ("another identity of the same issuer", token(oid="somebody-else")),
        ("an identity that only its subject names", token(oid=None, sub=GATEWAY.caller)),
        ("for another audience", token(aud="flowgrid")),
        ("of an issuer that is not the gateway's", token("k2", iss=TWO)),
        ("signed by another", token("k2", iss=ONE)),
        ("expired", token(exp=int(time.time()) - 60)),
    ],
)
async def test_whatever_else_is_refused(gateways: Gateways, what: str, sent: str | None) -> None:
    with pytest.raises(AroundTheGateway):
        await gateways.admit(sent)


async def test_one_of_several_gateways_is_enough(web: Web, clock: FakeClock) -> None:
    second = Gateway(issuer=ONE, audience=AUDIENCE, caller="the-new-one")
    abroad = Gateway(issuer=TWO, audience="api://abroad", caller="abroad", subject_claim="azp")
    gateways = make(web, clock, GATEWAY, second, abroad)
    await gateways.admit(token(oid="the-new-one"))
    await gateways.admit(token("k2", iss=TWO, aud="api://abroad", azp="abroad"))
    with pytest.raises(AroundTheGateway):
        await gateways.admit(token("k2", iss=TWO, aud="api://abroad", azp=GATEWAY.caller))


async def test_a_token_is_verified_once_and_no_longer_good_when_it_expires(
    gateways: Gateways, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, verified = token(), 0
    decode = jwt.decode

    def counting(*given: Any, **named: Any) -> Any:
        nonlocal verified
        verified += 1
        return decode(*given, **named)

    monkeypatch.setattr(jwt, "decode", counting)
    await gateways.admit(sent)
    await gateways.admit(sent)
    assert verified == 1
    clock.advance(seconds=700)
    await gateways.admit(sent)  # PyJWT has the machine's own clock; ours asks it again
    assert verified == 2


async def test_a_known_token_is_refused_when_its_key_is_published_no_longer(
    web: Web, gateways: Gateways, clock: FakeClock
) -> None:
    sent = token()
    await gateways.admit(sent)
    web.publish(ONE, "k2")
    clock.advance(hours=25)
    with pytest.raises(AroundTheGateway):
        await gateways.admit(sent)


async def test_as_many_tokens_are_kept_as_gateways_may_have_and_no_more(gateways: Gateways) -> None:
    for n in range(MOST + 3):
        await gateways.admit(token(jti=str(n)))
    assert len(gateways._known) == MOST


async def test_nobody_is_let_through_while_the_gateways_issuer_is_away(web: Web, gateways: Gateways) -> None:
    web.away = OSError("no network")
    with pytest.raises(Unavailable):
        await gateways.admit(token())


# through the pipeline


@pytest.fixture
async def behind(world: World, web: Web, clock: FakeClock) -> World:
    """A process that takes calls of the gateway only."""
    world.core.endpoint.gateways = make(web, clock, GATEWAY)
    return world


def through(**more: str) -> Mapping[str, str]:
    return {"x-gateway-authorization": token(), **more}


async def call(world: World, name: str, *given: Any, **named: Any) -> Answer:
    """As the gateway calls."""
    return await world.call(name, *given, headers=through(), **named)


async def onboarded(world: World, **fields: Any) -> str:
    new = {"name": "Acme", "slug": "acme", "admin_email": "admin@acme.example", **fields}
    answer = await call(world, "onboard_tenant", STAFF, new)
    assert answer.status == 201, answer.raw
    return str(answer.json["id"])


async def test_a_direct_call_is_a_problem_of_its_own_code_whatever_token_its_caller_has(behind: World) -> None:
    tenant = await onboarded(behind)
    for name, caller in (("list_agents", admin(tenant)), ("list_agents", None), ("get_health", None)):
        answer = await behind.call(name, caller)
        assert (answer.status, answer.json["code"]) == (403, "gateway_needed")
    assert (await behind.call("tell_claims", params={"issuer": "entra"})).status == 403
    assert (await behind.call("create_agent", method="OPTIONS")).status == 403


async def test_liveness_asks_for_no_gateway(behind: World) -> None:
    assert (await behind.call("get_live")).status == 200


async def test_a_call_of_the_gateway_needs_its_callers_token_all_the_same(behind: World) -> None:
    tenant = await onboarded(behind)
    assert (await call(behind, "list_agents")).status == 401
    assert (await call(behind, "list_agents", admin(tenant))).status == 200
    answer = await behind.call("list_agents", headers={"authorization": token()})
    assert (answer.status, answer.json["code"]) == (403, "gateway_needed"), "the header is another's"


async def test_who_comes_around_the_gateway_spends_nothing_of_an_address_that_he_has_made_up(
    behind: World,
) -> None:
    tenant = await onboarded(behind)
    behind.core.endpoint.global_limit = 3
    for _ in range(5):
        assert (await behind.call("list_agents")).status == 403
    assert (await call(behind, "list_agents", admin(tenant))).status == 200


@pytest.mark.parametrize("tier", Tier)
async def test_the_gateway_is_told_the_limits_of_the_tenants_plan(behind: World, tier: Tier) -> None:
    tenant, plan = await onboarded(behind, tier=tier.value), PLANS[tier]
    answer = await call(behind, "list_agents", admin(tenant))
    told = f"{plan.requests_per_minute},{plan.agents_per_minute},{plan.design_per_minute}"
    assert answer.headers["x-flowgrid-limits"] == told


async def test_the_gateway_is_told_a_tenants_own_limits_with_a_refusal_too(behind: World) -> None:
    tenant = await onboarded(behind, settings={"limits": {"requests_per_minute": 1, "agents_per_minute": 7}})
    assert (await call(behind, "create_agent", admin(tenant), AGENT)).status == 201
    refused = await call(behind, "get_agent", admin(tenant), params={"agent_id": OTHER_ID})
    assert (refused.status, refused.headers["x-flowgrid-limits"]) == (429, "1,7,1")


async def test_nobody_is_told_limits_where_there_is_no_gateway(world: World) -> None:
    tenant = await onboarded(world)
    assert "x-flowgrid-limits" not in (await call(world, "list_agents", admin(tenant))).headers


# the setting


async def test_a_process_takes_its_gateways_from_the_setting(tmp_path: Path) -> None:
    world = World.over(tmp_path / "data", flowgrid_gateway=[GATEWAY.model_dump()])
    assert (await world.call("get_health")).status == 403
    await world.close()


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("entra", "it should be JSON"),
        ('[{"issuer": "https://sts.example/", "audience": "x"}]', "(0.caller): Field required"),
        ('[{"issuer": "http://sts.example/", "audience": "x", "caller": "y"}]', "'http://sts.example/' is not https"),
    ],
)
def test_a_gateway_that_proves_nothing_is_refused_at_start(value: str, what: str) -> None:
    (line,) = wrong(FLOWGRID_GATEWAY=value)
    assert line.startswith("FLOWGRID_GATEWAY") and what in line


async def test_a_preflight_around_it_is_refused_as_all_else_is(tmp_path: Path) -> None:
    world = World.over(tmp_path / "data", flowgrid_cors_origins="https://app.example")
    world.core.endpoint.gateways = make(Web(), FakeClock(), GATEWAY)
    sent = {"origin": "https://app.example", "access-control-request-method": "GET"}
    refused = await world.call("list_agents", method="OPTIONS", headers=sent)
    assert (refused.status, refused.json["code"]) == (403, "gateway_needed")
    assert refused.headers["Access-Control-Allow-Origin"] == "https://app.example"
    await world.close()
