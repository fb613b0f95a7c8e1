"""SIGTERM in the middle of calls, as a deployment or a scale-in sends it: what was begun is answered, and told of."""

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import pytest

from tests.doubles.ingestion import Ingestion, ingestion
from tests.e2e.api import AGENT, Api, Flowgrid, Tenant, new_http
from tests.e2e.host import Host, eventually

WRITERS = 8
ENOUGH = 200  # answers before the signal
ROUNDS = 2
NAMES = {
    "POST /api/v1/agents": "create_agent",
    "GET /api/v1/agents/{agent_id}": "get_agent",
    "POST /api/v1/agents/{agent_id}/executions": "create_execution",
}


@pytest.fixture
def receiver() -> Iterator[Ingestion]:
    with ingestion() as double:
        yield double


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory, receiver: Ingestion) -> Iterator[Host]:
    """A host of its own, which tells the receiver of its calls."""
    served = Host(tmp_path_factory.mktemp("stopped"))
    served.environment["APPLICATIONINSIGHTS_CONNECTION_STRING"] = receiver.connection_string
    try:
        served.start()
        yield served
    finally:
        served.kill()


@dataclass
class Heard:
    """What the callers were answered; `refused` counts the calls that nobody took any more."""

    calls: Counter[str] = field(default_factory=Counter)
    created: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    refused: int = 0


async def test_what_was_taken_is_answered_what_was_not_did_nothing_and_all_of_it_is_counted(
    host: Host, receiver: Ingestion
) -> None:
    heard = Heard()
    async with new_http() as http:
        flowgrid = Flowgrid(host, http)
        tenant = await flowgrid.onboard(max_agents=1_000_000, tier="enterprise")
        agent = (await tenant.admin.ok("POST", "agents", AGENT))["id"]
        heard.created.add(agent)
        heard.calls["create_agent"] += 1
        for _ in range(ROUNDS):
            await _call_until_stopped(host, tenant, agent, heard)  # which ends well, and in time
            assert _told(receiver, tenant) == heard.calls, "telemetry and the callers tell of other calls"
            host.start()
        assert heard.refused > 0, "nobody called while it stopped"
        assert min(len(heard.created), len(heard.runs)) > 10, "too little was written to prove much"

        agents = {one["id"] for one in await tenant.staff.every("agents", limit=200)}
        assert agents == heard.created, "a call that was not answered has done something, or one that was has not"
        counted = await eventually(lambda: _counted(tenant, heard))
        assert counted == heard.calls
        await eventually(lambda: _done(tenant, heard))
    assert "Traceback" not in host.log


@pytest.mark.long
async def test_who_never_ends_his_request_keeps_nobody_from_stopping(host: Host) -> None:
    address = urlsplit(host.url)
    with socket.create_connection((address.hostname, address.port)) as stuck:
        stuck.sendall(b"POST /api/v1/agents HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        async with new_http() as http:
            await Flowgrid(host, http).anonymous.get("/api/health")
        await asyncio.to_thread(host.stop)


# --- helpers ---------------------------------------------------------------------------------------------------------


async def _call_until_stopped(host: Host, tenant: Tenant, agent: str, heard: Heard) -> None:
    """Callers without a pause, until nobody listens any more; the signal comes some answers later."""
    before, enough = sum(heard.calls.values()), asyncio.Event()

    async def caller(number: int) -> None:
        async with new_http() as http:  # connections that nobody else uses
            api = Api(http, host.url, tenant.admin.token)
            for at in range(number, 1_000_000):
                try:
                    await _one(api, at, agent, heard)
                except httpx.TransportError:
                    heard.refused += 1
                    return
                if sum(heard.calls.values()) - before >= ENOUGH:
                    enough.set()

    callers = [asyncio.create_task(caller(number)) for number in range(WRITERS)]
    async with asyncio.timeout(60):
        await enough.wait()
    await asyncio.to_thread(host.stop)
    await asyncio.gather(*callers)


async def _one(api: Api, at: int, agent: str, heard: Heard) -> None:
    """One call; whatever is answered at all is a success."""
    match at % 3:
        case 0:
            heard.created.add((await api.ok("POST", "agents", AGENT))["id"])
            heard.calls["create_agent"] += 1
        case 1:
            await api.ok("GET", f"agents/{agent}")
            heard.calls["get_agent"] += 1
        case _:
            run = await api.ok("POST", f"agents/{agent}/executions", {"input": "A claim."})
            heard.runs.add(run["id"])
            heard.calls["create_execution"] += 1


def _told(receiver: Ingestion, tenant: Tenant) -> Counter[str]:
    """The requests of the tenant's callers that telemetry was told of, by function."""
    told = [one["name"] for one in receiver.of("RequestData") if one["properties"]["tenantId"] == tenant.id]
    return Counter(NAMES[name] for name in told if name in NAMES)


async def _counted(tenant: Tenant, heard: Heard) -> Counter[str]:
    """as many calls are counted as were answered"""
    usage = await tenant.staff.every("usage/events", metric="api_calls", limit=200)
    found = Counter(event["data"]["operation"] for event in usage)
    return found if found.total() >= heard.calls.total() else Counter()


async def _done(tenant: Tenant, heard: Heard) -> bool:
    """every run that was accepted is done"""
    runs = await tenant.staff.every("executions", limit=200)
    return {one["id"] for one in runs if one["status"] == "succeeded"} == heard.runs
