"""Usage under everything at once: two consumers and two closers over one tenant, interleaved, killed anywhere.

A run is a list of steps; the steps of one round go on side by side, one call of the database at a time, in an order
that the run says. What was acknowledged must be in every sum from then on, what was killed comes again in the end.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from hypothesis import strategies as st

from functions.usage.blocks import pack, pack_voids
from functions.usage.closing import close_hour, close_longer
from functions.usage.hours import HOUR, Hours
from functions.usage.periods import PERIODS, end_of, start_of
from functions.usage.reading import Event, Voids, hour_of, key_of
from functions.usage.rollups import DUE, blocks_of, made, sums
from functions.usage.tally import judged
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import OLDEST_FIRST, Operation, Order, Page, Stored, TenantStore, Traces, Where
from shared.kinds import Container, Kind
from shared.work.events import Metric

INSTANTS = [
    datetime(2028, 2, 28, 23, 59, 59, 999_999, UTC),
    datetime(2028, 2, 29, 0, 0, tzinfo=UTC),
    datetime(2028, 2, 29, 23, 30, tzinfo=UTC),
    datetime(2028, 2, 29, 23, 45, tzinfo=UTC),
    datetime(2028, 3, 1, 0, 0, tzinfo=UTC),
]
FIRST, LAST = datetime(2028, 1, 1, tzinfo=UTC), datetime(2028, 5, 1, tzinfo=UTC)
SOURCE = "/test"
Payload = tuple[int, int, int]  # the event's number, its instant, its value


class Killed(BaseException):
    """The process is no more."""


@dataclass(frozen=True)
class Step:
    """What one process does in a round; `dies_at`: the call that it does not live to make, or to hear of."""

    what: Literal["deliver", "void", "close", "lengthen"]
    process: int
    payloads: tuple[Payload, ...] = ()
    dies_at: int | None = None
    done_all_the_same: bool = False


Round = tuple[tuple[Step, ...], tuple[int, ...]]

payloads = st.tuples(st.integers(0, 5), st.integers(0, 4), st.sampled_from([1, 10, 100]))
steps = st.builds(
    Step,
    st.sampled_from(["deliver", "deliver", "void", "close", "close", "lengthen"]),
    st.integers(0, 1),
    st.lists(payloads, min_size=1, max_size=4).map(tuple),
    st.none() | st.integers(0, 4),
    st.booleans(),
)
runs = st.lists(
    st.tuples(st.lists(steps, min_size=1, max_size=3).map(tuple), st.lists(st.integers(0, 5), max_size=12).map(tuple)),
    min_size=1,
    max_size=6,
)


def event_of(payload: Payload) -> Event:
    number, instant, value = payload
    time = rfc3339(INSTANTS[instant])
    data = json.dumps({"operation": f"o{number}"}, separators=(",", ":"))
    return Event(key_of(SOURCE, str(number)), SOURCE, str(number), time, Metric.API_CALLS, value, data, f"o{number}")


class Turns:
    """Lets one of those who want to call the database go on, the one that the run names."""

    def __init__(self, order: Sequence[int]) -> None:
        self._order = list(order)
        self._waiting: list[asyncio.Future[None]] = []
        self._moved = asyncio.Event()

    async def mine(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._moved.set()
        await turn

    async def run(self, works: Sequence[Awaitable[None]]) -> None:
        tasks = [asyncio.ensure_future(one) for one in works]
        for task in tasks:
            task.add_done_callback(lambda _: self._moved.set())
        while alive := sum(not task.done() for task in tasks):
            if len(self._waiting) == alive:  # nobody moves any more
                picked = self._order.pop(0) % alive if self._order else 0
                self._waiting.pop(picked).set_result(None)
            await self._moved.wait()
            self._moved.clear()
        await asyncio.gather(*tasks)


class InTurn(TenantStore):
    """A store whose calls wait for their turn, and one of which its process does not survive."""

    def __init__(self, inner: TenantStore, turns: Turns, step: Step) -> None:
        self.tenant_id = inner.tenant_id
        self._inner = inner
        self._turns = turns
        self._step = step
        self._calls = 0

    async def _call(self, work: Callable[[], Awaitable[Any]]) -> Any:
        await self._turns.mine()
        dies = self._calls == self._step.dies_at
        self._calls += 1
        if dies and not self._step.done_all_the_same:
            raise Killed
        found = await work()
        if dies:
            raise Killed
        return found

    async def get(self, kind: Kind, id: str) -> Stored | None:
        found: Stored | None = await self._call(lambda: self._inner.get(kind, id))
        return found

    async def catch_up(self, container: Container = "items") -> None:
        await self._call(lambda: self._inner.catch_up(container))

    async def query(
        self,
        kind: Kind,
        where: Sequence[Where] = (),
        *,
        order: Order = OLDEST_FIRST,
        limit: int = 200,
        after: tuple[str, str] | None = None,
    ) -> Page:
        page: Page = await self._call(lambda: self._inner.query(kind, where, order=order, limit=limit, after=after))
        return page

    def scan(self, kinds: Sequence[Kind], *, since: str | None = None) -> Any:
        raise NotImplementedError

    async def buried(self, kind: Kind, ids: Sequence[str]) -> list[Stored]:
        raise NotImplementedError

    async def traces(self, kind: Kind, ids: Sequence[str]) -> Traces:
        raise NotImplementedError

    async def commit(self, operations: Sequence[Operation]) -> None:
        await self._call(lambda: self._inner.commit(operations))


@dataclass
class Tenant:
    """One tenant through the eyes of two processes, and what must be true of it."""

    stores: Sequence[TenantStore]
    hours: list[Hours] = field(default_factory=lambda: [Hours(), Hours()])
    delivered: set[Payload] = field(default_factory=set)
    voided: set[tuple[str, str]] = field(default_factory=set)  # hour, number
    left: list[Step] = field(default_factory=list)
    closed: dict[tuple[str, str], int] = field(default_factory=dict)  # what a closed rollup counted of an event

    async def run(self, rounds: Sequence[Round]) -> None:
        for number, (side_by_side, order) in enumerate(rounds):
            turns = Turns(order)
            await turns.run([self._survive(step, turns) for step in side_by_side])
            if number % 3 == 1 and not self.left:
                await self.check()
        for step in self.left:  # the queue delivers again, until it is done
            await self._work(Step(step.what, step.process, step.payloads), self.stores[step.process])
        self.left.clear()
        await self.check()
        for _ in range(2):
            await self._close(self.stores[0])
            await self._lengthen(self.stores[0])
        await self.check()
        for period in PERIODS:
            assert await made(self.stores[1], period, FIRST, LAST) == await sums(self.stores[1], period, FIRST, LAST)

    async def _survive(self, step: Step, turns: Turns) -> None:
        try:
            await self._work(step, InTurn(self.stores[step.process], turns, step))
        except Killed:
            self.hours[step.process] = Hours()
            if step.what in ("deliver", "void"):
                self.left.append(step)

    async def _work(self, step: Step, store: TenantStore) -> None:
        match step.what:
            case "deliver":
                for block in pack(map(event_of, step.payloads)):
                    await self.hours[step.process].add(store, block)
                self.delivered |= set(step.payloads)
            case "void":
                number, instant, _ = step.payloads[0]
                hour = hour_of(rfc3339(INSTANTS[instant]))
                await self.hours[step.process].add(store, pack_voids(Voids(hour, [(SOURCE, str(number))])))
                self.voided.add((hour, str(number)))
            case "close":
                await self._close(store)
            case "lengthen":
                await self._lengthen(store)

    async def _close(self, store: TenantStore) -> None:
        for stored in (await store.query(HOUR, [Where("state", "=", "open")])).items:
            await close_hour(store, stored.body["created_at"], stored.body["opening"])

    async def _lengthen(self, store: TenantStore) -> None:
        for period in ("day", "month"):
            for due in (await store.query(DUE, [Where("period", "=", period)])).items:
                await close_longer(store, due)

    async def check(self) -> None:
        """Every event counts once, with a payload that has come: the one that a closed rollup has counted, if any."""
        reader = self.stores[1]
        await reader.catch_up("usage")
        still_open = {one.body["created_at"] for one in (await reader.query(HOUR, [Where("state", "=", "open")])).items}
        totals: dict[str, tuple[int, int]] = {}
        for hour in {hour_of(rfc3339(instant)) for instant in INSTANTS}:
            seen = {
                (event.id, event.time, event.value, standing)
                for event, standing in judged(await blocks_of(reader, hour))
            }
            counted = {number: value for number, _, value, standing in seen if standing == "counted"}
            self._compare(hour, {one[:3] for one in seen}, counted)
            if hour not in still_open:
                self.closed |= {(hour, number): value for number, value in counted.items()}
            totals[hour] = (sum(counted.values()), len(counted))
        for period in PERIODS:
            found = await sums(reader, period, FIRST, LAST)
            for start, metrics in found.items():
                own = [totals[one] for one in totals if start <= one < rfc3339(end_of(period, parse_rfc3339(start)))]
                total = metrics.get("api_calls", {"value": 0, "count": 0})
                expected = sum(value for value, _ in own), sum(count for _, count in own)
                assert (total["value"], total["count"]) == expected, (period, start)
            assert {rfc3339(start_of(period, parse_rfc3339(one))) for one in totals if totals[one][1]} <= set(found)

    def _compare(self, hour: str, seen: set[tuple[str, str, int]], counted: Mapping[str, int]) -> None:
        came = {one for one in self.delivered if hour_of(rfc3339(INSTANTS[one[1]])) == hour}
        assert seen == {(str(number), rfc3339(INSTANTS[instant]), value) for number, instant, value in came}
        assert set(counted) == {str(one[0]) for one in came} - {number for of, number in self.voided if of == hour}
        for number, value in counted.items():
            assert self.closed.get((hour, number), value) == value, "a closed total was turned over"
