"""Reading a usage event, or a void of some, out of a message; and what makes one that cannot be counted.

Events are CloudEvents 1.0 (https://github.com/cloudevents/spec) of our own types. `time` is mandatory: it says in
which hour an event counts, and in that hour `source` and `id` make it one event, however often it comes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from json import dumps
from typing import Any, NamedTuple

from functions.usage.details import details_of
from functions.usage.dimensions import dimension
from functions.usage.latency import Details
from shared.clock import is_rfc3339, parse_rfc3339, rfc3339
from shared.database.limits import encode
from shared.database.port import Document
from shared.errors import Invalid
from shared.ids import is_uuid
from shared.messaging.port import Message
from shared.telemetry.log import said
from shared.work.events import SOURCE, VOID, Metric

LATE = timedelta(days=35)
AHEAD = timedelta(minutes=15)  # no less than clocks are believed to differ; what is further ahead waits until it is due
VOIDABLE = timedelta(days=62)  # longer than any event is late, shorter than blocks and hours are kept
MAX_VALUE = 10**12  # far from 2^53, so that no sum of a month gets there
MAX_DATA_BYTES = 16 * 1024
MAX_TEXT = 256  # characters of an id or a source
MOST_TOLD = 2048  # most calls say what others have said: the same operation, status and milliseconds
MAX_VOIDED = 2000  # events of one hour that one message takes out

_METRICS = {one.value: one for one in Metric}

Told = tuple[str | None, str, Details]
Key = bytes  # 16 of them: which event of its hour


class Uncountable(Exception):
    """Why a message is no usage event of ours."""


class Early(Exception):
    """The event lies ahead of the clock; it is due in so long."""

    def __init__(self, due_in: timedelta) -> None:
        super().__init__(f"due in {due_in}")
        self.due_in = due_in


class Event(NamedTuple):
    """A checked usage event; `time` in the one text form (`shared.clock.rfc3339`), `data` as JSON text."""

    key: Key
    source: str
    id: str
    time: str
    metric: Metric
    value: int
    data: str
    dimension: str | None
    own_key: bool = False  # its id is its key
    details: Details = ()

    @property
    def hour(self) -> str:
        return hour_of(self.time)


@dataclass(frozen=True, slots=True)
class Voids:
    """Events of one hour that are taken out of it."""

    hour: str
    refs: Sequence[tuple[str, str]]  # source, id


def hour_of(time: str) -> str:
    """The start of the hour that an instant lies in, both in the one text form."""
    return f"{time[:13]}:00:00.000000Z"


def key_of(source: str, id: str) -> Key:
    """A UUID of our own is its own key, so that it need not be kept twice; all else is its digest."""
    own = source == SOURCE and is_uuid(id)
    return bytes.fromhex(id.replace("-", "")) if own else _digest(source, id)


def read(message: Message, now: datetime) -> Event | Voids:
    """What is in a message. `Uncountable` says what is wrong with it, `Early` when it is due."""
    body = message.body
    if "unreadable" in body:
        raise Uncountable("the body is not a JSON object")
    try:
        if body["type"] == VOID:
            return _voids(body, now)
        source, id, time, data = body["source"], body["id"], body["time"], body["data"].copy()
        value, metric = data.pop("value"), _METRICS.get(body["type"]) or Metric(body["type"])
        at = parse_rfc3339(time)
    except KeyError as error:
        raise Uncountable(f"not a usage event: it has no {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise Uncountable(f"not a usage event: {said(error)}") from error
    if body.get("specversion") != "1.0":
        raise Uncountable("not a CloudEvent of version 1.0")
    if type(value) is not int or not 0 <= value <= MAX_VALUE:
        raise Uncountable("its value is not a whole number from 0 to 10^12")
    try:
        name, text, details = _told(metric, value, data)
        own = source == SOURCE and type(id) is str and is_uuid(id)
        key = bytes.fromhex(id.replace("-", "")) if own else _digest(_text(source, "source"), _text(id, "id"))
    except Invalid as error:
        raise Uncountable(f"its data cannot be stored: {error}") from error
    except ValueError as error:
        raise Uncountable(str(error)) from error
    if len(text) > MAX_DATA_BYTES // 4 and len(text.encode()) > MAX_DATA_BYTES:
        raise Uncountable(f"its data is {len(text.encode())} bytes of JSON; at most {MAX_DATA_BYTES} are kept")
    ahead = at - now
    if ahead > AHEAD:
        raise Early(ahead)
    if ahead < -LATE:
        raise Uncountable(f"its time {time} is more than {LATE.days} days ago")
    instant = time if is_rfc3339(time) else rfc3339(at)
    return Event(key, source, id, instant, metric, value, text, name, own, details)


def row(event: Event) -> str:
    """An event as JSON text: the items of a list, but for its source; an id that is its own key is left out."""
    id = "0" if event.own_key else dumps(event.id, ensure_ascii=False)
    return f'{id},"{event.time}","{event.metric}",{event.value},{event.data}'


def _told(metric: Metric, value: int, data: Document) -> Told:
    try:
        return _often_told(metric, value, **data)
    except TypeError:  # lists and objects in it: no key of a cache
        return _tell(metric, value, data)


@lru_cache(maxsize=MOST_TOLD, typed=True)  # 1, 1.0 and true are three things in JSON
def _often_told(metric: Metric, value: int, /, **data: Any) -> Told:
    return _tell(metric, value, data)


def _tell(metric: Metric, value: int, data: Document) -> Told:
    """What an event counts under, its data as it is kept, and its details. Invalid for what cannot be kept."""
    return dimension(metric, data), encode(data, within=1), details_of(metric, value, data)


def _digest(source: str, id: str) -> Key:
    return blake2b(f"{len(source)}:{source}{id}".encode(), digest_size=16).digest()


def _voids(body: Mapping[str, Any], now: datetime) -> Voids:
    at = parse_rfc3339(body["time"])
    try:
        refs = [(_text(source, "source"), _text(id, "id")) for source, id in body["data"]["events"]]
    except ValueError as error:
        raise Uncountable(f"voids what is no event: {error}") from error
    if not 0 < len(refs) <= MAX_VOIDED:
        raise Uncountable(f"voids 1 to {MAX_VOIDED} events, not {len(refs)}")
    if at > now + AHEAD:
        raise Uncountable("voids events that have not happened")
    if at < now - VOIDABLE:
        raise Uncountable(f"voids events of more than {VOIDABLE.days} days ago")
    return Voids(hour_of(rfc3339(at)), sorted(set(refs)))


def _text(text: Any, name: str) -> str:
    if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT:
        raise ValueError(f"its {name} is not a text of 1 to {MAX_TEXT} characters")
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"its {name} holds half a character (a lone surrogate)") from error
    return text
