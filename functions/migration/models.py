"""Migrations: rows of an old database that become a tenant's elements, relationships and agents."""

from typing import Annotated, ClassVar, Final, Generic, Literal, TypeVar

from pydantic import Field, StringConstraints

from functions.agents.models import Agent, AgentFields
from functions.catalog.models import Element, ElementFields, Relationship, RelationshipFields
from shared.http.pagination import ResourceQuery
from shared.kinds import Kind
from shared.work.resources import WHOLE, Answer, Body, Id, Resource

Table = Literal["elements", "relationships", "agents"]
MODELS: Final[dict[Table, type[Element] | type[Relationship] | type[Agent]]] = {
    "elements": Element,
    "relationships": Relationship,
    "agents": Agent,
}
"""The old tables in the order in which they are migrated: what is named comes first."""
MOST_ROWS: Final = 200
"""Of each table in one call."""
KEPT_TOLD: Final = 100

LegacyId = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Count = Annotated[int, Field(ge=0, le=2**53), WHOLE]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
F = TypeVar("F", bound=Body)


class Row(Body, Generic[F]):
    """A row, in the fields that a client may set; what it names (ends, an element) it names by old keys."""

    legacy_id: LegacyId = Field(description="Its key in the old database.")
    fields: F = Field(description="The same as a client may set of a new one, with old keys for ids.")


class ElementRow(Row[ElementFields]):
    """A row of `elements`."""


class RelationshipRow(Row[RelationshipFields]):
    """A row of `relationships`; its ends are named by old keys."""


class AgentRow(Row[AgentFields]):
    """A row of `agents`; its element is named by the old key."""


class Rows(Body):
    """Rows of one call."""

    elements: list[ElementRow] = Field([], max_length=MOST_ROWS, description="Taken first.")
    relationships: list[RelationshipRow] = Field([], max_length=MOST_ROWS, description="Taken next.")
    agents: list[AgentRow] = Field([], max_length=MOST_ROWS, description="Taken last.")


class Outcome(Answer):
    """What became of a row."""

    outcome: Literal["created", "unchanged", "kept", "waiting", "refused"] = Field(
        description="created; unchanged: it was there already; kept: it was migrated before, and changed or "
        "deleted since; waiting: what it names is not there (yet); refused: it cannot be."
    )
    reason: str | None = Field(None, description="Why it was not created.")


class Outcomes(Answer):
    """What became of each row, in their order."""

    elements: list[Outcome] = Field(description="Of the elements.")
    relationships: list[Outcome] = Field(description="Of the relationships.")
    agents: list[Outcome] = Field(description="Of the agents.")


class Look(Body):
    """Which rows are to be looked at."""

    table: Table = Field(description="Where they come from.")
    legacy_ids: list[LegacyId] = Field(min_length=1, max_length=MOST_ROWS, description="Their old keys.")


class Digests(Answer):
    """What is stored of rows, as digests of all their fields."""

    digests: list[str | None] = Field(
        description="In the order asked for: SHA-256 of the item's fields as canonical JSON; null: there is none."
    )


class Told(Body):
    """Numbers of one table: all its rows are in one of the two."""

    migrated: Count = Field(0, description="Rows that are items here.")
    quarantined: Count = Field(0, description="Rows that are not, each with its reason in the operator's file.")


class Tables(Body):
    """Numbers of all tables."""

    elements: Told = Field(Told(), description="Of elements.")
    relationships: Told = Field(Told(), description="Of relationships.")
    agents: Told = Field(Told(), description="Of agents.")


class NewMigration(Body):
    """A source: the same one again is the same migration."""

    source_sha256: Sha256 = Field(description="Hash of the old database file.")
    source_name: Annotated[str, Field(max_length=255)] = Field(description="What the file is called.")


class Finished(Body):
    """How a migration has ended."""

    tables: Tables = Field(description="What became of the rows.")
    checksum: Sha256 = Field(description="Over the digests of all that was migrated, as it was read back.")


class KeptItem(Answer):
    """Something that an undo has left."""

    table: Table = Field(description="Where it came from.")
    id: Id = Field(description="Its id here.")
    legacy_id: str = Field(description="Its old key.")
    reason: str = Field(description="Why it was left.")


class Migration(Resource):
    """A run: one source file into one tenant."""

    KIND: ClassVar[Kind] = Kind("migration", sorted=("updated_at",))

    source_sha256: str = Field(description="Hash of the old database file.")
    source_name: str = Field(description="What the file is called.")
    status: Literal["running", "succeeded", "deleting", "ended"] = Field(
        description="How far it is; deleting: it is being undone; ended: it is undone, but for what was kept."
    )
    generation: Id = Field(description="Another one each time it is begun: what it makes until it is undone.")
    tables: Tables | None = Field(None, description="What became of the rows, once it is done.")
    checksum: str | None = Field(None, description="Over the digests of all that was migrated.")
    removed: int = Field(0, description="Items that an undo has removed.")
    kept: int = Field(0, description="Items that an undo has left, as others have changed or named them since.")
    kept_items: list[KeptItem] = Field([], description=f"The first {KEPT_TOLD} of those.")


class MigrationQuery(ResourceQuery):
    """Migrations, newest first."""


OPEN: Final = Kind("migrating", transient=True)
"""While it is there, rows of a generation are taken; an undo takes it away first: nothing is made behind its back."""
BATCH: Final = Kind("migration_batch", filtered=("resource_id", "resource_type"))
"""What a batch of a generation (`resource_id`) has made of a table (`resource_type`; `left` while it is undone)."""
