"""What keeps web pages out of a host on a developer's machine: pages that a browser shows may send requests here.

A page of another site reaches us by a name that it makes point here (DNS rebinding), so names are taken only from a
list; an address cannot be made to point elsewhere. And it can send what a form can, but no JSON unless we allow it.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from local.http import problem

_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?")


class HostGuard:
    """An ASGI middleware: `Host` is localhost, an address or one of `names`; else 421, and 400 for what is no host."""

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = {name.lower() for name in names} | {"localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (wrong := self._wrong(scope)):
            status, code, detail = wrong
            await problem(Request(scope, receive), status, code, detail)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _wrong(self, scope: Scope) -> tuple[int, str, str] | None:
        hosts: list[bytes] = [value for name, value in scope["headers"] if name == b"host"]
        if not hosts:
            return None  # HTTP/1.0; no browser speaks it
        name = _name(hosts[0])
        if name is None or len(hosts) > 1:
            return 400, "invalid_request", "The Host header is not one host and port."
        if name in self._names or name.endswith(".localhost") or _is_address(name):
            return None
        return 421, "misdirected", "This host does not go by that name; serve it with --allow-host to let it."


def from_another_site(headers: Headers) -> bool:
    """Whether a browser says that a page of another origin sends this (Fetch Metadata, and Origin for older ones)."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


@lru_cache(maxsize=256)
def _name(host: bytes) -> str | None:
    """The name or address of a `Host`, without its port; None when it is none."""
    found = _HOST.fullmatch(host.decode("latin-1"))
    if found is None or (found["ipv6"] and not _is_address(found["ipv6"])):
        return None
    return (found["ipv6"] or found["name"]).lower().rstrip(".")


@lru_cache(maxsize=256)
def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
