"""What a migration tells at its end: numbers that add up for each table, and what they were made of."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table as Grid

from functions.migration.models import MODELS, Table


@dataclass
class Counts:
    """Rows of one table."""

    source: int = 0
    created: int = 0
    unchanged: int = 0
    kept: int = 0
    quarantined: int = 0

    @property
    def migrated(self) -> int:
        """Those that are items there: made now, before, or changed since."""
        return self.created + self.unchanged + self.kept


@dataclass
class Report:
    """`runs`: tenant -> run. `different`: rows that were read back otherwise than they were sent, the first ones."""

    source: str
    sha256: str
    dry_run: bool
    tables: dict[Table, Counts] = field(default_factory=lambda: {table: Counts() for table in MODELS})
    notes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    runs: dict[str, str] = field(default_factory=dict)
    checksum_source: str = ""
    checksum_stored: str = ""
    compared: int = 0
    different: list[str] = field(default_factory=list)
    quarantine: str | None = None

    @property
    def complete(self) -> bool:
        """Nothing was dropped, and what is there says what was there."""
        sums = all(one.source == one.migrated + one.quarantined for one in self.tables.values())
        return sums and self.checksum_source == self.checksum_stored

    def as_json(self) -> dict[str, Any]:
        """Plain values of all of it."""
        tables = {name: {**asdict(one), "migrated": one.migrated} for name, one in self.tables.items()}
        return {**vars(self), "tables": tables, "complete": self.complete}

    def as_grid(self) -> Grid:
        """The numbers as a table."""
        title = f"{'Dry run: ' if self.dry_run else ''}{self.source}"
        equal = self.checksum_source == self.checksum_stored
        grid = Grid(title=title, caption=f"checksum {'equal' if equal else 'NOT EQUAL'}")
        names = ("", "source", "migrated", "new", "the same", "changed since", "quarantined")
        for name in names:
            grid.add_column(name, justify="right" if name else "left")
        for table, one in self.tables.items():
            numbers = (one.source, one.migrated, one.created, one.unchanged, one.kept, one.quarantined)
            grid.add_row(table, *(f"{number:,}" for number in numbers))
        return grid
