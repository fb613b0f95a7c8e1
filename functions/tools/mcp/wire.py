"""JSON-RPC over streamable HTTP, as an MCP client speaks it: one question, one answer, as JSON or as an event stream.

Source: https://modelcontextprotocol.io/specification, basic/transports. The SDK's client has tasks of its own, listens
to streams that nobody asked for, and connects again by itself; here a call ends with its answer. Nothing that a server
may ask of its client is offered, so what it asks is passed over.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from functions.tools.mcp.errors import (
    NOT_KNOWN,
    McpError,
    McpMalformed,
    McpSessionLost,
    McpStatus,
    McpTooLarge,
    McpTooSlow,
    McpUnauthorized,
    McpUnreachable,
    McpVersion,
)
from shared.errors import PeerFailed
from shared.outgoing.errors import AnswerTooLarge, AnswerTooSlow, OutgoingFailed
from shared.outgoing.masking import Mask
from shared.version import VERSION

if TYPE_CHECKING:
    import httpx2

HANDSHAKES: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN: Final = "2026-07-28"
VERSIONS: Final = (*HANDSHAKES, MODERN)
MAX_BYTES: Final = 1024 * 1024  # of one answer with all events before it
END_SECONDS: Final = 5.0
_META: Final = "io.modelcontextprotocol/"
_SESSION_ID: Final = re.compile(r"[!-~]{1,256}")
_CLIENT: Final = {"name": "flowgrid", "version": VERSION}
_OWN: Final = {"accept": "application/json, text/event-stream", "user-agent": f"Flowgrid/{VERSION}"}


class Wire:
    """One conversation with the server at `url`. `client`: bounds each answer; `headers`: of each request.

    `mask`: of the secret that is in them, laid over each answer before anything of it is cut.
    """

    def __init__(self, client: "httpx2.AsyncClient", url: str, headers: Mapping[str, str], mask: Mask) -> None:
        self._client = client
        self._url = url
        self._headers = {**headers, **_OWN}
        self._mask = mask
        self._version: str | None = None
        self._session: str | None = None
        self._asked = 0

    async def open(self, pinned: str | None) -> str:
        """The version that is spoken from now on: this one, or the newest that both know."""
        if pinned is None:
            return await self._discovered() or await self._shaken(HANDSHAKES[-1], HANDSHAKES)
        if pinned == MODERN:
            self._version = pinned
            return pinned
        return await self._shaken(pinned, (pinned,))

    async def ask(self, method: str, params: Mapping[str, Any], most: int = MAX_BYTES) -> Mapping[str, Any]:
        """The result; of no more than `most` bytes."""
        self._asked += 1
        if self._version == MODERN:
            params = {**params, "_meta": _envelope(MODERN)}
        message = {"jsonrpc": "2.0", "id": self._asked, "method": method, "params": params}
        answer = await self._sent(message, most)
        if answer is None:
            raise McpMalformed(f"took a question and gave no answer; {NOT_KNOWN}")
        return _result(answer, self._asked)

    async def end(self) -> None:
        """Say goodbye where there is a session; what comes of that is nobody's concern."""
        import httpx2

        if self._session is None:
            return
        try:
            async with asyncio.timeout(END_SECONDS):
                async with self._client.stream("DELETE", self._url, headers=self._all_headers()):
                    pass
        except (TimeoutError, OutgoingFailed, httpx2.HTTPError):
            return
        finally:
            self._session = None

    def forget(self) -> None:
        """Of who is in a hurry: the session is left to end by itself."""
        self._session = None

    async def _discovered(self) -> str | None:
        """The version without handshakes, where the server speaks it: older ones refuse the question, each its way."""
        self._version = MODERN
        try:
            said = await self.ask("server/discover", {})
        except McpStatus as refused:
            if refused.status < 400:
                raise
        except (McpError, McpMalformed):
            pass
        else:
            spoken = said.get("supportedVersions")
            if isinstance(spoken, list) and MODERN in spoken:
                return MODERN
        self._version = None
        return None

    async def _shaken(self, offered: str, taken: tuple[str, ...]) -> str:
        params = {"protocolVersion": offered, "capabilities": {}, "clientInfo": _CLIENT}
        version = (await self.ask("initialize", params)).get("protocolVersion")
        if not isinstance(version, str) or version not in taken:
            said = f"{version[:50]!r}" if isinstance(version, str) else "no version"
            what = "refresh it" if version in HANDSHAKES else f"known here: {', '.join(VERSIONS)}"
            raise McpVersion(f"speaks {said} where {offered} was asked for; {what}")
        self._version = version
        await self._sent({"jsonrpc": "2.0", "method": "notifications/initialized"}, MAX_BYTES)
        return version

    async def _sent(self, message: Mapping[str, Any], most: int) -> Any:
        """The JSON of the answer; None where there is none. What httpx2 says of an error may hold a header."""
        import httpx2

        headers = self._all_headers()
        if self._version == MODERN:
            headers |= {"mcp-method": message["method"]}
            if message["method"] == "tools/call":
                headers |= {"mcp-name": message["params"]["name"]}
        try:
            async with self._client.stream("POST", self._url, headers=headers, json=message) as response:
                return await self._heard(response, message, most)
        except AnswerTooSlow as error:
            raise McpTooSlow(f"did not answer in time ({error}); {NOT_KNOWN}") from None
        except AnswerTooLarge:
            raise too_large(most) from None
        except OutgoingFailed as error:
            raise McpUnreachable(f"was not called: {error}") from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise McpUnreachable("cannot be reached; nothing was done") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            why = f"gave no whole answer ({type(error).__name__}); {NOT_KNOWN}"
            raise McpMalformed(why) from None

    async def _heard(self, response: "httpx2.Response", message: Mapping[str, Any], most: int) -> Any:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status_code == 404 and self._session is not None:
            self._session = None
            raise McpSessionLost
        if not response.is_success:
            raise await _refused(response, kind, self._mask)
        if message["method"] == "initialize":
            self._session = _session_of(response)
        if "id" not in message or response.status_code == 202:
            return None
        if kind == "text/event-stream":
            return await _streamed(response, self._mask, most)
        if kind == "application/json":
            return _json(await _read(response, most), self._mask)
        raise McpMalformed(f"answered with {self._mask.text(kind)[:100] or 'no media type'}; {NOT_KNOWN}")

    def _all_headers(self) -> dict[str, str]:
        headers = dict(self._headers)
        if self._version is not None:
            headers["mcp-protocol-version"] = self._version
        if self._session is not None:
            headers["mcp-session-id"] = self._session
        return headers


def too_large(most: int) -> PeerFailed:
    return McpTooLarge(f"answers with more than {most} bytes, or packed; {NOT_KNOWN}")


async def _refused(response: "httpx2.Response", kind: str, mask: Mask) -> PeerFailed:
    """What the body says of it, where that is an error of JSON-RPC; of a long one, nothing."""
    status = response.status_code
    if status in (401, 403):
        return McpUnauthorized(f"answered {status}: it does not take the secret; nothing was done")
    if kind == "application/json" and status >= 400:
        try:
            said = _json(await _read(response, MAX_BYTES), mask)
        except PeerFailed:
            said = None
        if isinstance(said, dict) and isinstance(said.get("error"), dict):
            return McpError(said["error"].get("code"), said["error"].get("message"))
    return McpStatus(status)


async def _read(response: "httpx2.Response", most: int) -> bytes:
    found = bytearray()
    async for chunk in response.aiter_bytes():
        found += chunk
        if len(found) > most:
            raise too_large(most)
    return bytes(found)


async def _streamed(response: "httpx2.Response", mask: Mask, most: int) -> Any:
    """The first answer of an event stream; progress, logs and questions of the server's own are passed over."""
    import httpx2

    try:
        async for event in httpx2.EventSource(response, max_event_size=most):
            said = _json(event.data.encode(), mask) if event.event == "message" and event.data else None
            if isinstance(said, dict) and "method" not in said:
                return said
    except httpx2.SSEError:
        raise too_large(most) from None
    raise McpMalformed(f"ended its stream without an answer; {NOT_KNOWN}")


def _json(raw: bytes, mask: Mask) -> Any:
    from pydantic_core import from_json

    try:
        return mask.over(from_json(raw, allow_inf_nan=False))
    except ValueError:
        raise McpMalformed(f"answered with what is no JSON; {NOT_KNOWN}") from None


def _result(answer: Any, id: int) -> Mapping[str, Any]:
    if not isinstance(answer, dict) or answer.get("jsonrpc") != "2.0":
        raise McpMalformed(f"answered with what is no JSON-RPC 2.0; {NOT_KNOWN}")
    error = answer.get("error")
    said = answer.get("id")
    unread = said is None and isinstance(error, dict)  # it could not read whose question it was
    if not unread and (said != id or isinstance(said, bool)):
        raise McpMalformed(f"answered another question than was asked; {NOT_KNOWN}")
    if isinstance(error, dict):
        raise McpError(error.get("code"), error.get("message"))
    result = answer.get("result")
    if not isinstance(result, dict):
        raise McpMalformed(f"answered without a result; {NOT_KNOWN}")
    return result


def _session_of(response: "httpx2.Response") -> str | None:
    said = response.headers.get("Mcp-Session-Id")
    if said is not None and _SESSION_ID.fullmatch(said) is None:
        raise McpMalformed("gave a session an id that no header can carry")
    return said


def _envelope(version: str) -> dict[str, Any]:
    named = {"protocolVersion": version, "clientInfo": _CLIENT, "clientCapabilities": {}}
    return {f"{_META}{name}": value for name, value in named.items()}
