"""A small instance of a JSON Schema, the same one each time: what is required and no more."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

DEEPEST = 20
LONGEST = 200
MOST_ITEMS = 100
MOST_CHARACTERS = 64 * 1024  # of JSON, near enough: items of items multiply
FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "offline@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_WORD = r"[^\W_]{3,}"
_COMMON = frozenset(
    (
        *(
            "about",
            "after",
            "all",
            "and",
            "any",
            "are",
            "but",
            "can",
            "for",
            "from",
            "has",
            "have",
            "how",
            "into",
            "its",
        ),
        *("may", "more", "not", "one", "our", "out", "should", "some", "than", "that", "the", "their", "them", "then"),
        *("there", "these", "they", "this", "use", "used", "using", "was", "what", "when", "where", "which", "who"),
        *("why", "will", "with", "you", "your"),
    )
)


def words_of(text: str) -> set[str]:
    """Its words of three letters and more, without the commonest; a plural counts as its singular."""
    found = {word.lower() for word in re.findall(_WORD, text)} - _COMMON
    return {word.removesuffix("s") if len(word) > 3 else word for word in found}


def instance(schema: Mapping[str, Any], text: str, *, free: str | None = None) -> Any:
    """An instance that takes up what `text` says: enums of its words, its words where a string may be any.

    `free`: what to write there in its place. ValueError for a schema that nests deeper than `DEEPEST`, or that wants
    more than `MOST_CHARACTERS`.
    """
    return _Maker(schema, text, text if free is None else free).make(schema, 0)


class _Maker:
    def __init__(self, root: Mapping[str, Any], text: str, free: str) -> None:
        self._root = root
        self._words = words_of(text)
        self._free = free
        self._left = MOST_CHARACTERS

    def make(self, schema: Any, depth: int) -> Any:
        if depth > DEEPEST:
            raise ValueError("the schema nests too deep")
        self._spend(1)
        schema = self._whole(schema, depth)
        for key in ("const", "default"):
            if key in schema:
                return self._given(schema[key])
        if schema.get("enum"):
            return self._given(self._chosen(schema["enum"]))
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                return self.make({**_without(schema, key), **self._whole(self._likely(schema[key]), depth)}, depth + 1)
        match self._type(schema):
            case "object":
                fields = schema.get("properties", {})
                names = schema.get("required", ())
                self._spend(sum(map(len, names)))
                return {name: self.make(fields.get(name, {}), depth + 1) for name in names}
            case "array":
                least = min(int(schema.get("minItems", 0)), MOST_ITEMS)
                before = [self.make(one, depth + 1) for one in schema.get("prefixItems", ())]
                return before + [self.make(schema.get("items", {}), depth + 1) for _ in range(least - len(before))]
            case "string":
                return self._string(schema)
            case "integer" | "number" as type:
                return _number(schema, whole=type == "integer")
            case "boolean":
                return True
        return None

    def _whole(self, schema: Any, depth: int) -> dict[str, Any]:
        """Without references, and with all that has to be true at once put together."""
        found = dict(schema) if isinstance(schema, Mapping) else {}
        for _ in range(DEEPEST):
            if "$ref" not in found:
                break
            found = {**self._named(str(found["$ref"])), **_without(found, "$ref")}
        for part in found.pop("allOf", ()):
            whole = self._whole(part, depth + 1)
            fields = {**found.get("properties", {}), **whole.get("properties", {})}
            required = [*dict.fromkeys([*found.get("required", ()), *whole.get("required", ())])]
            found = {**found, **whole, "properties": fields, "required": required}
        return found

    def _named(self, reference: str) -> dict[str, Any]:
        found: Any = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
        return dict(found) if isinstance(found, Mapping) else {}

    def _likely(self, schemas: Sequence[Any]) -> Any:
        """The first that is not null."""
        return next((one for one in schemas if not (isinstance(one, Mapping) and one.get("type") == "null")), {})

    def _chosen(self, values: Sequence[Any]) -> Any:
        return next((value for value in values if self._words & words_of(str(value))), values[0])

    def _type(self, schema: Mapping[str, Any]) -> str:
        found = schema.get("type", "object" if "properties" in schema or "required" in schema else "string")
        return str(next((one for one in found if one != "null"), "null") if isinstance(found, list) else found)

    def _string(self, schema: Mapping[str, Any]) -> str:
        if (format := schema.get("format")) in FORMATS:
            return FORMATS[format]
        longest, shortest = min(int(schema.get("maxLength", LONGEST)), LONGEST), int(schema.get("minLength", 0))
        self._spend(max(shortest, min(len(self._free), longest)))
        return self._free.strip()[:longest].ljust(shortest, "-")

    def _given(self, value: Any) -> Any:
        self._spend(len(json.dumps(value)))
        return value

    def _spend(self, characters: int) -> None:
        self._left -= characters
        if self._left < 0:
            raise ValueError(f"the schema wants more than {MOST_CHARACTERS} characters")


def _number(schema: Mapping[str, Any], *, whole: bool) -> int | float:
    step = schema.get("multipleOf") or (1 if whole else 0)
    least = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf))
    most = schema.get("maximum", schema.get("exclusiveMaximum", math.inf))
    value = max(0, least) if most >= 0 else most
    if step:
        value = math.ceil(value / step) * step if most >= 0 else math.floor(value / step) * step
    if value == schema.get("exclusiveMinimum"):
        value += step or (most - least) / 2 if most < math.inf else step or 1
    if value == schema.get("exclusiveMaximum"):
        value -= step or (most - least) / 2 if least > -math.inf else step or 1
    return int(value) if whole or (isinstance(value, float) and value.is_integer()) else value


def _without(schema: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != key}
