"""The official A2A client over a Flowgrid in this process: its requests find their functions as the host would."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import azure.functions as func
import httpx
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.client.transports.rest import RestTransport
from a2a.types.a2a_pb2 import Message, Part, Role, SendMessageConfiguration, SendMessageRequest, Task

from functions.a2a.http import BASE
from local.routes import Found, RouteTable, template
from tests.unit.world import World

HOST = "https://flowgrid.test"
SPOKEN = {"a2a-version": "1.0"}


def base(agent: str, host: str = HOST) -> str:
    return f"{host}/api/{BASE.format(agent_id=agent)}"


def functions_of(world: World) -> httpx.MockTransport:
    """As the Functions host: the whole request to the function that its path has, its whole answer back."""
    routes = world.core.endpoint.routes
    table = RouteTable([template(f"api/{one.path}", one.methods, one.name, function=one.name) for one in routes])

    async def answer(request: httpx.Request) -> httpx.Response:
        found = table.find(request.method, request.url.raw_path.decode().partition("?")[0])
        assert isinstance(found, Found), request.url
        asked = func.HttpRequest(
            request.method,
            str(request.url),
            headers={**request.headers, "x-forwarded-for": "198.51.100.7:50123"},
            params=dict(request.url.params),
            route_params=dict(found.params),
            body=request.content,
        )
        response = await world.functions[found.target](asked)
        told = {"content-type": response.mimetype, **dict(response.headers)}
        return httpx.Response(response.status_code, headers=told, content=response.get_body())

    return httpx.MockTransport(answer)


@asynccontextmanager
async def client(http: httpx.AsyncClient, agent: str, host: str = HOST) -> AsyncIterator[Client]:
    """Made of the agent's card, as it is told."""
    card = await A2ACardResolver(http, base(agent, host)).get_agent_card()
    config = ClientConfig(httpx_client=http, supported_protocol_bindings=["HTTP+JSON"])
    yield ClientFactory(config).create(card)


@asynccontextmanager
async def program(world: World, key: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {key}", **SPOKEN}
    async with httpx.AsyncClient(transport=functions_of(world), headers=headers) as http:
        yield http


async def transport(http: httpx.AsyncClient, agent: str) -> RestTransport:
    """What the client speaks by, without looking at what the card says it may."""
    return RestTransport(http, await A2ACardResolver(http, base(agent)).get_agent_card(), base(agent))


def asking(*parts: Part | str, now: bool = True, **fields: Any) -> SendMessageRequest:
    """A message of these parts; `now`: the task is wanted as it is, not as it will be."""
    made = [Part(text=one) if isinstance(one, str) else one for one in parts]
    message = Message(**{"message_id": str(uuid4()), "role": Role.ROLE_USER, "parts": made, **fields})
    return SendMessageRequest(message=message, configuration=SendMessageConfiguration(return_immediately=now))


async def sent(speaking: Client, request: SendMessageRequest) -> Task:
    [event] = [one async for one in speaking.send_message(request)]
    return event.task
