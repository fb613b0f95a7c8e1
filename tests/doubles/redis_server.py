"""The real redis-server, on a free port of 127.0.0.1, which can be stopped, stalled and begun again."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.doubles.sockets import free_port

START_SECONDS = 20.0


class RedisServer:
    """`url` stays the same when it is started again; then it is empty. `certificate`: it speaks TLS alone."""

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        self._folder = folder
        self._certificate = certificate
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"{'rediss' if certificate else 'redis'}://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Returns when calls are taken."""
        command = [
            "redis-server",
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self._folder),
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        if self._certificate is None:
            command += ["--port", str(self._port)]
        else:
            command += ["--port", "0", "--tls-port", str(self._port), "--tls-auth-clients", "no"]
            command += ["--tls-cert-file", str(self._certificate), "--tls-key-file", str(self._certificate)]
            command += ["--tls-ca-cert-file", str(self._certificate)]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        until = time.monotonic() + START_SECONDS
        while b"Ready to accept connections" not in (self._folder / "log").read_bytes():
            if self._process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"redis-server does not start: {(self._folder / 'log').read_text()[-500:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stall(self) -> None:
        """It takes connections, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@contextmanager
def redis_server(folder: Path, certificate: Path | None = None) -> Iterator[RedisServer]:
    """Started; skips where there is none, but not in CI."""
    if shutil.which("redis-server") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("redis-server is not here")
        pytest.skip("redis-server is not here")
    server = RedisServer(folder, certificate)
    server.start()
    try:
        yield server
    finally:
        server.kill()
