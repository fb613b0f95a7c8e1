"""The quarantine: what was not migrated, a line of JSON for each row, to be mended and migrated in turn.

`{"table", "key", "reason", "row"}`; in the row, bytes that are no text are `{"base64": …}`. The file is there only
when something is in it, and whole: it takes its name when all is written.
"""

import base64
import json
import os
from pathlib import Path
from types import TracebackType
from typing import TextIO

from cli.errors import CliError
from cli.legacy.reading import Read, Value
from cli.legacy.source import BYTES


class Quarantine:
    """`with Quarantine(path) as quarantine`; `count` says how many rows are in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._part = path.with_name(f"{path.name}.part")
        self._file: TextIO

    def __enter__(self) -> "Quarantine":
        try:
            number = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # customers' data
        except OSError as error:
            raise CliError(f"{self.path} cannot be written ({error.strerror}); choose another --quarantine.") from error
        self._file = os.fdopen(number, "w", encoding="utf-8")
        return self

    def add(self, table: str, row: Read, reason: str) -> None:
        told = {name: _written(value) for name, value in row.columns.items()}
        line = {"table": table, "key": row.key, "reason": reason, "row": told}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error is None and self.count:
            self._part.replace(self.path)
        else:
            self._part.unlink()


def _written(value: Value) -> object:
    return {BYTES: base64.b64encode(value).decode()} if isinstance(value, bytes) else value
