"""The migration itself: table by table, call by call, then all of it read back and compared.

Memory is flat: a row is held until its call is answered, and of all rows one byte, in a file, says what became of it.
"""

import asyncio
import mmap
import tempfile
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import product
from typing import Any, Final, TypeVar

from cli.errors import CliError
from cli.legacy.mapping import KNOWN, Defect, Mapped, mapped
from cli.legacy.old_file import OldFile
from cli.legacy.quarantine import Quarantine
from cli.legacy.reading import TENANT, Read, count, rows, shared_key, tenants
from cli.legacy.report import Report
from cli.legacy.target import Place, Target
from functions.migration.digests import digest
from functions.migration.models import (
    MODELS,
    MOST_ROWS,
    Finished,
    Look,
    Migration,
    NewMigration,
    Outcome,
    Rows,
    Table,
    Tables,
    Told,
)
from functions.migration.taking import item_id

T = TypeVar("T")
DIFFERENT_TOLD: Final = 20
REASONS_TOLD: Final = 100
KEYED: Final[Sequence[Sequence[Table]]] = (("elements", "relationships"), ("agents",))
"""Tables in which a key means one row: an end is named by a key of the first two."""
ROWS_BETWEEN_CALLS: Final = 24
"""Rows that are read and converted before the calls under way go on."""
Advance = Callable[[str, int, int], None]
"""Told of each call: what is being done, how many rows of how many."""


@dataclass
class Into:
    """A tenant that rows go into: its run, what became of them, and the checksums."""

    place: Place
    run: Migration
    migrated: Counter[Table] = field(default_factory=Counter)
    quarantined: Counter[Table] = field(default_factory=Counter)
    sent: Any = field(default_factory=sha256)
    stored: Any = field(default_factory=sha256)

    def ended(self) -> Finished:
        """Its numbers, and the checksum of what was read back."""
        each = {table: Told(migrated=self.migrated[table], quarantined=self.quarantined[table]) for table in MODELS}
        return Finished(tables=Tables(**dict(each)), checksum=self.stored.hexdigest())


@dataclass
class Group:
    """Rows of one call."""

    table: Table
    into: Into
    rows: list[tuple[Read, Mapped]] = field(default_factory=list)


class Marks:
    """A byte for each row of a table: 0 not seen, m migrated, k kept, w waiting, q in quarantine."""

    def __init__(self, rows: Mapping[Table, int]) -> None:
        self._start: dict[Table, int] = {}
        end = 0
        for table, number in rows.items():
            self._start[table], end = end, end + number
        with tempfile.TemporaryFile() as file:
            file.truncate(end + 1)  # there is no map of nothing
            self._map = mmap.mmap(file.fileno(), end + 1)

    def set(self, table: Table, number: int, mark: bytes) -> None:
        self._map[self._start[table] + number] = mark[0]

    def get(self, table: Table, number: int) -> bytes:
        at = self._start[table] + number
        return self._map[at : at + 1]

    def close(self) -> None:
        self._map.close()


class Moving:
    """`tenants`: value of tenant_id -> tenant; what is not in it and not empty is no tenant's."""

    def __init__(
        self,
        old: OldFile,
        target: Target,
        default: str,
        tenants: Mapping[str, str],
        quarantine: Quarantine,
        report: Report,
        advance: Advance,
    ) -> None:
        self._old = old
        self._target = target
        self._tenants = {"": default, **tenants}
        self._quarantine = quarantine
        self._report = report
        self._advance = advance
        self._into: dict[str, Into] = {}
        for table, counts in report.tables.items():
            counts.source = count(old.connection, table)
        self._marks = Marks({table: counts.source for table, counts in report.tables.items()})

    async def run(self) -> None:
        """All tables, then the comparison, then the runs' ends."""
        try:
            await self._of("")  # the default tenant is there, though the file may be empty
            await self._keep_apart()
            for table in MODELS:
                await self._move(table)
            for table in MODELS:
                await self._compare(table)
            for into in {one.run.id: one for one in self._into.values()}.values():
                await into.place.finish(into.run.id, into.ended())
        finally:
            self._marks.close()
        each = list({into.run.id: into for into in self._into.values()}.values())
        self._report.checksum_source = _over(into.sent for into in each)
        self._report.checksum_stored = _over(into.stored for into in each)

    async def _keep_apart(self) -> None:
        """CliError when rows of two old tenants would become one item here, or be taken for each other's ends."""
        if len(self._tenants) == 1:
            return
        said = {one for table in MODELS for one in tenants(self._old.connection, table, [*self._tenants])}
        into: dict[str, list[str]] = {}
        for value in sorted(said):
            into.setdefault((await self._of(value)).place.tenant_id, []).append(value)
        for values, group in product(into.values(), KEYED):
            key = shared_key(self._old.connection, group, values) if len(values) > 1 else None
            if key is not None:
                whose = ", ".join(repr(value[:100]) for value in values[:10])
                told = f"rows of several of them have the key {key[:100]!r}, and a key is one item in a tenant"
                raise CliError(f"The old tenants {whose} are mapped to one: {told}. Map each to a tenant of its own.")

    async def _move(self, table: Table) -> None:
        """Again for relationships at relationships, as long as more of them find their ends."""
        await self._pass(table, lambda mark: True, last=table == "agents")
        waiting = self._waiting(table)
        while waiting:
            before = waiting
            await self._pass(table, lambda mark: mark == b"w", last=False)
            waiting = self._waiting(table)
            if waiting == before:
                await self._pass(table, lambda mark: mark == b"w", last=True)
                return

    def _waiting(self, table: Table) -> int:
        counts = self._report.tables[table]
        return counts.source - counts.migrated - counts.quarantined

    async def _pass(self, table: Table, wanted: Callable[[bytes], bool], *, last: bool) -> None:
        groups = self._groups(table, wanted, self._target.rows_of_a_call(table), defects=True)
        async for group, outcomes in _answered(groups, _take, self._target.at_once):
            for (read, one), outcome in zip(group.rows, outcomes, strict=True):
                self._settle(group, read, one, outcome, last=last)
            total = self._report.tables[table]
            self._advance(table, total.migrated + total.quarantined, total.source)

    def _settle(self, group: Group, read: Read, one: Mapped, outcome: Outcome, *, last: bool) -> None:
        counts, table = self._report.tables[group.table], group.table
        if outcome.outcome == "waiting" and not last:
            self._marks.set(table, read.number, b"w")
        elif outcome.outcome in ("waiting", "refused"):
            self._refuse(table, read, outcome.reason or "", group.into)
        else:
            setattr(counts, outcome.outcome, getattr(counts, outcome.outcome) + 1)
            group.into.migrated[table] += 1
            self._marks.set(table, read.number, b"k" if outcome.outcome == "kept" else b"m")
            for note in one.notes:
                self._report.notes[f"{table}: {note}"] += 1

    def _refuse(self, table: Table, read: Read, reason: str, into: Into | None) -> None:
        self._quarantine.add(table, read, reason)
        self._marks.set(table, read.number, b"q")
        self._report.tables[table].quarantined += 1
        if reason in self._report.reasons or len(self._report.reasons) < REASONS_TOLD:
            self._report.reasons[reason] += 1
        (into or self._into[""]).quarantined[table] += 1

    async def _groups(
        self, table: Table, wanted: Callable[[bytes], bool], most: int, *, defects: bool
    ) -> AsyncIterator[Group]:
        """Rows that are wanted, as calls: of one tenant each, and of so many rows at most.

        What can be no item goes into quarantine on the way.
        """
        group: Group | None = None
        for read in rows(self._old.connection, table, KNOWN, self._placed(table)):
            if read.number % ROWS_BETWEEN_CALLS == 0:
                await asyncio.sleep(0)
            if not wanted(self._marks.get(table, read.number)):
                continue
            into: Into | None = None
            try:
                into = await self._of(self._value(read))
                one = mapped(table, read)
            except Defect as defect:
                if defects:
                    self._refuse(table, read, str(defect), into)
                continue
            if group is not None and (group.into is not into or len(group.rows) == most):
                yield group
                group = None
            group = group or Group(table, into)
            group.rows.append((read, one))
        if group is not None:
            yield group

    def _placed(self, table: Table) -> Callable[[str, str], str]:
        """The id that a row of a tenant gets. Tenants that rows can go into are all open by now."""
        ids = {value: into.place.tenant_id for value, into in self._into.items()}
        return lambda value, key: item_id(ids.get(value, ids[""]), table, key)

    def _value(self, read: Read) -> str:
        held = read.columns.get(TENANT)
        if held is not None and (isinstance(held, bytes) or read.tenant not in self._tenants):
            if held == "":
                return ""
            said = "is no text" if isinstance(held, bytes) else f"{read.tenant[:100]!r} is mapped to no tenant (--map)"
            raise Defect(f"{TENANT} {said}")
        return read.tenant

    async def _of(self, value: str) -> Into:
        """The tenant that a value means; opened, and its run begun, when it is first met."""
        if (known := self._into.get(value)) is not None:
            return known
        tenant = self._tenants[value]
        for other, into in self._into.items():
            if self._tenants[other] == tenant:
                self._into[value] = into
                return into
        place = await self._target.place(tenant)
        for into in self._into.values():
            if into.place.tenant_id == place.tenant_id:
                self._into[value] = into
                return into
        run = await place.begin(NewMigration(source_sha256=self._old.sha256, source_name=self._old.name[:255]))
        self._into[value] = Into(place, run)
        self._report.runs[tenant] = run.id
        return self._into[value]

    async def _compare(self, table: Table) -> None:
        """Each migrated row once more, from the file and from the store."""
        groups = self._groups(table, lambda mark: mark == b"m", MOST_ROWS, defects=False)
        async for group, stored in _answered(groups, _look, self._target.at_once):
            self._check(group, stored)
            self._advance(f"{table}, compared", self._report.compared, self._report.tables[table].source)

    def _check(self, group: Group, stored: Sequence[str | None]) -> None:
        for (_, one), found in zip(group.rows, stored, strict=True):
            wanted = digest(group.table, one.row.legacy_id, vars(one.row.fields))
            group.into.sent.update(wanted.encode())
            group.into.stored.update((found or "none").encode())
            self._report.compared += 1
            if found != wanted and len(self._report.different) < DIFFERENT_TOLD:
                self._report.different.append(f"{group.table} {one.row.legacy_id}")


async def _take(group: Group) -> list[Outcome]:
    sent = Rows().model_copy(update={group.table: [one.row for _, one in group.rows]})
    answer = await group.into.place.take(group.into.run.id, sent)
    outcomes: list[Outcome] = getattr(answer, group.table)
    return outcomes


async def _look(group: Group) -> list[str | None]:
    asked = Look(table=group.table, legacy_ids=[one.row.legacy_id for _, one in group.rows])
    return (await group.into.place.look(group.into.run.id, asked)).digests


async def _answered(
    groups: AsyncIterator[Group], call: Callable[[Group], Coroutine[Any, Any, T]], at_once: int
) -> AsyncIterator[tuple[Group, T]]:
    """Each group with its answer, in order; so many calls side by side, and the next rows are read meanwhile."""
    running: deque[tuple[Group, asyncio.Task[T]]] = deque()
    try:
        async for group in groups:
            running.append((group, asyncio.create_task(call(group))))
            if len(running) == at_once:
                yield running[0][0], await running[0][1]
                running.popleft()
        while running:
            yield running[0][0], await running[0][1]
            running.popleft()
    finally:
        for _, task in running:
            task.cancel()
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)


def _over(hashes: Iterable[Any]) -> str:
    return sha256("".join(one.hexdigest() for one in hashes).encode()).hexdigest()
