"""`Change`, the unit of work that every write goes through: one write = one batch.

The resources, their audit entries (whole old and new values: they are also the recovery journal), the counters with
their quotas, the outbox events, the idempotency record. All or nothing.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel

from shared.clock import parse_rfc3339, rfc3339
from shared.database.limits import encode
from shared.database.port import Bury, Create, Document, Increment, Operation, Rejected, Replace
from shared.errors import Conflict, FlowgridError, Invalid, QuotaReached, Stale, Taken, TooLarge
from shared.kinds import Kind, Kinds
from shared.messaging.port import Message
from shared.tenancy.fence import AUDIT, TICK, stamp
from shared.work.events import Metric, usage_event
from shared.work.happenings import Happenings
from shared.work.outbox import outbox_item
from shared.work.resources import MAX_RESOURCE_BYTES, Resource, Tombstone, Versioned
from shared.work.scope import Scope

R = TypeVar("R", bound=Resource)
A = TypeVar("A", bound=BaseModel | None)
COUNTER = Kind("counter")
Failure = Callable[[Rejected], FlowgridError]


@dataclass(frozen=True)
class Counted:
    """A counter that a change moves; `called`: what one of what it counts is called."""

    counter: str
    by: int
    limit: int | None
    called: str


class AnsweredMeanwhile(FlowgridError):
    """Another request with the same idempotency key has committed first; its answer is the answer."""


class Change:
    """Collects what one write does; every entry of it carries the same instant (`at`, RFC 3339 UTC).

    At `commit` all of it is one batch: at most 100 operations and 2 MB (`TooLarge`). `Conflict` and `Stale` say what it
    met; nothing is written then, and the change cannot be used again.
    """

    def __init__(self, scope: Scope, held: tuple[Versioned[Any], ...], after: str | None) -> None:
        self._scope = scope
        before = [*(one.value.updated_at for one in held), *([after] if after else [])]
        now = stamp(scope.store, scope.services.clock.now())
        self.at = rfc3339(max([now, *(parse_rfc3339(instant) + TICK for instant in before)]))
        self._operations: list[Operation] = []
        self._failures: list[Failure] = []
        self._touched: set[tuple[Kind, str]] = set()
        self._counters: list[Counted] = []
        self._messages: list[tuple[str, Message]] = []
        self._happenings = Happenings(self.at)

    def create(
        self,
        model: type[R],
        fields: Mapping[str, Any],
        *,
        id: str | None = None,
        buried: Versioned[Tombstone] | None = None,
    ) -> R:
        """A new resource at revision 1, or at the one after its tombstone. `Conflict` at commit when its id is taken.

        Who gives an id that may have been used before has looked for its tombstone (`TenantSession.buried`).
        """
        scope = self._scope
        revision = 1 if buried is None else buried.value.revision + 1
        resource = model.model_validate(
            {
                **fields,
                "id": id or scope.services.ids.new(),
                "tenant_id": scope.id,
                "revision": revision,
                "created_at": self.at,
                "updated_at": self.at,
                "created_by": scope.user_id,
                "updated_by": scope.user_id,
            }
        )
        body, text = _encoded(resource)
        self._create(model.KIND, resource.id, body, text, buried)
        self.audit("created", model.KIND, resource.id, revision, None, body)
        return resource

    def update(self, held: Versioned[R], fields: Mapping[str, Any], *, action: str = "updated") -> R:
        """The resource with these fields changed; the very same object when they change nothing."""
        old = held.value
        new = type(old).model_validate({**old.model_dump(), **fields})
        if _canonical(new) == _canonical(old):
            return old
        new = new.model_copy(
            update={"revision": old.revision + 1, "updated_at": self.at, "updated_by": self._scope.user_id}
        )
        body, text = _encoded(new)
        self._add(Replace(old.KIND, old.id, body, held.etag, text=text), _changed_meanwhile)
        self.audit(action, old.KIND, old.id, new.revision, _document(old), body)
        return new

    def delete(self, held: Versioned[R]) -> None:
        """It goes, but for a tombstone: what is made of the same id later goes on from its revision and instant."""
        old = held.value
        revision = old.revision + 1
        tombstone = {"created_at": self.at, "updated_at": self.at, "revision": revision}
        self._add(Bury(old.KIND, old.id, tombstone, held.etag), _changed_meanwhile)
        self.audit("deleted", old.KIND, old.id, revision, _document(old), None)

    def restore(
        self,
        model: type[R],
        body: Mapping[str, Any],
        held: Versioned[R] | None,
        buried: Versioned[Tombstone] | None = None,
    ) -> R:
        """A resource as it once was: verbatim where it never was, as the next revision of what there is or has been.

        `Conflict` or `Stale` at commit when that has changed meanwhile.
        """
        back = model.model_validate({**body, "tenant_id": self._scope.id})
        last = held.value.revision if held else buried.value.revision if buried else None
        if last is not None:
            stamped = {"revision": last + 1, "updated_at": self.at, "updated_by": self._scope.user_id}
            back = back.model_copy(update=stamped)
        document, text = _encoded(back)
        if held is None:
            self._create(model.KIND, back.id, document, text, buried)
        else:
            self._add(Replace(model.KIND, back.id, document, held.etag, text=text), _changed_meanwhile)
        self.audit("restored", model.KIND, back.id, back.revision, _document(held.value) if held else None, document)
        return back

    def audit(
        self,
        action: str,
        kind: Kind,
        id: str,
        revision: int,
        old: Mapping[str, Any] | None,
        new: Mapping[str, Any] | None,
    ) -> None:
        """An entry of the audit trail: who did what to which resource, with its whole old and new value."""
        scope = self._scope
        body = {
            "created_at": self.at,
            "user_id": scope.user_id,
            "action": f"{kind}.{action}",
            "resource_type": kind.name,
            "resource_id": id,
            "revision": revision,
            "old_value": old,
            "new_value": new,
            "value_schema": kind.schema,
            "ip_address": scope.request.ip_address,
            "user_agent": scope.request.user_agent,
            "request_id": scope.request.request_id,
        }
        if scope.caller.key is not None:
            body["api_key_id"] = scope.caller.key.id
        self._add(Create(AUDIT, scope.services.ids.new(), body), _unexpected)
        if action in kind.told:
            self.tell(f"{kind}.{action}", kind, id, revision, new)

    def tell(self, type: str, kind: Kind, id: str, revision: int, value: Mapping[str, Any] | None) -> None:
        """An event that the tenant's webhooks are told of if, and only if, the change is committed.

        Nothing where it has none: whoever has just made its first one is told of it within seconds.
        """
        if self._scope.entry.webhooks:
            self._happenings.add(self._scope.services.ids.new(), type, kind, id, revision, value)

    def touch(
        self, kind: Kind, id: str, field: str, *, revision: int | None = None, alone: Document | None = None
    ) -> None:
        """What this change refers to must be there, and a deletion of it that has already looked must look again.

        Raises `Invalid`, naming the `field` of the request, when it is not; `Stale` when it is beyond the `revision`
        that was looked at, or anything has touched it since it was seen so (`alone`). (The store's ETag moves, the
        revision not.) Of several touches of one item the first counts.
        """
        if (kind, id) in self._touched:
            return
        self._touched.add((kind, id))
        gone = Invalid.of(field, f"is no {kind} of this tenant", id)
        moved = Stale("What this refers to was changed meanwhile; look again.")
        bound = {} if revision is None else {"revision": revision}
        amounts = {**dict.fromkeys(bound, 0), "touched": 1}
        if alone is not None:
            bound["touched"] = alone.get("touched", 0) + 1
        operation = Increment(kind, id, amounts, bound)
        # a condition that fails without a bound says that it is buried
        self._add(operation, lambda rejected: moved if rejected.reason == "condition" and bound else gone)

    def count(self, counter: str, by: int, *, limit: int | None = None, called: str | None = None) -> None:
        """Move a counter; with `limit`, `QuotaReached` at commit when it would go beyond.

        `called`: what one of them is called then; None: as the counter is, in the singular. Several movements of one
        counter are one, within the lowest of their limits: what is given back makes room for what is taken.
        """
        self._counters.append(Counted(counter, by, limit, called or _one_of(counter)))

    def emit(self, metric: Metric, value: int, *, event_id: str | None = None, **data: Any) -> None:
        """A usage event that happens if, and only if, the change does. `event_id` None: a new one."""
        services = self._scope.services
        now = services.clock.now()  # not the change's instant, which may follow a clock that is ahead
        event = usage_event(
            metric, id=event_id or services.ids.new(), tenant_id=self._scope.id, at=now, value=value, **data
        )
        self.send(services.usage_queue, event)

    def send(self, queue: str, message: Message) -> None:
        """A message that is sent if, and only if, the change is committed."""
        self._messages.append((queue, message))
        self._add(outbox_item(queue, message, self._scope.services.clock.now()), _unexpected)

    @property
    def tenant_id(self) -> str:
        """Whose change it is; no operation of it can be another tenant's."""
        return self._scope.id

    @property
    def kinds(self) -> Kinds:
        """All kinds that there are."""
        return self._scope.services.kinds

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not self._operations

    def write(self, operation: Operation, failure: Failure | None = None) -> None:
        """An operation on something that is no resource (a job, a rollup): not audited.

        `failure`: what to raise at commit when it is rejected; None: `Conflict`.
        """
        if isinstance(operation, Create) and operation.kind.journalled:
            raise TypeError(f"a {operation.kind} is journalled: make it with `Change.create`")
        self._add(operation, failure or _unexpected)

    async def commit(self, answer: A) -> A:
        """Write all of it in one batch, send the events, and return `answer`."""
        scope = self._scope
        if self._happenings:
            happened = scope.services.ids.new()
            self._add(self._happenings.item(happened), _unexpected)
            self.send(scope.services.deliveries_queue, self._happenings.message(happened, scope.id))
        if scope.idempotency is not None and not scope.idempotency.stored:
            # first, so that a request that lost the race hears of the answer, not of what it met
            self._operations.insert(0, scope.idempotency.record(answer, self.at))
            self._failures.insert(0, lambda _: AnsweredMeanwhile("answered meanwhile"))
        counted: dict[int, Counted] = {}
        for one in _merged(self._counters):
            counted[len(self._operations)] = one
            at_most = {} if one.limit is None else {"value": one.limit}
            self._add(Increment(COUNTER, one.counter, {"value": one.by}, at_most), _unexpected)
        try:
            await scope.store.commit(self._operations)
        except Rejected as rejected:
            if rejected.index in counted and rejected.reason == "condition":
                raise await self._quota(counted[rejected.index]) from rejected
            raise self._failures[rejected.index](rejected) from rejected
        if scope.idempotency is not None:
            scope.idempotency.stored = True
        await self._relay()
        return answer

    async def _relay(self) -> None:
        """Send what was committed: at once, or beside whatever else the answer waits for."""
        if not self._messages:
            return
        relay = self._scope.services.outbox.relay(self._scope.store.control, self._messages)
        if self._scope.relays is None:
            await relay
        else:
            self._scope.relays.append(asyncio.ensure_future(relay))

    async def _quota(self, counted: Counted) -> QuotaReached:
        stored = await self._scope.store.get(COUNTER, counted.counter)
        current = stored.body["value"] if stored else 0
        return QuotaReached(counted.called, limit=counted.limit or 0, current=current)

    def _create(self, kind: Kind, id: str, body: Document, text: str, buried: Versioned[Tombstone] | None) -> None:
        def taken(_: Rejected) -> FlowgridError:
            return Taken(f"There is such a {kind} already.", id=id)

        if buried is None:
            self._add(Create(kind, id, body, text=text), taken)
        else:
            self._add(Replace(kind, id, body, buried.etag, text=text), taken)

    def _add(self, operation: Operation, failure: Failure) -> None:
        self._operations.append(operation)
        self._failures.append(failure)


def _merged(counters: Sequence[Counted]) -> list[Counted]:
    """One movement for each counter, called as the one whose limit it has."""
    merged: dict[str, Counted] = {}
    for one in counters:
        known = merged.get(one.counter)
        if known is not None:
            tighter = one if known.limit is None or (one.limit is not None and one.limit < known.limit) else known
            one = replace(tighter, by=known.by + one.by)
        merged[one.counter] = one
    return list(merged.values())


def _one_of(counter: str) -> str:
    one = counter.removesuffix("ies") + "y" if counter.endswith("ies") else counter.removesuffix("s")
    return one.capitalize()


def _document(resource: Resource) -> dict[str, Any]:
    return _encoded(resource)[0]


def _encoded(resource: Resource) -> tuple[Document, str]:
    """What is stored of it, and that as text: one and the same from here on, so nobody changes the first."""
    body = resource.model_dump(mode="json")
    text = encode(body)
    size = len(text.encode())
    if size > MAX_RESOURCE_BYTES:
        raise TooLarge(f"This {resource.KIND} is {size} bytes of JSON; at most {MAX_RESOURCE_BYTES} can be kept.")
    return body, text


def _canonical(resource: Resource) -> str:
    """JSON text, because Python holds 1, 1.0 and True for equal and a client does not."""
    return json.dumps(resource.model_dump(mode="json"), sort_keys=True)


def _changed_meanwhile(_: Rejected) -> FlowgridError:
    return Stale("It was changed by somebody else meanwhile; read it again.")


def _unexpected(rejected: Rejected) -> FlowgridError:
    return Conflict(f"The change met another one; try again ({rejected}).")
