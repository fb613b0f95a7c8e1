"""The guarded transport. An address is checked where it is dialled: what is resolved once is what is called.

Imported on first use (shared/outgoing/client.py). TLS goes by the name that was asked for, not by the address.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, cast

import httpcore2
import httpx2

from shared.outgoing.addresses import Allowed, is_callable, wrong_with_host
from shared.outgoing.client import Resolve
from shared.outgoing.errors import AddressRefused, AnswerTooLarge, AnswerTooSlow
from shared.outgoing.seats import Seats, Whose, party
from shared.tracing import Tell, calling, traceparent

CONNECT_SECONDS = 10.0
POOL_SECONDS = 5.0  # for a connection, where all, or all of the tenant's, are taken
IDLE_SECONDS = 30.0
MAX_CONNECTIONS = 100
MAX_OF_ONE = 25  # calls of a tenant at once, to their answers' ends
ADDRESSES_TRIED = 3
TRACE_HEADERS = (b"traceparent", b"tracestate", b"baggage")
PLAIN = {"accept-encoding": "identity"}  # what is unpacked here could be a thousand times what was counted


def guarded_client(
    allowed: Allowed,
    resolve: Resolve,
    whose: Whose,
    *,
    max_bytes: int,
    seconds: float,
    tls: ssl.SSLContext | None,
    tell: Tell | None = None,
) -> httpx2.AsyncClient:
    transport = GuardedTransport(allowed, resolve, whose, max_bytes=max_bytes, seconds=seconds, tls=tls, tell=tell)
    timeout = httpx2.Timeout(seconds, connect=CONNECT_SECONDS, pool=POOL_SECONDS)
    return GuardedClient(transport=transport, trust_env=False, timeout=timeout, headers=PLAIN)


class GuardedClient(httpx2.AsyncClient):
    """Follows no redirect, whoever asks it to: headers with keys would go along."""

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        return await super().send(request, **{**options, "follow_redirects": False})


class GuardedTransport(httpx2.AsyncBaseTransport):
    """A call carries the `traceparent` of the work at hand: of whom it is, and for whom, is in none of its digits."""

    def __init__(
        self,
        allowed: Allowed,
        resolve: Resolve,
        whose: Whose,
        *,
        max_bytes: int,
        seconds: float,
        tls: ssl.SSLContext | None,
        tell: Tell | None = None,
    ) -> None:
        self._allowed = allowed
        self._whose = whose
        self._seats = Seats(MAX_OF_ONE)
        self._tell = tell
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls or httpx2.create_ssl_context(trust_env=False),
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=GuardedBackend(allowed, resolve),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        host = url.raw_host.decode("ascii")
        if wrong := wrong_with_host(url.scheme, host, url.port, self._allowed):
            raise AddressRefused(f"{url.scheme}://{host} {wrong}")
        with calling(self._tell, "HTTP", host, f"{request.method} {host}") as call:
            response = await self._seated(request, self._seats.of(party(self._whose, host)))
            call.ok, call.result = response.status_code < 400, str(response.status_code)
        return response

    async def _seated(self, request: httpx2.Request, seats: asyncio.Semaphore) -> httpx2.Response:
        """Whoever calls what never answers waits for itself, and leaves the others their connections."""
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("pool")):
                await seats.acquire()
        except TimeoutError:
            raise httpx2.PoolTimeout("too many calls of this tenant's are under way") from None
        try:
            return await self._answered(request, seats.release)
        except BaseException:
            seats.release()
            raise

    async def _answered(self, request: httpx2.Request, done: Callable[[], None]) -> httpx2.Response:
        url = request.url
        deadline = asyncio.get_running_loop().time() + self._seconds
        asked = httpcore2.Request(
            request.method,
            httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=_traced(request.headers.raw),
            content=cast(httpx2.AsyncByteStream, request.stream),
            extensions={"timeout": request.extensions.get("timeout", {})},
        )
        try:
            async with asyncio.timeout_at(deadline):
                answered = await self._pool.handle_async_request(asked)
        except TimeoutError:
            raise too_slow(self._seconds) from None
        except HTTPCORE_ERRORS as error:
            raise as_httpx(error) from error
        # one tenant's cookies are not another's, though the client is one
        headers = [(name, value) for name, value in answered.headers if name.lower() != b"set-cookie"]
        packed = httpx2.Headers(headers).get("content-encoding", "identity").lower() != "identity"
        body = BoundedBody(answered.stream, self._max_bytes, self._seconds, deadline, packed=packed, done=done)
        return httpx2.Response(answered.status, headers=headers, stream=body)

    async def aclose(self) -> None:
        await self._pool.aclose()


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Resolves, refuses a name if any of its addresses may not be called, and dials the addresses that it checked."""

    def __init__(self, allowed: Allowed, resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        addresses = await self._checked(host, port, timeout)
        for last, address in enumerate(addresses, 1 - len(addresses)):
            try:
                return await self._inner.connect_tcp(address, port, timeout)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if last == 0:
                    raise
        raise AssertionError("at least one was tried")

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        raise AddressRefused("A socket of this machine is not called.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _checked(self, host: str, port: int, timeout: float | None) -> list[str]:
        try:
            async with asyncio.timeout(timeout):
                found = await self._resolve(host, port)
        except TimeoutError:
            raise httpcore2.ConnectTimeout(f"{host} was not resolved in time") from None
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"{host} is not known: {error}") from error
        if not found:
            raise httpcore2.ConnectError(f"{host} has no address")
        if not all(is_callable(address, port, self._allowed) for address in found):
            raise AddressRefused(f"{host} has an address that is not public")  # which one is nobody's business
        return list(dict.fromkeys(found))[:ADDRESSES_TRIED]


class BoundedBody(httpx2.AsyncByteStream):
    """A body that is cut at `most` bytes, or at the loop's time `deadline`. A `packed` one can only be left unread.

    `done`: called once, when it is closed.
    """

    def __init__(
        self, inner: Any, most: int, seconds: float, deadline: float, *, packed: bool, done: Callable[[], None]
    ) -> None:
        self._packed = packed
        self._done: Callable[[], None] | None = done
        self._inner = inner
        self._most = most
        self._seconds = seconds
        self._deadline = deadline

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._packed:
            raise AnswerTooLarge("The answer is packed, although it was asked for as it is.")
        taken, chunks = 0, aiter(self._inner)
        while True:
            try:
                async with asyncio.timeout_at(self._deadline):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise too_slow(self._seconds) from None
            except HTTPCORE_ERRORS as error:
                raise as_httpx(error) from error
            if chunk is None:
                return
            taken += len(chunk)
            if taken > self._most:
                raise AnswerTooLarge(f"The answer has more than {self._most} bytes.")
            yield chunk

    async def aclose(self) -> None:
        done, self._done = self._done, None
        try:
            await self._inner.aclose()
        finally:
            if done is not None:
                done()


def _traced(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """With our own word of the trace, and nobody else's."""
    kept = [(name, value) for name, value in headers if name.lower() not in TRACE_HEADERS]
    cause = traceparent()
    return [*kept, (b"traceparent", cause.encode())] if cause else kept


HTTPCORE_ERRORS = (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError)


def as_httpx(error: Exception) -> httpx2.TransportError:
    """The error of the same name, which those who use httpx2 expect."""
    found: type[httpx2.TransportError] = getattr(httpx2, type(error).__name__)
    return found(str(error))


def too_slow(seconds: float) -> AnswerTooSlow:
    return AnswerTooSlow(f"There was no whole answer within {seconds:g} s.")
