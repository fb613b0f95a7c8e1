"""The real Azurite, from npm, on a free port of 127.0.0.1; or the storage that TEST_BLOB_CONNECTION names."""

import fcntl
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.doubles.sockets import free_port

VERSION = "3.37"
# The emulator's public, well-known account: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def connection_string(port: int) -> str:
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint};"


@contextmanager
def azurite() -> Iterator[str]:
    """A connection string; skips where Azurite cannot be had, but not in CI."""
    given = os.environ.get("TEST_BLOB_CONNECTION")
    if given:
        yield given
        return
    main = _installed()
    for _ in range(3):  # another process may take the port between its choice and its use
        port = free_port()
        process = _start(main, port)
        try:
            if _listens(process, port):
                yield connection_string(port)
                return
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    pytest.fail("Azurite does not start")


def _start(main: Path, port: int) -> "subprocess.Popen[bytes]":
    command = ["node", str(main), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    options = ["--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    return subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/tmp")


def _installed() -> Path:
    folder = Path(os.environ.get("FLOWGRID_NPM_CACHE", "~/.cache/flowgrid-npm")).expanduser() / f"azurite-{VERSION}"
    main = folder / "node_modules/azurite/dist/src/blob/main.js"
    if shutil.which("node") is None or shutil.which("npm") is None:
        _missing("node and npm are not here")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".installed").exists():
            command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), f"azurite@{VERSION}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            if done.returncode != 0:
                _missing(f"npm cannot install Azurite: {done.stderr[-500:]}")
            (folder / ".installed").touch()
    return main


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _listens(process: "subprocess.Popen[bytes]", port: int, seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False
