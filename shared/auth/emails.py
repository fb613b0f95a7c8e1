"""E-mail addresses: one type for bodies and jobs, one form to store and to compare.

An address is ASCII, in lower case, without anything around it. Another spelling (padded, with a dot behind it, in
full-width letters) is not folded into one: it is no address, so nobody is let in by what merely looks like theirs.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

MAX_EMAIL = 254
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
EMAIL_PATTERN = rf"^{_ATOM}(\.{_ATOM})*@{_LABEL}(\.{_LABEL})+$"
_ADDRESS = re.compile(EMAIL_PATTERN)

Email = Annotated[
    str,
    Field(max_length=MAX_EMAIL, pattern=EMAIL_PATTERN, examples=["ada@example.com"]),
    AfterValidator(str.lower),
]


def canonical(text: object) -> str | None:
    """The address as it is stored and compared; None for what is no address as `Email` takes it."""
    if not isinstance(text, str) or len(text) > MAX_EMAIL or not _ADDRESS.fullmatch(text):
        return None
    return text.lower()
