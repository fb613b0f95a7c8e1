"""Making a tenant's resources those of a snapshot: the difference only, in batches, each with its audit entries."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from functions.backups.models import AnyResource, plain, resource_of, same_content
from functions.backups.snapshot import Snapshot
from shared.clock import rfc3339
from shared.database.port import Create, Document, Order, Rejected, Replace, Stored, Where
from shared.errors import Conflict, Stale, Unavailable
from shared.kinds import Kind
from shared.members.users import User, UserRole
from shared.work.change import COUNTER
from shared.work.resources import Tombstone, Versioned
from shared.work.session import TRIES_AT_A_RACE, TenantSession

BATCH_RESOURCES = 40
BATCH_BYTES = 1_500_000  # of the 2 MB that a batch may be, its audit entries included
PAGE_ITEMS = 200
MOST_NESTED = 100
OF_NOW = ("issuer", "subject", "last_login_at")  # of a user: by whom and when they came in since


@dataclass
class Outcome:
    """What one step did; `next` is the id to continue after, None at the end of the kind."""

    next: str | None
    changed: int = 0
    unchanged: int = 0
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Difference:
    body: Document
    held: Versioned[AnyResource] | None
    buried: Versioned[Tombstone] | None = None

    @property
    def weight(self) -> int:
        """Bytes in the batch: the resource, and its new and old value in the audit."""
        return 2 * _size(self.body) + (_size(self.held.value.model_dump()) if self.held else 0)


class SnapshotWriter:
    """`spared_user`: who asked for the restore, and must not lock themselves out by it."""

    def __init__(
        self,
        target: TenantSession,
        snapshot: Snapshot,
        *,
        spared_user: str | None,
    ) -> None:
        self._target = target
        self._snapshot = snapshot
        self._spared_user = spared_user
        self._models: dict[Kind, type[AnyResource]] = {}

    async def write_next(self, kind: Kind, after: str) -> Outcome:
        """Make the snapshot's next resources of a kind what they were; those that are so already stay untouched."""
        bodies, last = self._snapshot.page(kind, after, BATCH_RESOURCES)
        outcome = Outcome(last if len(bodies) == BATCH_RESOURCES else None)
        for _ in range(TRIES_AT_A_RACE):
            differences = await self._differences(kind, bodies, outcome)
            try:
                for group in _groups(differences):
                    await self._put(kind, group)
                    outcome.changed += len(group)
            except (Conflict, Stale):
                continue
            outcome.unchanged = len(bodies) - outcome.changed - len(outcome.skipped)
            return outcome
        raise Unavailable("Others keep changing what is being restored.")

    async def delete_next(self, kind: Kind, after: str) -> Outcome:
        """Delete those of the next resources of a kind that the snapshot does not have."""
        outcome = Outcome(None)
        for _ in range(TRIES_AT_A_RACE):
            page = await self._target.store.query(
                kind, order=Order("id"), limit=BATCH_RESOURCES, after=(after, after) if after else None
            )
            outcome.next = page.next[1] if page.next else None
            surplus = self._surplus(kind, page.items)
            if kind.nested:
                surplus = await self._with_what_names_them(kind, surplus)
            try:
                for group in _groups([_Difference(held.value.model_dump(), held) for held in surplus]):
                    await self._remove(kind, [one.held for one in group if one.held])
                    outcome.changed += len(group)
            except Stale:
                continue
            return outcome
        raise Unavailable("Others keep changing what is being restored.")

    async def _differences(self, kind: Kind, bodies: Sequence[Document], outcome: Outcome) -> list[_Difference]:
        current = await self._current(kind, [body["id"] for body in bodies])
        gone = [body["id"] for body in bodies if body["id"] not in current]
        buried = await self._target.buried(kind, gone) if gone else {}
        outcome.skipped = []
        differences = []
        for body in bodies:
            held = current.get(body["id"])
            if kind == User.KIND and held is not None:
                body = narrowed(body, held.value.model_dump())
            if held is not None and same_content(held.value.model_dump(), body):
                continue
            if kind.returns is not None:
                body = kind.returns(body, held.value.model_dump() if held else None)
                if held is not None and same_content(held.value.model_dump(), body):
                    continue
            reason = self._reason_to_skip(kind, body, held)
            if reason:
                outcome.skipped.append(f"{kind} {body['id']}: {reason}")
            else:
                differences.append(_Difference(body, held, buried.get(body["id"])))
        return differences

    def _reason_to_skip(self, kind: Kind, body: Document, held: Versioned[AnyResource] | None) -> str | None:
        if kind != User.KIND:
            return None
        if body["id"] == self._spared_user:
            return "is you; your own access stays as it is"
        return "was removed; invite them again" if held is None else None

    async def _put(self, kind: Kind, group: Sequence[_Difference]) -> None:
        last: list[Versioned[Any] | None] = [one.held or one.buried for one in group]
        change = self._target.change(*[one for one in last if one is not None])
        for one in group:
            change.restore(self._model(kind), one.body, one.held, one.buried)
        created = sum(one.held is None for one in group)
        if kind.counter and created:
            change.count(kind.counter, created)
        await change.commit(None)

    async def _remove(self, kind: Kind, surplus: Sequence[Versioned[AnyResource]]) -> None:
        change = self._target.change(*surplus)
        for held in surplus:
            change.delete(held)
        if kind.counter:
            change.count(kind.counter, -len(surplus))
        await change.commit(None)

    async def _current(self, kind: Kind, ids: Sequence[str]) -> dict[str, Versioned[AnyResource]]:
        if not ids:
            return {}
        page = await self._target.store.query(kind, [Where("id", "in", list(ids))], limit=PAGE_ITEMS)
        return {stored.body["id"]: self._held(kind, stored) for stored in page.items}

    def _surplus(self, kind: Kind, items: Sequence[Stored]) -> list[Versioned[AnyResource]]:
        missing = self._snapshot.missing(kind, [stored.body["id"] for stored in items])
        return [self._held(kind, stored) for stored in items if stored.body["id"] in missing]

    async def _with_what_names_them(
        self, kind: Kind, surplus: Sequence[Versioned[AnyResource]]
    ) -> list[Versioned[AnyResource]]:
        """Items of a kind that refer to each other, and before them those that name them, which are surplus too: what
        the snapshot has is by now as it was then, and names what the snapshot has."""
        found = {held.value.id: held for held in surplus}
        ranks = dict.fromkeys(found, 0)
        frontier, rank = list(found), 0
        while frontier and rank < MOST_NESTED:
            rank += 1
            met = {held.value.id: held for field in kind.nested for held in await self._naming(kind, field, frontier)}
            found |= met
            ranks |= dict.fromkeys(met, rank)
            frontier = list(met)
        return sorted(found.values(), key=lambda held: ranks[held.value.id], reverse=True)

    def _held(self, kind: Kind, stored: Stored) -> Versioned[AnyResource]:
        return Versioned(self._model(kind).model_validate(plain(stored.body)), stored.etag)

    def _model(self, kind: Kind) -> type[AnyResource]:
        if kind not in self._models:
            self._models[kind] = resource_of(kind)
        return self._models[kind]

    async def _naming(self, kind: Kind, field: str, ids: Sequence[str]) -> list[Versioned[AnyResource]]:
        found: list[Versioned[AnyResource]] = []
        for start in range(0, len(ids), PAGE_ITEMS):
            where = [Where(field, "in", list(ids[start : start + PAGE_ITEMS]))]
            after: tuple[str, str] | None = None
            while True:
                page = await self._target.store.query(kind, where, limit=PAGE_ITEMS, after=after)
                found += [self._held(kind, stored) for stored in page.items]
                after = page.next
                if after is None:
                    break
        return found


def narrowed(body: Document, now: Document) -> Document:
    """A user as they were, but for access: a restore promotes nobody, enables nobody, and binds nobody anew."""
    roles = list(get_args(UserRole))
    lower = min(body["role"], now["role"], key=roles.index)
    status = "disabled" if "disabled" in (body["status"], now["status"]) else now["status"]
    return {**body, **{name: now.get(name) for name in OF_NOW}, "role": lower, "status": status}


async def recount(session: TenantSession) -> dict[str, int]:
    """Make the counters exact. A write in between moves the counter's ETag, and the count is done again."""
    return {
        kind.counter: await _recount(session, kind, kind.counter) for kind in session.services.kinds if kind.counter
    }


async def _recount(session: TenantSession, kind: Kind, name: str) -> int:
    store = session.store
    for _ in range(TRIES_AT_A_RACE):
        counter = await store.get(COUNTER, name)
        total = 0
        async for page in store.scan([kind]):
            total += len(page)
        if total == (0 if counter is None else counter.body["value"]):
            return total
        now = rfc3339(session.services.clock.now())
        operation = (
            Create(COUNTER, name, {"created_at": now, "value": total})
            if counter is None
            else Replace(COUNTER, name, {**counter.body, "value": total}, counter.etag)
        )
        try:
            await store.commit([operation])
        except Rejected:
            continue
        return total
    raise Unavailable(f"The number of {name} keeps changing.")


def _groups(differences: Sequence[_Difference]) -> Iterator[list[_Difference]]:
    """Cut what is to be written so that each group fits into one batch."""
    group: list[_Difference] = []
    room = BATCH_BYTES
    for one in differences:
        if group and (one.weight > room or len(group) == BATCH_RESOURCES):
            yield group
            group, room = [], BATCH_BYTES
        group.append(one)
        room -= one.weight
    if group:
        yield group


def _size(body: Any) -> int:
    return len(json.dumps(body, ensure_ascii=False).encode())
