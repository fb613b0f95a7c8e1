"""Secrets in what a server answers: one that repeats what it was sent must not tell a model, a step or an error."""

import base64
import binascii
import html
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any
from urllib.parse import quote, quote_plus, unquote

MASK = "***"
SHORTEST = 8
ROUNDS = 6  # one escape within another within another: JSON in JSON in Python's own
ORDERED_ROUNDS = 3  # of which each has thrice as many texts as the last
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([^ux]))", re.DOTALL)


class Mask:
    """Of one secret, as it is and as others write it: escaped, percent-encoded, in base64 or out of it."""

    def __init__(self, secret: str | None) -> None:
        self._forms = [] if not secret else sorted({*_forms(secret)}, key=len, reverse=True)
        plain = [*_undone(secret)] if secret else []
        # what one kind of escape leaves of such a secret, another takes for its own: then the order matters
        self._ordered = bool(secret and set(secret) & set("\\%&"))
        self._plain = [one for one in plain if one == secret or len(one) >= SHORTEST]

    def over(self, value: Any) -> Any:
        """JSON, with the mask wherever the secret was: in texts, names, and numbers that it is."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(str(name)): self.over(one) for name, one in value.items()}
            case list():
                return [self.over(one) for one in value]
            case int() | float() if not isinstance(value, bool) and self.text(str(value)) != str(value):
                return MASK
            case _:
                return value

    def text(self, text: str) -> str:
        """All of it is masked where the secret is in it and nobody can tell where: some of it was escaped at will."""
        for form in self._forms:
            text = text.replace(form, MASK)
        undone = chain(_undone(text), _undone_in_any_order(text) if self._ordered else ())
        hidden = self._plain and any(plain in one for one in undone for plain in self._plain)
        return MASK if hidden else text


def _forms(secret: str) -> Iterable[str]:
    yield from (secret, json.dumps(secret)[1:-1], quote(secret, safe=""), quote(secret), quote_plus(secret))
    raw = secret.encode()
    yield from (raw.hex(), raw.hex().upper())
    for before in range(3):  # in base64 of more than itself: what is around it changes the characters at its ends
        whole = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        form = whole[-(-before * 4 // 3) : len(whole) - ((before + len(raw)) % 3 > 0)]
        yield from (one for one in (form, form.translate(str.maketrans("+/", "-_"))) if len(one) >= SHORTEST)
    try:  # `Basic` takes user and password in base64
        inside = base64.b64decode(secret, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return
    yield from (one for one in (inside, inside.partition(":")[2]) if len(one) >= SHORTEST)


def _undone(text: str) -> Iterator[str]:
    """The text, and what it is without its escapes (JSON's, Python's, HTML's, a URL's), round after round."""
    yield text
    for _ in range(ROUNDS):
        before, text = text, html.unescape(unquote(_unescaped(text)))
        if text == before:
            return
        yield text


def _undone_in_any_order(text: str) -> Iterator[str]:
    """What the text is when one kind of escape after another is taken from it, in each order."""
    seen = latest = {text}
    for _ in range(ORDERED_ROUNDS):
        latest = {undo(one) for one in latest for undo in (_unescaped, unquote, html.unescape)} - seen
        seen = seen | latest
        yield from latest


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(_character, text)


def _character(escaped: re.Match[str]) -> str:
    code = escaped[1] or escaped[2]
    return chr(int(code, 16)) if code else escaped[3]
