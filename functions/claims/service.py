"""Claims at sign-in: a provider that is about to issue a token is told the tenant and the role of whoever signs in."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from functions.claims.asking import WRONG, Asked, Asking
from functions.claims.shapes import SHAPES, Shape
from shared.core import Core
from shared.errors import Invalid, TooLarge, Unauthenticated, Unavailable
from shared.http.bodies import validated
from shared.issuers import ClaimsAsker
from shared.limits.port import RateLimiter, Window
from shared.members.whereabouts import Place, Whereabouts
from shared.settings import Settings

logger = logging.getLogger("flowgrid.auth")
MAX_BODY_BYTES = 64 * 1024
SECONDS = 1.5  # Entra waits for two
CALLS_PER_MINUTE = 6000  # of one asker: a hundred sign-ins a second


def window_of(asker: str) -> Window:
    """The calls of a provider."""
    return Window("claims", asker, CALLS_PER_MINUTE, 1, "Too many sign-ins of this provider in a minute")


class ClaimsService:
    """Nothing is written here and nobody bound: that is done by the first call that brings the token (0015)."""

    def __init__(self, settings: Settings, asking: Asking, whereabouts: Whereabouts, limiter: RateLimiter) -> None:
        self._askers = {one.name: one for one in settings.flowgrid_claims}
        issuers = {one.issuer: one for one in settings.flowgrid_issuers}
        usual = (settings.flowgrid_tenant_claim, settings.flowgrid_roles_claim)
        self._names = {
            one.name: (issuers[one.issuer].tenant_claim or usual[0], issuers[one.issuer].roles_claim or usual[1])
            for one in settings.flowgrid_claims
        }
        self._asking = asking
        self._whereabouts = whereabouts
        self._limiter = limiter

    @classmethod
    def of(cls, core: Core) -> "ClaimsService":
        """Over what the process has."""
        asking = Asking(core.app_tokens, core.adapters.secrets, core.services.clock)
        whereabouts = Whereabouts(core.names, core.invitations, core.directory)
        return cls(core.settings, asking, whereabouts, core.endpoint.limiter)

    async def tell(self, asked: Asked, known: Callable[[], None]) -> Any:
        """The answer in the provider's form. `known` is called once it has shown itself.

        A name that is not configured is answered as a wrong secret is. `Unavailable` after `SECONDS`: the provider
        gives up then, and a sign-in is tried again by whoever wanted it.
        """
        if len(asked.body) > MAX_BODY_BYTES:
            raise TooLarge(f"A question about claims has at most {MAX_BODY_BYTES} bytes.")
        try:
            async with asyncio.timeout(SECONDS):
                asker = await self._verified(asked)
                known()
                await self._limiter.take(window_of(asker.name))
                return await self._told(asker, asked.body)
        except TimeoutError:
            raise Unavailable("Where somebody belongs could not be found out in time.") from None

    async def _verified(self, asked: Asked) -> ClaimsAsker:
        asker = self._askers.get(asked.name)
        try:
            if asker is None:
                raise Unauthenticated(WRONG, reason="unknown_source")
            await self._asking.verify(asker, asked)
        except Unauthenticated as error:
            told = {"reason": error.reason, "source": asker.name if asker else ""}
            logger.warning("a provider's question about claims was refused", extra=told)
            raise
        return asker

    async def _told(self, asker: ClaimsAsker, body: bytes) -> Any:
        try:
            question: Shape = validated(SHAPES[asker.provider], body)
        except Invalid as error:
            fields = [one["field"] for one in error.members["errors"]]
            raise Invalid.of("body", f"is not as {asker.provider} asks; look at {', '.join(fields)}") from None
        found = await self._whereabouts.find(asker.issuer, question.person(asker.verifies_email))
        reason = "placed" if isinstance(found, Place) else found.name.lower()
        logger.info("a provider was told where somebody belongs", extra={"source": asker.name, "reason": reason})
        return question.answer(asker, found, *self._names[asker.name])
