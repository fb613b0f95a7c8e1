"""HTTP routes of A2A 1.0, its binding to HTTP and JSON (specification §11), for each published agent.

`tasks/{id}:cancel` is a `tasks/{execution_id}` whose last word is looked at here (docs/decisions/0058).
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any, Final

import azure.functions as func

from functions.a2a.cards import VERSION
from functions.a2a.errors import Refused, as_status
from functions.a2a.messages import MAX_BYTES, Sent, Spoken, TaskQuery, TasksQuery
from functions.a2a.service import A2aService
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.http.bodies import Raw, validated
from shared.http.endpoint import Endpoint
from shared.http.routes import Call, Content

BASE: Final = "v1/a2a/agents/{agent_id}"
TASK: Final = f"{BASE}/tasks/{{execution_id}}"
CONFIGS: Final = f"{TASK}/pushNotificationConfigs"
MEDIA_TYPE: Final = "application/a2a+json"
_VERSION: Final = re.compile(rf"{re.escape(VERSION)}(\.[0-9]{{1,9}})?")
_STREAMS: Final = "Nothing is streamed; send with message:send, and ask for the task."
_PUSHES: Final = "Nobody is told by push notifications; ask for the task."
_EXTENDED: Final = "There is no extended card; the card tells all."
Said = Awaitable[Mapping[str, Any]]


def blueprint(endpoint: Endpoint, a2a: A2aService, public_url: str) -> func.Blueprint:
    """`public_url`: where this is reached; empty: where whoever asks for a card has asked."""
    routes = func.Blueprint()
    speaking = _Speaking(endpoint, routes)
    _card(endpoint, routes, a2a, public_url)
    _messages(speaking, a2a)
    _tasks(speaking, a2a)
    for name, method, path in (
        ("set_a2a_push_config", "POST", CONFIGS),
        ("list_a2a_push_configs", "GET", CONFIGS),
        ("get_a2a_push_config", "GET", f"{CONFIGS}/{{config}}"),
        ("delete_a2a_push_config", "DELETE", f"{CONFIGS}/{{config}}"),
    ):
        speaking.refuses(name, method, path, Refused("PUSH_NOTIFICATION_NOT_SUPPORTED", _PUSHES))
    streams, extended = Refused("UNSUPPORTED_OPERATION", _STREAMS), Refused("UNSUPPORTED_OPERATION", _EXTENDED)
    speaking.refuses("stream_a2a_message", "POST", f"{BASE}/message:stream", streams)
    speaking.refuses("get_a2a_extended_card", "GET", f"{BASE}/extendedAgentCard", extended)
    return routes


def _card(endpoint: Endpoint, routes: func.Blueprint, a2a: A2aService, public_url: str) -> None:
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
        base = f"{public_url or call.origin}/api/{BASE.format(agent_id=agent_id)}"
        card = await a2a.card(call.tenant, agent_id, base)
        raw = _raw(card)
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
        id = call.params["execution_id"]
        if id.endswith(":subscribe"):
            raise Refused("UNSUPPORTED_OPERATION", _STREAMS)
        return await a2a.get(call.tenant, call.params["agent_id"], id, call.query.history_length)

    @speaking("act_on_a2a_task", "POST", TASK, "Cancel a task (A2A)")
    async def act(call: Call[None, Spoken]) -> Mapping[str, Any]:
        id, _, action = call.params["execution_id"].rpartition(":")
        if action == "subscribe":
            raise Refused("UNSUPPORTED_OPERATION", _STREAMS)
        if action != "cancel":
            raise Refused("METHOD_NOT_FOUND", "Of a task there is tasks/{id} to look at, and tasks/{id}:cancel.")
        return await a2a.cancel(call.tenant, call.params["agent_id"], id)


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
                try:
                    _check_version(call.headers.get("a2a-version") or call.query.version)
                    return _content(await handler(call))
                except Refused as error:
                    return _content(error.body, error.status)

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

    def refuses(self, name: str, method: str, path: str, error: Refused) -> None:
        @self(name, method, path, "What is not done here (A2A)")
        async def refuse(call: Call[Any, Any]) -> Mapping[str, Any]:
            raise error


def _check_version(asked: str | None) -> None:
    """Who names none speaks 0.3 (§3.6.2)."""
    if _VERSION.fullmatch(asked or "") is None:
        raise Refused("VERSION_NOT_SUPPORTED", f"Version {VERSION} is spoken here: send it in the header A2A-Version.")


def _content(said: Mapping[str, Any], status: int = 200) -> Content:
    return Content(_raw(said), MEDIA_TYPE, status)


def _raw(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
