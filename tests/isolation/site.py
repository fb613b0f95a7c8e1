"""A whole Flowgrid in one process, over real adapters and real tokens: calls go to the functions that the app lists."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import azure.functions as func
from jwt import PyJWK

import function_app
from functions.catalog.service import ElementService, RelationshipService
from functions.design.tools import WizardTools
from functions.executions.working import World as Runs
from functions.kinds import KINDS
from functions.providers.connections import Connections
from functions.tools.calling import HttpToolbox
from functions.tools.catalog import CatalogTools
from functions.tools.mcp.calling import McpToolbox
from functions.tools.port import Toolboxes
from functions.tools.proposing import ProposingTools
from local.bindings import Function, functions_of
from local.issuer import Issuer
from local.queues import QueueTrigger
from shared.ai.port import Answer as ModelAnswer
from shared.ai.port import Connection, Question
from shared.auth.apps import AppTokens
from shared.auth.keys import SigningKeys
from shared.auth.roles import Role
from shared.auth.tokens import Keys, TokenVerifier
from shared.core import Core, core
from shared.http.routes import Route
from shared.messaging.port import Message
from shared.messaging.sqlite import SqliteMessaging
from shared.settings import Settings
from shared.work.kept_secrets import KeptSecrets
from tests.doubles.clock import never
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import KEY
from tests.doubles.models import ScriptedModels
from tests.isolation.asking import sources
from tests.isolation.companies import Companies, pages
from tests.isolation.elsewhere import Elsewhere
from tests.unit.world import Answer, FakeClock

QUEUES = ("store_usage", "run_job", "run_execution", "deliver")


class SomeScripted(ScriptedModels):
    """Agents with a script answer by it; all others as they would."""

    def __init__(self, core: Core) -> None:
        super().__init__()
        self._others = core.adapters.models

    async def ask(self, connection: Connection, question: Question) -> ModelAnswer:
        if question.instructions in self.scripts:
            return await super().ask(connection, question)
        return await self._others.ask(connection, question)


@dataclass
class Site:
    """`double`: the account that the database is in; None: SQLite. `companies`: whose own issuers tenants may have.
    `elsewhere`: another instance of the same service, by the same clock.
    """

    core: Core
    app: func.FunctionApp
    clock: FakeClock
    issuer: Issuer
    models: SomeScripted
    companies: Companies
    double: CosmosDouble | None
    elsewhere: "Site | None" = None
    functions: dict[str, Function] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    tokens: dict[tuple[Role | None, str | None, str | None, str], str] = field(default_factory=dict)

    @classmethod
    def over(cls, folder: Path, double: CosmosDouble | None = None) -> "Site":
        """Its clock moves when it is told to. It begins two hours ago: the library that reads tokens has the host's."""
        clock = FakeClock(datetime.now(UTC) - timedelta(hours=2))
        if double is not None:
            double.reset(lambda: clock.now().timestamp())
        site = cls._instance(folder, double, clock)
        site.elsewhere = cls._instance(folder, double, clock)
        return site

    @classmethod
    def _instance(cls, folder: Path, double: CosmosDouble | None, clock: FakeClock) -> "Site":
        values: dict[str, Any] = {
            "flowgrid_data_dir": folder,
            "flowgrid_global_limit": 1_000_000_000,
            "flowgrid_shards": 1,
            "flowgrid_log_level": "ERROR",
            "servicebusconnection": "local",
        }
        if double is not None:
            values |= {"flowgrid_database": "cosmos", "flowgrid_cosmos_endpoint": double.endpoint}
            values |= {"flowgrid_cosmos_emulator_key": KEY}
        settings = Settings.model_validate(values)
        settings = settings.model_copy(update={"flowgrid_claims": sources(settings.flowgrid_issuers[0].issuer)})
        own = core(settings, KINDS, clock)
        own = replace(own, adapters=replace(own.adapters, outgoing=Elsewhere()))
        own.services.outbox.pause = never
        own.adapters.charges.listener = lambda _: (
            None
        )  # told by the host's own clock, in the middle of whatever goes on
        issuer = Issuer(folder, settings, clock)
        keys = _keys(issuer, clock)
        companies = Companies(own, issuer.public_keys()[-1]["kid"])
        callers = [one.caller for one in settings.flowgrid_claims if one.caller is not None]
        own = replace(own, own_issuers=companies, app_tokens=AppTokens(callers, keys))
        own.endpoint.verifier = _verifier(own, keys, companies, clock)
        models = SomeScripted(own)
        app = function_app.compose(own, _runs(own, models))
        site = cls(own, app, clock, issuer, models, companies, double)
        site.functions = {one.name: one for one in functions_of(app, settings.values())}
        site.routes = {f"{route.method} {route.path}": route for route in own.endpoint.routes}
        return site

    @property
    def queue(self) -> SqliteMessaging:
        messaging = self.core.adapters.messaging
        assert isinstance(messaging, SqliteMessaging)
        return messaging

    @property
    def month(self) -> str:
        return f"{self.clock.now():%Y-%m}"

    def token(self, role: Role | None, tenant_id: str | None, email: str | None, subject: str | None = None) -> str:
        """A good token; one person has one subject, and comes with the same token again."""
        roles, subject = [] if role is None else [role.value], subject or f"{email} in {tenant_id}"
        who = (role, tenant_id, email, subject)
        if who not in self.tokens:
            self.tokens[who] = self.issuer.mint(subject, roles=roles, tenant_id=tenant_id, email=email)
        return self.tokens[who]

    @cached_property
    def signing_key(self) -> Any:
        """The private half of the issuer's key; it takes a while to be checked."""
        return PyJWK(self.issuer._keys()[-1]).key

    async def call(
        self,
        route: str,
        token: str | None = None,
        body: Any = None,
        *,
        method: str | None = None,
        params: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call of `METHOD path`, as the Functions worker makes it."""
        declared = self.routes[route]
        sent = {"x-forwarded-for": "198.51.100.7:50123", "user-agent": "prover", **(headers or {})}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        if body is not None:
            sent.setdefault("content-type", "application/json")
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        path = declared.path.format(**(params or {}))
        request = func.HttpRequest(
            method or declared.method,
            f"https://flowgrid.test/api/{path}",
            headers=sent,
            params=dict(query or {}),
            route_params=dict(params or {}),
            body=raw,
        )
        response = cast(func.HttpResponse, await self.functions[declared.name].handler(request))
        return Answer(response.status_code, response.headers, response.get_body())

    async def ok(self, route: str, token: str, body: Any = None, **rest: Any) -> Any:
        """The answer's JSON; anything but success fails and shows itself."""
        answer = await self.call(route, token, body, **rest)
        assert 200 <= answer.status < 300, f"{route}: {answer.status} {answer.raw!r}"
        return answer.json if answer.raw else None

    async def deliver(self, name: str, *messages: Message) -> None:
        """Messages as the host hands them to a queue function."""
        trigger = QueueTrigger(self.functions[name], self.queue)
        await trigger.call([(message, 1) for message in messages])

    async def tick(self, name: str) -> None:
        """A timer's time has come."""
        await self.functions[name].handler(None)

    async def work(self, *queues: str) -> None:
        """What is due in these queues (none named: in all), while the clock stands."""
        await self.core.services.outbox.flush()
        for name in queues or QUEUES:
            await QueueTrigger(self.functions[name], self.queue).drain()

    async def settle(self) -> None:
        """Work until nothing is due in any queue, nor will be within a minute."""
        for _ in range(12):
            await self.work()
            self.clock.advance(seconds=6)

    async def until(self, so: Callable[[], Any]) -> Any:
        """The first answer that is true, working on until then."""
        for _ in range(20):
            await self.work()
            if found := await so():
                return found
            self.clock.advance(seconds=6)
        raise AssertionError("this never comes")

    async def close(self) -> None:
        await self.core.close()
        if self.elsewhere is not None:
            await self.elsewhere.close()


def _keys(issuer: Issuer, clock: FakeClock) -> Keys:
    """The platform's issuer's, whose pages are read without a network."""

    async def fetch(url: str) -> dict[str, Any]:
        return pages(issuer.issuer, issuer.public_keys())

    return lambda one: SigningKeys(one, fetch=fetch, monotonic=clock.monotonic)


def _verifier(own: Core, keys: Keys, companies: Companies, clock: FakeClock) -> TokenVerifier:
    """The app's own, but for where it reads issuers' pages."""
    settings = own.settings
    return TokenVerifier(
        settings.flowgrid_issuers,
        tenant_claim=settings.flowgrid_tenant_claim,
        roles_claim=settings.flowgrid_roles_claim,
        keys=keys,
        now=lambda: clock.now().timestamp(),
        own=companies.trusted,
        api_keys=own.api_keys.caller,
    )


def _runs(core: Core, models: SomeScripted) -> Runs:
    """What runs work with in the app, but for scripts in place of some models."""
    outgoing, secrets = core.adapters.outgoing, KeptSecrets(core.adapters.secrets)
    others = (HttpToolbox(outgoing, secrets), McpToolbox(outgoing, secrets))
    tools = Toolboxes(CatalogTools(ElementService(), RelationshipService()), ProposingTools(), *others)
    return Runs(tools, models, Connections(core.adapters.secrets, core.settings).resolve, WizardTools())
