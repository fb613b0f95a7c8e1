"""A Flowgrid in a process of its own, for the demo and the benchmarks: started on a free port, always stopped."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from cli.token import open_issuer
from local.issuer import Issuer

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0
STOP_SECONDS = 30.0
_READY = re.compile(r"ready on (http://\S+)")


class Child:
    """`python -m cli serve` over a data folder; `base_url` and `issuer` are known once it is ready.

    Another `module` is run as `python -m <module> <folder>` and says the same when it is ready.
    """

    def __init__(self, data: Path, *, module: str = "cli", **environment: str) -> None:
        self._data = data
        self._arguments = [module, "serve", "--port", "0", "--data"] if module == "cli" else [module]
        self._log = data / f"{module}.log"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.base_url = ""
        self.issuer: Issuer

    def start(self) -> None:
        """Serve; returns when calls are taken. RuntimeError, with what it printed, when it does not come up."""
        log = self._log
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", *self._arguments, str(self._data)],
                cwd=ROOT,
                env={**os.environ, "FLOWGRID_LOG_LEVEL": "WARNING", **self._environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + START_SECONDS
        while (ready := _READY.search(log.read_text(encoding="utf-8"))) is None:
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"the host did not come up:\n{log.read_text(encoding='utf-8')}")
            time.sleep(0.05)
        self.base_url = ready[1]
        self.issuer = open_issuer(self._data, None)

    def stop(self) -> None:
        """Ctrl-C, and the hard way when that does not help."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
