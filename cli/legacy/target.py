"""Where rows go: a tenant here, or one of a Flowgrid that is reached by its API. One port, two adapters.

What fails in passing is tried again by the adapter, for a bounded while; CliError says what else has failed.
"""

from abc import ABC, abstractmethod
from typing import Final

from functions.migration.models import (
    MOST_ROWS,
    Digests,
    Finished,
    Look,
    Migration,
    NewMigration,
    Outcomes,
    Rows,
    Table,
)

LATER: Final = "Migrate again later: it goes on where it is."


class Place(ABC):
    """One tenant, as rows come into it."""

    tenant_id: str

    @abstractmethod
    async def begin(self, new: NewMigration) -> Migration:
        """As `MigrationService.begin`."""

    @abstractmethod
    async def take(self, run: str, rows: Rows) -> Outcomes:
        """As `MigrationService.take`."""

    @abstractmethod
    async def look(self, run: str, asked: Look) -> Digests:
        """As `MigrationService.look`."""

    @abstractmethod
    async def finish(self, run: str, ended: Finished) -> Migration:
        """As `MigrationService.finish`."""

    @abstractmethod
    async def undo(self, run: str) -> Migration:
        """As `MigrationService.undo`."""


class Target(ABC):
    """A Flowgrid. `at_once`: calls side by side."""

    at_once: int

    def rows_of_a_call(self, table: Table) -> int:
        """How many rows of a table one call takes at most."""
        return MOST_ROWS

    @abstractmethod
    async def place(self, tenant: str, *, make: bool = True) -> Place:
        """The tenant of this id or slug; CliError where there is none. `make`: the default one is made then."""

    @abstractmethod
    async def close(self) -> None:
        """Give back files and sockets."""
