"""What an import is asked for, and what it tells."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from functions.catalog.exchange import ItemKind
from functions.catalog.models import Model
from shared.http.pagination import PageQuery, Query
from shared.kinds import Kind
from shared.work.resources import Answer, Id

Mode = Literal["merge", "mirror"]
What = Literal["skipped", "removed", "created", "updated"]


@dataclass(frozen=True)
class Asked:
    """How a file is to be imported: into the model `named`, or its own."""

    named: str | None = None
    mode: Mode = "merge"
    dry_run: bool = False


class ImportQuery(Query):
    model: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="Import into this model, whatever the file calls its own: an id, or an identifier (a new one makes "
        "a model).",
    )
    mode: Mode = Field(
        "merge",
        description="`mirror` removes from the model what the file does not have (admins only), `merge` nothing. An "
        "empty file, or one whose model is called otherwise than that of the last import, is no mirror.",
    )
    dry_run: bool = Field(False, description="Only tell what would be made, changed and removed.")

    def asked(self) -> "Asked":
        return Asked(self.model, self.mode, self.dry_run)


class ImportCounts(Answer):
    """What became of what a file holds."""

    created: int = Field(0, description="Made.")
    updated: int = Field(0, description="Changed.")
    unchanged: int = Field(0, description="Already as in the file.")
    skipped: int = Field(0, description="Not taken; see `skipped_items`.")
    removed: int = Field(0, description="Deleted, as the file does not have them (`mode=mirror`).")

    @property
    def changed(self) -> int:
        return self.created + self.updated + self.removed

    @property
    def taken(self) -> int:
        return self.created + self.updated + self.unchanged


class ImportedItem(Answer):
    """Something in a file, or in the model, and what became of it."""

    identifier: str = Field(description="Its identifier in the file.")
    kind: ItemKind = Field(description="What it is.")
    reason: str = Field(description="Why it was not taken; of others their name.")


class ImportReport(Answer):
    """What an import has done, or would do (`dry_run`); the uploaded file itself is kept under `file_sha256`."""

    id: Id = Field(description="Of this report, by which it is read again.")
    model: str = Field(description="The name of the model in the file.")
    model_id: Id | None = Field(description="The model imported into; null for an export of the whole catalog.")
    mode: Mode = Field(description="As it was asked for.")
    dry_run: bool = Field(description="Whether nothing of it was done.")
    created: int = Field(description="Elements, relationships and views made.")
    updated: int = Field(description="Those changed.")
    unchanged: int = Field(description="Those that were already as in the file.")
    skipped: int = Field(description="Those not taken.")
    removed: int = Field(description="Those deleted, as the file does not have them.")
    elements: ImportCounts = Field(description="The same, of elements alone.")
    relationships: ImportCounts = Field(description="The same, of relationships alone.")
    views: ImportCounts = Field(description="The same, of views alone.")
    parts: ImportCounts = Field(description="Stretches of folders, property definitions, metadata and viewpoints.")
    skipped_items: list[ImportedItem] = Field(description="The first 200; `GET v1/catalog/imports/{id}/items` has all.")
    removed_items: list[ImportedItem] = Field(description="The first 200, likewise.")
    file_sha256: str = Field(description="Hash of the file, under which it is kept.")

    def makes(self) -> list[tuple[Kind, str]]:
        return [] if self.dry_run or self.model_id is None else [(Model.KIND, self.model_id)]


class ImportItemsQuery(PageQuery):
    what: What = Field(
        "skipped", description="What became of them; what was made and changed is listed of a `dry_run` only."
    )
