"""What phase 1 makes of an old database of one user, whatever its SQL is: steps, names and tenants (roadmap, 10).

A step and its line in the record are one transaction, so whatever stops a run, the next one goes on behind it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from cli.errors import CliError
from shared.ids import DEFAULT_TENANT_ID, derived_id, is_uuid

TABLES: Final = ("elements", "relationships", "agents")
COLUMN: Final = "tenant_id"
TENANTS: Final = "tenants"
RECORD: Final = "flowgrid_phase_1"
"""The table of the steps that are done; what else is ours in a database begins with this name."""
SOURCE: Final = "source"
"""The record's first line: what the database was like before."""
MOST_TENANTS: Final = 10_000
_DEFAULT_VALUES: Final = ("", "default", DEFAULT_TENANT_ID)
_SLUG: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,98}[a-z0-9])?")


@dataclass(frozen=True)
class Step:
    """One step, of one table or of none."""

    name: str
    table: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.table}".rstrip()


@dataclass
class Report:
    """`steps`: those of this run, in order; `before`: how many were done already. `rows`: of each table.

    `equal`: all that was in the tables is as it was; None where this run has changed nothing. `notes`: what to know.
    """

    database: str
    undo: bool = False
    steps: list[str] = field(default_factory=list)
    before: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    tenants: int = 0
    equal: bool | None = None
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def steps(tables: Sequence[str], each: Iterable[str], last: Iterable[str] = ()) -> list[Step]:
    """All steps in their order: tenants first, then one kind of step after the other, table by table."""
    of_tables = [Step(name, table) for name in each for table in tables]
    return [Step("tenants"), Step("default"), *of_tables, *map(Step, last)]


class Tenants:
    """Which tenant a value of an older `tenant_id` means. `known`: ids of a table `tenants` that was there."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = set(known)

    def of(self, value: str | None) -> str:
        """No value is the default tenant; an id stays what it is; any other value gives an id, always the same."""
        if value is None or value in _DEFAULT_VALUES:
            return DEFAULT_TENANT_ID
        return value if value in self._known or is_uuid(value) else derived_id("phase 1", value)


def new_tenants(values: Iterable[str | None], tenants: Tenants, ids: set[str], slugs: set[str]) -> list[list[str]]:
    """id, name and slug of each tenant that is missing; the default one first. `ids`, `slugs`: those that are there."""
    named = {DEFAULT_TENANT_ID: ("Default", "default")}
    for value in values:
        named.setdefault(tenants.of(value), (str(value)[:255], str(value).lower()))
    if len(named) > MOST_TENANTS:
        raise CliError(f"The values of {COLUMN} would be more than {MOST_TENANTS} tenants.")
    found, taken = [], set(slugs)
    for id, (name, slug) in named.items():
        if id in ids:
            continue
        if slug in taken or not _SLUG.fullmatch(slug):
            slug = id
        taken.add(slug)
        found.append([id, name, slug])
    return found
