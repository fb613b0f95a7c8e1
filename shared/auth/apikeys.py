"""API keys as text: `fg_<environment>_<tenant>_<id>_<secret><checksum>`, all but the environment in hex.

Tenant and id are UUIDs without their hyphens: they lead to the key by a point read in that tenant's partition. The
checksum (CRC-32 of all before it) tells a scanner, or whoever has mistyped one, what is no key, without asking anybody.

The secret has 256 random bits (RFC 6819 §5.1.4.2.2 asks for 128), and what is kept of it is its SHA-256. A slow hash
and a salt are for what people make up and others can guess; each call would pay for them.
"""

import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID
from zlib import crc32

from shared.errors import Unauthenticated

MARK = "fg_"
SECRET_BYTES = 32
SHOWN = 6  # digits of the secret that are told afterwards, so that one is known from another
KEY_PATTERN = r"fg_([A-Za-z0-9-]{1,40})_([0-9a-f]{32})_([0-9a-f]{32})_([0-9a-f]{64})([0-9a-f]{8})"
_KEY = re.compile(KEY_PATTERN)


@dataclass(frozen=True)
class KeyText:
    """A key, taken apart. `prefix`: what may be shown of it."""

    environment: str
    tenant_id: str
    id: str
    digest: str
    prefix: str


def issue(environment: str, tenant_id: str, id: str) -> str:
    """A new key with this id: the only time that its secret is there."""
    text = f"{MARK}{environment}_{UUID(tenant_id).hex}_{UUID(id).hex}_{secrets.token_hex(SECRET_BYTES)}"
    return text + _checksum(text)


def parsed(text: str) -> KeyText:
    """`Unauthenticated` for what is no key."""
    found = _KEY.fullmatch(text)
    if found is None:
        raise Unauthenticated("This is no API key: it is cut off, or has more in it.", reason="key_form")
    environment, tenant, id, secret, checksum = found.groups()
    if _checksum(text[: -len(checksum)]) != checksum:
        raise Unauthenticated("This is no API key: a character of it is wrong.", reason="key_checksum")
    prefix = f"{MARK}{environment}_{tenant}_{id}_{secret[:SHOWN]}"
    return KeyText(environment, str(UUID(tenant)), str(UUID(id)), sha256(secret.encode()).hexdigest(), prefix)


def _checksum(text: str) -> str:
    return f"{crc32(text.encode()):08x}"
