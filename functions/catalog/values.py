"""What is kept of what a client sends or a file holds: the form that an export and import gives back unchanged.

Which of several texts is the chosen one follows from the languages alone (see `exchange.py`), and a Junction is always
an And or an Or; both are settled before anything is stored.
"""

from dataclasses import replace
from typing import Any

from functions.catalog.archimate import layer_of
from functions.catalog.exchange import JUNCTION, FoundElement, FoundRelationship
from functions.catalog.exchange_text import PROPERTY, Fields, Texts, choose, spread
from functions.catalog.exchange_write import xml_id
from functions.catalog.models import Element, ElementFields, Relationship, RelationshipFields
from shared.errors import Invalid

_JUNCTION_FIELD = PROPERTY + JUNCTION


def settled_element(found: FoundElement) -> FoundElement:
    return replace(found, identifier=xml_id(found.identifier), **_settled(found))


def settled_relationship(found: FoundRelationship) -> FoundRelationship:
    source, target = xml_id(found.source), xml_id(found.target)
    return replace(found, identifier=xml_id(found.identifier), source=source, target=target, **_settled(found))


def element_values(sent: ElementFields, old: Element | None = None) -> dict[str, Any]:
    """The stored fields for what a client sends; translations of `old` stay with the texts that stay."""
    if not sent.name and sent.type != "Junction" and (old is None or old.name):
        raise Invalid.of("name", "should have at least 1 character (only a Junction may have none)", sent.name)
    kind = sent.properties.get(JUNCTION, "and")
    if sent.type == "Junction" and kind not in ("and", "or"):
        raise Invalid.of(f"properties.{JUNCTION}", "should be and or or", kind)
    texts = _settled(FoundElement("", **sent.model_dump(), **_languages(sent, old)))
    return {"type": sent.type, "layer": layer_of(sent.type), **texts}


def relationship_values(sent: RelationshipFields, old: Relationship | None = None) -> dict[str, Any]:
    """The stored fields for what a client sends; translations of `old` stay with the texts that stay."""
    texts = sent.model_dump(include={"name", "description", "properties"})
    found = FoundRelationship("", sent.type, sent.source_id, sent.target_id, **texts, **_languages(sent, old))
    return {**sent.model_dump(), **_settled(found)}


def _languages(sent: ElementFields | RelationshipFields, old: Element | Relationship | None) -> dict[str, Any]:
    if old is None:
        return {}
    kept = {PROPERTY + key for key in sent.properties} | {
        field for field in ("name", "description") if getattr(sent, field)
    }
    translations = {
        language: {field: text for field, text in texts.items() if field in kept}
        for language, texts in old.translations.items()
    }
    return {"languages": old.languages, "translations": translations}


def _settled(found: FoundElement | FoundRelationship) -> Texts:
    fields: Fields = {"name": {}, "description": {}}
    for field, values in spread(found).items():
        for language, text in values:
            if field != _JUNCTION_FIELD and (text or field.startswith(PROPERTY)):
                fields.setdefault(field, {}).setdefault(language, []).append(text)
    texts = choose({field: values for field, values in fields.items() if values})
    if isinstance(found, FoundElement) and found.type == "Junction":
        texts["properties"][JUNCTION] = "or" if found.properties.get(JUNCTION) == "or" else "and"
    return texts
