"""`POST /admin/functions/{name}` with `{"input": …}`: run a function that is not an HTTP one now.

The real host answers 202 before the function has run and hides how it went. Here the answer comes after the run, still
202, so that a test or an operator may look at the effects at once; a function that raised gives a 500 problem.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from local.bindings import Function
from local.guard import from_another_site
from local.http import problem
from local.queues import QueueTrigger
from local.timers import Timer
from shared.messaging.port import Message

logger = logging.getLogger("flowgrid.local.admin")


class AdminApi:
    """Names are compared in lower case, as in the real host."""

    def __init__(self, functions: Sequence[Function], timers: Sequence[Timer], queues: Sequence[QueueTrigger]) -> None:
        self._functions = {item.name.lower(): item for item in functions}
        self._timers = {timer.function.name: timer for timer in timers}
        self._queues = {queue.function.name: queue for queue in queues}

    async def post(self, request: Request) -> Response:
        if from_another_site(request.headers):
            return problem(request, 403, "forbidden", "A page of another origin may not run functions.")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return problem(request, 415, "unsupported_media_type", "Send JSON: Content-Type: application/json.")
        name = str(request.path_params["name"])
        function = self._functions.get(name.lower())
        if function is None:
            return problem(request, 404, "not_found", f"There is no function named {name}.")
        if function.name not in self._timers and function.name not in self._queues:
            return problem(request, 400, "invalid_request", f"Function {function.name} is called at its own route.")
        try:
            run = self._prepared(function, json.loads(await request.body()).get("input"))
        except (ValueError, TypeError, AttributeError, RecursionError):
            return problem(request, 400, "invalid_request", 'The body should be JSON such as {"input": {"a": 1}}.')
        try:
            await run()
        except Exception:
            logger.exception("function %s failed", function.name)
            return problem(request, 500, "internal", f"Function {function.name} raised an exception; see the log.")
        return Response(status_code=202)

    def _prepared(self, function: Function, given: Any) -> Callable[[], Awaitable[None]]:
        if timer := self._timers.get(function.name):
            return timer.run
        queue = self._queues[function.name]
        items = given if queue.many and isinstance(given, list) else [given]
        return partial(queue.call, [(_message(item), 1) for item in items])


def _message(given: Any) -> Message:
    """The input as a message body: an object as it is, text (as the real API takes it) as the JSON it holds."""
    body = json.loads(given) if isinstance(given, str) and given else given or {}
    if not isinstance(body, dict):
        raise TypeError(f"the input of a queue function is a JSON object, not {type(body).__name__}")
    return Message(id=str(uuid4()), tenant_id=str(body.get("tenant_id", "")), body=body)
