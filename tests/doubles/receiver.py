"""A receiver of webhooks, on real HTTP: it says what it is told to, and remembers what it was sent."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.doubles.server import serving

Says = int | tuple[int, dict[str, str]]


@dataclass(frozen=True)
class Received:
    """One call; `status`: what was said to it."""

    at: datetime
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """`says` by path; what is not in it is taken (204). `now`: by which clock it notes."""

    now: Callable[[], datetime]
    url: str = ""
    says: dict[str, Says] = field(default_factory=dict)
    calls: list[Received] = field(default_factory=list)

    @property
    def address(self) -> str:
        """As FLOWGRID_OUTGOING_ALLOWED has it."""
        return self.url.partition("://")[2]

    def of(self, path: str) -> list[Received]:
        return [one for one in self.calls if one.path == path]

    def taken(self, path: str) -> list[Received]:
        """What was acknowledged."""
        return [one for one in self.of(path) if 200 <= one.status < 300]

    async def take(self, request: Request) -> Response:
        says = self.says.get(request.url.path, 204)
        status, headers = (says, {}) if isinstance(says, int) else says
        body = await request.body()
        self.calls.append(Received(self.now(), request.url.path, dict(request.headers), body, status))
        return Response(status_code=status, headers=headers)


@contextmanager
def receiving(now: Callable[[], datetime]) -> Iterator[Receiver]:
    receiver = Receiver(now)
    with serving(Starlette(routes=[Route("/{path:path}", receiver.take, methods=["POST"])])) as url:
        receiver.url = url
        yield receiver
