"""The gateway's policies: made from the routes and the plans, and nothing in them that API Management does not have."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from cli.gateway import FILES, by_service, operation, parts
from cli.policies import OF_AN_ADDRESS, PERIOD
from function_app import own_core
from functions.a2a.errors import as_status
from local.issuer import Issuer
from shared.auth.apikeys import issue
from shared.auth.roles import Role
from shared.http.cors import READ, SENT
from shared.settings import Settings
from shared.tenancy.plans import GLOBAL_REQUESTS, GLOBAL_WINDOW_MINUTES, PLANS, Limit, Tier
from tests.doubles.gateway import NAMED, PolicyError, loaded, operations
from tests.doubles.gateway_setup import PUBLIC_URL, assembled, filled, named_values, read
from tests.doubles.policy_context import Asked, Context, Headers, Url
from tests.doubles.policy_expressions import ExpressionError, compiled
from tests.doubles.server import serving
from tests.unit.gateway_world import GATEWAY, App, Site, Within, issuer_at, problem, told
from tests.unit.world import OTHER_ID, TENANT_ID

BICEP = Path(__file__).parents[2] / "infra" / "modules"
POLICIES = ("global.xml", "v1.xml", "open.xml")
CALLER = "198.51.100.7"
PAGE = "https://app.acme.example"
ISSUERS = [{"issuer": "https://one.example/v2.0", "audience": "a"}, {"issuer": "https://two.example/", "audience": "b"}]


# what is generated


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_the_gateway_is_given_is_what_the_code_says(path: Path) -> None:
    """`make pages` writes it anew."""
    assert path.read_text("utf-8") == FILES[path]() + "\n"


def test_every_route_is_an_operation_under_its_version_and_its_service() -> None:
    described = operations(json.loads(read("openapi.v1.json"))), operations(json.loads(read("openapi.json")))
    found = {(method, f"v1{path}") for method, path in described[0]}
    found |= {(method, path.removeprefix("/")) for method, path in described[1]}
    routes = own_core.endpoint.routes
    assert found == {(method, one.path) for one in routes for method in one.methods if method != "OPTIONS"}
    routed = [name for version in ("v1", None) for names in parts(version).services.values() for name in names]
    assert sorted(routed) == sorted(operation(one) for one in routes)
    assert {service for service, found in by_service().items() if found} == {
        one["service"] for one in json.loads(read("backends.json"))
    }


@pytest.mark.parametrize("name", ["openapi.v1.json", "openapi.json"])
def test_the_importer_keeps_every_operations_id_and_finds_nothing_that_it_cannot_read(name: str) -> None:
    document = json.loads(read(name))
    assert document["openapi"] == "3.0.3"
    every = [(path, one) for path, methods in document["paths"].items() for one in methods.values()]
    assert sorted(operations(document).values()) == sorted(one["operationId"] for _, one in every)
    assert max(len(one["operationId"]) for _, one in every) <= 76
    assert not any("$ref" in json.dumps(one) or "requestBody" in one for _, one in every)
    for path, one in every:
        assert [each["name"] for each in one["parameters"]] == re.findall(r"{(\w+)}", path)
    assert not any("head-" in operation(route) for route in own_core.endpoint.routes), "HEAD is known by that"


# what API Management takes


@pytest.mark.parametrize("origins", [[], [PAGE]], ids=["no pages", "pages"])
@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_has_only_what_is_documented_and_understood(name: str, origins: list[str]) -> None:
    loaded(filled(name, 2, origins), named_values(ISSUERS))


@pytest.mark.parametrize(
    ("there", "instead", "what"),
    [
        ("<base />", "<quota-by-key />", "there is no quota-by-key in"),
        ('exists-action="delete"', 'exist-action="delete"', "set-header has no attribute exist-action"),
        ("<base />", '<set-header exists-action="delete" />', "set-header needs name"),
        ("<base />", '<rate-limit-by-key calls="1" renewal-period="60" counter-key="x" />', "in outbound"),
        ("<base />", '<cache-store-value key="k" value="v" duration="1" />', "cache-store-value is there twice"),
        (".Contains(", ".IndexOf(", "no member IndexOf is known"),
        ("context.Operation.Id", "context.Product.Id", "no member Product is known"),
        ("{{issuer-0}}", "{{issuer-7}}", "there are no named values ['issuer-7']"),
    ],
)
def test_what_is_not_known_is_refused(there: str, instead: str, what: str) -> None:
    text = filled("v1.xml", 2, [PAGE]).replace(there, instead)
    with pytest.raises(PolicyError, match=re.escape(what)):
        loaded(text, named_values(ISSUERS))


def test_a_document_is_one_for_any_xml_reader() -> None:
    for name in POLICIES:
        ElementTree.fromstring(filled(name, 2, [PAGE]))


def test_every_named_value_is_made_by_bicep() -> None:
    text = "".join(path.read_text("utf-8") for path in sorted(BICEP.glob("gateway*.bicep")))
    named = {name for file in (*POLICIES, "issuer.xml", "cors.xml") for name in NAMED.findall(read(file))}
    made = {name.replace("${n}", "N") for name in re.findall(r"name: '([a-zA-Z0-9${}-]+)'", text)}
    assert named
    assert named <= made


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('@("a" + "b" == "ab" && !false)', True),
        ('@(("x" == "y" || true) ? "yes" : "no")', "yes"),
        ("@(int.Parse(\"1,22\".Split(',')[1]) > 21)", True),
        ('@("no token".AsJwt()?.Issuer ?? "none")', "none"),
        ('@(context.Request.Headers.GetValueOrDefault("X-One", "0"))', "1"),
        ("plain", "plain"),
    ],
)
def test_the_double_evaluates_as_c_sharp_does(text: str, value: object) -> None:
    assert compiled(text)(Context(Asked(Headers({"x-one": "1"}), "198.51.100.7", Url("/api")))) == value


@pytest.mark.parametrize(
    "text",
    ["@{ return 1; }", "@(1 - 1)", '@(new Random().Next())', '@("a" + 1)', '@("1" == 1)', '@((bool)"true")',
     '@(context.Variables["none"])', '@(context.LastError.Reason)', '@(long.Parse("1k"))'],
)  # fmt: skip
def test_what_would_fail_at_the_gateway_fails_in_the_double(text: str) -> None:
    with pytest.raises(ExpressionError):
        compiled(text)(Context(Asked(Headers(), "198.51.100.7", Url("/api"))))


# limits


def test_the_window_of_an_address_is_the_apps_as_far_as_the_gateway_has_such_long_ones() -> None:
    assert OF_AN_ADDRESS / PERIOD <= GLOBAL_REQUESTS / (GLOBAL_WINDOW_MINUTES * 60) < (OF_AN_ADDRESS + 1) / PERIOD


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the issuer's keys, which take long to make."""
    return tmp_path_factory.mktemp("issuer")


@pytest.fixture
async def site(keys: Path) -> AsyncIterator[Site]:
    app = App()
    web = Starlette(routes=[Route("/{path:path}", app.answer, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])])
    issuer = issuer_at("http://issuer.test", keys)
    known = {"issuer": issuer.issuer, "audience": "flowgrid"}
    gateway = assembled([ISSUERS[0], known], "http://app.test", origins=[PAGE])
    gateway.address = CALLER
    gateway.transport = Within({"app.test": web, "issuer.test": Starlette(routes=issuer.routes())})
    async with httpx.AsyncClient(trust_env=False, transport=Within({GATEWAY: gateway})) as http:
        yield Site(gateway, app, issuer, http)


def counted(tier: Tier) -> int:
    """Of the call by which the gateway is told: one, where it changes nothing, as the largest plan's held before."""
    return 1 if tier is Tier.ENTERPRISE else 0


@pytest.mark.parametrize("tier", Tier)
async def test_a_tenant_has_as_many_calls_in_a_minute_as_its_plan(site: Site, tier: Tier) -> None:
    site.app.tiers[TENANT_ID] = tier
    most, token, others = PLANS[tier].requests_per_minute, site.token(), site.token(OTHER_ID)
    for told_by in (token, others):
        await site.call("GET", "v1/me", told_by)
    assert await site.passed("GET", "v1/elements", token, most + 3) == most - counted(tier)
    assert await site.passed("GET", "v1/elements", others, 12) == 10, "another tenant is not hit"
    site.gateway.clock.forward(seconds=60)
    assert await site.passed("GET", "v1/elements", token, 1) == 1, "the next minute is another"


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize(("limit", "path"), [(Limit.AGENTS, "v1/agents"), (Limit.DESIGN, "v1/design/sessions")])
async def test_routes_with_a_limit_have_as_many_as_the_plan_and_the_others_go_on(
    site: Site, tier: Tier, limit: Limit, path: str
) -> None:
    site.app.tiers[TENANT_ID] = tier
    plan, token = PLANS[tier], site.token()
    await site.call("GET", "v1/me", token)  # by which the gateway is told
    most = plan.route_limit(limit)
    passed = most - counted(tier) if most == plan.requests_per_minute else most
    assert await site.passed("POST", path, token, most + 3) == passed
    assert await site.passed("GET", path, token, 1) == (0 if limit is Limit.AGENTS else 1)
    others = site.token(OTHER_ID)
    await site.call("GET", "v1/me", others)
    assert await site.passed("POST", path, others, 1) == 1, "another tenant is not hit"


async def test_a_refusal_is_the_apps_problem_and_says_when_to_come_again(site: Site) -> None:
    token = site.token()
    assert await site.passed("GET", "v1/elements", token, 11) == 11, "one by which it is told, and its plan's ten"
    site.gateway.clock.forward(seconds=45)
    answer = await site.call("GET", "v1/elements", token, x_request_id="mine")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "15")
    problem(answer, 429, "rate_limited")
    assert answer.json()["request_id"] == "mine"


async def test_a_larger_plan_holds_with_the_next_answer(site: Site) -> None:
    token = site.token()
    assert await site.passed("GET", "v1/elements", token, 3) == 3
    site.app.tiers[TENANT_ID] = Tier.PROFESSIONAL
    assert await site.passed("GET", "v1/elements", token, 60) == 1 + 50


async def test_until_the_gateway_is_told_the_largest_plan_holds(site: Site) -> None:
    site.app.tells, most = False, max(plan.requests_per_minute for plan in PLANS.values())
    for _ in range(most - 1):
        site.gateway.count(f"tenant:{TENANT_ID}:{told(Tier.ENTERPRISE)}")
    assert await site.passed("GET", "v1/elements", site.token(), 3) == 1


async def test_nobody_sees_what_the_app_tells_the_gateway(site: Site) -> None:
    answer = await site.call("GET", "v1/elements", site.token())
    assert (answer.status_code, answer.headers.get("etag")) == (200, '"1"')
    assert "x-flowgrid-limits" not in answer.headers


async def test_an_address_has_its_window_for_what_is_open_and_probes_have_none(site: Site) -> None:
    for _ in range(OF_AN_ADDRESS):
        site.gateway.count(f"address:{CALLER}")
    answer = await site.call("GET", "health")
    problem(answer, 429, "rate_limited")
    assert (await site.call("GET", "health/live")).status_code == 200
    assert (await site.call("POST", "claims/entra")).status_code == 200
    for tenant in (TENANT_ID, None):
        assert (await site.call("GET", "v1/elements", site.token(tenant))).status_code == 429, "as in the app"
    assert (await site.call("GET", "v1/platform/tenants", site.token(None, Role.PLATFORM))).status_code == 200


@pytest.mark.parametrize("tenant", [None, TENANT_ID], ids=["of no tenant", "with a tenant's claim"])
async def test_the_address_pays_for_whom_the_app_refuses(site: Site, tenant: str | None) -> None:
    """A tenant in a token is a claim: only the app can know who is its user."""
    for _ in range(OF_AN_ADDRESS - 1):
        site.gateway.count(f"address:{CALLER}")
    token = site.token(tenant)
    assert await site.passed("GET", "v1/elements", token, 3) == 3, "the app has let them in"
    site.app.status = 401
    assert await site.passed("GET", "v1/elements", token, 3) == 1
    site.gateway.clock.forward(seconds=PERIOD)
    assert await site.passed("GET", "v1/elements", token, 1) == 1


@pytest.mark.parametrize("status", [401, 403, 429])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "v1/elements"), ("POST", "v1/agents"), ("POST", "v1/design/sessions")]
)
async def test_calls_that_the_app_refuses_are_none_of_the_tenants(
    site: Site, method: str, path: str, status: int
) -> None:
    plan, token = PLANS[Tier.STANDARD], site.token()
    await site.call("GET", "v1/me", token)  # by which the gateway is told
    site.app.status, site.app.tells = status, False
    assert await site.passed(method, path, token, plan.requests_per_minute + 3) == plan.requests_per_minute + 3
    site.app.status = 200
    assert (await site.call(method, path, token)).status_code == 200


# whose call it is


async def test_the_tenant_is_the_tokens_and_never_what_a_client_says(site: Site) -> None:
    said = {"x_flowgrid_tenant": OTHER_ID, "x_tenant_id": OTHER_ID, "x_gateway_authorization": "Bearer mine"}
    await site.call("GET", "v1/elements", site.token(), **said)
    await site.call("GET", "v1/platform/tenants", site.token(TENANT_ID, Role.PLATFORM), **said)
    await site.call("GET", "health", **said)
    (_, tenants), (_, staffs), (_, nobodys) = site.app.calls
    assert (tenants["x-flowgrid-tenant"], tenants.get("x-tenant-id")) == (TENANT_ID, None)
    assert (staffs.get("x-flowgrid-tenant"), staffs.get("x-tenant-id")) == (None, OTHER_ID), "staff name a tenant"
    assert (nobodys.get("x-flowgrid-tenant"), nobodys.get("x-tenant-id")) == (None, None)
    assert {one["x-gateway-authorization"] for _, one in site.app.calls} == {"Bearer token-for-api://flowgrid"}


async def test_tokens_that_do_not_verify_never_come_to_the_app(site: Site, keys: Path, tmp_path: Path) -> None:
    issuer = site.issuer
    known = {"issuer": issuer.issuer, "audience": "flowgrid"}
    forger = Issuer(tmp_path / "forged", Settings.model_validate({"flowgrid_issuers": [known]}))
    others = Settings.model_validate({"flowgrid_issuers": [{**known, "audience": "another"}]})
    head, claims, signature = site.token().split(".")
    for sent in (
        None,
        "no token",
        Issuer(keys, others).mint("x", roles=[], tenant_id=TENANT_ID),  # for another audience
        forger.mint("x", roles=[], tenant_id=TENANT_ID),
        issuer.mint("x", roles=[], lifetime=-timedelta(minutes=1)),
        f"{head}.{claims[:-4]}AAAA.{signature}",
    ):
        answer = await site.call("GET", "v1/elements", sent)
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == 'Bearer realm="flowgrid"'
    assert site.app.calls == []


async def test_tokens_of_an_issuer_that_only_the_app_can_know_are_for_it_to_judge(site: Site, tmp_path: Path) -> None:
    company = issuer_at("http://company.test", tmp_path)
    sent = company.mint("x", roles=[Role.PLATFORM], tenant_id=TENANT_ID)
    assert (await site.call("GET", "v1/elements", sent, x_tenant_id=OTHER_ID)).status_code == 200
    (_, headers) = site.app.calls[0]
    assert headers["authorization"] == f"Bearer {sent}"
    assert not {"x-flowgrid-tenant", "x-tenant-id"} & set(headers)


async def test_api_keys_are_for_the_app_to_judge_and_what_merely_looks_like_one_is_not(site: Site) -> None:
    key = issue("prod-eu", TENANT_ID, OTHER_ID)
    assert (await site.call("GET", "v1/elements", key, x_tenant_id=OTHER_ID)).status_code == 200
    (_, headers) = site.app.calls[0]
    assert headers["authorization"] == f"Bearer {key}"
    assert not {"x-flowgrid-tenant", "x-tenant-id"} & set(headers)
    for sent in (key[:-1], f"{key}0", key.upper(), key.replace("fg_", "fg"), "fg_"):
        problem(await site.call("GET", "v1/elements", sent), 401, "unauthenticated")
    assert len(site.app.calls) == 1


# what other protocols read of a refusal


@pytest.mark.parametrize("sent", [None, "x.y.z", "expired"])
async def test_who_speaks_mcp_without_a_token_is_told_where_it_says_whose_are_taken(
    site: Site, sent: str | None
) -> None:
    token = site.issuer.mint("x", roles=[], lifetime=-timedelta(minutes=1)) if sent == "expired" else sent
    for method in ("POST", "GET"):
        refused = await site.call(method, "v1/mcp", token)
        problem(refused, 401, "unauthenticated")
        metadata = f"{PUBLIC_URL}/api/.well-known/oauth-protected-resource"
        assert refused.headers["www-authenticate"] == f'Bearer realm="flowgrid", resource_metadata="{metadata}"'
    assert site.app.calls == []
    assert (await site.call("GET", ".well-known/oauth-protected-resource")).status_code == 200


async def test_who_speaks_a2a_is_refused_as_the_app_tells_it(site: Site) -> None:
    path, token = "v1/a2a/agents/a/message:send", site.token()
    refused = [await site.call("POST", path), await site.call("GET", "v1/a2a/agents/a/tasks", token + "x")]
    await site.passed("POST", path, token, 11)
    refused.append(await site.call("POST", path, token))
    site.gateway.backends = dict.fromkeys(site.gateway.backends, "http://127.0.0.1:9")
    refused.append(await site.call("POST", path, site.token(OTHER_ID)))
    for answer, status in zip(refused, (401, 401, 429, 500), strict=True):
        told = answer.json()
        assert (answer.status_code, told["status"]) == (status, status)
        assert {"error": told["error"]} == as_status(told) and told["error"]["message"] == told["detail"]
    assert "Retry-After" in refused[2].headers
    too_large = await too_long(site, path, str(1_048_577))
    assert b'"error": {"code": 413, "status": "OUT_OF_RANGE"' in too_large


# versions, correlation, sizes, pages


async def test_a_version_that_there_is_not_is_a_problem(site: Site) -> None:
    for path in ("v2/agents", "v1/nothing", "nothing", "v1/openapi.json"):
        problem(await site.call("GET", path, site.token()), 404, "not_found")
    assert site.app.calls == []


async def test_a_call_keeps_its_id_or_is_given_one(site: Site) -> None:
    given = await site.call("GET", "v1/me", site.token(), x_request_id="mine-1")
    made = await site.call("GET", "v1/me", site.token())
    bad = await site.call("GET", "v1/me", site.token(), x_request_id='"><script>')
    assert given.headers["x-request-id"] == "mine-1"
    assert len(made.headers["x-request-id"]) == 36 == len(bad.headers["x-request-id"])
    assert [headers["x-request-id"] for _, headers in site.app.calls] == [
        one.headers["x-request-id"] for one in (given, made, bad)
    ]


async def test_the_trace_and_the_callers_address_go_on_to_the_app(site: Site) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await site.call("GET", "v1/me", site.token(), traceparent=trace, x_forwarded_for="6.6.6.6")
    (_, headers) = site.app.calls[0]
    assert (headers["traceparent"], headers["x-forwarded-for"]) == (trace, f"6.6.6.6, {CALLER}")


@pytest.mark.parametrize(("path", "most"), [("v1/agents", 1_048_576), ("v1/catalog/import", 33_554_432)])
async def test_a_body_above_the_largest_that_its_route_takes_is_refused(site: Site, path: str, most: int) -> None:
    small = await site.call("POST", path, site.token(), content_length="0")
    assert small.status_code == 200
    answer = await too_long(site, path, str(most + 1))
    assert answer.startswith(b"HTTP/1.1 413 "), answer
    assert f"{most:,} bytes".encode() in answer


async def too_long(site: Site, path: str, length: str) -> bytes:
    """What is answered to who announces so many bytes, and sends none."""
    with serving(site.gateway) as address:
        url = httpx.URL(address)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        token = f"authorization: Bearer {site.token()}\r\n"
        writer.write(f"POST /api/{path} HTTP/1.1\r\nhost: x\r\n{token}content-length: {length}\r\n\r\n".encode())
        answer = await reader.readuntil(b"}")
        writer.close()
    return answer


async def test_pages_of_known_origins_may_call_and_read_refusals_too(site: Site) -> None:
    asking = {"origin": PAGE, "access_control_request_method": "PATCH", "access_control_request_headers": "if-match"}
    allowed = await site.call("OPTIONS", f"v1/agents/{OTHER_ID}", **asking)
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert allowed.headers["access-control-allow-methods"] == "PATCH"
    other = await site.call("OPTIONS", "v1/agents", **{**asking, "origin": "https://evil.example"})
    assert not [name for name in other.headers if name.startswith("access-control-")]
    refused = await site.call("GET", "v1/agents", origin=PAGE)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)
    assert set(refused.headers["access-control-expose-headers"].split(",")) == set(READ)
    assert site.app.calls == []


def test_pages_may_send_and_read_what_the_app_lets_them() -> None:
    cors = ElementTree.fromstring(read("cors.xml"))
    assert [one.text for one in cors.iterfind("allowed-headers/header")] == list(SENT)
    methods = {method for route in own_core.endpoint.routes for method in route.methods} - {"OPTIONS"}
    assert {one.text for one in cors.iterfind("allowed-methods/method")} == methods


async def test_a_backend_that_is_away_is_an_answer_that_promises_nothing(site: Site) -> None:
    site.gateway.backends = dict.fromkeys(site.gateway.backends, "http://127.0.0.1:9")
    problem(await site.call("GET", "v1/me", site.token()), 500, "internal")
