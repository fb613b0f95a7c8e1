"""How much work a month's load makes: of the database, the queue, functions, logs and blobs."""

import json
import math
from collections.abc import Mapping
from typing import Any

from cli.cost.load import DAYS, ENTRIES_OF, HOST, HOURS, MINUTES, SECONDS, Load, measured
from functions.usage.blocks import KEPT_SECONDS as BLOCKS_KEPT
from functions.usage.closing import ROLLUP_KEPT_SECONDS
from shared.messaging.queues import MESSAGES_AT_ONCE
from shared.telemetry.charges import FLUSH_SECONDS
from shared.tenancy.directory import ENTRY_LIVES_SECONDS
from shared.tenancy.plans import PLANS, Tier
from shared.work.request_units import FEW, FEW_SECONDS, SEND_SECONDS

LEAST_SECONDS = 1.0  # that are billed once an instance is at work
SWEEPS, CLOSINGS, ROUNDS = 2 * MINUTES, MINUTES / 5, MINUTES / 5  # by the default schedules (shared/settings.py)
A_HOUR_OF_CLOSINGS = 12
BLOCKS, ENTRIES, ELEMENTS = 60, 60, 101  # of the hour, and the landscape, that the bench has measured
INSTANCE_LINES = 20  # a second that the host lets through (maxTelemetryItemsPerSecond)
LINES = 2  # that the host writes of an execution: that it begins, and how it has ended
OTHER_GROUPS = ("store_usage", "run_job", "run_execution", "sweep", "close_usage", "rounds")
OPERATIONS = {"Read": "get", "BatchRead": "get", "Query": "query", "Batch": "commit"}


class Work:
    """Of one load. Rates are a second, all else is a month's."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._assumed = load.assumed
        self._work: Mapping[str, Any] = measured()["work"]
        self._sizes: Mapping[str, int] = measured()["sizes"]
        self.rate = load.per_month / SECONDS
        self.tenant_rate = self.rate / load.tenants
        busy = self.rate * self._assumed.call_seconds
        self.instances = max(1, load.ready, math.ceil(busy / load.at_once / self._assumed.fullness))

    # The database

    def request_units(self) -> dict[str, float]:
        load = self._load
        cold = self._more("request_units", "who am I, cold", "who am I")
        unseen = math.exp(-self.tenant_rate / self.instances * ENTRY_LIVES_SECONDS)
        return {
            "calls": load.per_month * self._mean("request_units"),
            "calls, what is not cached": load.per_month * cold * unseen,
            "metering": self._metering(),
            "closing of hours": self._closing(),
            "timers, nothing found": SWEEPS * self._of("sweep again, 1 tenant")
            + CLOSINGS * self._of("close_usage again, 1 tenant")
            + ROUNDS * self._of("rounds again, 1 tenant"),
            "timers, each tenant": load.tenants * (SWEEPS * self._schedules() + HOURS * self._rounds()),
            "timers, each database more": (load.dedicated + load.shards - 1)
            * SWEEPS
            * self._more("request_units", "sweep, a database more", "sweep with a schedule"),
            "backups": load.tenants * DAYS * self._each("a backup") * self.landscape_share(),
        }

    def stored_bytes(self) -> dict[str, float]:
        """After so many months, where nothing is kept longer than a standard tenant's is."""
        assumed, load, sizes = self._assumed, self._load, self._sizes
        days = min(PLANS[Tier.STANDARD].audit_retention_days, DAYS * assumed.months)
        hours = min((ROLLUP_KEPT_SECONDS["hour"] or 0) / 3600, HOURS * assumed.months) * self._active_hours()
        blocks = min(BLOCKS_KEPT / 86400, DAYS * assumed.months) * self.blocks() / DAYS
        things = assumed.agents * sizes["agent"] + assumed.elements * sizes["element"]
        return {
            "audit": assumed.index * self.audit_bytes() / DAYS * days,
            "usage": assumed.index * (blocks * sizes["usage_block"] + load.tenants * hours * sizes["rollup"]),
            "agents and elements": assumed.index * load.tenants * things,
        }

    def blocks(self) -> float:
        """Blocks of usage: of a delivery, one for each tenant that is in it."""
        deliveries, size = self.deliveries(), self._events() / max(1.0, self.deliveries())
        tenants = self._load.tenants
        return (
            deliveries * tenants * (1 - (1 - 1 / tenants) ** size) if tenants > 1 else min(deliveries, self._events())
        )

    def deliveries(self) -> float:
        """Of events of usage: one a minute, or as many as there are thousands."""
        events = self._events() / MINUTES
        return MINUTES * (min(1.0, events) if events <= MESSAGES_AT_ONCE else events / MESSAGES_AT_ONCE)

    def _metering(self) -> float:
        size = self._events() / max(1.0, self.blocks())
        least, some, many = (self._of(f"block of {events}") for events in (1, 7, 60))
        slope = (many - least) / 59 if size > 7 else (some - least) / 6
        opened = self._of("first block of an hour") - least
        return (
            self.blocks() * (least + slope * max(0.0, size - 1))
            + self._active_hours() * self._load.tenants * HOURS * opened
        )

    def _closing(self) -> float:
        """Of each hour in which a tenant was there, and the looks into the one that is open, which is half full."""
        active = self._load.tenants * HOURS * self._active_hours()
        blocks = self.blocks() / max(1.0, active) / BLOCKS
        idle, busy = (self._each(f"close_usage of an {hour}") for hour in ("idle hour", "hour at work"))
        look = self._each("close_usage within the hour") * min(1.0, blocks / 2)
        return active * (max(idle, idle + (busy - idle) * blocks) + A_HOUR_OF_CLOSINGS * look)

    def _rounds(self) -> float:
        """The hourly rounds of a tenant: as in an idle hour, and more where entries are to be sealed."""
        entries = self.entries() / self._load.tenants / HOURS / ENTRIES
        idle, busy = (self._each(f"rounds of an {hour}") for hour in ("idle hour", "hour at work"))
        return idle + max(0.0, busy - idle) * entries

    def _schedules(self, what: str = "request_units") -> float:
        """Of a tenant in a sweep: what schedules take, as if the list of those that have some were read for each."""
        return self._assumed.schedules * self._more(what, "sweep with a schedule", "sweep again, 2 tenants")

    # The queue

    def messages(self) -> dict[str, float]:
        per_day = self._each("a backup", "messages")
        return {
            "calls": self._load.per_month * self._mean("messages"),
            "request units": self._unit_events(),
            "backups": self._load.tenants * DAYS * per_day,
        }

    def _events(self) -> float:
        return self._load.per_month * self._mean("messages") + self._unit_events()

    def _unit_events(self) -> float:
        """Each process tells of each tenant's request units: every five minutes, or when there are a hundred."""
        load, hours = self._load, 3600 / SEND_SECONDS
        told = 0.0
        for units, processes in (
            (load.calls / 24 * self._mean("request_units"), self.instances),
            (min(60.0, load.calls / 24) * self._of("block of 7"), 1),
            (120 * self._schedules() + self._rounds(), 1),
        ):
            an_hour = units / processes
            told += processes * min(hours, max(an_hour / FEW, min(1.0, an_hour) * 3600 / FEW_SECONDS))
        return load.tenants * HOURS * told

    # Functions

    def executions(self) -> dict[str, float]:
        backups = self._load.tenants * DAYS * self._each("a backup", "messages")
        timers = SWEEPS + CLOSINGS + ROUNDS + 2 * DAYS
        return {"calls": self._load.per_month, "deliveries": self.deliveries(), "jobs": backups, "timers": timers}

    def active_seconds(self) -> dict[str, float]:
        """Instances at work. A call keeps its own so for a second at least: an upper bound of what is billed."""
        lasting = max(LEAST_SECONDS, self._assumed.call_seconds)
        active = 1 - math.exp(-self.rate / self.instances * lasting)
        jobs = self.executions()["jobs"]
        return {
            "calls": SECONDS * self.instances * active,
            "deliveries": self.deliveries() * max(LEAST_SECONDS, self.delivery_seconds()),
            "jobs": jobs * LEAST_SECONDS,
            "timers": SWEEPS * max(LEAST_SECONDS, self.sweep_seconds())
            + CLOSINGS * max(LEAST_SECONDS, self.closing_seconds())
            + (ROUNDS - HOURS) * LEAST_SECONDS
            + HOURS * max(LEAST_SECONDS, self.round_seconds()),
        }

    def delivery_seconds(self) -> float:
        """Eight tenants side by side."""
        return self.blocks() / max(1.0, self.deliveries()) / 8 * 2 * self._assumed.round_trip_seconds

    def sweep_seconds(self) -> float:
        """One call after another; of a tenant that has schedules some for those."""
        once, more, all_but = (
            sum(self._work[name]["calls"].values())
            for name in ("sweep again, 1 tenant", "sweep with a schedule", "sweep again, 2 tenants")
        )
        calls = once + self._load.tenants * self._assumed.schedules * (more - all_but)
        return float(calls) * self._assumed.round_trip_seconds

    def closing_seconds(self) -> float:
        """Eight tenants side by side."""
        return self._calls("close_usage of an hour at work", self._load.tenants) / 8 * self._assumed.round_trip_seconds

    def round_seconds(self) -> float:
        """The hourly rounds, one tenant after another."""
        return self._calls("rounds of an hour at work", self._load.tenants) * self._assumed.round_trip_seconds

    # Logs

    def log_bytes(self) -> dict[str, float]:
        load, assumed = self._load, self._assumed
        sweeps = SWEEPS * self._of("sweep again, 1 tenant", "telemetry_bytes")
        sweeps += load.tenants * SWEEPS * self._schedules("telemetry_bytes")
        sweeps += CLOSINGS * self._of("close_usage again, 1 tenant", "telemetry_bytes")
        sweeps += ROUNDS * self._of("rounds again, 1 tenant", "telemetry_bytes")
        deliveries = self.blocks() * self._of("block of 7", "telemetry_bytes")
        calls = load.per_month * self._mean("telemetry_bytes")
        share = assumed.telemetry_row * load.sample
        at_the_gateway = load.per_month * assumed.gateway_bytes if load.gateway else 0.0
        return {
            "calls, a sample": share * calls,
            "calls at the gateway, a sample": share * at_the_gateway,
            "metering and timers, a sample": share * (deliveries + sweeps),
            "request units of each tenant": assumed.telemetry_row * self._unit_figures() * measured()["metric_bytes"],
            "the host's own lines": self._host_lines() * assumed.host_line_bytes,
        }

    def _unit_figures(self) -> float:
        """Figures of request units: each half minute, of each tenant and operation that was at work; never sampled."""
        slots = SECONDS / FLUSH_SECONDS
        rates: dict[str, float] = {}
        for name, share in self._load.mix.items():
            for call, count in self._work[name]["calls"].items():
                if operation := OPERATIONS.get(call.split()[0]):
                    rates[operation] = rates.get(operation, 0.0) + count * share * self.tenant_rate / self.instances
        seen = self.instances * sum(1 - math.exp(-rate * FLUSH_SECONDS) for rate in rates.values())
        return self._load.tenants * slots * (seen + 1) + 2 * min(self.blocks(), self._load.tenants * slots)

    def _host_lines(self) -> float:
        """None where host.json says so; else what its sampling lets through."""
        level = json.loads(HOST.read_text("utf-8"))["logging"]["logLevel"].get("Function", "Information")
        if level != "Information":
            return 0.0
        groups = {**self.executions(), "calls": self._load.per_month}
        most = {name: INSTANCE_LINES * SECONDS * (self.instances if name == "calls" else 1) for name in groups}
        return sum(min(LINES * count, most[name]) for name, count in groups.items())

    # Blobs, secrets, answers

    def blob_operations(self) -> tuple[float, float]:
        """Writes and reads: of backups, sealing and its reading back; of imports."""
        tenants, found = self._load.tenants, []
        for what in ("blob_writes", "blob_reads"):
            daily = self._each("a backup", what)
            hourly = self._each("rounds of an hour at work", what) * min(1.0, self.entries() / tenants / HOURS)
            found.append(tenants * (DAYS * daily + HOURS * hourly) + self._load.per_month * self._mean(what))
        return found[0], found[1]

    def sealed_bytes(self) -> float:
        """As long as audit is kept."""
        a_entry = self._of("rounds of an hour at work, 1 tenant", "blob_bytes") / ENTRIES
        days = min(PLANS[Tier.STANDARD].audit_retention_days, DAYS * self._assumed.months)
        return self.entries() / DAYS * days * a_entry

    def secrets(self) -> float:
        """Signing keys, by each instance each hour; the hourly look at what a tenant keeps."""
        return HOURS * (self.instances + 5) + self._load.tenants * HOURS * self._each(
            "rounds of an idle hour", "secrets"
        )

    def answer_bytes(self) -> float:
        return self._load.per_month * self._mean("answer_bytes")

    # What is behind all of them

    def landscape_share(self) -> float:
        """A tenant's things beside those of the bench, which a backup reads and writes."""
        measured_bytes = 61 * self._sizes["agent"] + ELEMENTS * self._sizes["element"]
        kept = self._assumed.agents * self._sizes["agent"] + self._assumed.elements * self._sizes["element"]
        return max(1.0, kept / measured_bytes)

    def entries(self) -> float:
        """Entries of the audit."""
        return self._load.per_month * sum(share * ENTRIES_OF.get(name, 0) for name, share in self._load.mix.items())

    def audit_bytes(self) -> float:
        """Of the same entries, as they lie in the database."""
        return self._load.per_month * self._mean("audit_bytes")

    def _active_hours(self) -> float:
        """The share of hours in which a tenant makes a call."""
        return 1 - math.exp(-self.tenant_rate * 3600)

    def _mean(self, what: str) -> float:
        return sum(share * float(self._work[name][what]) for name, share in self._load.mix.items())

    def _of(self, name: str, what: str = "request_units") -> float:
        return float(self._work[name][what])

    def _more(self, what: str, more: str, less: str) -> float:
        return max(0.0, self._of(more, what) - self._of(less, what))

    def _each(self, name: str, what: str = "request_units") -> float:
        """What one tenant more takes."""
        return self._more(what, f"{name}, 2 tenants", f"{name}, 1 tenant")

    def _calls(self, name: str, tenants: int) -> float:
        one, two = (sum(self._work[f"{name}, {count}"]["calls"].values()) for count in ("1 tenant", "2 tenants"))
        return float(one + max(0, two - one) * (tenants - 1))
