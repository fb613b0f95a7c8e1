"""One call on its way through the sections of API Management's policies, statement by statement."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import unquote
from xml.etree.ElementTree import Element

import httpx
import jwt
from starlette.requests import Request as Incoming

from tests.doubles.policy_context import Answered, Claims, Context, Failure, Headers, Jwt
from tests.doubles.policy_expressions import ExpressionError, compiled

HOP = {"connection", "date", "server", "content-length", "keep-alive", "transfer-encoding", "host", "content-encoding"}


class Around(Protocol):
    """What is the gateway's, and of all calls."""

    @property
    def everywhere(self) -> Element: ...

    @property
    def backends(self) -> Mapping[str, str]: ...

    @property
    def own_token(self) -> Callable[[str], str]: ...

    @property
    def seen(self) -> list[tuple[str, Headers]]: ...

    def reaching(self, timeout: float) -> httpx.AsyncClient: ...

    async def published(self, url: str) -> Mapping[str, Any]: ...

    def take(self, key: str, calls: int, period: int, *, count: bool = True) -> int: ...

    def count(self, key: str) -> None: ...

    def cached(self, key: str) -> str | None: ...

    def cache(self, key: str, value: str, seconds: int) -> None: ...


class _Returned(Exception):
    """`return-response`: nothing after it is run."""

    def __init__(self, response: Answered) -> None:
        self.response = response


class Call:
    """One call on its way through the sections."""

    def __init__(self, gateway: Around, context: Context, policy: Element, incoming: Incoming, path: str) -> None:
        self._gateway = gateway
        self._context = context
        self._policy = policy
        self._incoming = incoming
        self._path = path
        self._backend: str | None = None
        self._section = "inbound"
        self._later: list[tuple[str, str]] = []

    async def run(self) -> Answered:
        try:
            if self._context.Operation is None:
                raise Failure("configuration", "OperationNotFound", 404)
            for section in ("inbound", "backend", "outbound"):
                await self._run(section)
            for key, condition in self._later:
                if self._value(condition):
                    self._gateway.count(key)
            return self._answered()
        except _Returned as returned:
            return returned.response
        except Failure as error:
            return await self._failed(error)
        except ExpressionError:
            return await self._failed(Failure("expression", "ExpressionValueEvaluationFailure"))

    async def _failed(self, error: Failure) -> Answered:
        self._context.LastError = error
        self._context.Response = Answered(Headers(), error.status)
        try:
            await self._run("on-error")
        except _Returned as returned:
            return returned.response
        return self._answered()

    async def _run(self, section: str) -> None:
        self._section = section
        await self._all(self._of(self._policy))

    def _of(self, policy: Element) -> Element:
        found = policy.find(self._section)
        assert found is not None
        return found

    async def _all(self, statements: Element) -> None:
        for one in statements:
            await getattr(self, "_" + one.tag.replace("-", "_"))(one)

    async def _base(self, one: Element) -> None:
        await self._all(self._of(self._gateway.everywhere))

    async def _cors(self, one: Element) -> None:
        """Preflights do not come here, and answers get their headers at the end."""

    async def _set_variable(self, one: Element) -> None:
        self._context.Variables[one.attrib["name"]] = self._value(one.attrib["value"])

    async def _set_header(self, one: Element) -> None:
        message = self._context.Request if self._section == "inbound" else self._answered()
        _set(message.Headers, one, self._value)

    async def _choose(self, one: Element) -> None:
        for way in one:
            if way.tag == "otherwise" or self._value(way.attrib["condition"]):
                return await self._all(way)

    async def _rate_limit_by_key(self, one: Element) -> None:
        calls, period = int(self._value(one.attrib["calls"])), int(one.attrib["renewal-period"])
        assert period <= 300, "the gateway takes no longer period"
        key, counted = self._value(one.attrib["counter-key"]), one.attrib.get("increment-condition")
        if counted is not None:  # which is asked at the end of outbound
            self._later.append((key, counted))
        if wait := self._gateway.take(key, calls, period, count=counted is None):
            self._context.Variables[one.attrib["retry-after-variable-name"]] = wait
            raise Failure("rate-limit-by-key", "RateLimitExceeded", 429)

    async def _cache_lookup_value(self, one: Element) -> None:
        found = self._gateway.cached(self._value(one.attrib["key"]))
        value = self._value(one.attrib["default-value"]) if found is None else found
        self._context.Variables[one.attrib["variable-name"]] = value

    async def _cache_store_value(self, one: Element) -> None:
        key, value = self._value(one.attrib["key"]), self._value(one.attrib["value"])
        self._gateway.cache(key, value, int(one.attrib["duration"]))

    async def _authentication_managed_identity(self, one: Element) -> None:
        token = self._gateway.own_token(one.attrib["resource"])
        self._context.Variables[one.attrib["output-token-variable-name"]] = token

    async def _set_backend_service(self, one: Element) -> None:
        self._backend = self._gateway.backends[self._value(one.attrib["backend-id"])]

    async def _return_response(self, one: Element) -> None:
        response = Answered(Headers())
        for part in one:
            if part.tag == "set-status":
                response.StatusCode = int(part.attrib["code"])
            elif part.tag == "set-header":
                _set(response.Headers, part, self._value)
            else:
                response.body = str(self._value(part.text or "")).encode()
        raise _Returned(response)

    async def _validate_jwt(self, one: Element) -> None:
        scheme, _, token = self._context.Request.Headers.get(one.attrib["header-name"].lower(), "").partition(" ")
        if not token or scheme != one.attrib["require-scheme"]:
            raise Failure("validate-jwt", "TokenNotPresent", 401)
        config = one.find("openid-config")
        assert config is not None
        keys = await self._gateway.published(config.attrib["url"])
        audiences = [str(each.text) for each in one.iter("audience")]
        issuers = [str(each.text) for each in one.iter("issuer")]
        try:
            key = keys.get(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                raise Failure("validate-jwt", "TokenSignatureKeyNotFound", 401)
            claims = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=audiences,
                issuer=issuers,
                leeway=int(one.attrib["clock-skew"]),
                options={"require": ["exp"]},
            )
        except jwt.PyJWTError as error:
            raise Failure("validate-jwt", type(error).__name__, 401) from error
        self._context.Variables[one.attrib["output-token-variable-name"]] = Jwt(str(claims["iss"]), Claims(claims))

    async def _forward_request(self, one: Element) -> None:
        """The host's own address takes the place of `Host`, and the caller's joins X-Forwarded-For."""
        assert self._backend is not None, f"no backend for {self._path}"
        request = self._context.Request
        sent = Headers({name: value for name, value in request.Headers.items() if name not in HOP})
        earlier = sent.get("x-forwarded-for")
        sent["x-forwarded-for"] = f"{earlier}, {request.IpAddress}" if earlier else request.IpAddress
        query = self._incoming.scope["query_string"].decode("latin-1")
        url = f"{self._backend}{self._path}{'?' if query else ''}{query}"
        self._gateway.seen.append((f"{self._incoming.method} {unquote(self._path)}", sent))
        try:
            async with self._gateway.reaching(float(one.attrib["timeout"])) as http:
                body = await self._incoming.body()
                answer = await http.request(self._incoming.method, url, headers=sent, content=body)
        except httpx.TransportError as error:
            raise Failure("forward-request", "BackendConnectionFailure", 500) from error
        headers = Headers({name: value for name, value in answer.headers.items() if name not in HOP})
        self._context.Response = Answered(headers, answer.status_code, answer.content)

    def _answered(self) -> Answered:
        assert self._context.Response is not None
        return self._context.Response

    def _value(self, text: str) -> Any:
        return compiled(text)(self._context)


def _set(headers: Headers, one: Element, value: Callable[[str], Any]) -> None:
    name, action = one.attrib["name"].lower(), one.attrib.get("exists-action", "override")
    if action == "delete":
        headers.pop(name, None)
        return
    assert action == "override", f"{action} has no double"
    headers[name] = ",".join(str(value(each.text or "")) for each in one)
