"""A tenant's audit trail on any database, with whoever seals, prunes and verifies it, and dies at any write."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Container, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import zstandard

from functions.audit.chain import ANCHOR, HEAD, ID, Chain
from functions.audit.models import AuditVerification
from functions.audit.pruning import Pruner
from functions.audit.sealing import SETTLED, Sealer
from functions.audit.segments import AREA, Segment, Segments, name_of
from functions.audit.verifying import Verifier
from shared.auth.caller import SYSTEM, SYSTEM_REQUEST
from shared.blobs.files import FileBlobs
from shared.blobs.port import BlobInfo, Blobs, BlobSpace
from shared.clock import rfc3339
from shared.database.port import Create, Database, Delete, Document, Operation, PlatformStore, Replace, TenantStore
from shared.secrets.file import FileSecrets
from shared.tenancy.directory import TenantEntry
from shared.tenancy.fence import AUDIT, Handle, first_permit
from shared.tenancy.plans import Tier
from shared.tenancy.signing import Signatures
from shared.work.scope import Services
from shared.work.session import TenantSession
from tests.contract.database import SHARD, TENANT
from tests.doubles.clock import FakeClock


class Killed(BaseException):
    """The process is gone: no handler runs, nothing is tidied up."""


@dataclass
class Death:
    """Comes at the write of number `at` (from 1), before it happens or after."""

    at: int | None = None
    after: bool = False
    writes: int = 0

    def before(self) -> None:
        self.writes += 1
        if self.writes == self.at and not self.after:
            raise Killed

    def behind(self) -> None:
        if self.writes == self.at and self.after:
            raise Killed


class MortalBlobs(FileBlobs):
    def __init__(self, folder: Path, death: Death) -> None:
        super().__init__(folder)
        self._death = death

    def space(self, area: str, tenant_id: str) -> BlobSpace:
        return _MortalSpace(super().space(area, tenant_id), self._death)


class _MortalSpace(BlobSpace):
    def __init__(self, inner: BlobSpace, death: Death) -> None:
        self._inner = inner
        self._death = death

    async def write(self, name: str, chunks: AsyncIterable[bytes], *, overwrite: bool = True) -> BlobInfo:
        self._death.before()
        written = await self._inner.write(name, chunks, overwrite=overwrite)
        self._death.behind()
        return written

    def read(self, name: str) -> AsyncIterator[bytes]:
        return self._inner.read(name)

    async def info(self, name: str) -> BlobInfo | None:
        return await self._inner.info(name)

    def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        return self._inner.list(prefix)

    async def delete(self, name: str) -> None:
        self._death.before()
        await self._inner.delete(name)
        self._death.behind()


class MortalPlatform:
    """The registry's store as the chain uses it."""

    def __init__(self, inner: PlatformStore, death: Death) -> None:
        self.latest = inner.latest
        self._inner = inner
        self._death = death

    async def put(self, operation: Create | Replace | Delete, tenant_id: str) -> str | None:
        self._death.before()
        etag = await self._inner.put(operation, tenant_id)
        self._death.behind()
        return etag


class MortalHandle(Handle):
    def __init__(self, inner: TenantStore, death: Death, **options: Any) -> None:
        super().__init__(inner, holder="", **options)
        self._death = death

    async def commit(self, operations: Sequence[Operation]) -> None:
        self._death.before()
        await super().commit(operations)
        self._death.behind()


@dataclass
class Trail:
    """`entries`: as many as a segment takes. `sealer`, `other`: two instances."""

    database: Database
    folder: Path
    clock: FakeClock
    entries: int = 5
    needed: str | None = None
    death: Death = field(default_factory=Death)
    written: int = 0

    def __post_init__(self) -> None:
        self.secrets = FileSecrets(self.folder / "secrets", lambda: b"qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=")
        self.signatures = Signatures(self.secrets, self.database, self.clock)
        self.blobs: Blobs = FileBlobs(self.folder / "blobs")
        self.raw = self.database.tenant(TENANT, SHARD)
        mortal = MortalBlobs(self.folder / "blobs", self.death)
        platform = cast(PlatformStore, MortalPlatform(self.database.platform, self.death))
        chain = Chain(platform, self.signatures)
        other = Signatures(self.secrets, self.database, self.clock)
        self.sealer = Sealer(mortal, chain, self.signatures, entries=self.entries)
        self.other = Sealer(self.blobs, Chain(self.database.platform, other), other, entries=self.entries)
        self.pruner = Pruner(mortal, chain, self.signatures, self._needed_since)
        self.verifier = Verifier(self.blobs, Chain(self.database.platform, self.signatures), self.signatures, entries=7)
        services = cast(Services, _Services(self.clock))
        store = MortalHandle(self.raw, self.death, signer=self.signatures)
        self.session = TenantSession(_entry(), store, SYSTEM, SYSTEM_REQUEST, services)

    async def begin(self) -> None:
        await self.raw.commit([first_permit()])

    async def _needed_since(self, session: TenantSession) -> str | None:
        return self.needed

    async def write(
        self, count: int, *, ago: timedelta = timedelta(), signed: bool = True, apart: float = 1
    ) -> list[str]:
        """Entries so many seconds `apart`; returns their ids."""
        ids = []
        for _ in range(count):
            self.written += 1
            self.clock.forward(seconds=apart)
            id = f"0190c2a8-7e10-7abc-8def-{self.written:012x}"
            body = {
                "created_at": rfc3339(self.clock.now() - ago),
                "user_id": "ada",
                "action": "agent.updated",
                "resource_type": "agent",
                "resource_id": "one",
                "revision": self.written,
                "old_value": {"budget": 1.0},
                "new_value": {"budget": 2.5},
                "value_schema": 1,
                "ip_address": "198.51.100.7",
                "user_agent": "test/1.0",
                "request_id": "request-1",
            }
            handle = Handle(self.raw, holder="", signer=self.signatures if signed else None)
            await handle.commit([Create(AUDIT, id, body)])
            ids.append(id)
        return ids

    async def sealed(self, count: int) -> list[str]:
        """So many entries, of a time that is settled, in the chain."""
        ids = await self.write(count)
        self.clock.forward(seconds=SETTLED.total_seconds() + 1)
        await self.sealer.seal(self.session)
        return ids

    async def verify(self, **asked: Any) -> list[AuditVerification]:
        """All slices."""
        found = [await self.verifier.verify(self.session, **asked)]
        while found[-1].next is not None:
            found.append(await self.verifier.verify(self.session, **{**asked, "after": found[-1].next}))
        return found

    async def findings(self, **asked: Any) -> set[tuple[str, str | int | None]]:
        """What is wrong, and with which entry or segment."""
        return {(one.kind, one.entry_id or one.segment) for part in await self.verify(**asked) for one in part.findings}

    async def chained(self, without: Container[int] = ()) -> list[str]:
        """The ids of all sealed entries, segment by segment, as they lie in the blobs; `without` those numbers."""
        ids: list[str] = []
        async for blob in self.blobs.space(AREA, TENANT).list():
            if (number := int(blob.name[8:16])) in without:
                continue
            _, *lines, _ = await self.lines(number)
            ids += [json.loads(line)[0] for line in lines]
        return ids

    async def body(self, id: str) -> Document:
        found = await self.raw.get(AUDIT, id)
        assert found is not None
        return {name: value for name, value in found.body.items() if name not in ("id", "kind", "tenant_id")}

    async def forge(self, id: str, **change: Any) -> None:
        """Past everything, straight in the database."""
        await self.raw.commit([Replace(AUDIT, id, {**await self.body(id), **change})])

    async def lines(self, number: int) -> list[bytes]:
        data = b"".join([chunk async for chunk in self.blobs.space(AREA, TENANT).read(name_of(number))])
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=2**24).splitlines()

    async def read(self, number: int) -> Segment:
        segment = await Segments(self.blobs.space(AREA, TENANT), TENANT, self.signatures).read(number)
        assert segment is not None
        return segment

    async def rewrite(self, number: int, lines: Sequence[bytes]) -> None:
        data = zstandard.ZstdCompressor(write_checksum=True).compress(b"\n".join(lines) + b"\n")
        await self.put_blob(number, data)

    async def put_blob(self, number: int, data: bytes) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield data

        await self.blobs.space(AREA, TENANT).write(name_of(number), chunks())

    async def blob(self, number: int) -> bytes:
        return b"".join([chunk async for chunk in self.blobs.space(AREA, TENANT).read(name_of(number))])

    async def drop_blob(self, number: int) -> None:
        await self.blobs.space(AREA, TENANT).delete(name_of(number))

    async def head(self) -> Document:
        found = await self.raw.get(HEAD, ID)
        assert found is not None
        return found.body

    async def anchor(self) -> Document:
        found = await self.database.platform.latest(ANCHOR, TENANT, ID)
        assert found is not None
        return found.body

    async def set_head(self, body: Document | None) -> None:
        await self.raw.commit([Delete(HEAD, ID) if body is None else Replace(HEAD, ID, _own(body))])

    async def set_anchor(self, body: Document | None) -> None:
        operation = Delete(ANCHOR, ID) if body is None else Replace(ANCHOR, ID, _own(body))
        await self.database.platform.put(operation, TENANT)


class _Services:
    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock


def _own(body: Document) -> Document:
    return {name: value for name, value in body.items() if name not in ("id", "kind", "tenant_id")}


def _entry() -> TenantEntry:
    limits = {"audit_retention_days": 40, "backup_retention_days": 30}
    return TenantEntry(TENANT, "Acme", "acme", Tier.STANDARD, "active", 3, 2, SHARD, limits)
