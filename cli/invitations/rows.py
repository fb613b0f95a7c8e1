"""A CSV file of people: `email`, `role` and, if it is there, `name`; as spreadsheets write it (RFC 4180, or with `;`).

Each row is somebody to invite, or a reason why not; lines are counted as an editor does, quoted line ends too.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from cli.errors import CliError
from functions.identity.models import NewUser

MOST_BYTES: Final = 10 * 1024 * 1024
MOST_ROWS: Final = 10_000
DELIMITERS: Final = (",", ";", "\t")
COLUMNS: Final = {"email": "email", "e-mail": "email", "mail": "email", "name": "name", "role": "role"}
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_MEANT: Final = {"email": "is no e-mail address", "name": "is a name of more than 255 characters"}


@dataclass(frozen=True)
class Row:
    """`user`, or why there is none. `line`: where the row begins, from 1."""

    line: int
    email: str
    user: NewUser | None = None
    reason: str = ""


def read(path: Path) -> list[Row]:
    """Every row; CliError for a file of which no row can be read."""
    text = _text(path)
    for delimiter in DELIMITERS:
        names = _names(text, delimiter)
        if {"email", "role"} <= set(names):
            break
    else:
        raise CliError(f"The first line of {path} should name its columns: email, role and, if you like, name.")
    if any(names.count(name) > 1 for name in ("email", "role", "name")):
        raise CliError(f"The first line of {path} names a column twice.")
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for line, cells, wrong in _lines(text, delimiter):
        if not wrong and not any(cell.strip() for cell in cells):
            continue
        if len(rows) == MOST_ROWS:
            raise CliError(f"{path} has more than {MOST_ROWS:,} rows; invite them in several files.")
        row = Row(line, "", reason=wrong) if wrong else _row(line, cells, names)
        if row.user is not None and (first := seen.setdefault(row.user.email, line)) != line:
            row = Row(line, row.email, reason=f"line {first} names the same address")
        rows.append(row)
    return rows


def _names(text: str, delimiter: str) -> list[str]:
    """What each column is for; those that are for nothing have no name."""
    try:
        cells = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []
    return [COLUMNS.get(name.strip().lower(), "") for name in cells]


def _row(line: int, cells: list[str], names: list[str]) -> Row:
    if len(cells) != len(names):
        return Row(line, "", reason=f"has {len(cells)} columns, and the first line {len(names)}")
    fields = {name: cell.strip() for name, cell in zip(names, cells, strict=True) if name}
    email = fields["email"]
    if any("\ud800" <= one <= "\udfff" for cell in cells for one in cell):
        return Row(line, "", reason="is not UTF-8; save the file as CSV UTF-8")
    if any(one < " " or one == "\x7f" for cell in fields.values() for one in cell):
        return Row(line, "", reason="holds a control character, or a line end in quotes")
    role = fields["role"].lower().removeprefix("tenant:")
    try:
        return Row(line, email, NewUser.model_validate({**fields, "role": role}))
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        said = _MEANT.get(field, "should be admin, user or viewer")
        return Row(line, email[:300], reason=f"{field} {fields[field][:50]!r} {said}")


def _lines(text: str, delimiter: str) -> Iterator[tuple[int, list[str], str]]:
    """Line, cells, and what is wrong with the row; those behind the first line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    next(reader)
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader), ""
        except StopIteration:
            return
        except csv.Error as error:
            lines = f" (lines {line} to {reader.line_num} are one row)" if reader.line_num > line else ""
            yield line, [], f"is no row of a CSV file: {error}{lines}"


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise CliError(f"{path} cannot be read ({error.strerror}).") from error
    if len(raw) > MOST_BYTES:
        raise CliError(f"{path} is larger than {MOST_BYTES // 1024 // 1024} MB; invite them in several files.")
    if raw.startswith(_UTF16) or b"\0" in raw:
        raise CliError(f"{path} is not UTF-8; save it as CSV UTF-8.")
    return raw.decode("utf-8-sig", "surrogateescape")
