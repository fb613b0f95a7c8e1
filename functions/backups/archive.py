"""The backup format: `part-0001.jsonl.zst` … of one JSON operation a line, and `manifest.json`, written last.

Of two runners of one backup (the first of them had stalled) neither writes over what the other has written: a part
whose name is taken gets another name, and the manifest that comes first is the backup's. What no manifest names is no
part of a backup, and goes with its folder.

A line is `{"op": "put", "kind": …, "id": …, "schema": …, "item": {…}}` (a version of the kind's schema; the first
where none is said) or `{"op": "delete", "kind": …, "id": …}`; all lines in
order, applied to nothing, make the state at the manifest's `as_of`.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

from functions.backups.models import Backup
from shared.blobs.port import Blobs, BlobSpace
from shared.clock import parse_rfc3339
from shared.errors import Conflict, NotFound, Unavailable
from shared.kinds import Kinds

FORMAT = 1
AREA = "backups"
MANIFEST = "manifest.json"
PART_TEXT_BYTES = 8 * 1024 * 1024
PIECE_BYTES = 16 * 1024  # decompressed at a time: a small piece may become a hundred times as much text
LINES_AT_ONCE = 100
MAX_MANIFEST_BYTES = 64 * 1024 * 1024
COMPRESSION_LEVEL = 3

Line = dict[str, Any]
Section = Literal["resources", "history"]


class Damaged(Conflict):
    """A backup is not what was written."""

    code = "backup_damaged"
    meaning = "A backup is not what was written."
    remedy = "Use another backup; a point in time finds the last good one."


class Part(BaseModel):
    """One blob of lines; `lines` and `kind_bytes` per kind, `text_bytes` in all, before compression."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    name: str
    section: Section
    lines: dict[str, int]
    kind_bytes: dict[str, int] = {}  # not told by the first releases
    text_bytes: int
    bytes: int
    sha256: str


class Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)

    format: int
    backup_id: str
    tenant_id: str
    type: str
    began_at: str
    as_of: str
    counts: dict[str, int]
    bytes: int
    parts: list[Part]


class Archive:
    """One backup's folder in its tenant's blobs."""

    def __init__(self, blobs: Blobs, backup: Backup, kinds: Kinds) -> None:
        self._backup = backup
        self._carried = frozenset((*kinds.restored, *kinds.history))
        self._space: BlobSpace = blobs.space(AREA, backup.tenant_id)
        self._folder = f"{parse_rfc3339(backup.created_at):%Y%m%dT%H%M%SZ}-{backup.id}"

    async def write_part(self, number: int, section: Section, pages: AsyncIterator[list[Line]]) -> Part:
        """Stream pages of lines into one part. `Unavailable` when another runner has just taken its name."""
        writer = _PartWriter()
        name = f"part-{number:04}.jsonl.zst"
        if await self._space.info(f"{self._folder}/{name}") is not None:
            name = f"part-{number:04}-{uuid4().hex}.jsonl.zst"
        try:
            await self._space.write(f"{self._folder}/{name}", writer.compressed(pages), overwrite=False)
        except Conflict as error:
            raise Unavailable(f"Others write {name} of this backup too.") from error
        return writer.part(name, section)

    async def write_manifest(self, manifest: Manifest) -> tuple[Manifest, str]:
        """Publish the backup, once: the manifest that is published, this one or another runner's, and its hash."""
        data = manifest.model_dump_json(indent=1).encode()
        try:
            await self._space.write(f"{self._folder}/{MANIFEST}", _one(data), overwrite=False)
        except Conflict:
            data = await self._manifest_bytes()
        return self._parsed(data), hashlib.sha256(data).hexdigest()

    async def manifest(self) -> Manifest:
        """The manifest, checked against what its backup says; `Damaged` otherwise."""
        data = await self._manifest_bytes()
        if hashlib.sha256(data).hexdigest() != self._backup.sha256:
            raise Damaged(f"{MANIFEST}: its hash is not the one recorded")
        return self._parsed(data)

    def _parsed(self, data: bytes) -> Manifest:
        try:
            version = json.loads(data)["format"]
            if version != FORMAT:
                raise Damaged(f"{MANIFEST}: format {version}, this version reads {FORMAT}")
            manifest = Manifest.model_validate_json(data)
        except (ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
            raise Damaged(f"{MANIFEST}: is no manifest ({type(error).__name__})") from error
        if (manifest.tenant_id, manifest.backup_id) != (self._backup.tenant_id, self._backup.id):
            raise Damaged(f"{MANIFEST}: belongs to another backup")
        return manifest

    async def read(self, part: Part) -> AsyncIterator[list[Line]]:
        """The part's lines; `Damaged` at the latest at its end. Act on nothing before that."""
        reader = _PartReader(part, self._carried)
        try:
            async for chunk in self._space.read(f"{self._folder}/{part.name}"):
                for start in range(0, len(chunk), PIECE_BYTES):
                    for lines in reader.take(chunk[start : start + PIECE_BYTES]):
                        yield lines
        except NotFound:
            raise Damaged(f"{part.name}: is missing") from None
        reader.finish()

    async def remove(self) -> None:
        """Delete the blobs, the manifest first: what is left of a crash must not look complete."""
        await self._space.delete(f"{self._folder}/{MANIFEST}")
        async for blob in self._space.list(f"{self._folder}/"):
            await self._space.delete(blob.name)

    async def _manifest_bytes(self) -> bytes:
        data = bytearray()
        try:
            async for chunk in self._space.read(f"{self._folder}/{MANIFEST}"):
                data += chunk
                if len(data) > MAX_MANIFEST_BYTES:
                    raise Damaged(f"{MANIFEST}: is far too large")
        except NotFound:
            raise Damaged(f"{MANIFEST}: is missing") from None
        return bytes(data)


class _PartWriter:
    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._lines: dict[str, int] = {}
        self._kind_bytes: dict[str, int] = {}
        self._text_bytes = 0
        self._bytes = 0

    async def compressed(self, pages: AsyncIterator[list[Line]]) -> AsyncIterator[bytes]:
        import zstandard

        compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True).compressobj()
        async for lines in pages:
            for chunk in (self._counted(compressor.compress(self._text(line))) for line in lines):
                if chunk:
                    yield chunk
            if self._text_bytes >= PART_TEXT_BYTES:
                break
        yield self._counted(compressor.flush())

    def part(self, name: str, section: Section) -> Part:
        return Part(
            name=name,
            section=section,
            lines=self._lines,
            kind_bytes=self._kind_bytes,
            text_bytes=self._text_bytes,
            bytes=self._bytes,
            sha256=self._hash.hexdigest(),
        )

    def _text(self, line: Line) -> bytes:
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self._lines[line["kind"]] = self._lines.get(line["kind"], 0) + 1
        self._kind_bytes[line["kind"]] = self._kind_bytes.get(line["kind"], 0) + len(text)
        self._text_bytes += len(text)
        return text

    def _counted(self, chunk: bytes) -> bytes:
        self._hash.update(chunk)
        self._bytes += len(chunk)
        return chunk


class _PartReader:
    def __init__(self, part: Part, carried: frozenset[str]) -> None:
        import zstandard

        self._part = part
        self._carried = carried
        self._decompressor = zstandard.ZstdDecompressor().decompressobj()
        self._broken = zstandard.ZstdError
        self._hash = hashlib.sha256()
        self._lines: dict[str, int] = {}
        self._left = b""

    def take(self, chunk: bytes) -> Iterator[list[Line]]:
        self._hash.update(chunk)
        try:
            text = self._left + self._decompressor.decompress(chunk)
        except self._broken:
            raise Damaged(f"{self._part.name}: cannot be decompressed") from None
        *whole, self._left = text.split(b"\n")
        for start in range(0, len(whole), LINES_AT_ONCE):
            yield [self._line(one) for one in whole[start : start + LINES_AT_ONCE]]

    def finish(self) -> None:
        if self._hash.hexdigest() != self._part.sha256:
            raise Damaged(f"{self._part.name}: its hash is not the one in the manifest")
        if self._left or self._lines != self._part.lines:
            raise Damaged(f"{self._part.name}: has {self._lines} lines, the manifest says {self._part.lines}")

    def _line(self, text: bytes) -> Line:
        try:
            line: Line = json.loads(text)
            well_formed = (
                isinstance(line["kind"], str)
                and isinstance(line["id"], str)
                and (line["op"] == "delete" or (line["op"] == "put" and line["item"]["id"] == line["id"]))
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            well_formed = False
        if not well_formed:
            number = sum(self._lines.values()) + 1
            raise Damaged(f"{self._part.name}: line {number} is no operation in JSON")
        if line["kind"] not in self._carried:
            raise Unavailable(f"This backup holds what only another release keeps ({line['kind']}).")
        self._lines[line["kind"]] = self._lines.get(line["kind"], 0) + 1
        return line


async def read_back(archive: Archive, parts: Sequence[Part]) -> list[str]:
    """Read every part to its end; what is wrong with them."""
    problems = []
    for part in parts:
        try:
            async for _ in archive.read(part):
                pass
        except Damaged as damage:
            problems.append(damage.message)
    return problems


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data
