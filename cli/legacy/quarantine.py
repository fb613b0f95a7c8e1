"""The quarantine: what was not migrated, a line of JSON for each row, to be mended and migrated in turn.

`{"table", "key", "reason", "row"}`; in the row, bytes that are no text are `{"base64": …}`. The file is there only
when something is in it, and whole: it takes its name when all is written. No file is ever overwritten, since somebody
may have mended it: where the name is taken, it is the next one (`old.quarantine-2.jsonl`).
"""

import base64
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, TextIO

from cli.errors import CliError
from cli.legacy.old_file import BYTES
from cli.legacy.reading import Read, Value

MOST_FILES: Final = 1000


class Quarantine:
    """`with Quarantine(path) as quarantine`; `count` says how many rows are in it, `path` in the end where."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._part: Path
        self._file: TextIO

    def __enter__(self) -> "Quarantine":
        try:
            # a new file, for its owner alone: these are customers' data
            number, name = tempfile.mkstemp(prefix=f"{self.path.name}.", suffix=".part", dir=self.path.parent)
            self._part = Path(name)
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
            self.path = _claimed(self.path)
            self._part.replace(self.path)
        else:
            self._part.unlink()


def _claimed(path: Path) -> Path:
    """The first of these names that nobody has, taken by an empty file."""
    for number in range(1, MOST_FILES + 1):
        one = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        with suppress(FileExistsError):
            one.touch(0o600, exist_ok=False)
            return one
    raise CliError(f"{path} is there, and {MOST_FILES - 1} more of it; remove some, or choose another --quarantine.")


def _written(value: Value) -> object:
    return {BYTES: base64.b64encode(value).decode()} if isinstance(value, bytes) else value
