"""Health: asks every service that Flowgrid cannot work without, at the same time, each within a bound."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from pydantic import BaseModel, Field

from shared.clock import Clock, rfc3339
from shared.errors import Concern, FlowgridError
from shared.version import VERSION
from shared.work.resources import Timestamp

CHECK_SECONDS = 2.0
KEPT_SECONDS = 5.0  # a good answer: the checks write, and anybody may ask


class Check(BaseModel):
    """One part of the platform."""

    status: Literal["ok", "warning", "error"] = Field(description="How it is.")
    message: str | None = Field(None, description="What is wrong, if anything is.")


class Health(BaseModel):
    """How the platform is."""

    status: Literal["healthy", "warning", "degraded"] = Field(description="`degraded`: something does not work.")
    checks: dict[str, Check] = Field(description="Name of a part -> how it is.")
    version: str = Field(description="Which Flowgrid this is.")
    timestamp: Timestamp = Field(description="When this was looked at.")


class HealthService:
    """`pings`: what to ask, by name; each raises what is wrong (`Concern`: a warning) and has `CHECK_SECONDS`."""

    def __init__(self, pings: Mapping[str, Callable[[], Awaitable[None]]], clock: Clock) -> None:
        self._pings = pings
        self._clock = clock
        self._good: dict[str, float] = {}

    async def check(self) -> Health:
        checks = await asyncio.gather(*(self._known(name) for name in self._pings))
        found = {check.status for check in checks}
        return Health(
            status="degraded" if "error" in found else "warning" if "warning" in found else "healthy",
            checks=dict(zip(self._pings, checks, strict=True)),
            version=VERSION,
            timestamp=rfc3339(self._clock.now()),
        )

    async def _known(self, name: str) -> Check:
        now = self._clock.monotonic()
        if name in self._good and now - self._good[name] < KEPT_SECONDS:
            return Check(status="ok")
        check = await _check(self._pings[name])
        if check.status == "ok":
            self._good[name] = now
        else:
            self._good.pop(name, None)
        return check


async def _check(ping: Callable[[], Awaitable[None]]) -> Check:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await ping()
    except TimeoutError:
        return Check(status="error", message=f"no answer within {CHECK_SECONDS:g} s")
    except Concern as concern:
        return Check(status="warning", message=concern.message)
    except FlowgridError as error:
        return Check(status="error", message=error.message)
    return Check(status="ok")
