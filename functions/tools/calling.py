"""HTTP tools at work: one call of an API through the guarded client. What it answers is told without the secret."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from functions.tools.models import APPROVERS, IN_QUERY, MAX_ANSWER_BYTES, MAX_SECONDS, Tool, tool_id
from functions.tools.port import Tool as ToolPort
from functions.tools.port import Toolbox, ToolFailed, fingerprint_of
from functions.tools.schemas import wrong_with_arguments
from functions.tools.urls import filled, names_in, text_of
from shared.ai.port import ToolSpec
from shared.auth.roles import Role
from shared.outgoing.client import Outgoing
from shared.outgoing.errors import AnswerTooLarge, AnswerTooSlow, OutgoingFailed
from shared.outgoing.masking import Mask
from shared.version import VERSION
from shared.work.kept_secrets import KeptSecrets
from shared.work.session import TenantSession

if TYPE_CHECKING:
    import httpx2

PREFIX: Final = "http:"
SHOWN_CHARACTERS: Final = 500  # of what a server says went wrong
MAX_URL: Final = 8000
_OWN: Final = {"accept": "application/json, text/*;q=0.9", "user-agent": f"Flowgrid/{VERSION}"}
_TEXTS: Final = ("text/", "application/xml", "application/x-www-form-urlencoded", "application/yaml")


@dataclass(frozen=True)
class Asked:
    """A call, but for its headers."""

    method: str
    url: str
    body: dict[str, Any] | None


class HttpTool:
    """A `Tool` over an HTTP API of the tenant's choice."""

    def __init__(self, tool: Tool, outgoing: Outgoing, secrets: KeptSecrets) -> None:
        self._tool = tool
        self._outgoing = outgoing
        self._secrets = secrets

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(f"http_{self._tool.name}", self._tool.description, self._tool.parameters)

    @property
    def idempotent(self) -> bool:
        return self._tool.repeatable

    @property
    def approval(self) -> Role | None:
        return APPROVERS[self._tool.approval]

    @property
    def fingerprint(self) -> str:
        tool = self._tool
        return fingerprint_of(tool.method, tool.url, tool.query, tool.headers, tool.description, tool.parameters)

    async def use(self, session: TenantSession, arguments: Mapping[str, Any], key: str) -> Any:
        """What a 2xx answer says: JSON, text, or None. `ToolFailed` for all others, and where there is none."""
        asked = asked_of(self._tool, arguments)
        secret: str | None = None
        if self._tool.secret_reference is not None:
            secret = await self._secrets.get(session, self._tool.secret_reference)
            if secret is None:
                raise ToolFailed(f"The key of {self._tool.name} is not kept any more; an admin has to set it again.")
        status, kind, body = await self._answer(asked, self._headers(secret, key))
        mask = Mask(secret)
        if not 200 <= status < 300:
            raise ToolFailed(self._refused(status, mask.text(body.decode(errors="replace"))))
        return mask.over(self._read(kind, body))

    async def _answer(self, asked: Asked, headers: Mapping[str, str]) -> tuple[int, str, bytes]:
        """Status, media type and body. What httpx2 says of an error may hold a header, so only its kind is told."""
        import httpx2

        name, seconds = self._tool.name, self._tool.timeout_seconds
        client = self._outgoing.client(max_bytes=MAX_ANSWER_BYTES, seconds=MAX_SECONDS)  # one for all tools
        try:
            async with (
                asyncio.timeout(seconds),
                client.stream(asked.method, asked.url, headers=headers, json=asked.body) as response,
            ):
                body = await self._body(response)
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                return response.status_code, kind, body
        except (TimeoutError, AnswerTooSlow):
            why = f"did not answer within {seconds} s; whether it has done what was asked is not known"
        except AnswerTooLarge:
            why = f"answers with more than {self._tool.max_answer_bytes} bytes, or packed; it may have done it"
        except OutgoingFailed as error:
            raise ToolFailed(f"{name} was not called: {error}") from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout):
            why = "cannot be reached; nothing was done, and it may be tried again later"
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            why = f"gave no whole answer ({type(error).__name__}); whether it has done what was asked is not known"
        raise ToolFailed(f"{name} {why}.") from None

    async def _body(self, response: "httpx2.Response") -> bytes:
        """Of a long page that says what went wrong, nothing: its status does, and half a page may hold half a key."""
        found = bytearray()
        async for chunk in response.aiter_bytes():
            found += chunk
            if len(found) > self._tool.max_answer_bytes:
                if response.is_success:
                    raise AnswerTooLarge("beyond the tool's own bound")
                return b""
        return bytes(found)

    def _headers(self, secret: str | None, key: str) -> dict[str, str]:
        headers = {**_OWN, **{name.lower(): value for name, value in self._tool.headers.items()}}
        if self._tool.idempotency_header is not None:
            headers[self._tool.idempotency_header.lower()] = quote(key, safe=":")  # a part of it is the provider's
        if secret is not None:
            headers[self._tool.auth_header.lower()] = self._tool.auth_prefix + secret
        return headers

    def _read(self, kind: str, body: bytes) -> Any:
        from pydantic_core import from_json

        if not body.strip():
            return None
        if kind == "application/json" or kind.endswith("+json"):
            try:
                return from_json(body, allow_inf_nan=False)
            except ValueError:
                raise ToolFailed(f"{self._tool.name} answered with what is no JSON, though it says so.") from None
        if not kind or kind.startswith(_TEXTS) or kind.endswith("+xml"):
            return body.decode(errors="replace")
        raise ToolFailed(f"{self._tool.name} answered with {kind[:100]}, which is neither JSON nor text.")

    def _refused(self, status: int, said: str) -> str:
        if 300 <= status < 400:
            return f"{self._tool.name} answered {status}: redirects are not followed."
        said = " ".join(said[: 2 * SHOWN_CHARACTERS].split())[:SHOWN_CHARACTERS]
        return f"{self._tool.name} answered {status}: {said}" if said else f"{self._tool.name} answered {status}."


class HttpToolbox(Toolbox):
    """`http:<name>`: the tenant's tool of this name, one point read each."""

    def __init__(self, outgoing: Outgoing, secrets: KeptSecrets) -> None:
        self._outgoing = outgoing
        self._secrets = secrets

    async def find(self, session: TenantSession, names: Sequence[str]) -> dict[str, ToolPort]:
        own = [name for name in dict.fromkeys(names) if name.startswith(PREFIX)]
        ids = [tool_id(name.removeprefix(PREFIX)) for name in own]
        read = await asyncio.gather(*(session.store.get(Tool.KIND, id) for id in ids))
        return {
            name: HttpTool(Tool.model_validate(stored.body), self._outgoing, self._secrets)
            for name, stored in zip(own, read, strict=True)
            if stored is not None
        }


def asked_of(tool: Tool, arguments: Mapping[str, Any]) -> Asked:
    """Each argument in its place; null is left out of a query. `ToolFailed` for what the schema does not take."""
    if wrong := wrong_with_arguments(tool.parameters, arguments):
        raise ToolFailed(wrong)
    in_path, in_query = set(names_in(tool.url)), set(tool.query)
    left = {name: value for name, value in arguments.items() if name not in in_path}
    query = {name: value for name, value in left.items() if name in in_query or tool.method in IN_QUERY}
    pairs = [(name, text) for name, value in query.items() for text in _texts(name, value)]
    takes_body = tool.method not in IN_QUERY and bool({*tool.parameters.get("properties", {})} - in_path - in_query)
    body = {name: value for name, value in left.items() if name not in query}
    url = filled(tool.url, arguments)
    if pairs:
        url += ("&" if "?" in url else "?") + urlencode(pairs, quote_via=quote)
    if len(url) > MAX_URL:
        raise ToolFailed(f"The arguments make a URL of more than {MAX_URL} characters.")
    return Asked(tool.method, url, body if takes_body or body else None)


def _texts(name: str, value: Any) -> list[str]:
    """What stands in a query for it: a list, once for each."""
    if value is None:
        return []
    texts = [text_of(one) for one in value] if isinstance(value, list) else [text_of(value)]
    if None in texts:
        raise ToolFailed(f"{name} goes into the query of a URL: it should be text, a number, true or false, or a list.")
    return [text for text in texts if text is not None]
