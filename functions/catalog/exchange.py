"""What an ArchiMate Model Exchange File holds, as values. `exchange_read.py` reads it, `exchange_write.py` writes it.

Source: The Open Group ArchiMate Model Exchange File Format for ArchiMate 3.0 to 3.2 (one namespace for all three).

How text is held, so that no language is lost: a node's language is that of its first text. `name`, `description` and
each of `properties` are the value in that language, or the first there is. `languages` says which language each of
them is in; what has no xml:lang is absent there. Every further language is in `translations`, by language and then by
field ("" is the language of text without xml:lang beside text that has one):

    languages    = {"name": "en", "property:Owner": "en"}
    translations = {"de": {"name": "Störung", "property:Owner": "Betrieb"}}

Two values of one field in one language (also: one property given twice) are joined by a line feed.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from functions.catalog.archimate import ElementType, RelationshipType

NAMESPACE: Final = "http://www.opengroup.org/xsd/archimate/3.0/"
XSI_TYPE: Final = "http://www.w3.org/2001/XMLSchema-instance}type"
JUNCTION: Final = "archimate:junction"
"""The property that tells an And from an Or junction: "and" or "or". No property definition gets this key."""

MAX_ITEMS: Final = 100_000
"""Of elements, relationships and views, whichever way a file goes."""

AccessType = Literal["Access", "Read", "Write", "ReadWrite"]
ItemKind = Literal["element", "relationship", "view"]
KIND_NAMES: Final[tuple[ItemKind, ...]] = get_args(ItemKind)
Section = Literal["organizations", "metadata", "viewpoints", "definitions"]
Rows = list[dict[str, Any]]
Languages = dict[str, str]
Translations = dict[str, dict[str, str]]


class ExchangeError(ValueError):
    """The file cannot be read at all; the message says what it is and how to mend it."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


class ExchangeTooLarge(ExchangeError):
    """The file is beyond a limit, which the message names."""


@dataclass(frozen=True, slots=True)
class PropertyDefinition:
    """`key` is what `properties` are keyed by: the first name, made unique by adding the identifier where need be."""

    identifier: str
    key: str
    type: str = "string"
    names: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelHeader:
    identifier: str
    name: str
    description: str = ""
    version: str | None = None
    languages: Languages = field(default_factory=dict)
    translations: Translations = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    definitions: tuple[PropertyDefinition, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundElement:
    identifier: str
    type: ElementType
    name: str = ""
    description: str = ""
    languages: Languages = field(default_factory=dict)
    translations: Translations = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FoundRelationship:
    """`source` and `target` are identifiers of elements or relationships; the reader doesn't look them up."""

    identifier: str
    type: RelationshipType
    source: str
    target: str
    name: str = ""
    description: str = ""
    languages: Languages = field(default_factory=dict)
    translations: Translations = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    access_type: AccessType | None = None
    influence: str | None = None
    is_directed: bool | None = None


@dataclass(frozen=True, slots=True)
class FoundView:
    """`styles`, `nodes` and `connections` are as `view_models.View` keeps them, but that `element_id`,
    `relationship_id` and `view_ids` are the file's identifiers; the reader doesn't look them up."""

    identifier: str
    name: str = ""
    description: str = ""
    languages: Languages = field(default_factory=dict)
    translations: Translations = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    viewpoint: str | None = None
    viewpoint_ref: str | None = None
    styles: Rows = field(default_factory=list)
    nodes: Rows = field(default_factory=list)
    connections: Rows = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FoundPart:
    """A section of the model that is kept as it is, row by row, each with its depth (`exchange_rows.py`)."""

    section: Section
    rows: Rows


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was not taken, and how to mend that. `identifier` is "" where the file gives none."""

    identifier: str
    kind: ItemKind
    reason: str


Found = ModelHeader | FoundElement | FoundRelationship | FoundView | FoundPart | Skipped
