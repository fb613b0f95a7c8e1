"""JSON Schemas of tools' arguments: a bounded part of draft 2020-12, in which each check costs what it looks like.

Without references a schema is as large as its text; patterns are matched in linear time (Rust's regex).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

MAX_BYTES: Final = 16 * 1024
MAX_DEPTH: Final = 12
MAX_SCHEMAS: Final = 300
MAX_PATTERNS: Final = 50
PATTERN_BYTES: Final = 256 * 1024  # compiled, all of a schema: a short one can say what takes megabytes, and seconds
MAX_ARGUMENT_BYTES: Final = 64 * 1024
MAX_SHOWN = 5
MAX_EXPLAINED: Final = 1024 * 1024  # bytes of schema times bytes of arguments: what errors come to, in time and memory
_ONE = frozenset({"items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"})
LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
BY_NAME: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
APPLIED: Final = _ONE | LISTS | BY_NAME
"""The keywords that hold schemas."""
PLAIN: Final = frozenset(
    {
        "type",
        "enum",
        "const",
        "multipleOf",
        "maximum",
        "exclusiveMaximum",
        "minimum",
        "exclusiveMinimum",
        "maxLength",
        "minLength",
        "pattern",
        "maxItems",
        "minItems",
        "uniqueItems",
        "maxContains",
        "minContains",
        "maxProperties",
        "minProperties",
        "required",
        "dependentRequired",
        "title",
        "description",
        "default",
        "examples",
        "format",
        "deprecated",
        "readOnly",
        "writeOnly",
    }
)
"""The other keywords that are understood."""


def wrong_with_schema(schema: Mapping[str, Any]) -> str | None:
    """What is wrong with the schema of an object, in words that follow its name; None: nothing."""
    try:
        size = len(json.dumps(schema, ensure_ascii=False).encode())
    except (ValueError, RecursionError):
        return "is no JSON that can be kept"
    if size > MAX_BYTES:
        return f"is {size} bytes of JSON; at most {MAX_BYTES}"
    if schema.get("type") != "object" or not isinstance(schema.get("properties", {}), dict):
        return 'should be the schema of an object: {"type": "object", "properties": {…}}'
    if wrong := _wrong_within(schema):
        return wrong
    try:
        validator_of(schema)
    except ValueError as error:  # jsonschema_rs.ValidationError is one
        hint = (
            "; patterns have no look-around, no back-references, no huge repetitions" if "regex" in str(error) else ""
        )
        return f"is no JSON Schema: {_line(str(error))}{hint}"
    return None


def wrong_with_arguments(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """What a model is told of arguments that are not as the schema has them; None: they are."""
    try:
        size = len(json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError):  # half a character, too: UnicodeEncodeError is one
        return "The arguments are no JSON that can be sent."
    if size > MAX_ARGUMENT_BYTES:
        return f"The arguments are {size} bytes of JSON; at most {MAX_ARGUMENT_BYTES}."
    validator = validator_of(schema)
    if validator.is_valid(dict(arguments)):
        return None
    if size * len(json.dumps(schema)) > MAX_EXPLAINED:
        return _wrong_names(schema, arguments)
    errors = islice(validator.iter_errors(dict(arguments)), MAX_SHOWN)
    return "; ".join(_line(f"{_path(error.instance_path) or 'arguments'}: {error.message}") for error in errors)


def _wrong_names(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """Which arguments are wrong, without what is wrong within: the library makes every error before it shows one."""
    known: Mapping[str, Any] = schema.get("properties", {})
    wrong = (
        name
        for name in arguments
        if name in known and not validator_of({"properties": {name: known[name]}}).is_valid({name: arguments[name]})
    )
    said = [f"{name}: is not as its schema has it" for name in islice(wrong, MAX_SHOWN)]
    return "; ".join(map(_line, said)) or "arguments: are not as the schema has them; send no others, and all required"


def validator_of(schema: Mapping[str, Any]) -> "Draft202012Validator":
    """ValueError for what is no schema; `format` is a remark, as the draft has it."""
    from jsonschema_rs import Draft202012Validator, RegexOptions

    each = PATTERN_BYTES // max(1, _patterns_in(schema))
    return Draft202012Validator(
        dict(schema),
        pattern_options=RegexOptions(size_limit=each, dfa_size_limit=each),
        validate_formats=False,
        offline=True,
        mask="it",
    )


def inner(schema: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas that a schema holds itself."""
    for keyword, value in schema.items():
        if keyword in _ONE:
            yield value
        elif keyword in LISTS and isinstance(value, list):
            yield from value
        elif keyword in BY_NAME and isinstance(value, dict):
            yield from value.values()


def _wrong_within(schema: Mapping[str, Any]) -> str | None:
    """What is too deep, too much, or not understood."""
    count, patterns, waiting = 0, 0, [(schema, 1)]
    while waiting:
        one, depth = waiting.pop()
        count += 1
        if count > MAX_SCHEMAS:
            return f"holds more than {MAX_SCHEMAS} schemas"
        patterns += _own_patterns(one)
        if patterns > MAX_PATTERNS:
            return f"holds more than {MAX_PATTERNS} patterns"
        if depth > MAX_DEPTH:
            return f"is nested deeper than {MAX_DEPTH}"
        for keyword in one:
            if keyword.startswith("$"):
                return f"has {keyword[:30]}: write what it refers to in its place"
            if keyword not in APPLIED | PLAIN:
                return f"has {keyword[:30]!r}, which is no keyword that is understood here"
        waiting += [(each, depth + 1) for each in inner(one) if isinstance(each, dict)]
    return None


def _patterns_in(schema: Mapping[str, Any]) -> int:
    count, waiting = 0, [schema]
    while waiting:
        one = waiting.pop()
        count += _own_patterns(one)
        waiting += [each for each in inner(one) if isinstance(each, dict)]
    return count


def _own_patterns(schema: Mapping[str, Any]) -> int:
    named = schema.get("patternProperties")
    return ("pattern" in schema) + (len(named) if isinstance(named, dict) else 0)


def _path(parts: Iterable[str | int]) -> str:
    return ".".join(map(str, parts))


def _line(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= 200 else line[:200] + "…"
