"""What an error of the SDK means for us, and how long a call is tried again: the SDK's own retries are switched off.

Refused: certainly not carried out (429, 449, 503, no connection). Lost: nobody knows (408, 5xx, a connection that broke
after the request was sent, our own timeout). azure-core reports a broken connection as `ServiceRequestError`, "the
request was never sent", and the SDK would send writes again; only a connection that was never made is taken for that.
"""

import asyncio
import math
import random
import time
from typing import Any

from shared.errors import Throttled, Unavailable

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0


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
    """The client's token is not taken (401, 403/5300): a new client gets a new one."""


class NoContainer(Unavailable):
    """The database or the container is not there (404/1003): not made yet, or gone."""

    code = "not_provisioned"


def trouble_of(error: Exception) -> Trouble | NoContainer | None:
    """What an error of the SDK means; None when it is an answer (or a bug), not trouble."""
    from azure.core.exceptions import AzureError, ClientAuthenticationError, ServiceRequestError

    if isinstance(error, ClientAuthenticationError):
        return IdentityTrouble("the app's identity got no token")
    status = getattr(error, "status_code", None)
    if status:
        return _of_status(int(status), error)
    if not isinstance(error, AzureError):
        return None
    sent = not (isinstance(error, ServiceRequestError) and _never_connected(error.inner_exception))
    return Trouble(f"no answer from the database ({type(error).__name__})", lost=sent)


def _of_status(status: int, error: Any) -> Trouble | NoContainer | None:
    sub_status = getattr(error, "sub_status", None) or 0
    reason = f"the database answered {status}/{sub_status}"
    match status, sub_status:
        case (401, _) | (403, 5300):
            return IdentityTrouble(reason)
        case 404, 1002:
            return Trouble(reason)
        case 404, 1003:
            return NoContainer("The tenant's database is not there (yet).", retry_after=30)
        case 429, _:
            return Trouble(reason, throttled=True, retry_after=_retry_after(error))
        case ((410 | 449 | 503), _):
            return Trouble(reason, retry_after=_retry_after(error))
        case (408, _) | (403, 3 | 1008):
            return Trouble(reason, lost=status == 408)
        case _ if status >= 500:
            return Trouble(reason, lost=True)
    return None


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
        if pause >= self.left:
            again = max(1, math.ceil(trouble.retry_after or 1))
            if trouble.throttled:
                raise Throttled("The database is busy; try again.", retry_after=again)
            raise Unavailable(f"The database is not available: {trouble}.", retry_after=again)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(pause)
