"""The one endpoint pipeline: every HTTP function is declared through it and passes the same steps in the same order.

request id -> gateway -> address limit -> authenticate -> tenant -> member and role -> tenant and route limit -> parse
-> idempotency -> handler -> answer, meter, log, headers
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import azure.functions as func
from pydantic import BaseModel, ValidationError

from shared.auth.caller import RequestInfo
from shared.auth.gateway import Gateways
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.auth.tokens import TokenVerifier
from shared.errors import (
    FlowgridError,
    Forbidden,
    PreconditionRequired,
    QuotaReached,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from shared.http.addresses import client_address, window_of
from shared.http.admission import admit, limits_told, log_refusal, windows_of
from shared.http.answers import Answered, finish, head_of, respond
from shared.http.bodies import Json, Merge, Raw, invalid
from shared.http.cors import Cors, options
from shared.http.idempotency import Idempotency
from shared.http.meter import Meter
from shared.http.observing import observe
from shared.http.pagination import Cursors, PageQuery, Query
from shared.http.problems import Retold, problem
from shared.http.routes import Begins, Call, Handler, OpenCall, Route
from shared.ids import is_request_id
from shared.limits.port import Allowance, RateLimiter, Window
from shared.members.members import Members
from shared.telemetry.log import log_fields
from shared.tenancy.directory import Directory
from shared.tenancy.fence import Overtaken
from shared.tenancy.plans import GLOBAL_WINDOW_MINUTES, Limit
from shared.tracing import begun, current
from shared.work.resources import PageRequest
from shared.work.scope import Services
from shared.work.session import TRIES_AT_A_RACE, TenantSession

logger = logging.getLogger("flowgrid.auth")
H = TypeVar("H", bound=Callable[[Any], Awaitable[Any]])
MAX_USER_AGENT = 512
CLIENT_GONE = 499
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,255}(?=/)")


@dataclass
class Endpoint:
    """Declares routes on blueprints (`endpoint(routes, "GET", …)`) and runs the calls to them."""

    verifier: TokenVerifier
    directory: Directory
    members: Members
    limiter: RateLimiter
    cursors: Cursors
    idempotency: Idempotency
    meter: Meter
    services: Services
    global_limit: int
    trusted_proxies: int = 1
    cors: Cors = field(default_factory=Cors)
    gateways: Gateways = field(default_factory=lambda: Gateways([]))
    public_url: str = ""
    routes: list[Route] = field(default_factory=list)

    def __call__(
        self,
        blueprint: func.Blueprint,
        method: str,
        path: str,
        *,
        name: str | None = None,
        role: Role | None,
        summary: str,
        answer: Any,
        status: int = 200,
        body: type[BaseModel] | Json[Any] | Merge[Any] | Raw | None = None,
        query: type[Query] = Query,
        limit: Limit | None = None,
        errors: tuple[int, ...] = (),
        example: Mapping[str, Any] | None = None,
        begins: Begins | None = None,
        media_types: tuple[str, ...] = (),
        described: bool = True,
        free: bool = False,
        scope: KeyScope | None = None,
        metadata: str | None = None,
        retold: Retold | None = None,
    ) -> Callable[[H], H]:
        """Register the decorated handler, under its own name or this one.

        `role`: the least that the caller needs; None: open to everybody. `body`: what the handler gets as `call.body`,
        read and validated (400, 413, 415). `query`: the parameters that there are; a `PageQuery` makes it a list.
        `answer`: the model, `Page[model]`, `Content`, `dict`, or None (204). `limit`: a limit of its own, by the plan.
        `errors`: the statuses that this route adds to those of the pipeline. `begins`: what goes on behind a 202.
        `media_types`: those in which, beside JSON, the answer can be asked for.
        `example`: a body that it takes. `described` False: not in OpenAPI. `free`: open, and takes nothing of the
        address's window, nor needs a gateway. `scope`: what an API key has to be for; None: the usual of its method and
        role. `retold`: what its problems say beside, in another protocol's form.
        """
        reader = Json(body) if isinstance(body, type) else body

        def register(handler: H) -> H:
            operation = name or str(getattr(handler, "__name__", path))
            leads = all(other.path != path for other in self.routes)
            route = Route(
                operation,
                method,
                path,
                role,
                summary,
                answer,
                status,
                reader,
                query,
                limit,
                errors,
                example or {},
                begins,
                media_types,
                described,
                free,
                scope,
                metadata,
                retold,
                leads,
            )
            self.routes.append(route)

            async def run(req: func.HttpRequest) -> func.HttpResponse:
                return await self._run(route, handler, req)

            blueprint.function_name(operation)(
                blueprint.route(route=path, methods=route.methods, auth_level=func.AuthLevel.ANONYMOUS)(run)
            )
            return handler

        return register

    async def _run(self, route: Route, handler: Handler, req: func.HttpRequest) -> func.HttpResponse:
        started = self.services.clock.now()
        request = self._request_info(req)
        current.set(begun(req.headers.get("traceparent")))
        log_fields.set({"request_id": request.request_id, "operation": route.name})
        answered = Answered(request, started)
        try:
            response = await self._answer(route, handler, req, answered)
        except asyncio.CancelledError:
            await self._told(answered, route, req.method, CLIENT_GONE)  # whoever hangs up has called all the same
            self._observe(answered, route, req.method, CLIENT_GONE)
            raise
        except Exception as error:
            if isinstance(error, RateLimited):
                answered.allowances.append(Allowance(error.limit, 0, error.retry_after))
            response = _problem(error, req, request, route)
            self._refer(response, route, req)
        try:
            await self._told(answered, route, req.method, response.status_code)
        except Unavailable as error:
            response = _problem(error, req, request, route)
        response = finish(response, answered, self.services.clock.now())
        self._observe(answered, route, req.method, response.status_code)
        self.cors.mark(response, req)
        return head_of(response) if req.method == "HEAD" else response

    def origin(self, req: func.HttpRequest) -> str:
        """Scheme and host of this app; where it knows none, those that the caller has named, for that caller alone."""
        found = None if self.public_url else _ORIGIN.match(req.url)
        return self.public_url if found is None else found.group()

    def check_origin(self, origin: str | None) -> None:
        """`Forbidden` for a web page that none of ours is, whatever name it has given to this app's address.

        Behind a gateway that is the gateway's to ask: nobody comes around it.
        """
        if not (origin in (None, self.public_url) or self.gateways.required or self.cors.allows(origin)):
            raise Forbidden("Pages of this origin may not call here (FLOWGRID_CORS_ORIGINS).")

    def _refer(self, response: func.HttpResponse, route: Route, req: func.HttpRequest) -> None:
        """RFC 9728 §5.1: who has no token is told where it is said whose tokens are taken."""
        if response.status_code == 401 and route.metadata is not None:
            told = f', resource_metadata="{self.origin(req)}/api/{route.metadata}"'
            response.headers["WWW-Authenticate"] = response.headers["WWW-Authenticate"] + told

    def _observe(self, answered: Answered, route: Route, method: str, status: int) -> None:
        seconds = (self.services.clock.now() - answered.started).total_seconds()
        observe(self.services.telemetry, answered, route, method, status, seconds)

    async def _told(self, answered: Answered, route: Route, method: str, status_code: int) -> None:
        """`_tell` to its end, though whoever called may hang up meanwhile."""
        if answered.session is None and not answered.relays:
            return
        telling = asyncio.ensure_future(self._tell(answered, route, method, status_code))
        try:
            await asyncio.shield(telling)
        except asyncio.CancelledError:
            await asyncio.wait([telling])
            if not telling.cancelled():
                telling.exception()  # which the meter has told
            raise

    async def _tell(self, answered: Answered, route: Route, method: str, status_code: int) -> None:
        """Count the call, as the meter does; what it has committed is being sent meanwhile."""
        try:
            if answered.session is not None:
                await self.meter.api_call(answered.session, route, method, answered.started, status_code)
        finally:
            if answered.relays:
                await asyncio.gather(*answered.relays)

    async def _answer(
        self, route: Route, handler: Handler, req: func.HttpRequest, answered: Answered
    ) -> func.HttpResponse:
        if not route.free:
            await self.gateways.admit(req.headers.get("x-gateway-authorization"))
        if req.method == "OPTIONS":  # a browser sends it on its own, without a token: nobody's call
            return options(method for other in self.routes if other.path == route.path for method in other.methods)
        if route.free:
            return respond(route, req, await handler(OpenCall(req, lambda: None, answered.request)), None)
        key, most = window_of(answered.request.ip_address), self.global_limit
        address = Window("global", key, most, GLOBAL_WINDOW_MINUTES, "Too many requests from this address")
        if route.role is None:
            return respond(route, req, await self._open(route, handler, req, answered, address), None)
        session = await self._admitted(route, req, answered, address)
        answered.limits = limits_told(session) if self.gateways.required else None
        answered.allowances += await self.limiter.take(*windows_of(route, session))
        answered.session = session
        if route.paged:
            await self.cursors.ready()
        call = self._read(route, req, session)
        answer, replayed = await self._in_time(route, req, call, handler)
        answered.replayed = replayed
        return respond(route, req, answer, self._next_cursor(route, call, answer))

    async def _open(
        self, route: Route, handler: Handler, req: func.HttpRequest, answered: Answered, address: Window
    ) -> Any:
        """The answer to a caller who is nobody in particular: a call of the address is spent, unless he is `known`."""
        inside, known = self.limiter.enter(address), False

        def leave() -> None:
            nonlocal known
            if not known:
                known = True
                inside.leave()

        try:
            return await handler(OpenCall(req, leave, answered.request))
        finally:
            if not known:
                answered.allowances.append(await inside.spend())

    async def _in_time(
        self, route: Route, req: func.HttpRequest, call: Call[Any, Any], handler: Handler
    ) -> tuple[Any, bool]:
        """The handler's answer; run again, since nothing was written, when a backup's moment came in between."""
        for _ in range(TRIES_AT_A_RACE):
            try:
                return await self.idempotency.run(route, req, call, handler)
            except Overtaken:
                continue
        return await self.idempotency.run(route, req, call, handler)

    async def _admitted(
        self, route: Route, req: func.HttpRequest, answered: Answered, address: Window
    ) -> TenantSession:
        """The session of a caller who may call this. Who may not has spent a call of the address, and nothing else.

        So has who cannot be told who he is, since an issuer is away: anybody may name it. A slip of staff's, our own
        outage and a hang-up cost nothing: nothing has been told.
        """
        inside, who = self.limiter.enter(address), None
        try:
            who = await self.verifier.verify(req.headers.get("authorization"))
            session = await admit(self, route, req, answered, who)
        except FlowgridError as error:
            refused = isinstance(error, Unauthenticated | Forbidden | QuotaReached)
            if refused:
                log_refusal(error, answered.request)
            if refused or who is None:
                answered.allowances.append(await inside.spend())
            else:
                inside.leave()
            raise
        except BaseException:
            inside.leave()
            raise
        inside.leave()
        return session

    def _read(self, route: Route, req: func.HttpRequest, session: TenantSession) -> Call[Any, Any]:
        try:
            query = route.query.model_validate(_parameters(req))
        except ValidationError as error:
            raise invalid(error) from error
        if_match = req.headers.get("if-match")
        if route.method == "PUT" and if_match is None:
            raise PreconditionRequired("A PUT replaces a version that you name: send the ETag of it in If-Match.")
        page = PageRequest(0)
        if isinstance(query, PageQuery):
            after = self.cursors.open(query.cursor, route.list_of(session.id, req.route_params), query.asked())
            page = query.wanted(after)
        body = route.body.read(req) if route.body else None
        origin = self.origin(req)
        return Call(session, body, query, req.route_params, if_match, page, origin, req.headers)

    def _next_cursor(self, route: Route, call: Call[Any, Any], answer: Any) -> str | None:
        if not route.paged:
            return None
        return self.cursors.sign(answer.next, route.list_of(call.tenant.id, call.params), call.query.asked())

    def _request_info(self, req: func.HttpRequest) -> RequestInfo:
        asked = req.headers.get("x-request-id", "")
        return RequestInfo(
            request_id=asked if is_request_id(asked) else self.services.ids.new(),
            ip_address=client_address(req.headers.get("x-forwarded-for", ""), self.trusted_proxies),
            user_agent=req.headers.get("user-agent", "")[:MAX_USER_AGENT],
        )


def _problem(error: Exception, req: func.HttpRequest, request: RequestInfo, route: Route) -> func.HttpResponse:
    instance = req.url.partition("?")[0].partition("://")[2].partition("/")[2]
    return problem(error, request_id=request.request_id, instance=f"/{instance}", also=route.retold)


def _parameters(req: func.HttpRequest) -> dict[str, str]:
    """The query as it was sent: with the empty values too, which the Functions host leaves out of `params`.

    The URL is not taken apart as one: it begins with the Host that the caller has named, which may be anything.
    """
    if "?" not in req.url:
        return dict(req.params)
    sent = parse_qsl(req.url.partition("?")[2], keep_blank_values=True)
    return {name: "" for name, value in sent if not value} | dict(req.params)
