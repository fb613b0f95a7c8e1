"""The tokens in hooks' URLs: tenant and hook, and a tag over both, so that a made-up one is refused without a look."""

import base64
import hmac
from uuid import UUID

from shared.tenancy.sharedkey import RegistryKey

TAG_BYTES = 16
BYTES = 16 + 16 + TAG_BYTES
CHARACTERS = BYTES * 4 // 3  # without padding: 48 bytes are 64 characters
_LABEL = b"hook"


class HookTokens:
    """A token is no secret: what it names takes signed deliveries only."""

    def __init__(self, key: RegistryKey) -> None:
        self._key = key

    async def of(self, tenant_id: str, hook_id: str) -> str:
        await self._key.load()
        named = UUID(tenant_id).bytes + UUID(hook_id).bytes
        return base64.urlsafe_b64encode(named + self._tag(named)).decode()

    async def opened(self, token: str) -> tuple[str, str] | None:
        """Tenant and hook; None for what is no token of ours."""
        if len(token) != CHARACTERS:
            return None
        try:
            raw = base64.b64decode(token, altchars=b"-_", validate=True)
        except ValueError:
            return None
        await self._key.load()
        named, tag = raw[:-TAG_BYTES], raw[-TAG_BYTES:]
        if len(raw) != BYTES or not hmac.compare_digest(tag, self._tag(named)):
            return None
        return str(UUID(bytes=named[:16])), str(UUID(bytes=named[16:]))

    def _tag(self, named: bytes) -> bytes:
        return hmac.digest(self._key(), _LABEL + named, "sha256")[:TAG_BYTES]
