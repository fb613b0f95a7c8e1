"""Each service behind Flowgrid down and silent in turn, in one process: what goes on, what is a 503.

The real SDKs on doubles, behind a switch; what is not about the one that is away is embedded. AI providers are asked by
runs alone, behind the answers: tests/wire/test_agents_failing.py.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import shared.adapters
import shared.blobs.azure
import shared.messaging.servicebus
import shared.secrets.keyvault
from shared.blobs.azure import AzureBlobs
from shared.database.cosmos.retry import Patience
from shared.limits.redis import RedisLimiter
from shared.secrets.keyvault import KeyVaultSecrets
from shared.telemetry import insights
from tests.doubles.azurite import azurite, connection_string
from tests.doubles.certificate import make_certificate
from tests.doubles.clock import FakeClock
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import KEY
from tests.doubles.identity import Identity
from tests.doubles.ingestion import ingestion
from tests.doubles.keyvault import KeyVaultDouble
from tests.doubles.redis_server import redis_server
from tests.doubles.server import serving
from tests.doubles.switch import Switch
from tests.unit.world import AGENT, STAFF, World, admin
from tests.wire.conftest import FORGOTTEN_SOCKETS

pytestmark = FORGOTTEN_SOCKETS

BOUND_SECONDS = 1.5  # of a call to a service, here; in Azure 10 (queues), 12 (database), 30 (secrets), 120 (blobs)
NEVER_SECONDS = 100.0  # what a call must not take: no measure, a bound for what would never end
PROVIDER = {"name": "ours", "wire": "openai", "models": ["gpt-5"], "key": "sk-ours"}
CALLS: dict[str, Any] = {  # function: body
    "get_openapi": None,
    "get_me": None,
    "get_agent": None,
    "list_agents": None,
    "create_agent": AGENT,
    "list_elements": None,
    "list_audit": None,
    "get_usage": None,
    "create_execution": {"input": "A claim."},
    "create_backup": {},
    "verify_backup": {},
    "create_provider": PROVIDER,
    "list_tenants": None,
}
UNAVAILABLE = ("unavailable", "unknown_outcome")
ALL = frozenset(CALLS) - {"get_openapi"}
# Which of them answer 503 while it is away, and what health calls it. What only wants to tell somebody something goes
# on: events stay in the outbox, limits are each instance's own, telemetry waits.
AWAY: dict[str, tuple[frozenset[str], str]] = {
    "database": (ALL, "database"),
    "messaging": (frozenset(), "serviceBus"),
    "blobs": (frozenset({"verify_backup"}), "blobs"),
    "secrets": (frozenset({"create_provider"}), "secrets"),
    "redis": (frozenset(), "redis"),
    "telemetry": (frozenset(), ""),
}


@dataclass
class Scene:
    """A tenant at work, and the switch before the one service."""

    world: World
    switch: Switch
    tenant: str
    params: dict[str, dict[str, str]]
    made: int = 0

    async def call(self, name: str) -> Any:
        """Guarded against what would never end."""
        body = CALLS[name]
        if name == "create_provider":
            self.made += 1
            body = {**PROVIDER, "name": f"ours-{self.made}"}
        caller = STAFF if name == "list_tenants" else admin(self.tenant)
        async with asyncio.timeout(NEVER_SECONDS):
            return await self.world.call(name, caller, body, params=self.params.get(name))

    async def statuses(self) -> dict[str, int]:
        return {name: (await self.call(name)).status for name in CALLS}

    async def health(self) -> dict[str, str]:
        """The parts that are not well; what was found well is believed for some seconds."""
        self.world.clock.advance(seconds=6)
        checks = (await self.world.call("get_health")).json["checks"]
        return {name: check["status"] for name, check in checks.items() if check["status"] != "ok"}

    async def well(self) -> None:
        async with asyncio.timeout(NEVER_SECONDS):
            while await self.health():  # noqa: ASYNC110  a condition, not an event
                await asyncio.sleep(0.05)


Settings = dict[str, Any]


async def database(stack: AsyncExitStack, folder: Path) -> tuple[Switch, Settings]:
    double = stack.enter_context(CosmosDouble())
    double.reset(lambda: FakeClock().now().timestamp())
    switch = await stack.enter_async_context(Switch(urlsplit(double.endpoint).port or 0))
    endpoint = f"http://127.0.0.1:{switch.port}"
    return switch, {
        "flowgrid_database": "cosmos",
        "flowgrid_cosmos_endpoint": endpoint,
        "flowgrid_cosmos_emulator_key": KEY,
    }


async def messaging(stack: AsyncExitStack, folder: Path) -> tuple[Switch, Settings]:
    from tests.doubles.servicebus import service_bus

    double = stack.enter_context(service_bus())
    switch = await stack.enter_async_context(Switch(double.port))
    connection = double.connection.replace(f"localhost:{double.port}", f"127.0.0.1:{switch.port}")
    return switch, {"flowgrid_messaging": "servicebus", "flowgrid_servicebus_emulator": connection}


async def blobs(stack: AsyncExitStack, folder: Path) -> tuple[Switch, Settings]:
    port = stack.enter_context(azurite()).partition("BlobEndpoint=http://")[2].split(":")[1].partition("/")[0]
    switch = await stack.enter_async_context(Switch(int(port)))
    return switch, {
        "flowgrid_blobs": "azure",
        "flowgrid_blob_emulator_connection": connection_string(switch.port),
    }


async def secrets(stack: AsyncExitStack, folder: Path) -> tuple[Switch, Settings]:
    url = stack.enter_context(serving(KeyVaultDouble().app(), make_certificate(folder)))
    switch = await stack.enter_async_context(Switch(urlsplit(url).port or 0))
    return switch, {"flowgrid_secrets": "keyvault", "flowgrid_keyvault_url": f"https://127.0.0.1:{switch.port}"}


async def redis(stack: AsyncExitStack, folder: Path) -> tuple[Switch, Settings]:
    server = stack.enter_context(redis_server(folder))
    switch = await stack.enter_async_context(Switch(urlsplit(server.url).port or 0))
    return switch, {"flowgrid_rate_limits": "redis", "flowgrid_redis_url": f"redis://127.0.0.1:{switch.port}"}


async def telemetry(stack: AsyncExitStack, folder: Path) -> tuple[Switch, Settings]:
    double = stack.enter_context(ingestion())
    switch = await stack.enter_async_context(Switch(urlsplit(double.url).port or 0))
    told = double.connection_string.replace(double.url, f"http://127.0.0.1:{switch.port}")
    return switch, {"applicationinsights_connection_string": told}


SERVICES: dict[str, Callable[[AsyncExitStack, Path], Any]] = {
    "database": database,
    "messaging": messaging,
    "blobs": blobs,
    "secrets": secrets,
    "redis": redis,
    "telemetry": telemetry,
}


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """How long a call to a service may take from now on; no SDK tries again by itself, as it would wait in between."""
    most = NEVER_SECONDS
    begin = Patience.__init__

    def impatient(self: Patience, seconds: float) -> None:
        begin(self, min(seconds, most))

    def vault(settings: Any) -> KeyVaultSecrets:
        options: dict[str, Any] = {"retry_total": 0, "connection_verify": False, "verify_challenge_resource": False}
        return KeyVaultSecrets(settings.flowgrid_keyvault_url, credential=Identity, **options)

    def set_to(seconds: float) -> None:
        nonlocal most
        most = seconds
        for module in (shared.blobs.azure, shared.secrets.keyvault, shared.messaging.servicebus):
            monkeypatch.setattr(module, "CALL_SECONDS", seconds)

    for module in (shared.blobs.azure, shared.secrets.keyvault):
        monkeypatch.setattr(module, "READ_SECONDS", 10 * NEVER_SECONDS)  # the bound of a call is what is tried
    defaults = AzureBlobs.__init__.__kwdefaults__ or {}
    monkeypatch.setattr(AzureBlobs.__init__, "__kwdefaults__", {**defaults, "retries": 0})
    monkeypatch.setattr(Patience, "__init__", impatient)
    monkeypatch.setattr(insights, "CLOSE_SECONDS", 0.0)
    plain = shared.adapters._secrets
    monkeypatch.setattr(
        shared.adapters, "_secrets", lambda asked: vault(asked) if asked.flowgrid_keyvault_url else plain(asked)
    )
    set_to(NEVER_SECONDS)
    return set_to


@asynccontextmanager
async def scene(service: str, folder: Path) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        switch, settings = await SERVICES[service](stack, folder)
        world = World.over(folder / "data", **settings)
        stack.push_async_callback(world.close)
        stack.push_async_callback(switch.on)  # what is being closed is not waited for
        if isinstance(world.core.adapters.limiter, RedisLimiter):
            world.core.adapters.limiter._pause = lambda _: asyncio.sleep(0.01)
        tenant = (await world.onboard("acme", max_agents=1000))["id"]
        made = Scene(world, switch, tenant, {})
        agent = (await made.call("create_agent")).json["id"]
        made.params |= {"get_agent": {"agent_id": agent}, "create_execution": {"agent_id": agent}}
        if service != "messaging":  # whose queue nobody drains here
            made.params["verify_backup"] = {"backup_id": (await world.backed_up(tenant))["id"]}
        else:
            made.params["verify_backup"] = {"backup_id": agent}
        yield made


@pytest.mark.parametrize("service", SERVICES)
async def test_while_it_is_down_the_right_calls_go_on_and_all_do_when_it_is_back(
    tmp_path: Path, bound: Callable[[float], None], service: str
) -> None:
    hit, named = AWAY[service]
    async with scene(service, tmp_path) as made:
        await made.well()
        before = await made.statuses()
        await made.switch.down()
        bound(BOUND_SECONDS)
        await check_away(made, before, hit, named)
        bound(NEVER_SECONDS)
        await made.switch.on()
        await made.well()
        assert await made.statuses() == before


@pytest.mark.parametrize(
    "service",  # the queue's SDK takes its time until it believes in a new connection
    [pytest.param(name, marks=[pytest.mark.long] if name == "messaging" else []) for name in SERVICES],
)
async def test_while_it_is_silent_no_call_is_longer_than_its_bound_and_all_are_well_when_it_is_back(
    tmp_path: Path, bound: Callable[[float], None], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.platform.health.CHECK_SECONDS", 2 * BOUND_SECONDS)
    hit, named = AWAY[service]
    async with scene(service, tmp_path) as made:
        await made.well()
        before = await made.statuses()
        await made.switch.hang()
        bound(BOUND_SECONDS)
        await check_away(made, before, hit, named)
        bound(NEVER_SECONDS)
        await made.switch.on()
        await made.well()
        assert await made.statuses() == before


async def check_away(made: Scene, before: dict[str, int], hit: frozenset[str], named: str) -> None:
    """Each call is a 503 that says when to come again, or what it was before; and health names what is away."""
    for name, answer in zip(CALLS, await asyncio.gather(*map(made.call, CALLS)), strict=True):
        if name in hit:
            assert (answer.status, answer.json["code"] in UNAVAILABLE) == (503, True), f"{name}: {answer.raw!r}"
            assert int(answer.headers["Retry-After"]) >= 1
        else:
            assert answer.status == before[name], f"{name}: {answer.raw!r}"
    found = {name.partition(":")[0] for name in await made.health()}
    assert found == ({named} if named else set())


@pytest.mark.parametrize("service", ["blobs", "secrets"])
async def test_while_one_call_waits_for_what_is_silent_all_that_does_not_need_it_goes_on(
    tmp_path: Path, bound: Callable[[float], None], service: str
) -> None:
    (hit,), _ = AWAY[service]
    async with scene(service, tmp_path) as made:
        await made.call(hit)
        await made.switch.hang()
        waiting = asyncio.create_task(made.call(hit))
        other = (await made.world.onboard("globex"))["id"]
        for _ in range(3):
            for name in sorted({*CALLS} - {hit}):
                assert (await made.call(name)).status < 400, name
            assert (await made.world.call("create_agent", admin(other), AGENT)).status == 201
        assert not waiting.done()
        await made.switch.on()
        assert (await waiting).status < 400
