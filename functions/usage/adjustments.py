"""Corrections of what was counted: events are taken out by their ids, with a reason; nothing else changes.

What an adjustment takes out is settled when it is made. It is written with its audit entry and its messages to the
usage queue in one batch; each message becomes a block of voids, which reopens its hour (functions/usage/tally.py).
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import ClassVar, Self

from pydantic import Field, model_validator

from functions.usage.periods import end_of, start_of
from functions.usage.reading import MAX_TEXT, VOIDABLE, Event, hour_of
from functions.usage.rollups import blocks_of, judged_of
from functions.usage.tally import Standing
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Where
from shared.errors import Conflict, Invalid, NotFound
from shared.http.times import Time
from shared.ids import PLATFORM_TENANT_ID, derived_id
from shared.kinds import Kind
from shared.tenancy.directory import Directory
from shared.work.events import SOURCE, Metric, void_event
from shared.work.resources import Body, Listing, PageRequest, Resource, Timestamp, find, load
from shared.work.session import TenantSession

MOST_EVENTS = 1000  # of one adjustment: it is a document, and so is its audit entry
ON_THE_WAY = timedelta(minutes=15)
MOST_HOURS = 48  # each is a message of the same batch
GONE = "What was counted so long ago stands; credit it on a statement instead."


class AlreadyVoided(Conflict):
    """What an adjustment names counts no more."""

    code = "already_voided"
    meaning = "The events were taken out of the usage before."
    remedy = "Nothing has to be done; `GET v1/usage/events?standing=voided` lists them."


class EventRef(Body):
    """Which event: `time` says in which hour it counts."""

    id: str = Field(min_length=1, max_length=MAX_TEXT, description="Its id.")
    source: str = Field(SOURCE, min_length=1, max_length=MAX_TEXT, description="Who has told of it.")
    time: Time = Field(description="When it happened.")


class EventFilter(Body):
    """All events that count at the moment, of a metric and a time."""

    metric: Metric = Field(description="Of this metric.")
    name: str | None = Field(None, max_length=800, description="Counted under this name; null: under any.")
    start: Time = Field(alias="from", description="From this time on.")
    end: Time = Field(alias="to", description="Before this time.")


class NewAdjustment(Body):
    """What is to be taken out, and why: one event, or those of a filter."""

    reason: str = Field(min_length=1, max_length=1000, description="Why; the tenant reads it in its audit trail.")
    event: EventRef | None = Field(None, description="One event.")
    filter: EventFilter | None = Field(None, description=f"At most {MOST_EVENTS} events of {MOST_HOURS} hours.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.event is None) == (self.filter is None):
            raise ValueError("send either `event` or `filter`")
        return self


class VoidedEvent(Body):
    """An event that was taken out."""

    id: str = Field(description="Its id.")
    source: str = Field(description="Who has told of it.")
    hour: Timestamp = Field(description="The hour that it counted in.")


class Adjustment(Resource):
    """Events that were taken out of a tenant's usage."""

    KIND: ClassVar[Kind] = Kind("usage_adjustment", sorted=("updated_at",), backup="history", journalled=True)

    reason: str = Field(description="Why.")
    events: list[VoidedEvent] = Field(description="What was taken out.")
    value: int = Field(description="How much they counted together.")


class Adjustments:
    """Takes events out of a tenant's usage; staff names the tenant."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def list(self, staff: TenantSession, tenant_id: str, page: PageRequest) -> Listing[Adjustment]:
        return await find(await self._of(staff, tenant_id), Adjustment, {}, page)

    async def get(self, staff: TenantSession, tenant_id: str, id: str) -> Adjustment:
        return (await load(await self._of(staff, tenant_id), Adjustment, id)).value

    async def create(self, staff: TenantSession, tenant_id: str, new: NewAdjustment) -> Adjustment:
        """`AlreadyVoided` for what counts no more, `NotFound` for what never did, `Invalid` for too much or too old.

        Again under the same idempotency key it takes out nothing more, whatever has come since.
        """
        tenant = await self._of(staff, tenant_id)
        return await staff.once_in(tenant, Adjustment, partial(self._create, new=new))

    async def _create(self, tenant: TenantSession, new: NewAdjustment) -> Adjustment:
        found = await _by_id(tenant, new.event) if new.event else await _by_filter(tenant, new.filter)
        voided = [VoidedEvent(id=event.id, source=event.source, hour=event.hour) for event in found]
        keys = sorted(f"{one.hour}|{one.source}|{one.id}" for one in voided)
        change = tenant.change()
        fields = {"reason": new.reason, "events": voided, "value": sum(event.value for event in found)}
        id = derived_id("usage-adjustment", tenant.id, *keys)
        adjustment = change.create(Adjustment, fields, id=id)
        for hour, own in _by_hour(voided).items():
            message_id = derived_id("void", id, hour)
            at = parse_rfc3339(hour)
            change.send(tenant.services.usage_queue, void_event(own, id=message_id, tenant_id=tenant.id, hour=at))
        try:
            return await change.commit(adjustment)
        except Conflict as error:
            if await tenant.store.get(Adjustment.KIND, id) is None:
                raise
            raise AlreadyVoided("An adjustment has taken out just these events.", adjustment_id=id) from error

    async def _of(self, staff: TenantSession, tenant_id: str) -> TenantSession:
        """The tenant's session for staff."""
        entry = None if tenant_id == PLATFORM_TENANT_ID else await self._directory.entry(tenant_id)
        if entry is None:
            raise NotFound("There is no such tenant.")
        return staff.in_tenant(entry, self._directory.open(entry))


async def _by_id(tenant: TenantSession, wanted: EventRef) -> list[Event]:
    hour = hour_of(rfc3339(parse_rfc3339(wanted.time)))
    _check_age(tenant, hour, "event.time")
    events = await _of(tenant, hour, await _named(tenant))
    of_hour = [one for one in events if (one[0].id, one[0].source) == (wanted.id, wanted.source)]
    if any(standing == "voided" for _, standing in of_hour):
        raise AlreadyVoided("This event counts no more.")
    counted = [event for event, standing in of_hour if standing == "counted"]
    if not counted:
        raise NotFound("There is no such event in the hour of that time; `GET v1/usage/events` lists them.")
    return counted


async def _by_filter(tenant: TenantSession, wanted: EventFilter | None) -> list[Event]:
    if wanted is None:
        raise ValueError("neither an event nor a filter")
    start, end = parse_rfc3339(wanted.start), parse_rfc3339(wanted.end)
    hours = list(_hours(start, end))
    if not hours:
        raise Invalid.of("filter.from", "is not before `to`", wanted.start)
    _check_age(tenant, hours[0], "filter.from")
    found: list[Event] = []
    voided, named = 0, await _named(tenant)
    for hour in hours:
        for event, standing in await _of(tenant, hour, named):
            inside = rfc3339(start) <= event.time < rfc3339(end)
            if not inside or event.metric != wanted.metric or wanted.name not in (None, event.dimension):
                continue
            voided += standing == "voided"
            if standing == "counted":
                found.append(event)
        if len(found) > MOST_EVENTS:
            raise Invalid.of("filter", f"takes out more than {MOST_EVENTS} events; take a shorter time or a name", None)
    if found:
        return found
    if voided:
        raise AlreadyVoided("All of these events count no more.")
    raise NotFound("There is no such event in that time; `GET v1/usage/events` lists them.")


async def _named(tenant: TenantSession) -> set[tuple[str, str, str]]:
    """What adjustments have taken out whose messages may not have come yet: hour, source, id."""
    since = rfc3339(tenant.services.clock.now() - ON_THE_WAY)
    recent = await tenant.store.query(Adjustment.KIND, [Where("created_at", ">=", since)])
    events = [one for stored in recent.items for one in Adjustment.model_validate(stored.body).events]
    return {(one.hour, one.source, one.id) for one in events}


async def _of(tenant: TenantSession, hour: str, named: set[tuple[str, str, str]]) -> list[tuple[Event, Standing]]:
    """The events of an hour; those that are named are voided."""
    return [
        (event, "voided" if standing == "counted" and (hour, event.source, event.id) in named else standing)
        for event, standing in await judged_of(await blocks_of(tenant.store, hour))
    ]


def _hours(start: datetime, end: datetime) -> Iterable[str]:
    hour = start_of("hour", start)
    if end - hour > timedelta(hours=MOST_HOURS):
        raise Invalid.of("filter", f"is longer than {MOST_HOURS} hours; make several adjustments", None)
    while hour < end:
        yield rfc3339(hour)
        hour = end_of("hour", hour)


def _check_age(tenant: TenantSession, hour: str, field: str) -> None:
    oldest = tenant.services.clock.now() - VOIDABLE + timedelta(days=1)  # a message may be late
    if parse_rfc3339(hour) < oldest:
        raise Invalid.of(field, f"lies before {rfc3339(oldest)}. {GONE}", hour)


def _by_hour(voided: Iterable[VoidedEvent]) -> dict[str, list[tuple[str, str]]]:
    by_hour: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for one in voided:
        by_hour[one.hour].append((one.source, one.id))
    return by_hour
