"""Behind the gateway: two apps over one store, each with some of the services, are the whole API and one way in.

What each policy does for itself is in tests/unit/test_gateway_policies.py; here it stands before hosts that are served.
"""

import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import cast

import pytest
import pytest_asyncio

from cli.gateway import SERVICES
from local.issuer import Issuer
from shared.auth.roles import Role
from shared.tenancy.plans import PLANS, Tier
from tests.doubles.gateway import Gateway
from tests.doubles.gateway_setup import AUDIENCE, assembled
from tests.doubles.server import serving
from tests.e2e.api import AGENT, Api, Flowgrid, new_http
from tests.e2e.host import Host, eventually
from tests.unit.gateway_world import issuing, problem

OF_THE_FIRST = {"agents", "catalog", "design", "executions", "notifications", "providers", "publishing", "tools"}
PAGE = "https://app.acme.example"
NARROW = {"requests_per_minute": 20, "agents_per_minute": 3, "design_per_minute": 2}


@dataclass(frozen=True)
class Front:
    """What callers know: the gateway's address, and who gives them tokens."""

    url: str
    issuer: Issuer


@dataclass(frozen=True)
class Stamp:
    """Two apps, the gateway before them, and `flowgrid`: its callers."""

    first: Host
    second: Host
    gateway: Gateway
    flowgrid: Flowgrid

    def to_the_apps(self) -> int:
        return len(self.gateway.seen)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stamp(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stamp]:
    folder = tmp_path_factory.mktemp("behind")
    with ExitStack() as stack:
        people = stack.enter_context(issuing(folder / "people"))
        identities = stack.enter_context(issuing(folder / "identities", AUDIENCE))
        first, second = Host(folder / "first"), Host(folder / "second")
        known = {"issuer": people.issuer, "audience": people.audience}
        gateway = {"issuer": identities.issuer, "audience": AUDIENCE, "caller": "the gateway", "subject_claim": "sub"}
        for host, services in ((first, OF_THE_FIRST), (second, set(SERVICES) - OF_THE_FIRST)):
            host.data.parent.mkdir()  # of its log
            host.data = folder / "data"
            host.environment |= {
                "FLOWGRID_ISSUERS": json.dumps([known]),
                "FLOWGRID_GATEWAY": json.dumps([gateway]),
                "FLOWGRID_SERVICES": ",".join(sorted(services)),
                "FLOWGRID_TRUSTED_PROXIES": "2",
            }
            host.start()
            stack.callback(host.stop)

        def own_token(resource: str) -> str:
            assert resource == AUDIENCE
            return identities.mint("the gateway", roles=[])

        apps = dict.fromkeys(OF_THE_FIRST, first.url)
        double = assembled([known], second.url, apps, origins=[PAGE], own_token=own_token)
        double.address = "203.0.113.7"
        front = Front(stack.enter_context(serving(double)), people)
        async with new_http() as http:
            yield Stamp(first, second, double, Flowgrid(cast(Host, front), http))


async def test_the_main_job_goes_through_the_gateway_over_both_apps(stamp: Stamp) -> None:
    tenant = await stamp.flowgrid.onboard()
    agent = await tenant.user.ok("POST", "agents", AGENT)
    run = await tenant.user.ok("POST", f"agents/{agent['id']}/executions", {"input": "A new claim."})

    async def ended() -> bool:
        """the run, which the first app's queue function takes, has succeeded"""
        return bool((await tenant.user.ok("GET", f"executions/{run['id']}"))["status"] == "succeeded")

    async def counted() -> bool:
        """the usage of both apps, which the second app's queue function stores"""
        dimensions = (await tenant.user.ok("GET", "usage", params={"period": "hour"}))["items"]
        names = {name for item in dimensions for name in item["dimensions"]}
        return {"create_agent", "create_execution", "get_usage"} <= names

    await eventually(ended)
    await eventually(counted)
    actions = {entry["action"] for entry in await tenant.admin.every("audit", resource_type="agent")}
    assert actions == {"agent.created"}
    assert (await stamp.flowgrid.anonymous.get("/api/health")).json()["status"] == "healthy"


async def test_each_app_has_its_services_and_no_others(stamp: Stamp) -> None:
    """Beside the gateway's test that all operations go somewhere: an app has nothing at another's path."""
    through = {"x-gateway-authorization": f"Bearer {stamp.gateway.own_token(AUDIENCE)}"}
    for url, here, there in (
        (stamp.first.url, "/api/v1/agents", "/api/v1/users"),
        (stamp.second.url, "/api/v1/users", "/api/v1/agents"),
    ):
        api = Api(stamp.flowgrid.http, url)
        assert (await api.get(here, headers=through)).status_code == 401
        assert (await api.get(there, headers=through)).status_code == 404


async def test_who_comes_around_the_gateway_is_refused_whatever_he_brings(stamp: Stamp) -> None:
    tenant = await stamp.flowgrid.onboard()
    forged = stamp.flowgrid.host.issuer.mint("the gateway", roles=[])
    for headers in ({}, {"x-gateway-authorization": f"Bearer {forged}"}):
        direct = await stamp.flowgrid.http.get(
            f"{stamp.first.url}/api/v1/agents", headers={"authorization": f"Bearer {tenant.user.token}", **headers}
        )
        assert (direct.status_code, direct.json()["code"]) == (403, "gateway_needed")
    assert (await stamp.flowgrid.http.get(f"{stamp.second.url}/api/health/live")).status_code == 200


async def test_a_client_cannot_name_a_tenant_and_the_audit_has_its_own_address(stamp: Stamp) -> None:
    ours, theirs = await stamp.flowgrid.onboard(), await stamp.flowgrid.onboard()
    said = {"x-tenant-id": theirs.id, "x-flowgrid-tenant": theirs.id, "x-forwarded-for": "6.6.6.6"}
    made = (await ours.user.post("agents", AGENT, headers=said)).json()
    assert made["tenant_id"] == ours.id
    _, sent = stamp.gateway.seen[-1]
    assert (sent["x-flowgrid-tenant"], "x-tenant-id" in sent) == (ours.id, False)
    (entry,) = await ours.admin.every("audit", resource_type="agent")
    assert entry["ip_address"] == "203.0.113.7"


async def test_tokens_that_do_not_verify_end_at_the_gateway(stamp: Stamp) -> None:
    before = stamp.to_the_apps()
    head, claims, signature = stamp.flowgrid.token(Role.USER).split(".")
    for sent in (None, "x", f"{head}.{claims[:-4]}AAAA.{signature}"):
        problem(await Api(stamp.flowgrid.http, stamp.flowgrid.host.url, sent).get("agents"), 401, "unauthenticated")
    assert stamp.to_the_apps() == before


async def test_a_tenant_has_its_plans_calls_and_the_next_ends_at_the_gateway(stamp: Stamp) -> None:
    most = PLANS[Tier.STANDARD].requests_per_minute
    tenant, other = await stamp.flowgrid.onboard(limits={}), await stamp.flowgrid.onboard(limits={})
    before = stamp.to_the_apps()
    answers = [await tenant.user.get("agents") for _ in range(most + 2)]
    assert [one.status_code for one in answers] == [200] * most + [429] * 2
    assert stamp.to_the_apps() == before + most + 1, "the first is the one by which the gateway is told"
    problem(answers[-1], 429, "rate_limited")
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert "x-flowgrid-limits" not in answers[0].headers
    assert (await other.user.get("agents")).status_code == 200


async def test_routes_have_the_limits_that_the_tenant_has_for_them(stamp: Stamp) -> None:
    tenant = await stamp.flowgrid.onboard(limits=NARROW)
    await tenant.user.get("agents")  # by which the gateway is told
    before = stamp.to_the_apps()
    made = [(await tenant.user.post("agents", AGENT)).status_code for _ in range(4)]
    brief = {"brief": "Triage new claims."}
    designed = [(await tenant.user.post("design/sessions", brief)).status_code for _ in range(3)]
    assert (made, designed[-1]) == ([201] * 3 + [429], 429)
    assert stamp.to_the_apps() == before + 3 + 2
    assert (await tenant.user.get("agents")).status_code == 200, "the other routes go on"


async def test_who_is_no_user_of_a_tenant_spends_nothing_of_it(stamp: Stamp) -> None:
    """One whom it has taken out has a good token with its claim for a while yet."""
    tenant = await stamp.flowgrid.onboard(limits={}, settings={"membership": "required", "limits": {}})
    await tenant.admin.ok("GET", "agents")  # by which the gateway is told
    most = PLANS[Tier.STANDARD].requests_per_minute
    assert {(await tenant.user.get("agents")).status_code for _ in range(most + 2)} == {403}
    assert [(await tenant.admin.get("agents")).status_code for _ in range(3)] == [200] * 3


async def test_a_call_is_found_under_its_id_on_both_sides(stamp: Stamp) -> None:
    tenant = await stamp.flowgrid.onboard()
    for id in ("mine-1", None):
        answer = await tenant.user.get("agents", headers={} if id is None else {"x-request-id": id})
        _, sent = stamp.gateway.seen[-1]
        assert answer.headers["x-request-id"] == sent["x-request-id"] == (id or sent["x-request-id"])


async def test_pages_ask_the_gateway_and_each_answer_lets_them_read_it_once(stamp: Stamp) -> None:
    tenant = await stamp.flowgrid.onboard()
    before = stamp.to_the_apps()
    asking = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "if-match"}
    allowed = await stamp.flowgrid.anonymous.call("OPTIONS", "agents", headers=asking)
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert stamp.to_the_apps() == before
    answer = await tenant.user.get("agents", headers={"origin": PAGE})
    assert answer.headers.get_list("access-control-allow-origin") == [PAGE]


async def test_a_version_to_come_is_not_there_yet(stamp: Stamp) -> None:
    problem(await stamp.flowgrid.anonymous.get("/api/v2/agents"), 404, "not_found")


async def test_every_head_and_description_is_there_too(stamp: Stamp) -> None:
    tenant = await stamp.flowgrid.onboard()
    assert (await tenant.user.call("HEAD", "agents")).status_code == 200
    described = (await stamp.flowgrid.anonymous.get("/api/openapi.json")).json()
    assert {"/api/v1/agents", "/api/v1/users"} <= set(described["paths"]), "the whole API, whichever app says it"
