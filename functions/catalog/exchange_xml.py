"""Text as XML. What XML cannot hold is changed: control characters become U+FFFD, and an identifier that is no XML name
(a bare UUID may start with a digit) gets the prefix "id-".
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

# Compiled by `re` at their first use, which keeps them: large classes take milliseconds of a cold start.
_UNWRITABLE: Final = "[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_IN_TEXT: Final = str.maketrans(_ESCAPES)
_IN_ATTRIBUTE: Final = str.maketrans(_ESCAPES | {'"': "&quot;", "\n": "&#10;", "\t": "&#9;"})
_NAME_START: Final = "A-Za-z_\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02ff\u0370-\u037d\u037f-\u1fff\u3001-\ud7ff"
_NAME: Final = f"[{_NAME_START}][{_NAME_START}0-9.\\-]*"
_NOT_IN_NAME: Final = f"[^{_NAME_START}0-9.\\-]"


def xml_id(identifier: str) -> str:
    """The identifier as an XML name (xs:ID): itself, if it is one."""
    if re.fullmatch(_NAME, identifier):
        return identifier
    return "id-" + re.sub(_NOT_IN_NAME, lambda character: f"_x{ord(character[0]):x}_", identifier)


def attributes(values: Mapping[str, Any]) -> str:
    """What is None is left out."""
    return "".join(
        f' {name}="{_clean(str(value)).translate(_IN_ATTRIBUTE)}"'
        for name, value in values.items()
        if value is not None
    )


def lines(tag: str, texts: Iterable[tuple[str, str]], indent: str) -> str:
    """A node for each (language, text)."""
    return "".join(
        f"{indent}<{tag}{attributes({'xml:lang': language or None})}>{escaped(text)}</{tag}>\n"
        for language, text in texts
    )


def escaped(text: str) -> str:
    return _clean(text).translate(_IN_TEXT)


def _clean(text: str) -> str:
    return re.sub(_UNWRITABLE, "\ufffd", text)
