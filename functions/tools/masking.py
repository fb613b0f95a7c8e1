"""Secrets in what a server answers: one that repeats what it was sent must not tell a model, a step or an error."""

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
SHORTEST = 8


class Mask:
    """Of one secret, as it is and as others write it: escaped, percent-encoded, in base64 or out of it."""

    def __init__(self, secret: str | None) -> None:
        self._forms = [] if not secret else sorted({*_forms(secret)}, key=len, reverse=True)

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
        for form in self._forms:
            text = text.replace(form, MASK)
        return text


def _forms(secret: str) -> Iterable[str]:
    yield from (secret, json.dumps(secret)[1:-1], quote(secret, safe=""), quote(secret), quote_plus(secret))
    yield from (base64.b64encode(secret.encode()).decode().rstrip("="), secret.encode().hex())
    try:  # `Basic` takes user and password in base64
        inside = base64.b64decode(secret, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return
    yield from (one for one in (inside, inside.partition(":")[2]) if len(one) >= SHORTEST)
