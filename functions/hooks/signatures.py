"""Whether a delivery is signed by who knows the secret, and which delivery it is: pure, by the time that is given.

What says which delivery it is has to be signed too, or whoever has caught one sends it again under another id. GitHub
signs the body alone, and so do plain senders: one of theirs is known by its body.

- standard: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md (its library has
  a clock of its own)
- github: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
- stripe: https://docs.stripe.com/webhooks#verify-manually
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from pydantic_core import from_json

from functions.hooks.models import MAX_SECRET, Style

WINDOW_SECONDS = 300
"""Between the sender's clock and ours, either way."""

MAX_HEADER = 2000
MOST_SIGNATURES = 10
MAX_ID = 255
MARK = "whsec_"
_TIME = re.compile(r"[0-9]{1,12}")
_ID = re.compile(rf"[!-~]{{1,{MAX_ID}}}")
_EVENT = re.compile(r"[a-z_]{1,100}")
_SECRET = re.compile(rf"[!-~]{{16,{MAX_SECRET}}}")
_KEY_BYTES = range(24, 65)


@dataclass(frozen=True)
class Delivery:
    """`id`: the same for the same delivery. `event`: what it says it is about, unsigned; `ping`: of a sender's test."""

    id: str
    event: str | None = None

    @property
    def ping(self) -> bool:
        return self.event == "ping"


def wrong_with_secret(style: Style, secret: str) -> str | None:
    """What is wrong with a secret of this style, without a word of it."""
    if _SECRET.fullmatch(secret) is None:
        return f"should be 16 to {MAX_SECRET} visible characters of ASCII"
    if style == "standard" and _key(secret) is None:
        return f"should be {MARK} and the base64 of {_KEY_BYTES[0]} to {_KEY_BYTES[-1]} bytes"
    return None


def verified(
    style: Style, secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float
) -> Delivery | None:
    """The delivery; None for what is not signed with one of these secrets, or too long ago."""
    return _STYLES[style](secrets, headers, body, now)


def _standard(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float) -> Delivery | None:
    id, at = headers.get("webhook-id") or "", headers.get("webhook-timestamp") or ""
    if _ID.fullmatch(id) is None or not _timely(at, now):
        return None
    signed = f"{id}.{at}.".encode() + body
    keys = [key for key in map(_key, secrets) if key is not None]
    right = [f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}" for key in keys]
    sent = _cut(headers.get("webhook-signature")).split(" ")
    return Delivery(id) if _one_of(sent, right) else None


def _stripe(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float) -> Delivery | None:
    parts = [part.strip().partition("=") for part in _cut(headers.get("stripe-signature")).split(",")]
    at = next((value for name, _, value in parts if name == "t"), "")
    if not _timely(at, now):
        return None
    signed = f"{at}.".encode() + body
    right = [hmac.digest(secret.encode(), signed, "sha256").hex() for secret in secrets]
    if not _one_of([value for name, _, value in parts if name == "v1"], right):
        return None
    return Delivery(_id_in(body) or _digest(body))


def _github(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float) -> Delivery | None:
    event = headers.get("x-github-event") or ""
    right = [f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}" for secret in secrets]
    if not _one_of([_cut(headers.get("x-hub-signature-256"))], right):
        return None
    return Delivery(_digest(body), event if _EVENT.fullmatch(event) else None)


def _plain(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float) -> Delivery | None:
    sent = _cut(headers.get("x-signature")).removeprefix("sha256=").lower()
    right = [hmac.digest(secret.encode(), body, "sha256").hex() for secret in secrets]
    return Delivery(_digest(body)) if _one_of([sent], right) else None


_STYLES = {"standard": _standard, "stripe": _stripe, "github": _github, "plain": _plain}


def _one_of(sent: Sequence[str], right: Sequence[str]) -> bool:
    """All are compared, however many are right."""
    tried = [one.encode(errors="replace") for one in sent[:MOST_SIGNATURES]]
    return any([hmac.compare_digest(one, good.encode()) for one in tried for good in right])


def _cut(header: str | None) -> str:
    return header if header is not None and len(header) <= MAX_HEADER else ""


def _timely(at: str, now: float) -> bool:
    return _TIME.fullmatch(at) is not None and abs(int(at) - now) <= WINDOW_SECONDS


def _key(secret: str) -> bytes | None:
    try:
        key = base64.b64decode(secret.removeprefix(MARK), validate=True) if secret.startswith(MARK) else b""
    except binascii.Error:
        return None
    return key if len(key) in _KEY_BYTES else None


def _id_in(body: bytes) -> str | None:
    """The `id` of an event of Stripe's."""
    try:
        event = from_json(body)
    except ValueError:
        return None
    id = event.get("id") if isinstance(event, dict) else None
    return id if isinstance(id, str) and _ID.fullmatch(id) else None


def _digest(body: bytes) -> str:
    return f"sha256:{sha256(body).hexdigest()}"
