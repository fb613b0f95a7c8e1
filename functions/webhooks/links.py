"""What a card carries so that it can be answered: which call of which run, until when, and our signature on it.

It opens that one decision and nothing else. The call is decided once, so it is worth nothing afterwards.
"""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from shared.clock import parse_rfc3339
from shared.errors import Unauthenticated

MAX_TOKEN = 1500  # characters; a button's value has 2000 at most
WRONG = "This link is none of ours, or is too old; decide in Flowgrid."


@dataclass(frozen=True)
class Link:
    """`until`: RFC 3339."""

    tenant: str
    webhook: str
    execution: str
    step: int
    until: str

    def signed(self, secret: str) -> str:
        payload = urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode().rstrip("=")
        return f"{payload}.{_tag(secret, payload)}"


def unproved(token: str) -> Link:
    """What a link says of itself, before its signature is looked at: whose secret has to have signed it."""
    payload = token.partition(".")[0]
    try:
        if len(token) > MAX_TOKEN or not token.isascii():
            raise ValueError
        found = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        texts = [found[name] for name in ("tenant", "webhook", "execution", "until")]
        if not all(isinstance(one, str) for one in texts) or type(found["step"]) is not int:
            raise ValueError
        return Link(texts[0], texts[1], texts[2], found["step"], texts[3])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unauthenticated(WRONG, reason="no_link") from None


def prove(token: str, link: Link, secrets: Sequence[str], now: datetime) -> None:
    """`Unauthenticated` for what none of the secrets has signed, and for what is too old."""
    payload, _, tag = token.partition(".")
    good = [hmac.compare_digest(tag.encode(), _tag(secret, payload).encode()) for secret in secrets]
    if not max(good, default=False):
        raise Unauthenticated(WRONG, reason="signature")
    if parse_rfc3339(link.until) <= now:
        raise Unauthenticated(WRONG, reason="expired")


def _tag(secret: str, payload: str) -> str:
    tag = hmac.digest(secret.encode(), f"decision.{payload}".encode(), "sha256")
    return urlsafe_b64encode(tag).decode().rstrip("=")
