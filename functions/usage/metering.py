"""Metering: each event is stored once and added to its hour, day and month in the same batch.

The event's id is its item's id, so a repeated delivery is refused by the store and never counted twice. What cannot
be counted is moved to the dead letters with its reason; the others of its delivery are stored all the same.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from functions.usage.dimensions import MAX_NAMES, OTHER, admit, dimension
from functions.usage.periods import PERIODS, start_of
from shared.clock import Clock, parse_rfc3339, rfc3339
from shared.database.limits import MAX_OPERATIONS, encode, patches
from shared.database.port import Create, Document, Increment, Kind, Operation, Rejected, TenantStore, Where
from shared.errors import Conflict, FlowgridError, Invalid
from shared.events import Metric
from shared.ids import is_uuid
from shared.messaging.deadletters import DeadLetters
from shared.messaging.port import Message
from shared.tenancy import Directory

logger = logging.getLogger("flowgrid.usage")
LATE = timedelta(days=35)
AHEAD = timedelta(minutes=15)  # no less than clocks are believed to differ
MAX_VALUE = 10**12  # far from 2^53, so that no sum of a month gets there
MAX_DATA_BYTES = 16 * 1024  # so that a batch of the largest events is one that the store takes
EVENT_KEPT_SECONDS = 100 * 86400
KEPT_SECONDS = {"hour": 100 * 86400, "day": 800 * 86400, "month": None}
TRIES = 20


class Uncountable(Exception):
    """Why a message is no usage event of ours."""


@dataclass(frozen=True)
class Event:
    """A checked usage event."""

    id: str
    at: datetime
    metric: Metric
    value: int
    data: dict[str, Any]

    @property
    def dimension(self) -> str | None:
        return dimension(self.metric, self.data)

    def fields(self) -> set[str]:
        """What it moves in each of its rollups."""
        return {"value", "count", "names"} | ({f"dimensions.{self.dimension}"} if self.dimension else set())

    def rollup_ids(self) -> list[str]:
        return [f"{self.metric}:{period}:{rfc3339(start_of(period, self.at))}" for period in PERIODS]


class Metering:
    def __init__(self, directory: Directory, dead_letters: DeadLetters, clock: Clock, queue: str) -> None:
        self._directory = directory
        self._dead_letters = dead_letters
        self._clock = clock
        self._queue = queue

    async def store(self, messages: Sequence[Message]) -> None:
        """Store a delivery of events; raises only when the store does not answer (then all of it may come again)."""
        by_tenant: dict[str, dict[str, Event]] = defaultdict(dict)
        for message in messages:
            try:
                event = read(message, self._clock.now())
                if await self._directory.entry(message.tenant_id) is None:
                    raise Uncountable(f"there is no tenant {message.tenant_id or '(none named)'}")
            except Uncountable as reason:
                await self._dead_letters.add(self._queue, message, str(reason))
                continue
            by_tenant[message.tenant_id][event.id] = event
        failed: list[FlowgridError] = []
        for tenant_id, events in by_tenant.items():
            try:
                store = await self._directory.store(tenant_id)
                if store is not None:
                    await _store(store, list(events.values()))
            except FlowgridError as error:  # the other tenants' events are stored all the same
                failed.append(error)
        if failed:
            raise failed[0]


def read(message: Message, now: datetime) -> Event:
    """The event in a message; `Uncountable` says what is wrong with it."""
    body = message.body
    if "unreadable" in body:
        raise Uncountable("the body is not a JSON object")
    try:
        event = Event(
            id=body["id"],
            at=parse_rfc3339(body["time"]),
            metric=Metric(body["type"]),
            value=body["data"]["value"],
            data={name: value for name, value in body["data"].items() if name != "value"},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Uncountable(f"not a usage event: {type(error).__name__} {error}") from error
    try:
        dimension(event.metric, event.data)
    except ValueError as error:
        raise Uncountable(str(error)) from error
    if body.get("specversion") != "1.0":
        raise Uncountable("not a CloudEvent of version 1.0")
    if not (isinstance(event.id, str) and is_uuid(event.id)):
        raise Uncountable("its id is not a UUID")
    if type(event.value) is not int or not 0 <= event.value <= MAX_VALUE:
        raise Uncountable("its value is not a whole number from 0 to 10^12")
    try:
        size = len(encode(event.data).encode())
    except Invalid as error:
        raise Uncountable(f"its data cannot be stored: {error}") from error
    if size > MAX_DATA_BYTES:
        raise Uncountable(f"its data is {size} bytes of JSON; at most {MAX_DATA_BYTES} are kept")
    if event.at > now + AHEAD:
        raise Uncountable(f"its time {body['time']} is in the future")
    if event.at < now - LATE:
        raise Uncountable(f"its time {body['time']} is more than {LATE.days} days ago")
    return event


async def _store(store: TenantStore, events: list[Event]) -> None:
    """Batches of as many events as fit beside the rollups that they move."""
    batch: list[Event] = []
    moved: dict[str, set[str]] = {}  # the fields of each rollup
    for event in sorted(events, key=lambda event: event.at):
        wider = moved | {id: moved.get(id, set()) | event.fields() for id in event.rollup_ids()}
        if len(batch) + 1 + sum(patches(len(fields)) for fields in wider.values()) > MAX_OPERATIONS:
            await _commit(store, batch)
            batch, wider = [], {id: event.fields() for id in event.rollup_ids()}
        batch.append(event)
        moved = wider
    await _commit(store, batch)


async def _commit(store: TenantStore, events: list[Event]) -> None:
    for _ in range(TRIES):
        if not events:
            return
        rollups = await _found(store, Kind.ROLLUP, {id for event in events for id in event.rollup_ids()})
        try:
            await store.commit(_operations(events, rollups))
            return
        except Rejected:
            known = await _found(store, Kind.USAGE_EVENT, {event.id for event in events})
            events = [event for event in events if event.id not in known]
    raise Conflict("Others keep moving the same rollups; this delivery comes again.")


async def _found(store: TenantStore, kind: Kind, ids: set[str]) -> dict[str, Document]:
    page = await store.query(kind, [Where("id", "in", sorted(ids))])
    return {stored.body["id"]: stored.body for stored in page.items}


def _operations(events: list[Event], rollups: Mapping[str, Document]) -> list[Operation]:
    operations: list[Operation] = [
        Create(
            Kind.USAGE_EVENT,
            event.id,
            {"created_at": rfc3339(event.at), "metric": event.metric.value, "value": event.value, "data": event.data},
            ttl=EVENT_KEPT_SECONDS,
        )
        for event in events
    ]
    moving: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        for id in event.rollup_ids():
            moving[id].append(event)
    for id, own in moving.items():
        found = rollups.get(id)
        operations.append(_new_rollup(id, own) if found is None else _moved_rollup(id, own, found))
    return operations


def _new_rollup(id: str, events: Sequence[Event]) -> Create:
    metric, period, start = id.split(":", 2)
    dimensions = _divided(events, {}, 0)
    body = {
        "created_at": start,
        "metric": metric,
        "period": period,
        "start": start,
        "value": sum(event.value for event in events),
        "count": len(events),
        "dimensions": dimensions,
        "names": len(dimensions.keys() - {OTHER}),
    }
    return Create(Kind.ROLLUP, id, body, ttl=KEPT_SECONDS[period])


def _moved_rollup(id: str, events: Sequence[Event], found: Document) -> Increment:
    """New names are counted under a bound, so that two who add the last ones at once do not both."""
    dimensions = _divided(events, found["dimensions"], found.get("names", 0))
    amounts = {"value": sum(event.value for event in events), "count": len(events)}
    amounts |= {f"dimensions.{name}": value for name, value in dimensions.items()}
    new = len(dimensions.keys() - found["dimensions"].keys() - {OTHER})
    if not new:
        return Increment(Kind.ROLLUP, id, amounts)
    return Increment(Kind.ROLLUP, id, {**amounts, "names": new}, {"names": MAX_NAMES})


def _divided(events: Sequence[Event], known: Mapping[str, int], counted: int) -> dict[str, int]:
    """What the events add to each name of a rollup."""
    wanted = [event.dimension for event in events if event.dimension is not None]
    admitted = admit(wanted, known, counted)
    added: dict[str, int] = defaultdict(int)
    for event in events:
        if event.dimension is not None:
            added[event.dimension if event.dimension in admitted else OTHER] += event.value
    return dict(added)
