"""The development host: serves a `FunctionApp` without Azure. It only translates; all it knows comes from the app.

HTTP triggers become routes under host.json's prefix, timers run on their schedules, Service Bus triggers drain the
embedded queue, and `POST /admin/functions/{name}` runs one function now, as the real host's admin API does.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import azure.functions as func
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from local.admin import AdminApi
from local.bindings import Function, HostError, functions_of
from local.guard import HostGuard
from local.http import HttpTriggers
from local.queues import QueueTrigger
from local.timers import Monitor, Timer
from shared.clock import Clock, SystemClock
from shared.messaging.receiving import Receiving

logger = logging.getLogger("flowgrid.local.host")
STOP_SECONDS = 20.0


class Host:
    """`asgi()` is the web app, whose lifespan calls `start` and `stop`: they run the timers and queues."""

    def __init__(
        self,
        app: func.FunctionApp,
        *,
        state: Path,
        messaging: Receiving,
        values: Mapping[str, str],
        host_json: Path | None = None,
        clock: Clock | None = None,
        names: Collection[str] = (),
    ) -> None:
        """HostError when the app cannot be hosted: a missing setting, a bad schedule or route, a name used twice.

        `names`: what callers may call this host, beside localhost and addresses.
        """
        clock = clock or SystemClock()
        self.functions = functions_of(app, values)
        monitor = Monitor(state / "timers")
        self.timers = [Timer(item, monitor, clock) for item in self._of("timerTrigger")]
        self.queues = [QueueTrigger(item, messaging) for item in self._of("serviceBusTrigger")]
        self._prefix = route_prefix(host_json)
        self._http = HttpTriggers(self._of("httpTrigger"), self._prefix)
        self._admin = AdminApi(self.functions, self.timers, self.queues)
        self._names = names
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        known = {"httpTrigger", "timerTrigger", "serviceBusTrigger"}
        for item in self.functions:
            if item.trigger["type"] not in known:
                logger.warning("function %s is not run here: a %s has no local form", item.name, item.trigger["type"])

    def asgi(self, routes: Sequence[BaseRoute] = ()) -> Starlette:
        """The web app; `routes` come before the functions' own."""
        admin = Route("/admin/functions/{name}", self._admin.post, methods=["POST"])
        inside = [Middleware(HostGuard, names=self._names), Middleware(_Straight, to=self._http, below=self._prefix)]
        web = Starlette(routes=[*routes, admin], lifespan=self._lifespan, middleware=inside)
        web.router.redirect_slashes = False
        web.router.default = self._http
        return web

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    async def start(self) -> None:
        """Begin with timers and queues."""
        for timer in self.timers:
            await timer.start()
        loops = [timer.loop(self._stop) for timer in self.timers] + [queue.loop(self._stop) for queue in self.queues]
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    async def stop(self, *, within: float = STOP_SECONDS) -> None:
        """Take nothing new, let what runs finish; what does not in time is cancelled and comes again later."""
        self._stop.set()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=within)
        for task in late:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                logger.error("a trigger had stopped", exc_info=outcome)
        if late:
            logger.warning("%d functions were still running after %.0f s and were cancelled", len(late), within)
        self._tasks = []

    def _of(self, trigger_type: str) -> list[Function]:
        return [item for item in self.functions if item.trigger["type"] == trigger_type]


class _Straight:
    """An ASGI middleware: what is below a path goes to the functions, and is looked up there alone."""

    def __init__(self, app: ASGIApp, to: ASGIApp, below: str) -> None:
        self._app = app
        self._to = to
        self._below = f"/{below}/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        straight = scope["type"] == "http" and scope["path"].startswith(self._below)
        await (self._to if straight else self._app)(scope, receive, send)


def route_prefix(host_json: Path | None) -> str:
    """`extensions.http.routePrefix` of host.json; `api` where it says nothing."""
    if host_json is None or not host_json.exists():
        return "api"
    try:
        content = json.loads(host_json.read_text(encoding="utf-8"))
        return str(content.get("extensions", {}).get("http", {}).get("routePrefix", "api"))
    except (ValueError, AttributeError) as error:
        raise HostError(f"{host_json} is not a host.json: {error}") from error
