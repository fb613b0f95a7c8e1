"""Rows of an old table and what becomes of them: read and converted here or, where there are many, in a process beside.

That is a fifth of what a row takes, and who writes rows has Python to himself meanwhile. The process is this module:
it is told on its standard input what to read, answers in pickles, waits while its pipe is full, and is ended by the
system once nobody holds the other end.
"""

import asyncio
import json
import pickle
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, cast

from cli.errors import CliError
from cli.heap import seldom_collected
from cli.legacy.mapping import KNOWN, Defect, Mapped, mapped
from cli.legacy.old_file import OldFile, connected
from cli.legacy.reading import Read, rows
from cli.legacy.target import LATER
from functions.migration.models import Table
from functions.migration.taking import item_id

MANY_ROWS: Final = 50_000
"""From here on a process beside saves more than its start takes."""
PIECE_ROWS: Final = 48
PIECE_CHARACTERS: Final = 256 * 1024
"""Of the rows of a piece, but for its last one."""
SIZE_BYTES: Final = 8
ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = (sys.executable, "-m", "cli.legacy.converting")
Converted = tuple[Read, Mapped | str]
"""A row as it was read, and its item, or the reason why there is none."""


def in_order(connection: sqlite3.Connection, table: Table, tenants: Mapping[str, str]) -> Iterator[Read]:
    """All rows, in the order of the ids that they get.

    `tenants`: value of tenant_id -> tenant; a row of any other is placed as one that says nothing.
    """

    def place(value: str, key: str) -> str:
        return item_id(tenants.get(value, tenants[""]), table, key)

    return rows(connection, table, KNOWN, place)


def converted(table: Table, read: Read) -> Converted:
    """The row with its item, or with the first reason why there is none."""
    try:
        return read, mapped(table, read)
    except Defect as defect:
        return read, str(defect)


async def converted_beside(old: OldFile, table: Table, tenants: Mapping[str, str]) -> AsyncGenerator[Converted, None]:
    """All rows. CliError when the process ends before they do; sqlite3.DatabaseError as where they are read here."""
    process = await asyncio.create_subprocess_exec(*COMMAND, cwd=ROOT, stdin=PIPE, stdout=PIPE)
    asks, tells = cast(asyncio.StreamWriter, process.stdin), cast(asyncio.StreamReader, process.stdout)
    try:
        asks.write(json.dumps([old.where, old.is_uri, table, dict(tenants)]).encode())
        asks.close()
        while piece := await _piece(tells):
            for one in piece:
                yield one
    except asyncio.IncompleteReadError as error:
        said = f"The process that reads {table} has ended (exit code {await process.wait()})."
        raise CliError(f"{said} {LATER}") from error
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _piece(stream: asyncio.StreamReader) -> list[Converted]:
    """The next rows; none at the end."""
    size = int.from_bytes(await stream.readexactly(SIZE_BYTES), "big")
    told: list[Converted] | str = pickle.loads(await stream.readexactly(size))  # noqa: S301 - of our own process
    if isinstance(told, str):
        raise sqlite3.DatabaseError(told)
    return told


def _pieces(found: Iterable[Converted]) -> Iterator[list[Converted]]:
    piece: list[Converted] = []
    characters = 0
    for one in found:
        piece.append(one)
        characters += sum(len(value) for value in one[0].columns.values() if isinstance(value, str | bytes))
        if len(piece) == PIECE_ROWS or characters >= PIECE_CHARACTERS:
            yield piece
            piece, characters = [], 0
    if piece:
        yield piece


def _tell(stream: BinaryIO, told: list[Converted] | str) -> None:
    text = pickle.dumps(told, pickle.HIGHEST_PROTOCOL)
    stream.write(len(text).to_bytes(SIZE_BYTES, "big") + text)
    stream.flush()


def main() -> None:
    """All rows of what standard input tells, to standard output; then a piece of none."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody wants them any more
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who has begun this ends it
    where, is_uri, table, tenants = json.load(sys.stdin)
    out = sys.stdout.buffer
    try:
        with closing(connected(where, is_uri)) as connection, seldom_collected():
            for piece in _pieces(map(partial(converted, table), in_order(connection, table, tenants))):
                _tell(out, piece)
    except sqlite3.DatabaseError as error:
        _tell(out, str(error))
    else:
        _tell(out, [])


if __name__ == "__main__":
    main()
