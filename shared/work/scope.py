"""Whose work it is, and with what: one tenant, bound to its store, one caller, one request."""

from asyncio import Future
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from shared.auth.caller import Caller, RequestInfo
from shared.clock import Clock
from shared.database.port import Create, TenantStore
from shared.ids import Ids, derived_id
from shared.kinds import Kind, Kinds
from shared.telemetry.port import OFF, Telemetry
from shared.tenancy.directory import TenantEntry
from shared.tenancy.plans import Plan
from shared.work.outbox import Outbox
from shared.work.resources import Answer, Resource, ToldOnce

IDEMPOTENCY = Kind("idempotency", append_only=True)
IDEMPOTENCY_SECONDS = 24 * 3600


@dataclass
class IdempotencySlot:
    """Where the answer of a keyed request goes: into the change's own batch, or on its own when nothing was written."""

    id: str
    fingerprint: str
    stored: bool = False

    def record(self, answer: BaseModel | None, at: str) -> Create:
        answer = answer.again() if isinstance(answer, ToldOnce) else answer
        body = None if answer is None else answer.model_dump(mode="json")
        etag = answer.etag if isinstance(answer, Resource) else None
        made = [[kind.name, id] for kind, id in _made(answer)]
        document: dict[str, Any] = {"created_at": at, "fingerprint": self.fingerprint, "body": body, "etag": etag}
        document |= {"made": made[0] if made else None, "others": made[1:]}
        return Create(IDEMPOTENCY, self.id, document, ttl=IDEMPOTENCY_SECONDS)


def _made(answer: BaseModel | None) -> list[tuple[Kind, str]]:
    if isinstance(answer, Resource):
        return [(answer.KIND, answer.id)]
    return answer.makes() if isinstance(answer, Answer) else []


@dataclass(frozen=True)
class Services:
    """What sessions need of the outside."""

    clock: Clock
    ids: Ids
    outbox: Outbox
    usage_queue: str
    kinds: Kinds
    deliveries_queue: str = "deliveries"
    telemetry: Telemetry = OFF


@dataclass(frozen=True)
class Scope:
    """One tenant, bound: the only way from a request to data."""

    entry: TenantEntry
    store: TenantStore
    caller: Caller
    request: RequestInfo
    services: Services
    idempotency: IdempotencySlot | None = None
    relays: list[Future[None]] | None = None  # sends that whoever answers waits for; None: each change for its own

    @property
    def id(self) -> str:
        return self.entry.id

    @property
    def plan(self) -> Plan:
        return self.entry.plan

    @property
    def user_id(self) -> str:
        return self.caller.user_id

    def repeatable_id(self, kind: str) -> str:
        """For work in several steps: the same id again when the same request comes again under its idempotency key."""
        if self.idempotency is None:
            return self.services.ids.new()
        return derived_id(kind, self.id, self.idempotency.id, self.idempotency.fingerprint)
