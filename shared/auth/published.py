"""JSON documents of token issuers, fetched over HTTPS without holding anybody else up.

aiohttp, not urllib: one deadline can then bound name, connection, handshake, headers and a body that trickles.
"""

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from shared.emulators import is_local

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from aiohttp.abc import AbstractResolver

MAX_DOCUMENT_BYTES = 256 * 1024
MAX_REDIRECTS = 3


class Published:
    """What one issuer publishes. `local`: the issuer is on this machine, so that may come over plain HTTP."""

    def __init__(self, *, local: bool = False) -> None:
        self._local = local
        self._names: ThreadPoolExecutor | None = None

    async def fetch(self, url: str) -> dict[str, Any]:
        """The JSON object at `url`. ValueError where there is none, or it is not to be trusted; OSError otherwise.

        It takes as long as the server likes: the caller sets the deadline.
        """
        import aiohttp  # heavy, so not at start

        try:
            connector = aiohttp.TCPConnector(resolver=self._resolver(), force_close=True)
            plain = {"Accept": "application/json", "Accept-Encoding": "identity"}
            async with aiohttp.ClientSession(connector=connector, headers=plain, auto_decompress=False) as session:
                return _json_object(url, await self._body(session, url))
        except aiohttp.ClientError as error:
            raise OSError(f"{url} cannot be read: {type(error).__name__}") from error

    def close(self) -> None:
        """A name that is still being looked up is left to itself."""
        if self._names is not None:
            self._names.shutdown(wait=False, cancel_futures=True)

    async def _body(self, session: Any, url: str) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            _check(url, local=self._local)
            async with session.get(url, allow_redirects=False, proxy=_proxy(url)) as response:
                if not 300 <= response.status < 400:
                    return await _read(url, response)
                target = urljoin(url, response.headers.get("Location", ""))
            if _origin(target) != _origin(url):
                raise ValueError(f"{url} leads to another place")
            url = target
        raise ValueError(f"{url} leads from one page to the next")

    def _resolver(self) -> "AbstractResolver":
        """Looks names up in a thread of this issuer's own: one that hangs must not take threads that all share."""
        from aiohttp.abc import AbstractResolver, ResolveResult

        names = self._names = self._names or ThreadPoolExecutor(max_workers=1, thread_name_prefix="issuer-names")

        class Resolver(AbstractResolver):
            async def resolve(
                self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
            ) -> list[ResolveResult]:
                loop = asyncio.get_running_loop()
                found = await loop.run_in_executor(
                    names, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
                )
                return [
                    ResolveResult(
                        hostname=host,
                        host=str(address[0]),
                        port=port,
                        family=kind,
                        proto=protocol,
                        flags=socket.AI_NUMERICHOST,
                    )
                    for kind, _, protocol, _, address in found
                ]

            async def close(self) -> None:
                return None

        return Resolver()


def _check(url: str, *, local: bool) -> None:
    """ValueError unless `url` is https, or plain HTTP between parts of this machine."""
    scheme = urlsplit(url).scheme
    if scheme != "https" and not (scheme == "http" and local and is_local(url)):
        raise ValueError(f"{url} is not https")


def _proxy(url: str) -> str | None:
    """The environment's proxy for `url`. (aiohttp's own `trust_env` looks it up in the pool that all share.)"""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


async def _read(url: str, response: "ClientResponse") -> bytes:
    if response.status != 200:
        raise ValueError(f"{url} answers {response.status}")
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"{url} has more than {MAX_DOCUMENT_BYTES} bytes")
    return body


def _json_object(url: str, body: bytes) -> dict[str, Any]:
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError(f"{url} is not a JSON object")
    return document
