"""A tenant at work: one caller, one request, one store; and `Change`, the unit of work that every write goes through.

One write = one batch: the resources, their audit entries (whole old and new values: they are also the recovery
journal), the counters with their quotas, the outbox events, the idempotency record. All or nothing.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel

from shared.clock import Clock, parse_rfc3339, rfc3339
from shared.context import Caller, RequestInfo
from shared.database.limits import encode
from shared.database.port import Create, Delete, Increment, Kind, Operation, Rejected, Replace, TenantStore
from shared.errors import Conflict, FlowgridError, Invalid, QuotaReached, Stale, TooLarge
from shared.events import Metric, usage_event
from shared.ids import Ids, derived_id
from shared.messaging.outbox import Outbox, outbox_item
from shared.messaging.port import Message
from shared.plans import Plan
from shared.resources import MAX_RESOURCE_BYTES, Held, Resource, load
from shared.tenancy import TenantEntry

R = TypeVar("R", bound=Resource)
A = TypeVar("A", bound=BaseModel | None)
Failure = Callable[[Rejected], FlowgridError]

IDEMPOTENCY_SECONDS = 24 * 3600
TRIES_AT_A_RACE = 5
LONGEST_STEP_ASIDE_SECONDS = 0.02  # after the first lost race; it doubles with each further one


class AnsweredMeanwhile(FlowgridError):
    """Another request with the same idempotency key has committed first; its answer is the answer."""


@dataclass
class IdempotencySlot:
    """Where the answer of a keyed request goes: into the change's own batch, or on its own when nothing was written."""

    id: str
    fingerprint: str
    stored: bool = False

    def record(self, answer: BaseModel | None, at: str) -> Create:
        body = None if answer is None else answer.model_dump(mode="json")
        etag = answer.etag if isinstance(answer, Resource) else None
        made = [answer.KIND.value, answer.id] if isinstance(answer, Resource) else None
        document = {"created_at": at, "fingerprint": self.fingerprint, "body": body, "etag": etag, "made": made}
        return Create(Kind.IDEMPOTENCY, self.id, document, ttl=IDEMPOTENCY_SECONDS)


@dataclass(frozen=True)
class Services:
    """What sessions need of the outside."""

    clock: Clock
    ids: Ids
    outbox: Outbox
    usage_queue: str


@dataclass(frozen=True)
class TenantSession:
    """One tenant, bound: the only way from a request to data."""

    entry: TenantEntry
    store: TenantStore
    caller: Caller
    request: RequestInfo
    services: Services
    idempotency: IdempotencySlot | None = None

    @property
    def id(self) -> str:
        return self.entry.id

    @property
    def plan(self) -> Plan:
        return self.entry.plan

    @property
    def user_id(self) -> str:
        return self.caller.user_id(self.id)

    def repeatable_id(self, kind: str) -> str:
        """For work in several steps: the same id again when the same request comes again under its idempotency key."""
        if self.idempotency is None:
            return self.services.ids.new()
        return derived_id(kind, self.id, self.idempotency.id, self.idempotency.fingerprint)

    def change(self, *held: Held[Any]) -> "Change":
        """Begin a change; `held` are the resources that it replaces or deletes."""
        return Change(self, held)

    async def modify(
        self,
        model: type[R],
        id: str,
        new_fields: Callable[[R], Mapping[str, Any]],
        *,
        if_match: str | None,
        also: Callable[["Change", R, R], Awaitable[None]] | None = None,
    ) -> R:
        """Read, check If-Match, change, commit; a race is run again, and everything checked again with it.

        `also` gets the change, the old and the new resource: it checks, and adds to the same change.
        """
        for lost in range(TRIES_AT_A_RACE):
            held = await load(self, model, id)
            held.value.check(if_match)
            change = self.change(held)
            updated = change.update(held, new_fields(held.value))
            if updated is held.value:
                return updated
            if also is not None:
                await also(change, held.value, updated)
            try:
                return await change.commit(updated)
            except Stale:
                await _step_aside(lost)
        raise Conflict("Others keep changing this at the same time; try again.")

    async def remove(
        self,
        model: type[R],
        id: str,
        *,
        if_match: str | None,
        also: Callable[["Change", R], Awaitable[None]] | None = None,
    ) -> None:
        """Read, check If-Match, delete, commit; a race is run again, and everything checked again with it."""
        for lost in range(TRIES_AT_A_RACE):
            held = await load(self, model, id)
            held.value.check(if_match)
            change = self.change(held)
            change.delete(held)
            if also is not None:
                await also(change, held.value)
            try:
                return await change.commit(None)
            except Stale:
                await _step_aside(lost)
        raise Conflict("Others keep changing this at the same time; try again.")


class Change:
    """Collects what one write does; every entry of it carries the same instant."""

    def __init__(self, session: TenantSession, held: tuple[Held[Any], ...]) -> None:
        self._session = session
        latest = [parse_rfc3339(one.value.updated_at) + timedelta(microseconds=1) for one in held]
        self._instant = max([session.services.clock.now(), *latest])
        self.at = rfc3339(self._instant)
        self._operations: list[Operation] = []
        self._failures: list[Failure] = []
        self._touched: set[tuple[Kind, str]] = set()
        self._counters: list[tuple[str, int, int | None]] = []
        self._messages: list[tuple[str, Message]] = []

    def create(self, model: type[R], fields: Mapping[str, Any], *, id: str | None = None, ttl: int | None = None) -> R:
        """A new resource at revision 1. `Conflict` at commit when its id is taken."""
        session = self._session
        resource = model.model_validate(
            {
                **fields,
                "id": id or session.services.ids.new(),
                "tenant_id": session.id,
                "revision": 1,
                "created_at": self.at,
                "updated_at": self.at,
                "created_by": session.user_id,
                "updated_by": session.user_id,
            }
        )
        body = _document(resource)
        taken = Conflict(f"There is such a {model.KIND} already.", id=resource.id)
        self._add(Create(model.KIND, resource.id, body, ttl), lambda _: taken)
        self.audit("created", model.KIND, resource.id, 1, None, body)
        return resource

    def update(self, held: Held[R], fields: Mapping[str, Any], *, action: str = "updated") -> R:
        """The resource with these fields changed; the very same object when they change nothing."""
        old = held.value
        new = type(old).model_validate({**old.model_dump(), **fields})
        if _canonical(new) == _canonical(old):
            return old
        new = new.model_copy(
            update={"revision": old.revision + 1, "updated_at": self.at, "updated_by": self._session.user_id}
        )
        body = _document(new)
        self._add(Replace(old.KIND, old.id, body, held.etag), _changed_meanwhile)
        self.audit(action, old.KIND, old.id, new.revision, _document(old), body)
        return new

    def delete(self, held: Held[R]) -> None:
        old = held.value
        self._add(Delete(old.KIND, old.id, held.etag), _changed_meanwhile)
        self.audit("deleted", old.KIND, old.id, old.revision + 1, _document(old), None)

    def restore(self, model: type[R], body: Mapping[str, Any], held: Held[R] | None) -> R:
        """A resource as it once was: verbatim where there is none now, as the next revision of what there is.

        `Conflict` or `Stale` at commit when that has changed meanwhile.
        """
        back = model.model_validate({**body, "tenant_id": self._session.id})
        if held is None:
            document, old = _document(back), None
            taken = Conflict(f"There is such a {model.KIND} already.", id=back.id)
            self._add(Create(model.KIND, back.id, document), lambda _: taken)
        else:
            revision, user = held.value.revision + 1, self._session.user_id
            back = back.model_copy(update={"revision": revision, "updated_at": self.at, "updated_by": user})
            document, old = _document(back), _document(held.value)
            self._add(Replace(model.KIND, back.id, document, held.etag), _changed_meanwhile)
        self.audit("restored", model.KIND, back.id, back.revision, old, document)
        return back

    def audit(
        self,
        action: str,
        kind: str,
        id: str,
        revision: int,
        old: Mapping[str, Any] | None,
        new: Mapping[str, Any] | None,
    ) -> None:
        """An entry of the audit trail: who did what to which resource, with its whole old and new value."""
        session = self._session
        body = {
            "created_at": self.at,
            "user_id": session.user_id,
            "action": f"{kind}.{action}",
            "resource_type": kind,
            "resource_id": id,
            "revision": revision,
            "old_value": old,
            "new_value": new,
            "ip_address": session.request.ip_address,
            "user_agent": session.request.user_agent,
            "request_id": session.request.request_id,
        }
        self._add(Create(Kind.AUDIT, session.services.ids.new(), body), _unexpected)

    def touch(self, kind: Kind, id: str, field: str, *, revision: int | None = None) -> None:
        """What this change refers to must be there, and a deletion of it that has already looked must look again.

        Raises `Invalid`, naming the `field` of the request, when it is not; `Stale` when it is beyond the `revision`
        that was looked at. (The store's ETag moves, the revision not.)
        """
        if (kind, id) in self._touched:
            return
        self._touched.add((kind, id))
        gone = Invalid.of(field, f"is no {kind} of this tenant", id)
        moved = Stale("What this refers to was changed meanwhile; look again.")
        bound = {} if revision is None else {"revision": revision}
        operation = Increment(kind, id, {"touched": 1, **dict.fromkeys(bound, 0)}, bound)
        self._add(operation, lambda rejected: moved if rejected.reason == "condition" else gone)

    def count(self, counter: str, by: int, *, limit: int | None = None) -> None:
        """Move a counter; with `limit`, `QuotaReached` at commit when it would go beyond."""
        self._counters.append((counter, by, limit))

    def emit(self, metric: Metric, value: int, **data: Any) -> None:
        """A usage event that happens if, and only if, the change does."""
        services = self._session.services
        event = usage_event(
            metric, id=services.ids.new(), tenant_id=self._session.id, at=self._instant, value=value, **data
        )
        self.send(services.usage_queue, event)

    def send(self, queue: str, message: Message) -> None:
        """A message that is sent if, and only if, the change is committed."""
        self._messages.append((queue, message))
        self._add(outbox_item(queue, message, self._instant), _unexpected)

    def also(self, operation: Operation) -> None:
        """An operation on something that is no resource (a job, a rollup): not audited."""
        self._add(operation, _unexpected)

    async def commit(self, answer: A) -> A:
        """Write all of it in one batch, send the events, and return `answer`."""
        session = self._session
        if session.idempotency is not None and not session.idempotency.stored:
            # first, so that a request that lost the race hears of the answer, not of what it met
            self._operations.insert(0, session.idempotency.record(answer, self.at))
            self._failures.insert(0, lambda _: AnsweredMeanwhile("answered meanwhile"))
        counted: dict[int, tuple[str, int, int | None]] = {}
        for name, by, limit in self._counters:
            counted[len(self._operations)] = (name, by, limit)
            at_most = {} if limit is None else {"value": limit}
            self._add(Increment(Kind.COUNTER, name, {"value": by}, at_most), _unexpected)
        try:
            await session.store.commit(self._operations)
        except Rejected as rejected:
            if rejected.index in counted and rejected.reason == "condition":
                raise await self._quota(counted[rejected.index]) from rejected
            raise self._failures[rejected.index](rejected) from rejected
        if session.idempotency is not None:
            session.idempotency.stored = True
        await session.services.outbox.relay(session.store, self._messages)
        return answer

    async def _quota(self, counter: tuple[str, int, int | None]) -> QuotaReached:
        name, _, limit = counter
        stored = await self._session.store.get(Kind.COUNTER, name)
        current = stored.body["value"] if stored else 0
        return QuotaReached(name.rstrip("s").capitalize(), limit=limit or 0, current=current)

    def _add(self, operation: Operation, failure: Failure) -> None:
        self._operations.append(operation)
        self._failures.append(failure)


def _document(resource: Resource) -> dict[str, Any]:
    body = resource.model_dump(mode="json")
    size = len(encode(body).encode())
    if size > MAX_RESOURCE_BYTES:
        raise TooLarge(f"This {resource.KIND} is {size} bytes of JSON; at most {MAX_RESOURCE_BYTES} can be kept.")
    return body


def _canonical(resource: Resource) -> str:
    """JSON text, because Python holds 1, 1.0 and True for equal and a client does not."""
    return json.dumps(resource.model_dump(mode="json"), sort_keys=True)


def _changed_meanwhile(_: Rejected) -> FlowgridError:
    return Stale("It was changed by somebody else meanwhile; read it again.")


def _unexpected(rejected: Rejected) -> FlowgridError:
    return Conflict(f"The change met another one; try again ({rejected}).")


async def _step_aside(lost: int) -> None:
    """Wait a little, each a different while, so that those who have met do not meet again."""
    await asyncio.sleep(random.uniform(0, LONGEST_STEP_ASIDE_SECONDS * 2**lost))  # noqa: S311 - no secret
