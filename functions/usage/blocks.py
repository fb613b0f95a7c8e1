"""Blocks: the events of one delivery for one tenant and hour, as one document that is never changed.

Its id comes of its content, so that the same delivery again is the same block. Which events are in it, and what they
add up to, is read without unpacking them; they are JSON, compressed. A block may take events out of its hour again.
"""

import json
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import groupby
from typing import Any

from functions.usage.details import DETAILED, details_of, within
from functions.usage.dimensions import OTHER, dimension, largest
from functions.usage.reading import Event, Key, Voids, hour_of, key_of, row
from shared.database.limits import encode
from shared.database.port import Document
from shared.kinds import Kind
from shared.work.events import Metric

BLOCK = Kind("usage_block", container="usage", backup="history", append_only=True)
KEPT_SECONDS = 100 * 86400
MAX_BYTES = 240 * 1024  # without what the store adds
MAX_EVENTS = 2000
MAX_UNPACKED_BYTES = 2 * 1024 * 1024
KEY_BYTES = 16
LEVEL = 3
HOUR = len("2026-11-24T08")

Sums = dict[str, dict[str, Any]]  # metric -> value, count, dimensions; of some, details of each of those names
Placed = tuple[str, Key, str, Event]  # an event, behind what it is sorted by in its block: time, key and row


@dataclass(frozen=True)
class Packed:
    """A block to be stored: its id, the hour it belongs to, and its body but for that hour's opening."""

    id: str
    hour: str
    body: Document


@dataclass(frozen=True)
class Block:
    """A block as it is read; `opening`: which opening of its hour let it in, from 1."""

    body: Mapping[str, Any]

    @property
    def opening(self) -> int:
        return int(self.body["opening"])

    @property
    def sums(self) -> Sums:
        sums: Sums = self.body["sums"]
        return sums

    @property
    def whole(self) -> bool:
        """Whether its sums say all that can be said of its events: older releases knew no details."""
        return not any(
            OTHER in one["dimensions"] or (metric in DETAILED and "details" not in one)
            for metric, one in self.sums.items()
        )

    @cached_property
    def keys(self) -> list[Key]:
        """Of its events, in their order."""
        keys = b64decode(self.body["keys"])
        return [keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES)]

    @cached_property
    def voids(self) -> frozenset[Key]:
        """What it takes out of its hour."""
        return frozenset(key_of(source, id) for source, id in self.body.get("voids", ()))

    def events(self) -> Iterator[Event]:
        """Unpacked."""
        import zstandard

        if not self.keys:
            return
        packed = b64decode(self.body["events"])
        content = json.loads(zstandard.ZstdDecompressor().decompress(packed, max_output_size=MAX_UNPACKED_BYTES))
        sources = content["sources"]
        for key, (source, id, time, metric, value, data) in zip(self.keys, content["rows"], strict=True):
            named, text = Metric(metric), json.dumps(data, ensure_ascii=False, separators=(",", ":"))
            name = dimension(named, data)
            details = details_of(named, value, data)
            yield Event(key, sources[source], id or _uuid(key), time, named, value, text, name, not id, details)


def pack(events: Iterable[Event]) -> list[Packed]:
    """Blocks of events, by their hours. The same event twice is packed once; under one key, another is another row."""
    by_hour = defaultdict[str, list[Placed]](list)
    for event in events:
        time = event.time
        by_hour[time[:HOUR]].append((time, event.key, row(event), event))
    each_once = {hour_of(hour): [one for one, _ in groupby(sorted(own))] for hour, own in by_hour.items()}
    return [block for hour, own in each_once.items() for block in _blocks(hour, own)]


def pack_voids(voids: Voids) -> Packed:
    """A block that has no events and takes some out."""
    refs = [list(ref) for ref in voids.refs]
    return _packed(voids.hour, json.dumps(refs).encode(), {"count": 0, "sums": {}, "keys": "", "voids": refs})


def add(sums: Sums, events: Iterable[Event]) -> None:
    """Add events to sums."""
    for _, _, _, _, metric, value, _, name, _, details in events:
        own = sums.get(metric)
        if own is None:
            own = sums[metric.value] = {"value": 0, "count": 0, "dimensions": {}}
            if metric in DETAILED:
                own["details"] = {}
        own["value"] += value
        own["count"] += 1
        if name is not None:
            names = own["dimensions"]
            names[name] = names.get(name, 0) + value
            if details:
                known = own["details"].setdefault(name, {})
                for key, amount in details:
                    known[key] = known.get(key, 0) + amount


def bounded(sums: Mapping[str, Mapping[str, Any]]) -> Sums:
    """With no more names than one document may hold."""
    return {metric: _bounded(sums[metric]) for metric in sorted(sums)}


def _bounded(own: Mapping[str, Any]) -> dict[str, Any]:
    names = largest(own["dimensions"])
    details = {"details": within(names, own["details"])} if "details" in own else {}
    return {**own, "dimensions": names, **details}


def _blocks(hour: str, placed: Sequence[Placed]) -> list[Packed]:
    """One of these events, which are in their order; or by halves, where that would be too large."""
    import zstandard

    events = [one[3] for one in placed]
    sources = sorted({event.source for event in events})
    number = {source: at for at, source in enumerate(sources)}
    rows = ",".join([f"[{number[event.source]},{text}]" for _, _, text, event in placed])
    content = f'{{"sources":{json.dumps(sources, ensure_ascii=False)},"rows":[{rows}]}}'.encode()
    sums: Sums = {}
    add(sums, events)
    body = {
        "count": len(events),
        "sums": bounded(sums),
        "keys": b64encode(b"".join([event.key for event in events])).decode(),
        "events": b64encode(zstandard.ZstdCompressor(level=LEVEL).compress(content)).decode(),
    }
    size = len(encode(body).encode())
    if len(placed) == 1 or (size <= MAX_BYTES and len(content) <= MAX_UNPACKED_BYTES and len(placed) <= MAX_EVENTS):
        return [_packed(hour, content, body)]
    half = len(placed) // 2
    return [*_blocks(hour, placed[:half]), *_blocks(hour, placed[half:])]


def _packed(hour: str, content: bytes, body: Document) -> Packed:
    id = blake2b(f"{hour}{body['keys']}".encode() + content, digest_size=16).hexdigest()
    return Packed(id, hour, {"created_at": hour, **body})


def _uuid(key: Key) -> str:
    digits = key.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
