"""A Flowgrid in a process of its own, for the demo and the benchmarks: started on a free port, always stopped."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from cli.environment import SAMPLE_FILE, add_settings_file, follow_issuer, load_settings
from local.issuer import FOLDER, Issuer
from shared.settings import Settings

ROOT = Path(__file__).parents[1]
SETTINGS = ROOT / SAMPLE_FILE
START_SECONDS = 60.0
STOP_SECONDS = 30.0
_READY = re.compile(r"ready on (http://\S+)")


class Child:
    """`with Child(folder) as child`: `python -m cli serve` over that folder; then `base_url` and `issuer` are known.

    It takes the sample settings and what is named here, nothing of the caller's: what is damaged or loaded is never
    the database that a developer's environment points at. Another `module` is run as `python -m <module> <folder>`
    and says the same when it is ready. `root`: where the code is, another version of it perhaps.
    """

    def __init__(self, data: Path, *, module: str = "cli", root: str = str(ROOT), **environment: str) -> None:
        self._data = data
        self._root = Path(root)
        serve = ["cli", "serve", "--port", "0", "--settings", str(self._root / SAMPLE_FILE), "--data"]
        self._command = [sys.executable, "-m", *(serve if module == "cli" else [module]), str(data)]
        self._log = data / f"{module}.log"
        self._environment = {
            **{name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields},
            "FLOWGRID_LOG_LEVEL": "WARNING",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._sigterm: Any = None
        self.base_url = ""
        self.issuer: Issuer

    def __enter__(self) -> "Child":
        """Serve; returns when calls are taken. RuntimeError, with what it printed, when it does not come up."""
        self._sigterm = signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the block, so the child too
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    @property
    def pid(self) -> int:
        """RuntimeError while it does not run."""
        if self._process is None:
            raise RuntimeError("the process does not run")
        return self._process.pid

    def resident_mib(self) -> float:
        """The process's resident memory, in MiB (from /proc, so on Linux)."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self) -> None:
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                self._command, cwd=self._root, env=self._environment, stdout=output, stderr=subprocess.STDOUT
            )
        until = time.monotonic() + START_SECONDS
        while (ready := _READY.search(self._printed())) is None:
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the host did not come up:\n{self._printed()}")
            time.sleep(0.05)
        self.base_url = ready[1]
        environ = dict(self._environment)
        add_settings_file(environ, SETTINGS)
        settings = follow_issuer(environ, load_settings(environ), f"{self.base_url}/{FOLDER}")
        self.issuer = Issuer(self._data, settings)

    def _printed(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _stop(self) -> None:
        """Ctrl-C, and the hard way when that does not help."""
        process, self._process = self._process, None
        try:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(STOP_SECONDS)
                except BaseException:  # too slow, or another signal meanwhile
                    process.kill()
                    process.wait()
        finally:
            signal.signal(signal.SIGTERM, self._sigterm)
