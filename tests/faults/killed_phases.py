"""Phase 1 and its undoing, killed (SIGKILL) at every statement and every file that is touched; prints what came of it.

    python -m tests.faults.killed_phases SOURCE FOLDER

Each try is a fork of this process, which is killed at one place; then the same is done again without a kill.
"""

import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cli.phases.copying
import cli.phases.sqlite
from cli.phases.plan import RECORD
from tests.unit.old_databases import asked, everything

TOUCHING = ("shutil.copyfile", "os.rename", "os.remove", "sqlite3.connect")
WRITING = ("BEGIN", "COMMIT", "CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE")
really_connected = cli.phases.copying.connected


def connect(path: Path) -> sqlite3.Connection:
    """Without waiting for the disk: what a process has written is there when only the process dies."""
    connection = really_connected(path)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def patch(connected: Callable[[Path], sqlite3.Connection]) -> None:
    for module in (cli.phases.copying, cli.phases.sqlite):
        setattr(module, "connected", connected)  # noqa: B010 - mypy knows better what it was
    setattr(os, "fsync", lambda _: None)  # noqa: B010


def killed_at(place: int, work: Callable[[], object]) -> bool:
    """Do it in a fork that is killed at its `place`-th touch; False when it came to its end before."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)
    touched = 0

    def touch() -> None:
        nonlocal touched
        touched += 1
        if touched == place:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.set_trace_callback(lambda sql: touch() if sql.startswith(WRITING) else None)
        return connection

    patch(traced)
    sys.addaudithook(lambda event, _: touch() if event in TOUCHING else None)
    work()
    os._exit(0)


def main(source: Path, folder: Path) -> None:
    patch(connect)
    whole, copy = folder / "whole.db", folder / "copy.db"
    cli.phases.sqlite.forward(source, whole)
    before, after, hashed = everything(source), everything(whole), source.read_bytes()
    found: dict[str, Any] = {"forward": 0, "back": 0, "different": []}

    def forward() -> None:
        cli.phases.sqlite.forward(source, copy)

    def back() -> None:
        cli.phases.sqlite.back(copy)

    while killed_at(found["forward"] + 1, forward):
        found["forward"] += 1
        forward()
        if everything(copy) != after or source.read_bytes() != hashed or len(list(folder.iterdir())) != 2:
            found["different"].append(("forward", found["forward"]))
        copy.unlink()
    copy.unlink()
    while shutil.copyfile(whole, copy) and killed_at(found["back"] + 1, back):
        found["back"] += 1
        if asked(copy, f"SELECT 1 FROM sqlite_master WHERE name = '{RECORD}'"):  # else the kill came after the end
            back()
        if everything(copy) != before:
            found["different"].append(("back", found["back"]))
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
