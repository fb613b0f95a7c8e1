"""API Management as our policies use it: APIs by version, their policies run statement by statement, backends.

Only what is in policy_statements.py and policy_expressions.py is understood; the rest is an error when it is loaded.
Windows of rates are by a clock of the test's. https://learn.microsoft.com/azure/api-management/api-management-policies
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import httpx
import jwt
from starlette.requests import Request as Incoming
from starlette.responses import Response as Outgoing
from starlette.types import Receive, Scope, Send

from tests.doubles.clock import FakeClock
from tests.doubles.policy_call import Call
from tests.doubles.policy_context import Asked, Context, Headers, Matched, Url
from tests.doubles.policy_expressions import ExpressionError, compiled
from tests.doubles.policy_statements import wrong

NAMED = re.compile(r"{{([\w.-]+)}}")


class PolicyError(Exception):
    """A document that the gateway would refuse."""


@dataclass(frozen=True)
class Api:
    """One API of the version set; `version` None: the one without."""

    version: str | None
    operations: Mapping[tuple[str, str], str]  # method and path template -> id
    policy: Element

    def find(self, method: str, path: str) -> Matched | None:
        found = [
            Matched(name, template)
            for (own, template), name in self.operations.items()
            if own == method and re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path)
        ]
        return min(found, key=lambda one: one.template.count("{"), default=None)


@dataclass
class Gateway:
    """`backends`: URL by id. `own_token`: of the gateway's identity, for a resource.

    `address`: that of all who call, in place of their own. `seen`: what backends were sent, and its headers.
    `transport`: by which backends and issuers are reached; None: the network.
    """

    everywhere: Element
    apis: Sequence[Api]
    backends: Mapping[str, str]
    own_token: Callable[[str], str]
    clock: FakeClock = field(default_factory=FakeClock)
    address: str | None = None
    seen: list[tuple[str, Headers]] = field(default_factory=list)
    transport: httpx.AsyncBaseTransport | None = None

    def __post_init__(self) -> None:
        self._calls: defaultdict[str, list[float]] = defaultdict(list)
        self._limits: dict[str, int] = {}
        self._keys: dict[str, Mapping[str, Any]] = {}
        self._cache: dict[str, tuple[float, str]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        response = await self._answer(Incoming(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, incoming: Incoming) -> Outgoing:
        path = incoming.scope["raw_path"].decode().partition("?")[0]
        client = self.address or (incoming.client.host if incoming.client else "")
        context = Context(Asked(Headers(incoming.headers.items()), client, Url(path)))
        api, below = self._api(path)
        cors = self.everywhere.find("inbound/cors")
        asked = context.Request.Headers
        if cors is not None and incoming.method == "OPTIONS" and "access-control-request-method" in asked:
            return Outgoing(status_code=200, headers=_preflight(cors, asked))
        call = Call(self, context, self.everywhere if api is None else api.policy, incoming, below)
        context.Operation = api.find(incoming.method, below) if api is not None else None
        response = await call.run()
        if cors is not None:
            response.Headers |= _exposed(cors, asked)
        return Outgoing(response.body, response.StatusCode, dict(response.Headers))

    def _api(self, path: str) -> tuple[Api | None, str]:
        """By the first segment below `api`: a version, or the API without one."""
        if not path.startswith("/api/"):
            return None, path
        below = path.removeprefix("/api")
        for one in self.apis:
            if one.version is not None and below.startswith(f"/{one.version}/"):
                return one, below.removeprefix(f"/{one.version}")
        return next((one for one in self.apis if one.version is None), None), below

    def reaching(self, timeout: float = 5.0) -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=timeout, trust_env=False, verify=False, transport=self.transport)

    async def published(self, url: str) -> Mapping[str, Any]:
        """An issuer's keys by id, asked for once (the real gateway: each hour)."""
        if url not in self._keys:
            async with self.reaching() as http:
                document = (await http.get(url)).json()
                listed = (await http.get(document["jwks_uri"])).json()
            self._keys[url] = {one["kid"]: jwt.PyJWK(one).key for one in listed["keys"]}
        return self._keys[url]

    def take(self, key: str, calls: int, period: int, *, count: bool = True) -> int:
        """0, or in how many seconds a call of this key may be made again: a window that slides."""
        assert self._limits.setdefault(key, calls) == calls, f"{key} is counted by two limits"
        now = self.clock.monotonic()
        made = self._calls[key] = [at for at in self._calls[key] if at > now - period]
        if len(made) >= calls:
            return max(1, round(made[len(made) - calls] + period - now)) if calls else period
        if count:
            self.count(key)
        return 0

    def count(self, key: str) -> None:
        self._calls[key].append(self.clock.monotonic())

    def cached(self, key: str) -> str | None:
        until, value = self._cache.get(key, (0.0, ""))
        return value if self.clock.monotonic() < until else None

    def cache(self, key: str, value: str, seconds: int) -> None:
        self._cache[key] = (self.clock.monotonic() + seconds, value)


def loaded(text: str, named: Mapping[str, str]) -> Element:
    """A policy document with its named values in it; `PolicyError` for what the gateway would not take."""
    if missing := set(NAMED.findall(text)) - set(named):
        raise PolicyError(f"there are no named values {sorted(missing)}")
    document = ElementTree.fromstring(NAMED.sub(lambda found: named[found[1]], text))
    found = wrong(document) + list(_not_understood(document))
    if found:
        raise PolicyError("; ".join(found))
    return document


def operations(openapi: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """As the importer makes them: ids in lower case, with a dash for what is no letter or digit."""
    return {
        (method.upper(), path): re.sub("[^a-z0-9]+", "-", one["operationId"].lower()).strip("-")
        for path, methods in openapi["paths"].items()
        for method, one in methods.items()
    }


def _not_understood(document: Element) -> Iterator[str]:
    for one in document.iter():
        for text in [*one.attrib.values(), one.text or ""]:
            try:
                compiled(text)
            except ExpressionError as error:
                yield f"{one.tag}: {error}"


def _preflight(cors: Element, asked: Headers) -> dict[str, str]:
    """Nothing for an origin that may not, else what it may."""
    method, wanted = asked["access-control-request-method"], asked.get("access-control-request-headers", "")
    allowed = {str(one.text).lower() for one in cors.iterfind("allowed-headers/header")}
    headers = [one.strip().lower() for one in wanted.split(",") if one.strip()]
    if asked.get("origin") not in _texts(cors, "allowed-origins/origin"):
        return {}
    if method not in _texts(cors, "allowed-methods/method") or not allowed.issuperset(headers):
        return {}
    methods = cors.find("allowed-methods")
    assert methods is not None
    return {
        "Access-Control-Allow-Origin": asked["origin"],
        "Access-Control-Allow-Methods": method,
        "Access-Control-Allow-Headers": wanted,
        "Access-Control-Max-Age": methods.attrib["preflight-result-max-age"],
    }


def _exposed(cors: Element, asked: Headers) -> dict[str, str]:
    if asked.get("origin") not in _texts(cors, "allowed-origins/origin"):
        return {}
    exposed = ",".join(_texts(cors, "expose-headers/header"))
    return {"access-control-allow-origin": asked["origin"], "access-control-expose-headers": exposed}


def _texts(one: Element, path: str) -> list[str]:
    return [str(each.text) for each in one.iterfind(path)]
