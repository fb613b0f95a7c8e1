"""What a tenant costs in a month, from what calls cost (`python -m bench units usage`) and list prices with their day.

A hundred tenants with 10,000 calls a day each: 70 % get, 15 % list, 5 % create, 8 % update, 2 % delete. Durability is
as it is: every call is a message, every write one batch with its audit. Nothing is measured here; each line says how.
"""

from typing import Any

TENANTS = 100
CALLS = TENANTS * 10_000 * 30  # a month
UNITS = {
    "get": (0.70, 1.0),
    "list": (0.15, 3.4),
    "create": (0.05, 40.0),
    "update": (0.08, 21.0),
    "delete": (0.02, 31.0),
}
COLD = 2.0  # RU a call: entry and member, cached for seconds by each instance
METERING = 1.6  # RU a call at 0.1 calls/s
IDLE_UNITS = 2 * 1440 * 30 * 30 + 12 * 24 * 30 * 25  # the sweeps of a month, and the looks of the closing timer
STORED_GB = TENANTS * (12 * 0.15 * CALLS / TENANTS * 4e-6 + 0.1)  # a year of audit entries of 4 KB; blocks, resources
MEMORY_GB, SECONDS, SIDE_BY_SIDE = 0.5, 0.08, 4  # an instance of 512 MB works on four calls at once
TIMERS = (2 + 2 / 5) * 1440 * 30  # runs, of at least a second each

RU, GB, OPERATION, EXECUTION, GB_SECOND = 0.25 / 1e6, 0.25, 0.80 / 1e6, 0.40 / 1e6, 0.000026  # US dollars
PRICES = "Cosmos DB serverless 2026-08, Service Bus Standard 2026, Functions Flex 2025-05: East US list prices"
Row = dict[str, Any]


async def run(quick: bool) -> list[Row]:
    api = CALLS * (sum(share * units for share, units in UNITS.values()) + COLD) * RU
    operations = 3 * (1 + UNITS["create"][0]) * CALLS  # sent, received, completed; a create has an event of its own
    rows = {
        "calls' request units": api,
        "metering's request units": (CALLS * METERING + IDLE_UNITS) * RU,
        "storage": STORED_GB * GB,
        "messages": (operations - 13e6) * OPERATION + 9.81,
        "functions, executions": (CALLS + TIMERS) * EXECUTION,
        "functions, memory": (CALLS * SECONDS / SIDE_BY_SIDE + TIMERS) * MEMORY_GB * GB_SECOND,
    }
    total = sum(rows.values())
    lines = [{"what": name, "a tenant": f"${cost / TENANTS:.2f}", "all": f"${cost:.0f}"} for name, cost in rows.items()]
    return [*lines, {"what": f"together ({PRICES})", "a tenant": f"${total / TENANTS:.2f}", "all": f"${total:.0f}"}]
