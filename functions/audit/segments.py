"""Segments: what is sealed, an immutable blob each: which entries there are, in order, and the hash of each.

Compressed JSON lines (zstd): the head, `[id, created_at, digest, signed, size]` for each entry, the end with the
signature over all before it. A segment names the hash of the one before it, so that none can be changed, left out or
put in.
What entries say is not in it: it lies in the database and in the backups; an id and a hash name what was changed.
"""

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from shared.blobs.port import BlobSpace
from shared.database.port import Document, Stored
from shared.errors import NotFound
from shared.tenancy.signing import Signatures, digest

AREA = "audit"
PREFIX = "segment-"
SEGMENT_ENTRIES = 2000
SEGMENT_BYTES = 16 * 1024 * 1024  # of the entries that it seals, so that they can be read at once
MAX_BYTES = 4 * 1024 * 1024  # of a blob; of so many entries it has 200 KB
COMPRESSION_LEVEL = 3
LAST_LISTED = 50
MOST_LISTED = 500_000  # blobs; at one an hour there are 61,000 in seven years


class Damaged(Exception):
    """A segment is not what was written; says why."""


class Line(NamedTuple):
    """A sealed entry; `digest`: SHA-256 in hex over all of it, its signature included; `size` in bytes."""

    id: str
    at: str
    digest: str
    signed: bool
    size: int

    @classmethod
    def of(cls, tenant_id: str, body: Document) -> "Line":
        hash, size = digest(tenant_id, body)
        return cls(body["id"], body["created_at"], hash, body.get("mac") is not None, size)


@dataclass(frozen=True)
class Segment:
    """One link of the chain; all before `until` (RFC 3339) that could be seen is in it or in those before it.

    `previous` and `hash`: SHA-256 of the blobs, in hex. `total`: entries sealed so far, these included.
    """

    number: int
    previous: str
    signed_from: str
    sealed_at: str
    until: str
    total: int
    lines: tuple[Line, ...]
    hash: str = ""

    @property
    def size(self) -> int:
        """Bytes of the entries that it seals."""
        return sum(line.size for line in self.lines)

    @property
    def name(self) -> str:
        return name_of(self.number)


def name_of(number: int) -> str:
    return f"{PREFIX}{number:08}.jsonl.zst"


def number_of(name: str) -> int | None:
    """The number of a segment's blob; None for what is none."""
    number = name.removeprefix(PREFIX).removesuffix(".jsonl.zst")
    return int(number) if number.isdecimal() and name == name_of(int(number)) else None


def packed(segment: Segment, tenant_id: str, signatures: Signatures) -> bytes:
    """The segment as a blob, signed."""
    import zstandard

    head = {"segment": segment.number, "tenant_id": tenant_id, "previous": segment.previous}
    head |= {"signed_from": segment.signed_from, "sealed_at": segment.sealed_at}
    text = "".join(f"{_json(one)}\n" for one in (head, *map(list, segment.lines)))
    end = {"until": segment.until, "total": segment.total, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    text += _json(signatures.signed(tenant_id, segment.name, end, "segment")) + "\n"
    return zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True).compress(text.encode())


def unpacked(data: bytes, number: int, tenant_id: str, signatures: Signatures) -> Segment:
    """The segment of a blob; `Damaged` for what this tenant's key has not signed under this number."""
    import zstandard

    try:
        text = zstandard.ZstdDecompressor().decompress(data, max_output_size=4 * MAX_BYTES)
        body, _, last = text.removesuffix(b"\n").rpartition(b"\n")
        end = json.loads(last)
        verdict = signatures.check(tenant_id, name_of(number), end, "segment")
        if verdict != "good" or end["sha256"] != hashlib.sha256(body + b"\n").hexdigest():
            raise Damaged(f"is not as it was sealed ({'forged' if verdict == 'good' else verdict})")
        head, *lines = [json.loads(line) for line in body.split(b"\n")]
        if (head["segment"], head["tenant_id"]) != (number, tenant_id):
            raise Damaged("is another segment")
        return Segment(
            number=number,
            previous=head["previous"],
            signed_from=head["signed_from"],
            sealed_at=head["sealed_at"],
            until=end["until"],
            total=end["total"],
            lines=tuple(Line(*line) for line in lines),
            hash=hashlib.sha256(data).hexdigest(),
        )
    except (zstandard.ZstdError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"is no segment ({type(error).__name__})") from error


@dataclass(frozen=True)
class Listed:
    """The number of the first blob (0: there is none), those of the last, in order. `cut`: there are far too many."""

    first: int
    last: tuple[int, ...]
    cut: bool = False


class Segments:
    """The segments of one tenant."""

    def __init__(self, space: BlobSpace, tenant_id: str, signatures: Signatures) -> None:
        self._space = space
        self._tenant_id = tenant_id
        self._signatures = signatures

    async def write(self, segment: Segment) -> Segment:
        """Once: `Conflict` when there is one of this number."""
        data = await asyncio.to_thread(packed, segment, self._tenant_id, self._signatures)
        await self._space.write(segment.name, _one(data), overwrite=False)
        return unpacked(data, segment.number, self._tenant_id, self._signatures)

    async def read(self, number: int) -> Segment | None:
        """The segment; None when there is none. `Damaged` for one that is not as it was sealed."""
        data = bytearray()
        try:
            async for chunk in self._space.read(name_of(number)):
                data += chunk
                if len(data) > MAX_BYTES:
                    raise Damaged("is far too large")
        except NotFound:
            return None
        return await asyncio.to_thread(unpacked, bytes(data), number, self._tenant_id, self._signatures)

    async def readable(self, number: int) -> Segment | None:
        """As `read`; None for a damaged one, too."""
        try:
            return await self.read(number)
        except Damaged:
            return None

    async def following(self, number: int, previous: str) -> Segment | None:
        """As `read`; `Damaged` for one, too, that does not follow the segment with that hash."""
        segment = await self.read(number)
        if segment is not None and segment.previous != previous:
            raise Damaged("does not follow the chain")
        return segment

    async def listed(self) -> Listed:
        """Which there are."""
        first, last, count = 0, deque[int](maxlen=LAST_LISTED), 0
        async for number in self._numbers():
            count += 1
            if count > MOST_LISTED:
                return Listed(first, tuple(last), cut=True)
            first = first or number
            last.append(number)
        return Listed(first, tuple(last))

    async def free_after(self, number: int) -> int:
        """The first number after this one that no blob has."""
        free = number + 1
        async for taken in self._numbers():
            if taken == free:
                free += 1
            elif taken > free:
                break
        return free

    async def exists(self, number: int) -> bool:
        return await self._space.info(name_of(number)) is not None

    async def up_to(self, number: int) -> AsyncIterator[int]:
        """The numbers of the segments up to this one that there still are, in order."""
        async for found in self._numbers():
            if found > number:
                return
            yield found

    async def delete(self, number: int) -> None:
        await self._space.delete(name_of(number))

    async def _numbers(self) -> AsyncIterator[int]:
        async for blob in self._space.list(PREFIX):
            found = number_of(blob.name)
            if found is not None:
                yield found


async def lines_of(tenant_id: str, entries: list[Stored]) -> list[Line]:
    """What a segment says of these entries; beside the event loop, for they may be large."""
    return await asyncio.to_thread(lambda: [Line.of(tenant_id, one.body) for one in entries])


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
