"""Reading a usage event out of a message, and what makes one that cannot be counted."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any

from functions.usage.dimensions import dimension
from functions.usage.periods import PERIODS, start_of
from shared.clock import parse_rfc3339, rfc3339
from shared.database.limits import encode
from shared.errors import Invalid
from shared.ids import is_uuid
from shared.messaging.port import Message
from shared.work.events import Metric

LATE = timedelta(days=35)
AHEAD = timedelta(minutes=15)  # no less than clocks are believed to differ
MAX_VALUE = 10**12  # far from 2^53, so that no sum of a month gets there
MAX_DATA_BYTES = 16 * 1024  # so that a batch of the largest events is one that the store takes


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

    @cached_property
    def dimension(self) -> str | None:
        return dimension(self.metric, self.data)

    @cached_property
    def fields(self) -> set[str]:
        """What it moves in each of its rollups."""
        return {"value", "count", "names"} | ({f"dimensions.{self.dimension}"} if self.dimension else set())

    @cached_property
    def rollup_ids(self) -> list[str]:
        return _rollup_ids(self.metric, start_of("hour", self.at))


@lru_cache(maxsize=256)
def _rollup_ids(metric: Metric, hour: datetime) -> list[str]:
    return [f"{metric}:{period}:{rfc3339(start_of(period, hour))}" for period in PERIODS]


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
        size = len(encode({"data": event.data}).encode()) - len('{"data":}')  # as deep as it is stored
    except Invalid as error:
        raise Uncountable(f"its data cannot be stored: {error}") from error
    if size > MAX_DATA_BYTES:
        raise Uncountable(f"its data is {size} bytes of JSON; at most {MAX_DATA_BYTES} are kept")
    if event.at > now + AHEAD:
        raise Uncountable(f"its time {body['time']} is in the future")
    if event.at < now - LATE:
        raise Uncountable(f"its time {body['time']} is more than {LATE.days} days ago")
    return event
