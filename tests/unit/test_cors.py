"""Which web pages may call: those of the origins that a setting names, and OPTIONS says what each path takes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.settings import Settings, SettingsError
from tests.unit.world import AGENT, OTHER_ID, STAFF, Answer, World, admin

PAGE, OTHER = "https://app.acme.example", "https://evil.example"
ORIGINS = f"{PAGE}, http://localhost:5173"


@pytest.fixture
async def open_world(tmp_path: Path) -> AsyncIterator[World]:
    """A process that lets two origins in."""
    own = World.over(tmp_path / "data", flowgrid_cors_origins=ORIGINS)
    yield own
    await own.close()


def of_cors(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("Access-Control-")}


async def preflight(world: World, origin: str, name: str = "create_agent", **params: str) -> Answer:
    asked = {"origin": origin, "access-control-request-method": "POST"}
    return await world.call(name, params=params, headers=asked, method="OPTIONS")


# OPTIONS


async def test_options_says_what_a_path_takes(world: World) -> None:
    answers = [
        await world.call(name, params=params, method="OPTIONS")
        for name, params in (("create_agent", {}), ("get_agent", {"agent_id": OTHER_ID}), ("get_health", {}))
    ]
    assert [(answer.status, answer.raw, answer.headers.get("Allow")) for answer in answers] == [
        (204, b"", "GET, HEAD, OPTIONS, POST"),
        (204, b"", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        (204, b"", "GET, HEAD, OPTIONS"),
    ]


async def test_one_function_of_each_path_answers_its_options(world: World) -> None:
    answering = [route.path for route in world.core.endpoint.routes if "OPTIONS" in route.methods]
    assert len(answering) == len(set(answering))
    assert set(answering) == {route.path for route in world.core.endpoint.routes}


async def test_options_is_not_metered_and_spends_no_limit(tmp_path: Path) -> None:
    world = World.over(tmp_path / "data", flowgrid_cors_origins=ORIGINS, flowgrid_global_limit=1)
    tenant = await world.onboard(limits={"requests_per_minute": 1})
    await world.queued("usage-events")
    headers = {"origin": PAGE}
    answers = [await world.call("create_agent", admin(tenant["id"]), headers=headers, method="OPTIONS") for _ in "abc"]
    assert [(answer.status, "RateLimit-Limit" in answer.headers) for answer in answers] == [(204, False)] * 3
    assert await world.queued("usage-events") == []
    assert (await world.call("list_agents", admin(tenant["id"]))).status == 200
    await world.close()


# Who may


async def test_a_page_of_a_named_origin_may_send_what_the_api_takes(open_world: World) -> None:
    answer = await preflight(open_world, PAGE)
    told = of_cors(answer)
    assert (answer.status, told.pop("Access-Control-Allow-Headers").split(", ")) == (
        204,
        [
            *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match"),
            *("x-request-id", "x-tenant-id", "A2A-Version", "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"),
        ],
    )
    assert told == {
        "Access-Control-Allow-Origin": PAGE,
        "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS, POST",
        "Access-Control-Max-Age": "7200",
    }


@pytest.mark.parametrize(
    "origin", [OTHER, "null", "*", "", f"{PAGE}.evil.example", f"{PAGE}:8443", PAGE.replace("https", "http")]
)
async def test_a_page_of_another_origin_is_told_nothing_that_lets_it(open_world: World, origin: str) -> None:
    answers = [
        await preflight(open_world, origin),
        await open_world.call("get_health", headers={"origin": origin}),
    ]
    assert [(answer.status, of_cors(answer)) for answer in answers] == [(204, {}), (200, {})]


async def test_without_the_setting_no_page_is_let(world: World) -> None:
    answers = [await preflight(world, PAGE), await world.call("get_health", headers={"origin": PAGE})]
    assert [(of_cors(answer), "Vary" in answer.headers) for answer in answers] == [({}, False)] * 2


async def test_every_answer_to_a_named_origin_can_be_read_with_its_headers(open_world: World) -> None:
    tenant = str((await open_world.onboard(tier="enterprise"))["id"])
    calls: list[tuple[str, Any, Any]] = [
        ("create_agent", admin(tenant), AGENT),
        ("create_agent", admin(tenant), {}),
        ("list_agents", None, None),
        ("list_tenants", STAFF, None),
        ("get_openapi", None, None),
    ]
    answers = [await open_world.call(name, who, body, headers={"origin": PAGE}) for name, who, body in calls]
    assert [answer.status for answer in answers] == [201, 400, 401, 200, 200]
    for answer in answers:
        told = of_cors(answer)
        assert told.pop("Access-Control-Expose-Headers").split(", ") == [
            *("Content-Disposition", "ETag", "Idempotency-Replayed", "Link", "Location", "RateLimit-Limit"),
            *("RateLimit-Remaining", "RateLimit-Reset", "Retry-After", "WWW-Authenticate", "x-request-id"),
        ]
        assert told == {"Access-Control-Allow-Origin": PAGE}, "never credentials: a token comes in its own header"


@pytest.mark.parametrize("headers", [{}, {"origin": PAGE}, {"origin": OTHER}])
async def test_a_cache_keeps_the_answers_to_different_origins_apart(open_world: World, headers: dict[str, str]) -> None:
    assert (await open_world.call("get_health", headers=headers)).headers["Vary"] == "Origin"
    assert (await open_world.call("get_openapi", headers=headers)).headers["Vary"] == "Accept-Encoding, Origin"


async def test_who_has_the_version_and_who_asks_for_headers_is_let_too(open_world: World) -> None:
    first = await open_world.call("get_openapi")
    known = {"origin": PAGE, "if-none-match": first.etag}
    answers = [await open_world.call("get_openapi", headers=known, method=method) for method in ("GET", "HEAD")]
    told = [(answer.status, answer.headers.get("Access-Control-Allow-Origin")) for answer in answers]
    assert told == [(304, PAGE)] * 2


# The setting


@pytest.mark.parametrize("origins", ["", PAGE, ORIGINS, "http://127.0.0.1:5173", "https://a.example:8443,"])
def test_origins_are_taken_as_a_browser_sends_them(origins: str) -> None:
    Settings.load({"FLOWGRID_CORS_ORIGINS": origins})


@pytest.mark.parametrize(
    "origins",
    [
        *("*", "null", "https://*.acme.example", "app.acme.example", "https://app.acme.example/", "https://A.example"),
        *(
            "http://app.acme.example",
            "https://app.acme.example/path",
            "https://user@app.acme.example",
            f"{PAGE};{PAGE}",
        ),
        *("https://a.example:99999", "https://a.example:443", "ftp://a.example", "https://", f"{PAGE} {OTHER}"),
    ],
)
def test_what_no_browser_sends_or_would_let_everybody_in_is_refused_at_start(origins: str) -> None:
    with pytest.raises(SettingsError, match="FLOWGRID_CORS_ORIGINS"):
        Settings.load({"FLOWGRID_CORS_ORIGINS": origins})
