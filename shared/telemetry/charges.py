"""Request units: what each tenant's calls cost at Cosmos DB, by operation, written to the log every five minutes.

Every process writes its own, when a call finds the last five minutes over, and at its end: in Azure the queue
functions, the timers and the HTTP functions each have instances of their own, and no timer runs in all of them. A
tenant's share of the bill is the sum of its lines. They are its usage, too (shared/work/request_units.py).
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any

from shared.telemetry.port import OFF, Telemetry

logger = logging.getLogger("flowgrid.charges")
FLUSH_SECONDS = 300.0  # each line is a metric and an event, too: each half minute, they were 8 % of the bill


class Charges:
    """Collects in memory: a process that is killed loses at most what came since the last flush.

    `listener`: gets each tenant's request units at each flush.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, telemetry: Telemetry = OFF) -> None:
        self._telemetry = telemetry
        self.listener: Callable[[Mapping[str, float]], None] | None = None
        self._monotonic = monotonic
        self._units: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._calls: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._since = 0.0

    def record(self, tenant_id: str, operation: str, units: float) -> None:
        """Add a call's charge; the first five minutes after the first writes all of them."""
        now = self._monotonic()
        if not self._units:
            self._since = now
        self._units[tenant_id, operation] += units
        self._calls[tenant_id, operation] += 1
        if now - self._since >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write a line for each tenant and operation since the last flush."""
        units, self._units = self._units, defaultdict(float)
        calls, self._calls = self._calls, defaultdict(int)
        by_tenant: defaultdict[str, float] = defaultdict(float)
        for (tenant_id, operation), spent in units.items():
            by_tenant[tenant_id] += spent
            line = {"tenant_id": tenant_id, "operation": operation, "request_units": round(spent, 2)}
            line["calls"] = calls[tenant_id, operation]
            Context().run(self._say, line)  # not as part of the request that happens to be here
        if self.listener is not None and by_tenant:
            self.listener(by_tenant)

    def _say(self, line: dict[str, Any]) -> None:
        logger.info("request units", extra=line)
        operation = {"operation": line["operation"]}
        self._telemetry.metric("Request Units", line["tenant_id"], line["request_units"], operation, line["calls"])
