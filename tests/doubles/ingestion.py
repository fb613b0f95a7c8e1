"""Application Insights' ingestion on this machine: takes `/v2.1/track`, packed or not, and keeps what it has decoded.

It may be slow, refuse, be out of order, or send its clients elsewhere.
"""

import gzip
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.doubles.server import serving

KEY = "11111111-2222-3333-4444-555555555555"


@dataclass
class Ingestion:
    """`statuses`: of the next answers, then 200; `partly`: of single items of the next one, by place (206).

    `location`: where an answer sends its client; `raw`: all that came.
    """

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    partly: dict[int, int] = field(default_factory=dict)
    location: str = ""
    hangs: threading.Event | None = None
    envelopes: list[dict[str, Any]] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    @property
    def connection_string(self) -> str:
        return f"InstrumentationKey={KEY};IngestionEndpoint={self.url}/"

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/v2.1/track", self._track, methods=["POST"])])

    async def _track(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        body = await request.body()
        if self.hangs is not None:
            await anyio.to_thread.run_sync(self.hangs.wait, 30)
        status = self.statuses.pop(0) if self.statuses else 200
        if status != 200:
            return Response("no", status, {"location": self.location} if self.location else {})
        text = (gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body).decode()
        found = json.loads(text)
        self.raw.append(text)
        partly, self.partly = self.partly, {}
        taken = [one for place, one in enumerate(found) if place not in partly]
        self.envelopes += taken
        errors = [{"index": place, "statusCode": status, "message": "no"} for place, status in partly.items()]
        answer = {"itemsReceived": len(found), "itemsAccepted": len(taken), "errors": errors}
        return JSONResponse(answer, 206 if errors else 200)

    def of(self, type: str) -> list[dict[str, Any]]:
        """The data of the items of a type, such as `RequestData`, each with its `tags` and `sampleRate`."""
        return [
            {**one["data"]["baseData"], "tags": one["tags"], "sampleRate": one["sampleRate"]}
            for one in self.envelopes
            if one["data"]["baseType"] == type
        ]


@contextmanager
def ingestion() -> Iterator[Ingestion]:
    double = Ingestion()
    with serving(double.app()) as url:
        double.url = url
        yield double
