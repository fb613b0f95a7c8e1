"""Request units: what each tenant's calls cost at Cosmos DB, by operation, written to the log every half minute.

The sweep timer flushes them; a tenant's share of the bill is the sum of its lines.
"""

import logging
from collections import defaultdict

logger = logging.getLogger("flowgrid.charges")


class Charges:
    """Collects in memory: a process that is killed loses at most what came since the last flush."""

    def __init__(self) -> None:
        self._units: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._calls: defaultdict[tuple[str, str], int] = defaultdict(int)

    def record(self, tenant_id: str, operation: str, units: float) -> None:
        self._units[tenant_id, operation] += units
        self._calls[tenant_id, operation] += 1

    async def flush(self) -> int:
        """Write a line for each tenant and operation since the last flush; returns how many."""
        units, self._units = self._units, defaultdict(float)
        calls, self._calls = self._calls, defaultdict(int)
        for (tenant_id, operation), spent in units.items():
            fields = {"tenant_id": tenant_id, "operation": operation, "request_units": round(spent, 2)}
            logger.info("request units", extra={**fields, "calls": calls[tenant_id, operation]})
        return len(units)
