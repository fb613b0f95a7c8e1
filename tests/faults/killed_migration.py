"""`python -m tests.faults.killed_migration OLD DATA SETTINGS N WHEN`: a migration that is killed at its commit N.

WHEN `before`: nothing of that batch is written; `after`: all of it is, and nobody has been told.
"""

import os
import signal
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from cli.migrate import Options, run
from shared.database.port import Operation
from shared.tenancy.fence import Handle


def main(old: str, data: str, settings: str, number: str, when: str) -> None:
    commits, commit = count(1), Handle.commit

    async def killed(self: Handle, operations: Sequence[Operation]) -> None:
        last = next(commits) == int(number)
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        await commit(self, operations)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    Handle.commit = killed  # type: ignore[method-assign]
    options = Options(tenant="default", data=Path(data), settings_file=Path(settings))
    run(Path(old), options, dry_run=False, quarantine=Path(data).parent / "q.jsonl", as_json=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
