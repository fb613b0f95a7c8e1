"""A whole Flowgrid as its users meet it: `python -m cli serve` in a process of its own, over a folder of its own."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from cli.environment import load_settings
from cli.token import open_issuer
from functions.kinds import KINDS
from local.issuer import Issuer
from shared.core import Core, core
from shared.database.port import Document
from shared.folders import private_folder
from shared.kinds import Kind

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "local.settings.sample.json"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
FORWARDED = "E2E_"
SECRETS_FOLDER = f"{FORWARDED}SECRETS_FOLDER"  # of hosts that share a registry: it names what lies there
OF_A_TENANT = [kind for kind in KINDS if kind.container in ("items", "usage")]
_READY = re.compile(r"Flowgrid is ready on (http://\S+)")


def extra_environment() -> dict[str, str]:
    """What the served process gets on top: `E2E_FLOWGRID_DATABASE=cosmos` reaches it as `FLOWGRID_DATABASE`.

    So the same suite runs over other adapters without a change.
    """
    return {name.removeprefix(FORWARDED): value for name, value in os.environ.items() if name.startswith(FORWARDED)}


class Host:
    """The served process. It keeps its port, and so its issuer and all tokens, over kills and restarts."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.url = ""
        self._log = folder / "host.log"
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.upper().startswith("FLOWGRID_")},
            "FLOWGRID_GLOBAL_LIMIT": "10000000",
            "FLOWGRID_LOG_LEVEL": "WARNING",
            **extra_environment(),
        }

    @property
    def log(self) -> str:
        """All that the process has written so far, over all its lives."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    @property
    def issuer(self) -> Issuer:
        """The issuer whose tokens the process takes."""
        return open_issuer(self.data, SETTINGS)

    @property
    def pid(self) -> int:
        """The served process."""
        assert self._process is not None, "the host does not run"
        return self._process.pid

    def start(self) -> None:
        """Serve; returns when calls are taken."""
        before = len(self.log)
        if (vault := os.environ.get(SECRETS_FOLDER)) and not (self.data / "secrets").exists():
            private_folder(self.data)
            (self.data / "secrets").symlink_to(vault)
        self.issuer.public_keys()  # made before two processes would make them
        command = [sys.executable, "-m", "cli", "serve", "--port", str(self._port)]
        command += ["--data", str(self.data), "--settings", str(SETTINGS)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        until = time.monotonic() + START_SECONDS
        while (ready := _READY.search(self.log, before)) is None:
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise AssertionError(f"the host did not start:\n{self.log[before:]}")
            time.sleep(0.02)
        self.url = ready[1]
        self._port = int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """End it as an operator does, with SIGTERM; it must have been alive until then."""
        process, self._process = self._process, None
        if process is None:
            return
        died = process.poll()
        assert died is None, f"the host had died with exit code {died}:\n{self.log}"
        process.terminate()
        try:
            assert process.wait(STOP_SECONDS) == 0, f"the host did not end well:\n{self.log}"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the host did not stop within {STOP_SECONDS:.0f} s:\n{self.log}") from None

    def kill(self) -> None:
        """End it as a power cut does, with SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    @asynccontextmanager
    async def core(self) -> AsyncIterator[Core]:
        """The infrastructure over the same data, in this process: to look behind the API."""
        settings = load_settings({**self.environment, "FLOWGRID_DATA_DIR": str(self.data)})
        opened = core(settings, KINDS)
        opened.adapters.charges.listener = lambda _: None  # what a look behind costs is no usage of the tenant's
        try:
            yield opened
        finally:
            await opened.close()

    async def items(self, tenant_id: str, *kinds: Kind) -> list[Document]:
        """A tenant's items as they are stored, of these kinds, or of all."""
        async with self.core() as opened:
            store = await opened.directory.store(tenant_id)
            assert store is not None, f"there is no tenant {tenant_id}"
            return [item.body async for page in store.scan(kinds or OF_A_TENANT) for item in page]


async def eventually(condition: Callable[[], Awaitable[T]], *, within: float = 60.0) -> T:
    """The first answer of `condition` that is true; it is asked again until then, at most `within` seconds."""
    until = time.monotonic() + within
    while not (found := await condition()):
        assert time.monotonic() < until, f"not within {within:g} s: {condition.__doc__ or condition}; last: {found!r}"
        await asyncio.sleep(0.02)
    return found
