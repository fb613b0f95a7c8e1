"""JSON-RPC over streamable HTTP, as an MCP client speaks it: one question, one answer, as JSON or as an event stream.

Source: https://modelcontextprotocol.io/specification, basic/transports. The SDK's client has tasks of its own, listens
to streams that nobody asked for, and connects again by itself; here a call ends with its answer. Nothing that a server
may ask of its client is offered, so what it asks is passed over.
"""

import asyncio
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
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
MAX_BYTES: Final = 1024 * 1024  # of all answers of a conversation, with all events before them
MAX_VALUES: Final = 20_000  # of JSON in them, events included
MAX_AT_ONCE: Final = 16 * 1024  # bytes of them that are read on the event loop: some milliseconds of it
_READERS: Final = ThreadPoolExecutor(2, "mcp-reader")
END_SECONDS: Final = 5.0
_META: Final = "io.modelcontextprotocol/"
_SESSION_ID: Final = re.compile(r"[!-~]{1,256}")
_CLIENT: Final = {"name": "flowgrid", "version": VERSION}
_OWN: Final = {"accept": "application/json, text/event-stream", "user-agent": f"Flowgrid/{VERSION}"}


class Wire:
    """One conversation with the server at `url`, of `MAX_BYTES` and `MAX_VALUES`; `headers`: of each request.

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
        self._bytes_left = MAX_BYTES
        self._values_left = MAX_VALUES

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
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout):
            raise McpUnreachable("cannot be reached; nothing was done") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            why = f"gave no whole answer ({type(error).__name__}); {NOT_KNOWN}"
            raise McpMalformed(why) from None

    async def _heard(self, response: "httpx2.Response", message: Mapping[str, Any], most: int) -> Any:
        said = self._mask.text(response.headers.get("content-type", ""))  # before its letters are changed
        kind = said.partition(";")[0].strip().lower()
        if response.status_code == 404 and self._session is not None:
            self._session = None
            raise McpSessionLost
        if not response.is_success:
            raise await self._refused(response, kind)
        if message["method"] == "initialize":
            self._session = _session_of(response)
        if "id" not in message or response.status_code == 202:
            return None
        if kind == "text/event-stream":
            return await self._streamed(response, most)
        if kind == "application/json":
            return await self._json(await self._read(response, most))
        raise McpMalformed(f"answered with {kind[:100] or 'no media type'}; {NOT_KNOWN}")

    async def _refused(self, response: "httpx2.Response", kind: str) -> PeerFailed:
        """What the body says of it, where that is an error of JSON-RPC; of a long one, nothing."""
        status = response.status_code
        if status in (401, 403):
            return McpUnauthorized(f"answered {status}: it does not take the secret; nothing was done")
        if kind == "application/json" and status >= 400:
            try:
                said = await self._json(await self._read(response, MAX_BYTES))
            except PeerFailed:
                said = None
            if isinstance(said, dict) and isinstance(said.get("error"), dict):
                return McpError(said["error"].get("code"), said["error"].get("message"))
        return McpStatus(status)

    async def _read(self, response: "httpx2.Response", most: int) -> bytes:
        found = bytearray()
        async for chunk in response.aiter_bytes():
            self._take(len(chunk))
            found += chunk
            if len(found) > most:
                raise too_large(most)
        return bytes(found)

    async def _streamed(self, response: "httpx2.Response", most: int) -> Any:
        """The first answer of an event stream; progress, logs and questions of the server's own are passed over."""
        import httpx2

        taken = 0
        try:
            async for event in httpx2.EventSource(response, max_event_size=most):
                self._take(response.num_bytes_downloaded - taken, values=1)
                taken = response.num_bytes_downloaded
                said = await self._json(event.data.encode()) if event.event == "message" and event.data else None
                if isinstance(said, dict) and "method" not in said:
                    return said
        except httpx2.SSEError:
            raise too_large(most) from None
        raise McpMalformed(f"ended its stream without an answer; {NOT_KNOWN}")

    async def _json(self, raw: bytes) -> Any:
        """Without the secret. Of who says much all is read beside the event loop, which is everybody's."""
        if MAX_BYTES - self._bytes_left <= MAX_AT_ONCE:
            count, said = _read_json(raw, self._mask, self._values_left)
        else:
            loop = asyncio.get_running_loop()
            count, said = await loop.run_in_executor(_READERS, _read_json, raw, self._mask, self._values_left)
        self._values_left -= count
        return said

    def _take(self, count: int, values: int = 0) -> None:
        """Of what the conversation may hold."""
        self._bytes_left -= count
        self._values_left -= values
        if self._bytes_left < 0:
            raise too_large(MAX_BYTES)
        if self._values_left < 0:
            raise _too_many()

    def _all_headers(self) -> dict[str, str]:
        headers = dict(self._headers)
        if self._version is not None:
            headers["mcp-protocol-version"] = self._version
        if self._session is not None:
            headers["mcp-session-id"] = self._session
        return headers


def too_large(most: int) -> PeerFailed:
    return McpTooLarge(f"answers with more than {most} bytes, or packed; {NOT_KNOWN}")


def _read_json(raw: bytes, mask: Mask, most: int) -> tuple[int, Any]:
    """How many values there are, counted before any is masked, and what they are."""
    from pydantic_core import from_json

    try:
        said = from_json(raw, allow_inf_nan=False)
    except ValueError:
        raise McpMalformed(f"answered with what is no JSON; {NOT_KNOWN}") from None
    count, waiting = 1, [said]
    while waiting:
        one = waiting.pop()
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        count += len(inner)
        if count > most:
            raise _too_many()
        waiting += inner
    return count, mask.over(said)


def _too_many() -> PeerFailed:
    return McpTooLarge(f"answers with more than {MAX_VALUES} values; {NOT_KNOWN}")


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
