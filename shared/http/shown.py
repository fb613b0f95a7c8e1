"""What was sent, as far as an error shows it again: never a megabyte, whoever has found it wrong."""

import json
from typing import Any

SHOWN_VALUE_CHARACTERS = 200
_SHOWN = json.JSONEncoder(default=str, ensure_ascii=False)


def shown(value: Any) -> Any:
    """The value where it is short, else the beginning of its text, which is not written out to be cut."""
    if isinstance(value, bytes):
        value = value[: 4 * SHOWN_VALUE_CHARACTERS + 4].decode(errors="replace")
    if isinstance(value, str):
        return cut(value)
    text = ""
    for piece in _SHOWN.iterencode(value):
        text += piece
        if len(text) > SHOWN_VALUE_CHARACTERS:
            return cut(text)
    return json.loads(text, parse_constant=str)  # NaN is no JSON


def cut(text: str) -> str:
    return text if len(text) <= SHOWN_VALUE_CHARACTERS else text[:SHOWN_VALUE_CHARACTERS] + "…"
