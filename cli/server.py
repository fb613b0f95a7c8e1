"""The socket and the quiet uvicorn server behind `python -m cli serve`."""

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp

from cli.errors import CliError
from cli.heap import collect_seldom

logger = logging.getLogger("flowgrid.cli")
GRACE_SECONDS = 20
SWITCH_SECONDS = 0.001
"""After which the loop lets a thread go on. In Python's 5 ms a loop answers all who call at a time, so that what a
writer has to do before and after it waits for the disk came when there was nothing left to do beside."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; CliError when the port is taken or the address is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(
        family, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # asyncio sets NODELAY only if TCP is named
    if os.name == "posix":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise CliError(
                f"Port {port} on {host} is in use; stop what listens there, or choose another with --port."
            ) from error
        reason = error.strerror or error
        raise CliError(f"Cannot listen on {host}, port {port} ({reason}); see --host and --port.") from error
    return listening


def base_url(host: str, port: int) -> str:
    """Where this machine reaches the server."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  a name, nothing is bound here
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


@contextmanager
def private_files() -> Iterator[None]:
    """What is written in the block is its owner's only: it is customers' data."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """SIGTERM ends the block like Ctrl-C, quietly (uvicorn raises a signal again once it has stopped)."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def open_many_files() -> None:
    """As many as the system lets us: each tenant with a database of its own has files open in several threads."""
    with suppress(ImportError, ValueError, OSError):  # not on Windows; not above what macOS means by no limit
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Server(uvicorn.Server):
    """uvicorn that says when it is up: `ready` runs beside the server and may call it; `close` is the last to run."""

    def __init__(
        self, web: ASGIApp, *, ready: Callable[[], Awaitable[None]], close: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                web,
                lifespan="on",
                ws="none",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,  # the peer's address is the socket's; the app reads X-Forwarded-For itself
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._ready = ready
        self._close = close
        self._announcing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            collect_seldom()
            sys.setswitchinterval(SWITCH_SECONDS)
            open_many_files()
            self._announcing = asyncio.create_task(self._announce())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._announcing is not None:
            self._announcing.cancel()
        await super().shutdown(sockets=sockets)
        await self._close()

    async def _announce(self) -> None:
        try:
            await self._ready()
        except Exception:
            logger.exception("the server is up, but its welcome failed")
