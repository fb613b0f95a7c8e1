"""The real PostgreSQL, in a folder of its own, on a Unix socket; always stopped, and gone afterwards."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

START_SECONDS = 60.0
SUPERUSER = "postgres"  # it does not run as root
SETTINGS = ("listen_addresses=", "fsync=off", "max_connections=20", "shared_buffers=16MB", "timezone=UTC")


class PostgresServer:
    """A cluster whose connections need no password."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.programs = programs

    def address(self, database: str, user: str = SUPERUSER) -> str:
        """Of a database, as this user."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def run(self, sql: str, database: str = "postgres", user: str = SUPERUSER) -> str:
        """What psql prints; RuntimeError with what PostgreSQL said."""
        done = subprocess.run(
            [str(self.programs / "psql"), "-qXAt", "-v", "ON_ERROR_STOP=1", self.address(database, user)],
            input=sql,
            text=True,
            capture_output=True,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def dump(self, database: str) -> list[str]:
        """All that makes it, schema and rows, in an order that does not depend on where rows lie."""
        command = [str(self.programs / "pg_dump"), self.address(database)]
        text = subprocess.run(command, text=True, capture_output=True, check=True).stdout
        return sorted(line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Started; skips where there is none, but not in CI."""
    programs = _programs()
    if programs is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not here")
        pytest.skip("PostgreSQL is not here")
    owner = SUPERUSER if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # the path of a socket has to be short
    try:
        if owner:
            shutil.chown(folder, owner, owner)
        make = [
            str(programs / "initdb"),
            "-D",
            str(folder / "data"),
            "-U",
            SUPERUSER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "-N",
        ]
        subprocess.run([*make, "--locale", "C"], user=owner, cwd=folder, check=True, capture_output=True)
        options = [part for setting in SETTINGS for part in ("-c", setting)]
        serve = [str(programs / "postgres"), "-D", str(folder / "data"), "-k", str(folder), *options]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(serve, user=owner, cwd=folder, stdout=log, stderr=log)
        try:
            server = PostgresServer(folder, programs)
            _wait(server)
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # "fast": it does not wait for those who are connected
            process.wait()
    finally:
        shutil.rmtree(folder)


def _wait(server: PostgresServer) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            server.run("SELECT 1")
            return
        except RuntimeError as error:
            if time.monotonic() > until:
                pytest.fail(f"PostgreSQL does not start: {error}")
            time.sleep(0.05)


def _programs() -> Path | None:
    """The folder of `postgres`: Debian keeps it out of PATH."""
    found = shutil.which("postgres")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if found is None and not installed:
        return None
    return Path(found).resolve().parent if found else installed[-1].parent
