"""Phase 1 in PostgreSQL and its undoing, killed (SIGKILL) behind every `EVERY`-th statement; prints what came of it.

    python -m tests.faults.killed_phases_postgres FOLDER PROGRAMS EVERY

The server at FOLDER has a database `old`; each try works on a copy of it, in a fork of this process.
"""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg

from cli.errors import CliError
from cli.phases.postgres import back, forward
from tests.doubles.postgres_server import PostgresServer

WRITING = re.compile("BEGIN|COMMIT|SAVEPOINT|CREATE|ALTER|DROP|INSERT|UPDATE|DELETE|GRANT|REVOKE")
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00")
connect = asyncpg.connect


def killed_at(place: int, work: Callable[[], Coroutine[Any, Any, object]]) -> bool:
    """Do it in a fork that is killed behind its `place`-th statement; False when it came to its end before."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)
    told = 0

    def tell(query: Any) -> None:
        nonlocal told
        told += bool(WRITING.match(query.query))
        if told == place:
            os.kill(os.getpid(), signal.SIGKILL)

    async def traced(*arguments: Any, **options: Any) -> Any:
        connection = await connect(*arguments, **options)
        connection.add_query_logger(tell)
        return connection

    asyncpg.connect = traced
    asyncio.run(work())
    os._exit(0)


def main(server: PostgresServer, every: int) -> None:
    def fresh() -> None:
        server.run("DROP DATABASE IF EXISTS copy WITH (FORCE)")
        server.run("DROP ROLE IF EXISTS app")
        server.run("CREATE DATABASE copy TEMPLATE old")

    def dump() -> list[str]:
        return [TIME.sub("TIME", line) for line in server.dump("copy")]

    address = server.address("copy")
    fresh()
    before = dump()
    asyncio.run(forward(address, "app"))
    after = dump()
    asyncio.run(back(address))
    found: dict[str, Any] = {"forward": 0, "back": 0, "different": []}
    fresh()
    while killed_at(found["forward"] * every + 1, lambda: forward(address, "app")):
        found["forward"] += 1
        asyncio.run(forward(address, "app"))
        if dump() != after:
            found["different"].append(("forward", found["forward"]))
        fresh()
    asyncio.run(forward(address, "app"))
    while killed_at(found["back"] * every + 1, lambda: back(address)):
        found["back"] += 1
        try:
            asyncio.run(back(address))
        except CliError as error:
            if "no phase" not in str(error):  # else the kill came behind the end
                raise
        if dump() != before:
            found["different"].append(("back", found["back"]))
        fresh()
        asyncio.run(forward(address, "app"))
    print(json.dumps(found))


if __name__ == "__main__":
    main(PostgresServer(Path(sys.argv[1]), Path(sys.argv[2])), int(sys.argv[3]))
