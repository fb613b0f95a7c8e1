"""Turns a node's texts into what `exchange.py` describes (one chosen value, translations beside it), and back."""

from typing import Final, TypedDict

from functions.catalog.exchange import FoundElement, FoundRelationship, FoundView, Languages, ModelHeader, Translations

PROPERTY: Final = "property:"
Fields = dict[str, dict[str, list[str]]]
"""Texts by field ("name", "description", "property:<key>") and language, as they follow one another in the file."""


class Texts(TypedDict):
    name: str
    description: str
    languages: Languages
    translations: Translations
    properties: dict[str, str]


def choose(fields: Fields) -> Texts:
    first = next((language for texts in fields.values() for language in texts), "")
    chosen: dict[str, str] = {}
    languages: Languages = {}
    translations: Translations = {}
    for field, texts in fields.items():
        main = first if first in texts else next(iter(texts))
        chosen[field] = "\n".join(texts[main])
        if main:
            languages[field] = main
        for language, values in texts.items():
            if language != main:
                translations.setdefault(language, {})[field] = "\n".join(values)
    return Texts(
        name=chosen.pop("name", ""),
        description=chosen.pop("description", ""),
        languages=languages,
        translations=translations,
        properties={field.removeprefix(PROPERTY): text for field, text in chosen.items()},
    )


def spread(item: ModelHeader | FoundElement | FoundRelationship | FoundView) -> dict[str, list[tuple[str, str]]]:
    """Every (language, text) by field, the chosen one first: the way back from `choose`."""
    chosen = {"name": item.name, "description": item.description}
    chosen |= {PROPERTY + key: value for key, value in item.properties.items()}
    fields = {
        field: [(item.languages.get(field, ""), text)]
        for field, text in chosen.items()
        if text or field.startswith(PROPERTY)
    }
    for language, texts in item.translations.items():
        for field, text in texts.items():
            fields.setdefault(field, []).append((language, text))
    return fields
