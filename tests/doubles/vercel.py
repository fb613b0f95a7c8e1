"""`@vercel/cosmosdb-server`, a Cosmos DB server of other people's making, from npm, kept in a cache folder."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

PACKAGE = "@vercel/cosmosdb-server@1.0.1"
INSTALL_SECONDS = 110


def cache() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "flowgrid" / "npm" / PACKAGE.replace("/", "+")


async def installed() -> Path:
    """The server's command, installed on first use; skips without npm, unless this is CI."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs node and npm")
        pytest.skip("node and npm are needed for this server")
    folder = cache()
    command = folder / "node_modules" / "@vercel" / "cosmosdb-server" / "lib" / "cli.js"
    if not command.exists():
        folder.mkdir(parents=True, exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), PACKAGE
        )
        async with asyncio.timeout(INSTALL_SECONDS):
            assert await process.wait() == 0, "npm could not install the server"
    return command


@asynccontextmanager
async def vercel_server() -> AsyncIterator[str]:
    """A server of its own on a free port; its endpoint."""
    command = await installed()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        "node",
        str(command),
        "-p",
        str(port),
        "--host",
        "127.0.0.1",
        "--no-ssl",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            ready = await process.stdout.readline()
        assert b"Ready" in ready
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        await process.wait()
