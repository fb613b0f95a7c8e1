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

    def __len__(self) -> int:
        return len(self._known)

    async def whose(self, token: str) -> T | None:
        """Whose it is; None when it has to be verified. `Unauthenticated` when its key is published no longer."""
        digest = sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is None:
            return None
        if known.still is not None and not await known.still():
            self._known.pop(digest, None)
            return None
        if known.at <= self._now() < known.expires_at and await known.keys.get(known.kid) is known.key:
            self._known.move_to_end(digest)
            return known.whose
        self._known.pop(digest, None)
        return None

    def keep(self, token: str, verified: Verified[T]) -> None:
        """The one that was not used for longest makes room for it."""
        self._known[sha256(token.encode()).digest()] = verified
        if len(self._known) > self._most:
            self._known.popitem(last=False)
