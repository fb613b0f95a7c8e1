"""Health: asks every service that Flowgrid works with, at the same time, each within a bound (decision 0046).

Anybody may ask, and the checks write: so each is made by one at a time, whoever waits for it, and its answer is kept.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from shared.clock import Clock, rfc3339
from shared.errors import Concern, FlowgridError
from shared.telemetry.port import OFF, Telemetry
from shared.version import VERSION
from shared.work.resources import Answer, Timestamp

logger = logging.getLogger("flowgrid.health")
CHECK_SECONDS = 2.0
FAILED = "Check Failed"  # the figure that telemetry is told of each look that found an error


@dataclass(frozen=True)
class Lifetimes:
    """For how many seconds answers are kept, good ones and bad ones."""

    good: float
    bad: float


SOON = Lifetimes(5.0, 1.0)
LATER = Lifetimes(60.0, 15.0)  # of what asks all databases, or somebody outside


@dataclass(frozen=True)
class Seen:
    """What a check has seen, beside that all is well."""

    message: str | None = None
    age_seconds: int | None = None
    waiting: int | None = None


Ask = Callable[[], Awaitable[Seen | None]]


class Alive(Answer):
    """That this process answers; it has asked nobody."""

    status: Literal["ok"] = Field("ok", description="It does.")
    commit: str | None = Field(None, description="Of which it was packaged; null: it was not.")


class Check(Answer):
    """One part of the platform."""

    status: Literal["ok", "error"] = Field(description="How it is; `error`, too, where somebody should look.")
    essential: bool = Field(description="Whether calls fail without it.")
    message: str | None = Field(None, description="What is wrong, or what there is to say.")
    latency_ms: float | None = Field(None, description="How long the look took, in milliseconds.")
    age_seconds: int | None = Field(None, description="How old the last of it is, or the oldest that waits.")
    waiting: int | None = Field(None, description="How much of it waits; counted up to a bound.")


class Health(Answer):
    """How the platform is."""

    status: Literal["healthy", "degraded"] = Field(
        description="`degraded`: a check says `error`. The answer is a 503 where that one is essential, else a 200."
    )
    checks: dict[str, Check] = Field(description="Name of a part -> how it is.")
    version: str = Field(description="Which Flowgrid this is.")
    timestamp: Timestamp = Field(description="When this was asked; checks are up to a minute older.")

    @property
    def fails(self) -> bool:
        """Whether something is in error without which calls fail."""
        return any(check.status == "error" and check.essential for check in self.checks.values())


class HealthService:
    """`essential`: what calls fail without; `others`: without what they go on; `concerns`: the same, looked at seldom.

    Each raises what is wrong; a `Concern` is something to look at. What is not done in `CHECK_SECONDS` is wrong, too.
    Telemetry is told of what is wrong, by the name of the check; whoever watches the address makes it look.
    """

    def __init__(
        self,
        essential: Mapping[str, Ask],
        others: Mapping[str, Ask],
        concerns: Mapping[str, Ask],
        clock: Clock,
        telemetry: Telemetry = OFF,
    ) -> None:
        self._parts = {name: _Part(name, ask, True, SOON, clock, telemetry) for name, ask in essential.items()}
        self._parts |= {name: _Part(name, ask, False, SOON, clock, telemetry) for name, ask in others.items()}
        self._parts |= {name: _Part(name, ask, False, LATER, clock, telemetry) for name, ask in concerns.items()}
        self._clock = clock

    async def check(self) -> Health:
        checks = await asyncio.gather(*(part.check() for part in self._parts.values()))
        return Health(
            status="degraded" if any(check.status == "error" for check in checks) else "healthy",
            checks=dict(zip(self._parts, checks, strict=True)),
            version=VERSION,
            timestamp=rfc3339(self._clock.now()),
        )


class _Part:
    """A part, and what was last found of it."""

    def __init__(
        self, name: str, ask: Ask, essential: bool, kept: Lifetimes, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._telemetry = telemetry
        self._name = name
        self._ask = ask
        self._essential = essential
        self._kept = kept
        self._clock = clock
        self._last: tuple[Check, float] | None = None  # and until when it is believed
        self._looking: asyncio.Task[Check] | None = None

    async def check(self) -> Check:
        """What is known, or is being found out, or a look of its own. Who is not waited for stops nobody's look."""
        if self._looking is None or self._looking.done():
            if self._last is not None and self._clock.monotonic() < self._last[1]:
                return self._last[0]
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    async def _look(self) -> Check:
        began = self._clock.monotonic()
        wrong, seen = await self._asked()
        now = self._clock.monotonic()
        check = Check(
            status="error" if wrong else "ok",
            essential=self._essential,
            message=wrong or seen.message,
            latency_ms=round((now - began) * 1000, 1),
            age_seconds=seen.age_seconds,
            waiting=seen.waiting,
        )
        self._last = check, now + (self._kept.bad if wrong else self._kept.good)
        if wrong:
            told = {"check": self._name, "essential": str(self._essential).lower()}
            self._telemetry.metric(FAILED, "", 1, told)
        return check

    async def _asked(self) -> tuple[str | None, Seen]:
        """What is wrong, if anything is, and what was seen."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return None, await self._ask() or Seen()
        except TimeoutError:
            return f"no answer within {CHECK_SECONDS:g} s", Seen()
        except Concern as concern:
            return concern.message, Seen(age_seconds=concern.age_seconds, waiting=concern.waiting)
        except FlowgridError as error:
            return error.message, Seen()
        except Exception as error:
            logger.warning("a part could not be looked at", exc_info=error, extra={"part": self._name})
            return f"it could not be looked at ({type(error).__name__})", Seen()
