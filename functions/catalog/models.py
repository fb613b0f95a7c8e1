"""Elements and relationships: what is stored and shown, and what a client may set."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from functions.catalog.archimate import ElementType, Layer, RelationshipType
from functions.catalog.exchange import AccessType
from shared.http.pagination import NamedQuery, Query
from shared.kinds import Kind
from shared.work.resources import Body, Id, Resource

MAX_FILE_BYTES = 32 * 1024 * 1024
"""Of an exchange file, whichever way it goes."""
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _writable(text: str) -> str:
    if wrong := _UNWRITABLE.search(text):
        raise ValueError(f"has the character U+{ord(wrong[0]):04X}, which no exchange file can hold")
    return text


Writable = AfterValidator(_writable)
Name = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000), Writable]
Text = Annotated[str, Field(max_length=20_000), Writable]
Properties = Annotated[
    dict[Annotated[str, StringConstraints(min_length=1, max_length=255), Writable], Text],
    Field(max_length=200, examples=[{"Owner": "Operations"}]),
]
Translations = dict[str, dict[str, str]]


class Imported(Resource):
    """What an exchange file says beyond the fields of its own: every language, and the file's identifier."""

    description: str
    properties: dict[str, str]
    languages: dict[str, str] = Field({}, description="Field -> language of its value (exchange files).")
    translations: Translations = Field({}, description="Language -> field -> value, for every further language.")
    source_identifier: str | None = Field(None, description="The identifier in the exchange file that it came from.")


class Element(Imported):
    """An ArchiMate element; its layer follows from its type."""

    KIND: ClassVar[Kind] = Kind(
        "element",
        filtered=("name", "type", "layer"),
        sorted=("updated_at", "name"),
        backup="restored",
        journalled=True,
        exported=True,
    )

    name: str
    type: ElementType
    layer: Layer


class ElementFields(Body):
    name: Name = Field("", description="Only a Junction may have none.", examples=["Incident management"])
    type: ElementType
    description: Text = ""
    properties: Properties = Field({})


class ElementQuery(NamedQuery):
    name: str | None = Field(None, max_length=1000)
    type: ElementType | None = None
    layer: Layer | None = None


class Relationship(Imported):
    """An ArchiMate relationship; its ends are elements, or relationships where ArchiMate allows that."""

    KIND: ClassVar[Kind] = Kind(
        "relationship",
        filtered=("type", "source_id", "target_id"),
        sorted=("updated_at", "name"),
        refers=dict.fromkeys(("source_id", "target_id"), ("element", "relationship")),
        backup="restored",
        journalled=True,
        exported=True,
    )

    type: RelationshipType
    source_id: Id
    target_id: Id
    name: str
    access_type: AccessType | None
    influence: str | None
    is_directed: bool | None


class RelationshipFields(Body):
    type: RelationshipType
    source_id: Id
    target_id: Id
    name: Name = ""
    description: Text = ""
    properties: Properties = Field({})
    access_type: AccessType | None = Field(None, description="Of an Access only.")
    influence: Annotated[str, Field(max_length=255), Writable] | None = Field(
        None, description="Of an Influence only: +, -, …."
    )
    is_directed: bool | None = Field(None, description="Of an Association only.")


class RelationshipQuery(NamedQuery):
    type: RelationshipType | None = None
    source_id: str | None = Field(None, max_length=100)
    target_id: str | None = Field(None, max_length=100)


class DeleteQuery(Query):
    cascade: bool = Field(False, description="Delete the relationships at it as well.")


class NeighbourQuery(Query):
    depth: int = Field(1, ge=1, le=5, description="Relationships between the element and the farthest neighbour.")
    direction: Literal["in", "out", "both"] = "both"
    type: RelationshipType | None = None


class Neighbour(BaseModel):
    distance: int
    element: Element


class Neighbourhood(BaseModel):
    """What is around an element, nearest first; `truncated` when there is more than is shown."""

    center: Element
    elements: list[Neighbour]
    relationships: list[Relationship]
    truncated: bool


class ImportCounts(BaseModel):
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0


class SkippedItem(BaseModel):
    identifier: str
    kind: str
    reason: str


class ImportReport(BaseModel):
    """What an import has done; the uploaded file itself is kept under `file_sha256`, with its views."""

    model: str
    created: int
    updated: int
    unchanged: int
    skipped: int
    elements: ImportCounts
    relationships: ImportCounts
    skipped_items: list[SkippedItem] = Field(description="The first 200.")
    views: int = Field(description="Views in the file; they are kept with it and not modelled.")
    file_sha256: str
