"""One issuer's signing keys (RFC 7517): served as they are known, fetched behind the callers' backs.

A known key is never waited for. What is not known is waited for once, by all who ask together; then the answer, good
or bad, stands for a while, so that made-up key ids and an issuer that is away cost nothing.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from shared.auth.published import Published
from shared.emulators import is_local
from shared.errors import Unauthenticated, Unavailable
from shared.issuers import Issuer

if TYPE_CHECKING:
    from jwt import PyJWK

logger = logging.getLogger("flowgrid.auth")

FRESH_SECONDS = 3600.0  # older keys are fetched anew, and served meanwhile
USABLE_SECONDS = 24 * 3600.0  # how long an issuer may be away before its tokens are no longer taken
ASK_AT_MOST_EVERY_SECONDS = 30.0
ASK_AGAIN_WITHOUT_KEYS_SECONDS = 5.0
FETCH_SECONDS = 3.0  # discovery and keys together, whatever the issuer does
MIN_KEY_BITS, MAX_KEY_BITS = 2048, 4096
MAX_EXPONENT_BITS = 32  # 65537 has 17; a signature takes the longer to verify the more there are
MOST_KEYS = 20  # of one issuer
MAX_KEY_ID = 500
ALGORITHM = "RS256"
_SECRET = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})  # parts of keys that nobody publishes, RFC 7518 §6

Fetch = Callable[[str], Awaitable[dict[str, Any]]]


class SigningKeys:
    """`get` answers a key by its id; one task at a time fetches. Ages are monotonic: a clock that is set moves none."""

    def __init__(
        self, issuer: Issuer, *, fetch: Fetch | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._documents = Published(local=is_local(issuer.issuer))
        self._fetch = fetch or self._documents.fetch
        self._monotonic = monotonic
        self._keys: Mapping[str, PyJWK] = {}
        self._fetched_at = float("-inf")
        self._asked_at = float("-inf")
        self._away = False
        self._flight: asyncio.Task[None] | None = None

    async def get(self, kid: object) -> "PyJWK":
        """The key of this id. `Unauthenticated` when the issuer does not publish it, `Unavailable` if nobody knows."""
        if not isinstance(kid, str):
            raise Unauthenticated("The token names no key (kid).", reason="no_kid", issuer=self._issuer.issuer)
        if kid not in self._usable():
            await self._ask()
        elif self._age() > FRESH_SECONDS:
            self._depart()
        key = self._usable().get(kid)
        if key is not None:
            return key
        if self._away:
            text = f"The keys of {self._issuer.issuer} cannot be read now."
            raise Unavailable(text, retry_after=max(1, round(self._pause() - self._since_asked())))
        text = "The token is signed with a key that its issuer does not publish."
        raise Unauthenticated(text, reason="unknown_kid", issuer=self._issuer.issuer)

    async def close(self) -> None:
        """Give up the fetch that may be under way."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])
            self._flight = None
        self._documents.close()

    async def _ask(self) -> None:
        """Wait for the fetch that is under way, or for one that begins now if it is time for one."""
        self._depart()
        if self._flight is not None:
            await asyncio.wait([self._flight])  # who goes away meanwhile does not stop it for the others

    def _depart(self) -> None:
        """Begin to fetch, unless somebody is at it or was a moment ago."""
        if self._flight is None and self._since_asked() >= self._pause():
            self._asked_at, self._away = self._monotonic(), True  # until there is an answer
            self._flight = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                self._keys = await self._published()
            self._fetched_at = self._monotonic()
            self._away = False
        except Exception as error:  # whatever an issuer sends: the keys that we have stay good while they may
            logger.warning(
                "the keys of an issuer cannot be read",
                extra={"issuer": self._issuer.issuer, "reason": str(error) or type(error).__name__},
            )
        finally:
            self._asked_at = self._monotonic()
            self._flight = None

    async def _published(self) -> Mapping[str, "PyJWK"]:
        uri = self._issuer.jwks_uri or await self._discover()
        keys = await asyncio.to_thread(_signing_keys, (await self._fetch(uri))["keys"])
        if not keys:
            raise ValueError(f"{uri} lists no key that signs")
        return keys

    async def _discover(self) -> str:
        base = self._issuer.issuer.rstrip("/")
        document = await self._fetch(f"{base}/.well-known/openid-configuration")
        if document["issuer"] != self._issuer.issuer:
            raise ValueError(f"its discovery document is of another issuer, {document['issuer']!r}")
        return str(document["jwks_uri"])

    def _usable(self) -> Mapping[str, "PyJWK"]:
        return self._keys if self._age() <= USABLE_SECONDS else {}

    def _age(self) -> float:
        return self._monotonic() - self._fetched_at

    def _since_asked(self) -> float:
        return self._monotonic() - self._asked_at

    def _pause(self) -> float:
        """Until the issuer is asked again: soon while there is nothing to go by."""
        return ASK_AT_MOST_EVERY_SECONDS if self._usable() else ASK_AGAIN_WITHOUT_KEYS_SECONDS


def _signing_keys(listed: object) -> Mapping[str, "PyJWK"]:
    """By id, those that may verify RS256 signatures, of the first `MOST_KEYS` that say so. `ValueError` for no list.

    Whoever may name an issuer writes these documents, so their cost is bounded, too.
    """
    if not isinstance(listed, list):
        raise ValueError("what it publishes is no list of keys")
    found = map(_public_key, islice(filter(_says_it_signs, listed), MOST_KEYS))
    return {str(key.key_id): key for key in found if key is not None}


def _says_it_signs(published: object) -> bool:
    """Whether it is to be read: by its words public RSA, for signatures, and no longer than one that is taken."""
    if not isinstance(published, dict) or published.get("kty") != "RSA" or not _SECRET.isdisjoint(published):
        return False
    if published.get("use") not in (None, "sig") or published.get("alg") not in (None, ALGORITHM):
        return False
    operations = published.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return False
    most = {"kid": MAX_KEY_ID, "n": _base64_length(MAX_KEY_BITS), "e": _base64_length(MAX_EXPONENT_BITS)}
    return all(isinstance(text := published.get(name), str) and 0 < len(text) <= most[name] for name in most)


def _public_key(published: Mapping[str, Any]) -> "PyJWK | None":
    """The key, made of its public parts alone; None for what is none, or is not of the length that is taken."""
    import jwt
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    try:
        key = jwt.PyJWK({name: published[name] for name in ("kty", "kid", "n", "e")}, ALGORITHM)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    public = key.key
    if not isinstance(public, RSAPublicKey) or not MIN_KEY_BITS <= public.key_size <= MAX_KEY_BITS:
        return None
    return key if public.public_numbers().e.bit_length() <= MAX_EXPONENT_BITS else None


def _base64_length(bits: int) -> int:
    """Of a number in base64, with a zero byte before it and padding behind it, as some write them."""
    return (bits // 8 + 1 + 2) // 3 * 4
