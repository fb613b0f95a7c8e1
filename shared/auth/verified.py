"""Tokens that have been verified, by digest: whoever calls again with one is known until it expires or its key changes.

A signature costs more than all the rest of a read. What is kept is the outcome of a verification, never of a refusal,
so a forged token gains nothing; and not the token itself.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Generic, TypeVar

from shared.auth.keys import SigningKeys

T = TypeVar("T")
MOST = 4096  # of a kilobyte or two
MOST_OF_ONE = 512  # of an issuer that may go, a tenant's own: it pushes nobody else's out


@dataclass(frozen=True)
class Verified(Generic[T]):
    """`key`: what it was verified with, the id `kid` of `keys`. It is good from `at` until before `expires_at`.

    `still`: whether its issuer is one whose word is taken, where that may change.
    """

    whose: T
    keys: SigningKeys
    kid: object
    key: object
    at: float
    expires_at: float
    still: Callable[[], Awaitable[bool]] | None = None


class VerifiedTokens(Generic[T]):
    """The last ones that were used. `now`: seconds since the epoch, as the tokens' own times are."""

    def __init__(self, now: Callable[[], float], *, most: int | None = None) -> None:
        self._now = now
        self._most = MOST if most is None else most
        self._known: OrderedDict[bytes, Verified[T]] = OrderedDict()
        self._of_one: dict[SigningKeys, OrderedDict[bytes, None]] = {}

    def __len__(self) -> int:
        return len(self._known)

    async def whose(self, token: str) -> T | None:
        """Whose it is; None when it has to be verified. `Unauthenticated` when its key is published no longer."""
        digest = sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is None:
            return None
        if known.still is not None and not await known.still():
            self._forget(digest)
            return None
        if known.at <= self._now() < known.expires_at and await known.keys.get(known.kid) is known.key:
            if digest in self._known:
                self._remember(digest, known)
            return known.whose
        self._forget(digest)
        return None

    def keep(self, token: str, verified: Verified[T]) -> None:
        """The one that was not used for longest makes room for it."""
        digest = sha256(token.encode()).digest()
        self._forget(digest)
        self._remember(digest, verified)
        own = self._of_one.get(verified.keys, ())
        if len(own) > MOST_OF_ONE:
            self._forget(next(iter(own)))
        if len(self._known) > self._most:
            self._forget(next(iter(self._known)))

    def _remember(self, digest: bytes, verified: Verified[T]) -> None:
        """As the one that was used last."""
        self._known[digest] = verified
        self._known.move_to_end(digest)
        if verified.still is not None:
            own = self._of_one.setdefault(verified.keys, OrderedDict())
            own[digest] = None
            own.move_to_end(digest)

    def _forget(self, digest: bytes) -> None:
        known = self._known.pop(digest, None)
        if known is None or known.still is None:
            return
        own = self._of_one[known.keys]
        own.pop(digest)
        if not own:
            del self._of_one[known.keys]
