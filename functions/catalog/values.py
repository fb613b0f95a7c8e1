"""What is kept of what a client sends or a file holds: the form that an export and import gives back unchanged.

Which of several texts is the chosen one follows from the languages alone (see `exchange.py`), and a Junction is always
an And or an Or; both are settled before anything is stored.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import ValidationError

from functions.catalog.archimate import layer_of
from functions.catalog.exchange import (
    JUNCTION,
    FoundElement,
    FoundRelationship,
    FoundView,
    ModelHeader,
    Translations,
)
from functions.catalog.exchange_text import PROPERTY, Fields, Texts, choose, spread
from functions.catalog.exchange_xml import xml_id
from functions.catalog.models import Element, ElementFields, Relationship, RelationshipFields
from shared.errors import Invalid, TooLarge
from shared.work.resources import MAX_RESOURCE_BYTES

MAX_FIELDS_BYTES: Final = MAX_RESOURCE_BYTES - 8 * 1024  # the rest is for the envelope, which an import makes longer
MAX_IDENTIFIER: Final = 255
MAX_NAME: Final = 1000
MAX_TEXT: Final = 20_000
_JUNCTION_FIELD = PROPERTY + JUNCTION
_MOST_OF_REPR = 4
"""Bytes of JSON for each character of a `repr`: one that is kept as it is takes four at most, or is escaped in both."""
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def settled_element(found: FoundElement) -> FoundElement:
    return replace(found, identifier=xml_id(found.identifier), **settled_texts(found))


def settled_relationship(found: FoundRelationship) -> FoundRelationship:
    source, target = xml_id(found.source), xml_id(found.target)
    return replace(found, identifier=xml_id(found.identifier), source=source, target=target, **settled_texts(found))


def is_nameable(found: FoundElement | FoundRelationship) -> bool:
    """Whether its identifiers are short enough when they are written as XML names."""
    names = [found.identifier] if isinstance(found, FoundElement) else [found.identifier, found.source, found.target]
    return max(len(xml_id(name)) for name in names) <= MAX_IDENTIFIER


def refusal(found: FoundElement | FoundRelationship) -> str | None:
    """Why an item of a file is not taken although it is well formed: a client could not set it, so not change it."""
    try:
        _as_sent(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])[:300]}: {first['msg']}"
    return long_translation(found.translations) or _too_large(_texts_of(found))


def long_translation(translations: Translations) -> str | None:
    """Which text is longer than a client could set."""
    for language, texts in translations.items():
        for field, text in texts.items():
            if len(text) > (most := MAX_NAME if field == "name" else MAX_TEXT):
                return f"{field} in language {language!r} has {len(text)} characters; at most {most} can be kept"
    return None


def element_values(sent: ElementFields, old: Element | None = None) -> dict[str, Any]:
    """The stored fields for what a client sends; translations of `old` stay with the texts that stay."""
    if not sent.name and sent.type != "Junction" and (old is None or old.name):
        raise Invalid.of("name", "should have at least 1 character (only a Junction may have none)", sent.name)
    kind = sent.properties.get(JUNCTION, "and")
    if sent.type == "Junction" and kind not in ("and", "or"):
        raise Invalid.of(f"properties.{JUNCTION}", "should be and or or", kind)
    if old is None:
        texts = _plain(sent)
        if sent.type == "Junction":
            texts["properties"][JUNCTION] = kind
    else:
        texts = settled_texts(FoundElement("", **sent.model_dump(), **_languages(sent, old)))
    return _kept({"type": sent.type, "layer": layer_of(sent.type), **texts})


def relationship_values(sent: RelationshipFields, old: Relationship | None = None) -> dict[str, Any]:
    """The stored fields for what a client sends; translations of `old` stay with the texts that stay."""
    if old is None:
        return _kept({**vars(sent), **_plain(sent)})
    texts = sent.model_dump(include={"name", "description", "properties"})
    found = FoundRelationship("", sent.type, sent.source_id, sent.target_id, **texts, **_languages(sent, old))
    return _kept({**sent.model_dump(), **settled_texts(found)})


def _as_sent(found: FoundElement | FoundRelationship) -> ElementFields | RelationshipFields:
    texts = {name: getattr(found, name) for name in ("type", "name", "description", "properties")}
    if isinstance(found, FoundElement):
        return ElementFields.model_validate(texts)
    details = {name: getattr(found, name) for name in ("access_type", "influence", "is_directed")}
    return RelationshipFields.model_validate({**texts, **details, "source_id": "source", "target_id": "target"})


def _texts_of(found: FoundElement | FoundRelationship) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("name", "description", "languages", "translations", "properties")}


def _kept(fields: dict[str, Any]) -> dict[str, Any]:
    if reason := _too_large(fields):
        raise TooLarge(reason)
    return fields


def _too_large(fields: Mapping[str, Any]) -> str | None:
    if _MOST_OF_REPR * len(repr(fields)) <= MAX_FIELDS_BYTES:  # as most: what takes a third of the time says so
        return None
    size = len(_ENCODE(fields).encode())
    if size <= MAX_FIELDS_BYTES:
        return None
    return f"Its texts are {size} bytes of JSON; at most {MAX_FIELDS_BYTES} can be kept."


def _languages(sent: ElementFields | RelationshipFields, old: Element | Relationship) -> dict[str, Any]:
    kept = {PROPERTY + key for key in sent.properties} | {
        field for field in ("name", "description") if getattr(sent, field)
    }
    translations = {
        language: {field: text for field, text in texts.items() if field in kept}
        for language, texts in old.translations.items()
    }
    return {"languages": old.languages, "translations": translations}


def settled_texts(found: FoundElement | FoundRelationship | FoundView | ModelHeader) -> Texts:
    """Each text in its language, the chosen one first."""
    texts = choose(_fields(found)) if found.languages or found.translations else _plain(found)
    if isinstance(found, FoundElement) and found.type == "Junction":
        texts["properties"][JUNCTION] = "or" if found.properties.get(JUNCTION) == "or" else "and"
    return texts


def _fields(found: FoundElement | FoundRelationship | FoundView | ModelHeader) -> Fields:
    fields: Fields = {"name": {}, "description": {}}
    for field, values in spread(found).items():
        for language, text in values:
            if field != _JUNCTION_FIELD and (text or field.startswith(PROPERTY)):
                fields.setdefault(field, {}).setdefault(language, []).append(text)
    return {field: values for field, values in fields.items() if values}


def _plain(
    found: FoundElement | FoundRelationship | FoundView | ModelHeader | ElementFields | RelationshipFields,
) -> Texts:
    """Of what is in one language, as most is: nothing has to be chosen."""
    properties = {name: text for name, text in found.properties.items() if name != JUNCTION}
    return Texts(name=found.name, description=found.description, languages={}, translations={}, properties=properties)
