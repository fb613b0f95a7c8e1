"""What is wrong with a field, in Flowgrid's words: a library's own would change with its version.

The types are pydantic's (docs.pydantic.dev/latest/errors/validation_errors); what has no words here "is not valid".
"""

import re
from collections.abc import Mapping
from typing import Any

WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "json_invalid": "is not JSON",
    "value_error": "{error}",
    "string_type": "should be text",
    "string_unicode": "should be whole characters",
    "string_pattern_mismatch": "should match {pattern}",
    "string_too_short": "should have at least {min_length} characters",
    "string_too_long": "should have at most {max_length} characters",
    "too_short": "should have at least {min_length} entries",
    "too_long": "should have at most {max_length} entries",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_parsing_size": "should be a whole number of fewer digits",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "finite_number": "should be a finite number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "list_type": "should be a list",
    "dict_type": "should be an object",
    "model_type": "should be an object",
    "model_attributes_type": "should be an object",
    "invalid_key": "has a key that is not text",
    "none_required": "should be null",
    "enum": "should be one of {expected}",
    "literal_error": "should be one of {expected}",
    "greater_than": "should be more than {gt}",
    "greater_than_equal": "should be at least {ge}",
    "less_than": "should be less than {lt}",
    "less_than_equal": "should be at most {le}",
}
_PLACE = re.compile(r"line \d+ column \d+")


def worded(type: str, context: Mapping[str, Any]) -> str:
    """The words for an error of this pydantic type, with what its `ctx` knows."""
    if type == "string_too_short" and context.get("min_length") == 1:
        return "should not be empty"
    if type == "json_invalid":
        return not_json(str(context.get("error", "")))
    return WORDS.get(type, "is not valid").format_map({name: str(value) for name, value in context.items()})


def not_json(error: str) -> str:
    """That a text is no JSON, and where, of what a parser says about it."""
    place = _PLACE.search(error)
    return f"{WORDS['json_invalid']} ({place[0]})" if place else WORDS["json_invalid"]
