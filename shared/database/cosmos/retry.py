"""What an error of the SDK means for us, and how long a call is tried again: the SDK's own retries are switched off.

Refused: certainly not carried out (429, 449, a routing 410, no connection). Lost: nobody knows (408, 5xx, other 410, a
connection that broke after the request was sent, our own timeout). The service means 503 as refused, but what stands
before it says 503 of what it has passed on, so that is lost too. azure-core reports a broken connection as
`ServiceRequestError`, "the request was never sent", and the SDK would send writes again; only a connection that was
never made is taken for that.
"""

import asyncio
import logging
import math
import random
import time
from typing import Any

from shared.errors import FlowgridError, Full, Throttled, TooLarge, Unavailable

logger = logging.getLogger("flowgrid.cosmos")
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
LEAST_SECONDS = 1.0  # an attempt with less is cut off in the middle, and makes a sure no a maybe
ROLE = "Cosmos DB Built-in Data Contributor"


class Trouble(Exception):
    """One attempt failed for a reason that may pass."""

    def __init__(
        self, reason: str, *, lost: bool = False, throttled: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(reason)
        self.lost = lost
        self.throttled = throttled
        self.retry_after = retry_after


class IdentityTrouble(Trouble):
    """The client's token is not taken (401, 403/5301): a new client gets a new one."""


class NoContainer(Unavailable):
    """The database or the container is not there: not made yet, or gone."""

    code = "not_provisioned"
    meaning = "The tenant's database is not there (yet)."
    remedy = "Send the same again after `Retry-After` seconds."

    def __init__(self) -> None:
        super().__init__("The tenant's database is not there (yet).", retry_after=30)


def trouble_of(error: Exception) -> Trouble | FlowgridError | None:
    """What an error of the SDK means: trouble that may pass, or what the caller is told; None when it is a bug."""
    from azure.core.exceptions import AzureError, ClientAuthenticationError, ServiceRequestError

    if isinstance(error, ClientAuthenticationError):
        return IdentityTrouble("the app's identity got no token")
    status = getattr(error, "status_code", None)
    if status:
        return _of_status(int(status), _sub_status(error), error)
    if not isinstance(error, AzureError):
        return None
    sent = not (isinstance(error, ServiceRequestError) and _never_connected(error.inner_exception))
    return Trouble(f"no answer from the database ({type(error).__name__})", lost=sent)


def _of_status(status: int, sub_status: int, error: Exception) -> Trouble | FlowgridError:
    """The table; its sources are named in docs/decisions/0022."""
    reason = f"the database answered {status}/{sub_status}"
    match status, sub_status:
        case 401, _:
            return IdentityTrouble(reason)
        case 403, 5301:
            return IdentityTrouble(
                f"{reason}; it needs the role {ROLE} on the whole account, or new databases are left out"
            )
        case 403, 5300:
            return Unavailable(
                "Databases and containers are not made or changed with the app's own data rights.", retry_after=30
            )
        case 403, 1014:
            # not even a deletion, which leaves a tombstone and an entry in the journal
            return Full("This tenant's data has reached 20 GB, the most that one place holds: ask for it to be moved.")
        case 403, 3 | 1008:
            return Trouble(reason, retry_after=_retry_after(error))
        case 403, _:
            return Unavailable(
                f"The database lets this app do nothing ({reason}): look at its network rules.", retry_after=30
            )
        case 404, 1002:
            return Trouble(reason, retry_after=_retry_after(error))
        case 404, _:
            return NoContainer()
        case 413, _:
            return TooLarge("This change is larger than the database takes at once.")
        case 429, _:
            return Trouble(reason, throttled=True, retry_after=_retry_after(error))
        case (449, _) | (410, 1000 | 1002 | 1007 | 1008):
            return Trouble(reason, retry_after=_retry_after(error))
        case _ if status in (408, 410) or status >= 500:
            return Trouble(reason, lost=True, retry_after=_retry_after(error))
    logger.error("the database refused a call", exc_info=error)
    return FlowgridError(f"The database does not understand this ({status}/{sub_status}).")


def _sub_status(error: Any) -> int:
    """Of the answer, or of the failed operation of a batch."""
    results = getattr(error, "operation_responses", None)
    inner = results[error.error_index].get("subStatusCode") if results else None
    return int(inner or getattr(error, "sub_status", None) or 0)


def _retry_after(error: Any) -> float | None:
    """Seconds, from the header or from the failed operation of a batch."""
    milliseconds = (getattr(error, "headers", None) or {}).get("x-ms-retry-after-ms")
    results = getattr(error, "operation_responses", None)
    if milliseconds is None and results:
        milliseconds = results[error.error_index].get("retryAfterMilliseconds")
    return None if milliseconds is None else float(milliseconds) / 1000


def _never_connected(error: Any) -> bool:
    import aiohttp

    return isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)


class Patience:
    """How long one call may take in all, and the pauses between its attempts."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._pause = FIRST_PAUSE_SECONDS
        self._renewed = False

    @property
    def left(self) -> float:
        return self._until - time.monotonic()

    async def wait(self, trouble: Trouble) -> None:
        """Until the next attempt; `Throttled` or `Unavailable` when there is no time for one."""
        if isinstance(trouble, IdentityTrouble):
            if self._renewed:
                raise Unavailable(f"The database does not take this app's identity: {trouble}.", retry_after=30)
            self._renewed = True
            return
        pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, protects nothing
        if trouble.retry_after is not None:
            pause = max(trouble.retry_after, pause)
        if pause + LEAST_SECONDS >= self.left:
            again = max(1, math.ceil(trouble.retry_after or 1))
            if trouble.throttled:
                raise Throttled("The database is busy; try again.", retry_after=again)
            raise Unavailable(f"The database is not available: {trouble}.", retry_after=again)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        await self._rest(pause)

    async def _rest(self, pause: float) -> None:
        await asyncio.sleep(pause)
