"""A PostgreSQL cluster of its own, in a temporary folder, on a Unix socket; always stopped, and gone afterwards."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peer.usage import children, cpu_seconds

START_SECONDS = 60.0
MISSING = "PostgreSQL is not there: apt-get install postgresql (any version from 13 on; its own service is not needed)."
SCHEMA = Path(__file__).with_name("schema.sql")
OWNER = "postgres"  # it does not run as root
SETTINGS = {  # for many small transactions on a machine that others use too; durability is the default, as ours
    "listen_addresses": "",
    "shared_buffers": "256MB",
    "max_connections": "40",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "jit": "off",
    "log_min_messages": "error",
}


class Cluster:
    """`socket` is the folder to connect through."""

    def __init__(self, folder: Path, programs: Path, process: "subprocess.Popen[bytes]") -> None:
        self.socket = folder
        self._programs = programs
        self._process = process

    def run(self, sql: str, database: str = "peer") -> None:
        """As the owner of everything; RuntimeError with what PostgreSQL said."""
        options = ["-qX", "-v", "ON_ERROR_STOP=1", "-h", self.socket, "-U", OWNER, "-d", database]
        command = list(map(str, [self._programs / "psql", *options]))
        done = subprocess.run(command, input=sql, text=True, capture_output=True)
        if done.returncode:
            raise RuntimeError(done.stderr)

    def cpu_seconds(self) -> float:
        """Of all its processes, those that have ended too."""
        return sum(map(cpu_seconds, [self._process.pid, *children(self._process.pid)]))


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Made, with the schema in the database `peer`, and unmade."""
    programs = _programs()
    owner = OWNER if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="peer-"))
    try:
        if owner:
            shutil.chown(folder, owner, owner)
        make = [programs / "initdb", "-D", folder / "data", "-U", OWNER, "-A", "trust", "-E", "UTF8", "--locale", "C"]
        subprocess.run(list(map(str, make)), user=owner, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        serve = [programs / "postgres", "-D", folder / "data", "-k", folder, *options]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(list(map(str, serve)), user=owner, cwd=folder, stdout=log, stderr=log)
        try:
            running = Cluster(folder, programs, process)
            _wait(running)
            running.run("CREATE DATABASE peer", "postgres")
            running.run(SCHEMA.read_text())
            yield running
        finally:
            process.send_signal(signal.SIGINT)  # "fast": it does not wait for those who are connected
            process.wait()
    finally:
        shutil.rmtree(folder)


def _wait(running: Cluster) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            return running.run("SELECT 1", "postgres")
        except RuntimeError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def _programs() -> Path:
    """The folder of `postgres`: Debian keeps it out of PATH."""
    found = shutil.which("postgres")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if found is None and not installed:
        raise SystemExit(MISSING)
    return Path(found).resolve().parent if found else installed[-1].parent
