"""Who asks for claims: each provider shows itself in the way that it can, and each call says which provider it is.

- Entra: a token of its own, issued to its authentication events service for our app
  (https://learn.microsoft.com/entra/identity-platform/custom-extension-overview#protect-your-rest-api).
- B2C: `Basic` or `Bearer` of a secret (https://learn.microsoft.com/azure/active-directory-b2c/secure-rest-api).
- Auth0: an Action is code, so it signs: HMAC-SHA256 over time, name and body. What is seen on the way opens nothing
  else, and is good for a minute.
"""

import hmac
from asyncio import Lock
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shared.auth.apps import AppTokens
from shared.clock import Clock
from shared.errors import NotFound, Unauthenticated, Unavailable
from shared.ids import PLATFORM_TENANT_ID
from shared.issuers import ClaimsAsker
from shared.secrets.port import Secrets, reference

EVENTS_APP = "99045fe1-7639-4a75-9d4a-577b6ca3810f"  # Entra's authentication events service, in every cloud tenant
SECRETS_LIVE_SECONDS = 5.0
AWAY_SECONDS = 1.0  # how long nobody looks again who could not read them
MAX_CREDENTIALS = 2048
WINDOW_SECONDS = 60  # on either side of our clock
SIGNATURE = "x-flowgrid-signature"
TIMESTAMP = "x-flowgrid-timestamp"
WRONG = "Whoever asks for claims has to show itself as docs/sign-in.md says."


@dataclass(frozen=True)
class Asked:
    """A call as it came: for which asker by name, with which headers and body."""

    name: str
    headers: Mapping[str, str]
    body: bytes


class Asking:
    """`verify` each call. Secrets are known for seconds, so one that is taken back is soon worth nothing.

    Anybody may call, so all who call at once are one look at an asker's secrets, and a look that fails is remembered.
    """

    def __init__(self, tokens: AppTokens, secrets: Secrets, clock: Clock) -> None:
        self._tokens = tokens
        self._secrets = secrets.space(PLATFORM_TENANT_ID)
        self._clock = clock
        self._known: dict[str, tuple[float, list[bytes] | None]] = {}  # since when; None: they could not be read
        self._looks: defaultdict[str, Lock] = defaultdict(Lock)

    async def verify(self, asker: ClaimsAsker, asked: Asked) -> None:
        """`Unauthenticated` for who is not this asker; `Unavailable` while nobody can tell."""
        authorization = asked.headers.get("authorization")
        if asker.caller is not None:
            return await self._tokens.verify(authorization, asker.caller, EVENTS_APP)
        secrets = await self._of(asker)
        if asker.provider == "auth0":
            return self._signed(asker, asked, secrets)
        shown = _credentials(authorization)
        if not _any(hmac.compare_digest(shown, secret) for secret in secrets):
            raise Unauthenticated(WRONG, reason="secret")

    def _signed(self, asker: ClaimsAsker, asked: Asked, secrets: list[bytes]) -> None:
        at = asked.headers.get(TIMESTAMP, "")
        if not (at.isascii() and at.isdigit() and len(at) <= 12):
            raise Unauthenticated(WRONG, reason="no_signature")
        shown = asked.headers.get(SIGNATURE, "").encode(errors="replace")
        if not _any(hmac.compare_digest(shown, signature(one, at, asker.name, asked.body)) for one in secrets):
            raise Unauthenticated(WRONG, reason="signature")
        if abs(self._clock.now().timestamp() - int(at)) > WINDOW_SECONDS:
            raise Unauthenticated("The call was signed more than a minute ago.", reason="replayed")

    async def _of(self, asker: ClaimsAsker) -> list[bytes]:
        """Its secrets that there are: of two names one may not be set yet, or not any more.

        Who hangs up while looking lets the next one look; that is no failure, or it would keep the provider out.
        """
        secrets = self._fresh(asker)
        if secrets is not None:
            return secrets
        async with self._looks[asker.name]:
            secrets = self._fresh(asker)  # by now
            return await self._read(asker) if secrets is None else secrets

    def _fresh(self, asker: ClaimsAsker) -> list[bytes] | None:
        """What is known and new enough; `Unavailable` a moment after they could not be read."""
        at, secrets = self._known.get(asker.name, (float("-inf"), None))
        age = self._clock.monotonic() - at
        if secrets is None and age < AWAY_SECONDS:
            raise Unavailable("The secrets of this provider cannot be read now.", retry_after=1)
        return secrets if age < SECRETS_LIVE_SECONDS else None

    async def _read(self, asker: ClaimsAsker) -> list[bytes]:
        now = self._clock.monotonic()
        found = []
        for name in asker.secrets:
            try:
                found.append((await self._secrets.get(reference(name))).encode())
            except NotFound:
                continue
            except Unavailable:
                self._known[asker.name] = (self._clock.monotonic(), None)
                raise
        secrets = [secret for secret in found if secret]
        self._known[asker.name] = (now, secrets)
        return secrets


def signature(secret: bytes, at: str, name: str, body: bytes) -> bytes:
    """In hex: of `<unix seconds>.<asker's name>.<body>`."""
    return hmac.digest(secret, f"{at}.{name}.".encode() + body, "sha256").hex().encode()


def _credentials(authorization: str | None) -> bytes:
    """`user:password` of Basic (RFC 7617), or the token of Bearer; empty for what is neither."""
    scheme, _, value = (authorization or "").strip().partition(" ")
    if len(value) > MAX_CREDENTIALS:
        return b""
    if scheme.lower() == "bearer":
        return value.strip().encode(errors="replace")
    try:
        return b64decode(value, validate=True) if scheme.lower() == "basic" else b""
    except ValueError:
        return b""


def _any(found: Iterable[bool]) -> bool:
    """All are looked at, so that it takes as long whichever it is."""
    return max(list(found), default=False)
