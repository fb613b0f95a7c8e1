"""Models, elements and relationships: what is stored and shown, and what a client may set.

Words of ArchiMate are spelled as ArchiMate spells them (`BusinessProcess`, `ReadWrite`), all others in lower case.
"""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints

from functions.catalog.archimate import ElementType, Layer, RelationshipType
from functions.catalog.exchange import AccessType
from shared.http.pagination import NamedQuery, Query
from shared.kinds import Kind
from shared.work.resources import Answer, Body, Id, Resource, Timestamp

MAX_FILE_BYTES = 32 * 1024 * 1024
"""Of an exchange file, whichever way it goes."""
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _writable(text: str) -> str:
    if not text.isprintable() and (wrong := _UNWRITABLE.search(text)):
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


def of_no_model(body: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 to 2: what was there before there were models is of none."""
    return {"model_id": None, **body}


def that_says_nothing(body: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 to 2: of a model only the name was kept."""
    return {"description": "", "version": None, "properties": {}, "languages": {}, "translations": {}, **body}


class LastImport(Answer):
    """The file that changed a model last."""

    at: Timestamp = Field(description="When it came to its end.")
    by: str = Field(description="The user's id, or the token's subject.")
    identifier: str = Field(description="What the file calls its model, which may be another when merged by choice.")
    file_sha256: str = Field(description="Hash of the file, under which it is kept.")
    elements: int = Field(description="Taken from the file.")
    relationships: int = Field(description="Taken from the file.")


class Model(Resource):
    """A model that came in exchange files; its elements and relationships name it (`model_id`)."""

    KIND: ClassVar[Kind] = Kind(
        "model",
        filtered=("name",),
        upcasts=[that_says_nothing],
        sorted=("updated_at", "name"),
        backup="restored",
        journalled=True,
        exported=True,
    )

    name: str = Field(description="What its last file calls it.")
    description: str = Field("", description="What it is, in words.")
    version: str | None = Field(None, description="Its version, as its last file has it.")
    properties: dict[str, str] = Field({}, description="Free names and values.")
    languages: dict[str, str] = Field({}, description="Field -> language of its value (exchange files).")
    translations: Translations = Field({}, description="Language -> field -> value, for every further language.")
    identifier: str = Field(description="What its files call it, or the key under which it was first imported.")
    last_import: LastImport | None = Field(None, description="Null until an import has come to its end.")


class ModelQuery(NamedQuery):
    name: str | None = Field(None, max_length=1000)


class ModelDeleteQuery(Query):
    cascade: bool = Field(False, description="Delete its elements and relationships, and what is at them, as well.")


class ExportQuery(Query):
    model: str | None = Field(
        None, min_length=1, max_length=255, description="This model alone: its id, or its identifier."
    )


def never_migrated(body: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 to 3: what was there before old databases were migrated came from none."""
    return {"legacy_id": None, **body}


class Imported(Resource):
    """What an exchange file says beyond the fields of its own: every language, and the file's identifier."""

    model_id: Id | None = Field(None, description="The imported model that it is part of; null: of none.")
    description: str = Field(description="What it is, in words.")
    properties: dict[str, str] = Field(description="Free names and values.")
    languages: dict[str, str] = Field({}, description="Field -> language of its value (exchange files).")
    translations: Translations = Field({}, description="Language -> field -> value, for every further language.")
    source_identifier: str | None = Field(None, description="The identifier in the exchange file that it came from.")


class Migrated(Imported):
    """What may also come from an old database (docs/decisions/0051)."""

    legacy_id: str | None = Field(None, description="Its key in the old database that it was migrated from.")


class Element(Migrated):
    """An ArchiMate element; its layer follows from its type."""

    KIND: ClassVar[Kind] = Kind(
        "element",
        filtered=("name", "type", "layer", "model_id"),
        upcasts=[of_no_model, never_migrated],
        sorted=("updated_at", "name"),
        refers={"model_id": ("model",)},
        backup="restored",
        journalled=True,
        exported=True,
    )

    name: str = Field(description="What it is called.")
    type: ElementType = Field(description="Its type in ArchiMate 3.2.")
    layer: Layer = Field(description="The layer of its type.")


class ElementFields(Body):
    """What a client may set of an element."""

    name: Name = Field("", description="Only a Junction may have none.", examples=["Incident management"])
    type: ElementType
    description: Text = ""
    properties: Properties = Field({})


class ElementQuery(NamedQuery):
    name: str | None = Field(None, max_length=1000)
    type: ElementType | None = None
    layer: Layer | None = None
    model_id: str | None = Field(None, max_length=100)


class Relationship(Migrated):
    """An ArchiMate relationship; its ends are elements, or relationships where ArchiMate allows that."""

    KIND: ClassVar[Kind] = Kind(
        "relationship",
        filtered=("type", "source_id", "target_id", "model_id"),
        upcasts=[of_no_model, never_migrated],
        sorted=("updated_at", "name"),
        refers={
            "source_id": ("element", "relationship"),
            "target_id": ("element", "relationship"),
            "model_id": ("model",),
        },
        backup="restored",
        journalled=True,
        exported=True,
    )

    type: RelationshipType = Field(description="Its type in ArchiMate 3.2.")
    source_id: Id = Field(description="Where it begins: an element, or a relationship where ArchiMate allows that.")
    target_id: Id = Field(description="Where it ends, likewise.")
    name: str = Field(description="What it is called; may be empty.")
    access_type: AccessType | None = Field(description="Of an Access: what is done.")
    influence: str | None = Field(description="Of an Influence: its sign or strength.")
    is_directed: bool | None = Field(description="Of an Association: whether it has a direction.")


class RelationshipFields(Body):
    """What a client may set of a relationship."""

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
    model_id: str | None = Field(None, max_length=100)


class DeleteQuery(Query):
    cascade: bool = Field(False, description="Delete the relationships at it as well.")


class NeighborQuery(Query):
    depth: int = Field(1, ge=1, le=5, description="Relationships between the element and the farthest neighbor.")
    direction: Literal["in", "out", "both"] = Field(
        "both", description="Which relationships are followed: those that begin at it, that end at it, or both."
    )
    type: RelationshipType | None = Field(None, description="Only relationships of this type.")


class Neighbor(Answer):
    """An element, and how far it is."""

    distance: int = Field(description="Relationships between it and the center.")
    element: Element = Field(description="The neighbor.")


class Neighborhood(Answer):
    """What is around an element, nearest first; `truncated` when there is more than is shown."""

    center: Element = Field(description="The element that was asked about.")
    elements: list[Neighbor] = Field(description="What is around it, nearest first.")
    relationships: list[Relationship] = Field(description="Those between all of these.")
    truncated: bool = Field(description="Whether there is more than is shown.")
