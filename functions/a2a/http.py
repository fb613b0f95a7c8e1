"""HTTP routes of A2A 1.0, its binding to HTTP and JSON (specification §11), for each published agent.

`tasks/{id}:cancel` is a `tasks/{execution_id}` whose last word the service looks at (docs/decisions/0058).
"""

from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any, Final

import azure.functions as func

from functions.a2a.errors import Reason, Refused, as_status
from functions.a2a.messages import MAX_BYTES, Sent, Spoken, TaskQuery, TasksQuery
from functions.a2a.service import STREAMS, A2aService
from functions.a2a.speaking import MEDIA_TYPE, as_json, spoken
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.http.bodies import Raw, validated
from shared.http.endpoint import Endpoint
from shared.http.routes import Call, Content

BASE: Final = "v1/a2a/agents/{agent_id}"
TASK: Final = f"{BASE}/tasks/{{execution_id}}"
CONFIGS: Final = f"{TASK}/pushNotificationConfigs"
_PUSHES: Final = "Nobody is told by push notifications; ask for the task."
_EXTENDED: Final = "There is no extended card; the card tells all."
Said = Awaitable[Mapping[str, Any]]


def blueprint(endpoint: Endpoint, a2a: A2aService) -> func.Blueprint:
    routes = func.Blueprint()
    speaking = _Speaking(endpoint, routes)
    _card(endpoint, routes, a2a)
    _messages(speaking, a2a)
    _tasks(speaking, a2a)
    for name, method, path in (
        ("set_a2a_push_config", "POST", CONFIGS),
        ("list_a2a_push_configs", "GET", CONFIGS),
        ("get_a2a_push_config", "GET", f"{CONFIGS}/{{config}}"),
        ("delete_a2a_push_config", "DELETE", f"{CONFIGS}/{{config}}"),
    ):
        speaking.refuses(name, method, path, "PUSH_NOTIFICATION_NOT_SUPPORTED", _PUSHES)
    speaking.refuses("stream_a2a_message", "POST", f"{BASE}/message:stream", "UNSUPPORTED_OPERATION", STREAMS)
    speaking.refuses("get_a2a_extended_card", "GET", f"{BASE}/extendedAgentCard", "UNSUPPORTED_OPERATION", _EXTENDED)
    return routes


def _card(endpoint: Endpoint, routes: func.Blueprint, a2a: A2aService) -> None:
    @endpoint(
        routes,
        "GET",
        f"{BASE}/.well-known/agent-card.json",
        role=Role.VIEWER,
        answer=Content(b"", "application/json"),
        summary="An agent's card (A2A)",
        errors=(404,),
        described=False,
        retold=as_status,
    )
    async def get_a2a_card(call: Call) -> Content:
        agent_id = call.params["agent_id"]
        path = f"/api/{BASE.format(agent_id=agent_id)}"
        raw = as_json(await a2a.card(call.tenant, agent_id, call.origin, path))
        return Content(raw, "application/json", etag=f'"{sha256(raw).hexdigest()[:32]}"')


def _messages(speaking: "_Speaking", a2a: A2aService) -> None:
    taken = Raw(("application/json", MEDIA_TYPE), MAX_BYTES)

    @speaking("send_a2a_message", "POST", f"{BASE}/message:send", "Send a message to an agent (A2A)", body=taken)
    async def send(call: Call[bytes, Spoken]) -> Mapping[str, Any]:
        return await a2a.send(call.tenant, call.params["agent_id"], validated(Sent, call.body))


def _tasks(speaking: "_Speaking", a2a: A2aService) -> None:
    @speaking("list_a2a_tasks", "GET", f"{BASE}/tasks", "List an agent's tasks (A2A)", TasksQuery)
    async def list_tasks(call: Call[None, TasksQuery]) -> Mapping[str, Any]:
        return await a2a.list(call.tenant, call.params["agent_id"], call.query)

    @speaking("get_a2a_task", "GET", TASK, "How a task stands (A2A)", TaskQuery)
    async def get_task(call: Call[None, TaskQuery]) -> Mapping[str, Any]:
        return await a2a.get(
            call.tenant, call.params["agent_id"], call.params["execution_id"], call.query.history_length
        )

    @speaking("act_on_a2a_task", "POST", TASK, "Cancel a task (A2A)")
    async def act(call: Call[None, Spoken]) -> Mapping[str, Any]:
        return await a2a.act(call.tenant, call.params["agent_id"], call.params["execution_id"])


class _Speaking:
    """Declares routes that speak A2A: in its version, in its media type, and with its errors."""

    def __init__(self, endpoint: Endpoint, routes: func.Blueprint) -> None:
        self._endpoint = endpoint
        self._routes = routes

    def __call__(
        self, name: str, method: str, path: str, summary: str, query: type[Spoken] = Spoken, body: Raw | None = None
    ) -> Callable[[Callable[[Call[Any, Any]], Said]], None]:
        reads = method == "GET"

        def register(handler: Callable[[Call[Any, Any]], Said]) -> None:
            async def speak(call: Call[Any, Any]) -> Content:
                version = call.headers.get("a2a-version") or call.query.version
                return Content(*await spoken(version, lambda: handler(call)))

            self._endpoint(
                self._routes,
                method,
                path,
                name=name,
                role=Role.VIEWER if reads else Role.USER,
                scope=KeyScope.READ if reads else KeyScope.EXECUTE,
                query=query,
                body=body,
                answer=Content(b"", MEDIA_TYPE),
                summary=summary,
                described=False,
                retold=as_status,
            )(speak)

        return register

    def refuses(self, name: str, method: str, path: str, reason: Reason, message: str) -> None:
        @self(name, method, path, "What is not done here (A2A)")
        async def refuse(call: Call[Any, Any]) -> Mapping[str, Any]:
            raise Refused(reason, message)
