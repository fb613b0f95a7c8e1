"""An ASGI app served by a thread on a free port of 127.0.0.1, for clients that speak real HTTP."""

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import uvicorn
from starlette.types import ASGIApp


@contextmanager
def serving(app: ASGIApp, certificate: Path | None = None, *, lifespan: Literal["on", "off"] = "off") -> Iterator[str]:
    """The address, without a slash at its end. `lifespan`: whether the app begins and ends with the server."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        lifespan=lifespan,
        ws="none",
        log_level=logging.CRITICAL,
        access_log=False,
        loop="asyncio",
        http="h11",
        ssl_certfile=certificate,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
