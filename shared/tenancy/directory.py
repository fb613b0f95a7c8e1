"""Tenants as the infrastructure knows them: which there are, what they may do, and where their data lives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from shared.clock import Clock
from shared.database.port import Database, Document, Placement, Stored, TenantStore
from shared.ids import PLATFORM_TENANT_ID
from shared.kinds import Kind
from shared.tenancy.fence import Handle, Signer
from shared.tenancy.history import assumed
from shared.tenancy.plans import PLANS, Plan, Tier


def _job_id(body: Document) -> Document:
    """Schema 2: a job is named by `job_id`, as everywhere."""
    return {("job_id" if name == "provisioning_job" else name): value for name, value in body.items()}


def _plan_changes(body: Document) -> Document:
    """Schema 3: which plan it had when."""
    return {**body, "plan_changes": assumed(body)}


TENANT = Kind(
    "tenant",
    container="tenants",
    filtered=("status", "tier", "slug", "trial_ends_at", "placement.mode", "unaudited.created_at", "next_tier_at"),
    sorted=("updated_at", "name"),
    upcasts=[_job_id, _plan_changes],
)
RESERVATION = Kind("reservation", container="reservations")  # of what all tenants share: names, keys, timers' runs
ENTRY_LIVES_SECONDS = 5.0

Membership = Literal["required", "open"]  # open: whoever has a role in the token becomes a user by coming


@dataclass(frozen=True)
class TenantEntry:
    """A tenant's line in the registry."""

    id: str
    name: str
    slug: str
    tier: Tier
    status: str
    max_agents: int
    max_users: int
    placement: Placement
    limits: Mapping[str, int] = field(default_factory=dict)
    membership: Membership = "required"
    copy_of: str | None = None
    ai_providers: tuple[str, ...] | None = None  # that its agents may use; None: all
    webhooks: bool = False  # whether it has ever had one: only then what happens is kept for them

    @cached_property
    def plan(self) -> Plan:
        """The tier's plan with this tenant's own numbers in it. A copy may make none, or there would be no end."""
        none = {"max_copies": 0} if self.copy_of else {}
        return PLANS[self.tier].with_overrides(
            {**none, **self.limits, "max_agents": self.max_agents, "max_users": self.max_users}
        )

    @classmethod
    def from_document(cls, body: Mapping[str, Any]) -> "TenantEntry":
        return cls(
            id=body["id"],
            name=body["name"],
            slug=body["slug"],
            tier=Tier(body["tier"]),
            status=body["status"],
            max_agents=body["max_agents"],
            max_users=body["max_users"],
            placement=Placement.from_document(body["placement"]),
            limits=body["settings"]["limits"],
            membership=body["settings"].get("membership", "required"),
            ai_providers=_names(body["settings"].get("ai_providers")),
            copy_of=body.get("copy_of"),
            webhooks=body.get("webhooks", False),
        )


class Directory:
    """The registry, read through a cache of seconds.

    `signer`: of the audit entries that are written through its stores; without one (the bench's baseline) they are not
    signed, and found by `GET audit/verify`.
    """

    def __init__(self, database: Database, clock: Clock, signer: Signer | None = None) -> None:
        self._database = database
        self._clock = clock
        self._signer = signer
        self._entries: dict[str, tuple[float, TenantEntry]] = {}
        self._handles: dict[str, tuple[Placement, Handle]] = {}
        self.flowgrid = TenantEntry(
            id=PLATFORM_TENANT_ID,
            name="Flowgrid",
            slug="platform",
            tier=Tier.ENTERPRISE,
            status="active",
            max_agents=0,
            max_users=0,
            placement=shard(1),
            limits={"requests_per_minute": 600},
        )

    async def entry(self, tenant_id: str) -> TenantEntry | None:
        """The tenant's entry, at most five seconds old; None when there is no such tenant."""
        if tenant_id == PLATFORM_TENANT_ID:
            return self.flowgrid
        now = self._clock.monotonic()
        cached = self._entries.get(tenant_id)
        if cached and now - cached[0] < ENTRY_LIVES_SECONDS:
            return cached[1]
        stored = await self._database.platform.get(TENANT, tenant_id, tenant_id)
        if stored is None:
            return None
        return self.remember(stored)

    async def latest(self, tenant_id: str) -> TenantEntry | None:
        """The tenant's entry as it is now; None when there is no such tenant, whatever a replica says."""
        stored = await self._database.platform.latest(TENANT, tenant_id, tenant_id)
        return None if stored is None else self.remember(stored)

    async def store(self, tenant_id: str) -> TenantStore | None:
        """The tenant's store, or None when there is no such tenant."""
        entry = await self.entry(tenant_id)
        return self.open(entry) if entry else None

    def open(self, entry: TenantEntry) -> TenantStore:
        """The store of a tenant whose entry is at hand: writes go through the fence (shared/tenancy/fence.py)."""
        known = self._handles.get(entry.id)
        if known is None or known[0] != entry.placement:
            handle = Handle(self._database.tenant(entry.id, entry.placement), signer=self._signer)
            known = self._handles[entry.id] = (entry.placement, handle)
        return known[1].control if entry.id == PLATFORM_TENANT_ID else known[1]

    def held_by(self, entry: TenantEntry, holder: str, since: str) -> TenantStore:
        """The store of a tenant whose fence is closed for this holder `since` then."""
        handle = Handle(self._database.tenant(entry.id, entry.placement), holder=holder, signer=self._signer)
        handle.floor = since
        return handle

    def remember(self, stored: Stored) -> TenantEntry:
        """Take in an entry just read or written."""
        entry = TenantEntry.from_document(stored.body)
        self._entries[entry.id] = (self._clock.monotonic(), entry)
        return entry

    def forget(self, tenant_id: str) -> None:
        """Read the tenant's entry anew next time."""
        self._entries.pop(tenant_id, None)


def shard(number: int) -> Placement:
    """The shared database of this number."""
    return Placement("shared", f"shard-{number}")


def _names(found: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if found is None else tuple(found)
