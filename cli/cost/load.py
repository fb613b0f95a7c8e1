"""What is asked for, what was measured, and what is neither: the assumptions of the cost model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from cli.errors import CliError

MEASURED = Path(__file__).parents[2] / "bench/measured.json"
HOST = Path(__file__).parents[2] / "host.json"
DAYS = 30
HOURS = 24 * DAYS
MINUTES = 60 * HOURS
SECONDS = 60 * MINUTES
MIX: Mapping[str, float] = {
    "get agent": 0.70,
    "list 20 agents": 0.15,
    "update agent": 0.08,
    "create agent": 0.05,
    "delete agent": 0.02,
}
CALLS = (*MIX, "create element", "list 50 elements", "import 100 elements", "who am I", "usage", "run agent")
ENTRIES_OF: Mapping[str, int] = {  # of the audit
    "update agent": 1,
    "create agent": 1,
    "delete agent": 1,
    "create element": 1,
    "import 100 elements": 100,
    "run agent": 1,
}


@dataclass(frozen=True)
class Assumed:
    """What nobody has measured here. Each is a number that a deployment will correct."""

    call_seconds: float = field(default=0.08, metadata={"means": "seconds of a call in Azure, its waiting included"})
    round_trip_seconds: float = field(default=0.01, metadata={"means": "seconds of a timer's call to the database"})
    fullness: float = field(default=0.5, metadata={"means": "of the calls it takes at once, before another is made"})
    peak: float = field(default=5.0, metadata={"means": "times the mean, in the busiest minutes"})
    telemetry_row: float = field(default=1.0, metadata={"means": "bytes that are billed for one that is sent"})
    gateway_bytes: float = field(default=3000.0, metadata={"means": "bytes of a call that API Management tells of"})
    host_line_bytes: float = field(default=700.0, metadata={"means": "bytes of a line that the host itself writes"})
    index: float = field(default=1.3, metadata={"means": "bytes on the disk, index included, for one of JSON"})
    elements: float = field(default=1000.0, metadata={"means": "elements that a tenant keeps"})
    agents: float = field(default=60.0, metadata={"means": "agents that a tenant keeps"})
    schedules: float = field(default=0.1, metadata={"means": "of the tenants have agents that run by a schedule"})
    users: float = field(default=25.0, metadata={"means": "users of a tenant who sign in"})
    months: float = field(default=12.0, metadata={"means": "months that it has been running: what is kept grows"})
    alerts: float = field(default=3.0, metadata={"means": "alert rules on logs that look every five minutes"})
    slow_alerts: float = field(default=6.0, metadata={"means": "alert rules that look each quarter of an hour or less"})
    series: float = field(default=5.0, metadata={"means": "time series of the metric alert, one of each place"})
    probes: float = field(default=30.0, metadata={"means": "probes an hour, of five places every ten minutes"})
    endpoints: float = field(default=6.0, metadata={"means": "private endpoints of a private network"})
    zones: float = field(default=5.0, metadata={"means": "DNS zones of a private network"})

    def told(self) -> list[tuple[str, float, str]]:
        return [(one.name, getattr(self, one.name), one.metadata["means"]) for one in fields(self)]


@dataclass(frozen=True)
class Load:
    """`calls`: of a tenant, a day. `at_once`: that an instance takes. `ready`: HTTP instances that always run.

    `sample`: FLOWGRID_TELEMETRY_SAMPLE. `dedicated`: tenants with a database of their own. `autoscale`: the most RU/s
    of a shard; 0: serverless. `long_backup`: the account can go back 30 days, not 7.
    """

    tenants: int = 100
    calls: int = 10_000
    mix: Mapping[str, float] = field(default_factory=lambda: MIX)
    memory: int = 512
    at_once: int = 4
    sample: float = 0.05
    ready: int = 0
    dedicated: int = 0
    shards: int = 1
    autoscale: int = 0
    long_backup: bool = False
    gateway: bool = False
    redis: bool = False
    private: bool = False
    assumed: Assumed = Assumed()

    @property
    def per_month(self) -> float:
        return float(self.tenants * self.calls * DAYS)

    def of(self, tenants: int) -> "Load":
        return replace(self, tenants=tenants)


@cache
def measured() -> dict[str, Any]:
    """What the bench has written (`python -m bench measured`)."""
    figures: dict[str, Any] = json.loads(MEASURED.read_text("utf-8"))
    return figures


def mix_of(text: str) -> Mapping[str, float]:
    """`get agent=70,create agent=30`: shares, whose sum is made 1."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition("=")
        if name not in CALLS or not share.replace(".", "", 1).isdigit():
            raise CliError(f"--mix: {part.strip()!r} is no NAME=SHARE; the names are {', '.join(CALLS)}.")
        shares[name] = float(share)
    total = sum(shares.values())
    if total <= 0:
        raise CliError("--mix: the shares add up to nothing.")
    return {name: share / total for name, share in shares.items()}
