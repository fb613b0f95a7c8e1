"""Importing an ArchiMate file: elements, relationships, views, then what the model is beside these, in batches.

Ids are derived from the model and the file's identifiers (`naming.py`), so a rerun after a crash, or the same file
again, changes only what differs. Others go on meanwhile: every few items the loop is theirs.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, Final

from functions.catalog.archimate import is_allowed, layer_of
from functions.catalog.deleting import OutOfTime
from functions.catalog.exchange import (
    KIND_NAMES,
    Found,
    FoundElement,
    FoundPart,
    FoundRelationship,
    FoundView,
    ItemKind,
    ModelHeader,
    Skipped,
)
from functions.catalog.graph import MOST_NESTED
from functions.catalog.import_models import Asked, ImportCounts, ImportReport
from functions.catalog.junctions import mixed
from functions.catalog.mirroring import check_is_of, check_not_empty, mirror
from functions.catalog.model_service import check_texts, conclude, naming_of
from functions.catalog.models import Element, Relationship
from functions.catalog.parts import check_definitions, parts_of_file, resolved_folders, take_parts
from functions.catalog.reading import Uploads
from functions.catalog.reports import AREA, Reports
from functions.catalog.taking import KINDS, Progress, Wanted, take, unhurried, unknown
from functions.catalog.taking_views import ids_of_views, take_views
from shared.blobs.port import Blobs
from shared.errors import Conflict, Unavailable
from shared.tenancy.fence import newest
from shared.work.fencing import closed_since
from shared.work.session import TenantSession

ELEMENTS_AT_ONCE = 40
RELATIONSHIPS_AT_ONCE = 24  # each touches both its ends: four operations of the hundred in a batch
WRITE_SECONDS: Final = 200.0  # Azure's load balancer gives a call up after 230
LISTED = 200
CHUNK_BYTES = 1024 * 1024
NESTED = f"it ends at a relationship that was not taken, that ends at it in turn, or deeper than {MOST_NESTED}"
SEVERAL = "by now several items here came with this identifier; import each model alone (?model=…), or export again"


@dataclass(frozen=True)
class Slice:
    """A part of an import: the report's id, how long it may take, and of a job what the parts before have done.

    `patient`: it takes longer rather than come no further than the part before.
    """

    id: str
    seconds: float
    before: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    patient: bool = False


class Paused(Exception):
    """An import has not come to its end in time; `counts` of what it has done, of `total` items."""

    def __init__(self, message: str, counts: Mapping[ItemKind, ImportCounts], total: int) -> None:
        super().__init__(message)
        self.message = message
        self.counts = counts
        self.total = total


class CatalogImport:
    """`uploads` says how many files at once, and how long."""

    def __init__(self, blobs: Blobs, uploads: Uploads | None = None) -> None:
        self._blobs = blobs
        self._uploads = uploads or Uploads()
        self.reports = Reports(blobs)

    async def run(self, tenant: TenantSession, body: bytes, asked: Asked | None = None) -> ImportReport:
        """Into the file's own model, or into the one that is `named`. What single things are wrong is in the report.

        `Invalid` for a file that is no exchange file, or whose model has no identifier, `NotFound` when there is none
        of the id that is named, `TooLarge` for a file beyond a limit, `Unavailable` while too much is being imported,
        or when it takes too long: what has been taken by then is kept, and the same file again goes on from there.
        """
        try:
            return await self.run_part(tenant, body, asked or Asked(), Slice(tenant.services.ids.new(), WRITE_SECONDS))
        except Paused as late:
            raise Unavailable(late.message) from late

    async def run_part(self, tenant: TenantSession, body: bytes, asked: Asked, part: Slice) -> ImportReport:
        """As `run`, of what is left; `Paused` where it takes too long."""
        monotonic = self._uploads.monotonic
        with self._uploads.admit(tenant.id, len(body)):
            found = await self._uploads.read(body)
            tenant = tenant.without_key()  # the key's answer is the report, not the first batch
            digest = await self.keep(tenant, body) if not asked.dry_run else await _digest(body)
            until = monotonic() + part.seconds
            report, progress = await self._take(tenant, found, asked, digest, part, lambda: monotonic() <= until)
            await self.reports.keep(tenant, report, progress.items)
            return report

    async def keep(self, tenant: TenantSession, body: bytes) -> str:
        """Keep the file under its hash, which is answered."""
        digest = await _digest(body)
        kept = self._blobs.space(AREA, tenant.id)
        if await kept.info(f"{digest}.xml") is None:
            await kept.write(f"{digest}.xml", _chunks(body))
        return digest

    async def kept(self, tenant: TenantSession, digest: str) -> bytes:
        return b"".join([chunk async for chunk in self._blobs.space(AREA, tenant.id).read(f"{digest}.xml")])

    async def _take(
        self,
        tenant: TenantSession,
        found: list[Found],
        asked: Asked,
        digest: str,
        part: Slice,
        in_time: Callable[[], bool],
    ) -> tuple[ImportReport, Progress]:
        header = next(one for one in found if isinstance(one, ModelHeader))
        parts = await asyncio.to_thread(parts_of_file, header, [one for one in found if isinstance(one, FoundPart)])
        if asked.mode == "mirror":
            check_not_empty(found)
        began = await newest(tenant.store)
        naming = await naming_of(tenant, header, asked.named, dry_run=asked.dry_run)
        if naming.model is not None:
            if asked.mode == "mirror":
                check_is_of(naming.model, header)
            check_texts(header, naming.model, keep=asked.mode == "merge")
            await check_definitions(tenant, naming.model, parts, asked.mode)
        progress = Progress(in_time, naming, asked.dry_run, part.patient)
        changed_parts = ImportCounts()
        try:
            views = await _take_items(tenant, found, progress)
            if naming.model is not None:
                folders = parts["organizations"]
                parts["organizations"] = await asyncio.to_thread(resolved_folders, folders, progress, views)
                changed_parts = await take_parts(tenant, naming.model, parts, asked.mode, progress)
                if asked.mode == "mirror":
                    await mirror(tenant, naming.model, found, progress, self.reports.plan(tenant, part.id))
        except OutOfTime as late:
            raise Paused(late.message, progress.counts, len(found)) from late
        _add_before(progress, part.before)
        if await closed_since(tenant.store, began):
            raise Conflict("This tenant was restored while the file was imported; send it again.")
        report = _report(part.id, header, asked, digest, progress, changed_parts)
        if naming.model is not None and not asked.dry_run:
            await conclude(tenant, naming.model, header, report)
        return report, progress


async def _take_items(tenant: TenantSession, found: Sequence[Found], progress: Progress) -> dict[str, str]:
    """The ids of views, by identifier."""
    elements: list[FoundElement] = []
    arrows: list[FoundRelationship] = []
    views: list[FoundView] = []
    async for one in unhurried(found):
        if isinstance(one, Skipped):
            progress.skip(one.identifier, one.kind, one.reason)
        elif isinstance(one, FoundElement) and _is_clear(one, "element", progress):
            elements.append(one)
        elif isinstance(one, FoundRelationship) and _is_clear(one, "relationship", progress):
            arrows.append(one)
        elif isinstance(one, FoundView) and _is_clear(one, "view", progress):
            views.append(one)
    await _take_elements(tenant, elements, progress)
    async for identifier, reason in unhurried((await asyncio.to_thread(mixed, elements, arrows)).items()):
        progress.skip(identifier, "relationship", reason)
    arrows = [one for one in arrows if ("relationship", one.identifier) not in progress.refused]
    meant = progress.naming.meant
    progress.arms = {id async for one in unhurried(arrows) for id in meant(Relationship.KIND, one.identifier).ids}
    await _take_relationships(tenant, arrows, progress)
    await take_views(tenant, views, progress)
    return await ids_of_views(tenant, views, progress)


async def _take_elements(tenant: TenantSession, found: list[FoundElement], progress: Progress) -> None:
    for start in range(0, len(found), ELEMENTS_AT_ONCE):
        wanted = [
            Wanted(one.identifier, {**_fields(one, "identifier"), "layer": layer_of(one.type)})
            for one in found[start : start + ELEMENTS_AT_ONCE]
        ]
        await take(tenant, Element, wanted, progress)


async def _take_relationships(tenant: TenantSession, waiting: list[FoundRelationship], progress: Progress) -> None:
    """Those between elements first, then those at relationships taken before, as long as there are any."""
    for _ in range(MOST_NESTED):
        ready: list[FoundRelationship] = []
        left: list[FoundRelationship] = []
        async for one in unhurried(waiting):
            (ready if _ends_known(one, progress) else left).append(one)
        waiting = left
        if not ready:
            break
        allowed = [one async for one in unhurried(ready) if _allowed(one, progress)]
        for start in range(0, len(allowed), RELATIONSHIPS_AT_ONCE):
            wanted = [_wanted(one, progress) for one in allowed[start : start + RELATIONSHIPS_AT_ONCE]]
            await take(tenant, Relationship, wanted, progress)
    there = progress.ids.keys() | {one.identifier for one in waiting}
    async for one in unhurried(waiting):
        missing = [end for end in (one.source, one.target) if end not in there]
        reason = f"its end {missing[0]} is not in the file, or was skipped" if missing else NESTED
        progress.skip(one.identifier, "relationship", reason)


def _is_clear(one: FoundElement | FoundRelationship | FoundView, kind: ItemKind, progress: Progress) -> bool:
    if not progress.naming.several(KINDS[kind], one.identifier):
        return True
    progress.skip(one.identifier, kind, SEVERAL)
    return False


def _ends_known(one: FoundRelationship, progress: Progress) -> bool:
    return one.source in progress.ids and one.target in progress.ids


def _allowed(one: FoundRelationship, progress: Progress) -> bool:
    source, target = progress.concepts[one.source], progress.concepts[one.target]
    if is_allowed(one.type, source, target):
        return True
    progress.skip(one.identifier, "relationship", unknown(one.type, source, target))
    return False


def _wanted(one: FoundRelationship, progress: Progress) -> Wanted:
    ends = {"source_id": one.source, "target_id": one.target}
    fields = {**_fields(one, "identifier", "source", "target"), **{at: progress.ids[end] for at, end in ends.items()}}
    kinds = [Relationship.KIND if progress.concepts[end] == "Relationship" else Element.KIND for end in ends.values()]
    touched = tuple(zip(kinds, (progress.ids[end] for end in ends.values()), strict=True))
    return Wanted(one.identifier, fields, touched)


def _add_before(progress: Progress, before: Mapping[str, Mapping[str, int]]) -> None:
    """What the parts before have made and changed is unchanged by now, and is told as what it was."""
    for kind in KIND_NAMES:
        counts = progress.tally(kind)
        for name, count in before.get(kind, {}).items():
            setattr(counts, name, getattr(counts, name) + count)
            counts.unchanged = max(0, counts.unchanged - count)


def _report(
    id: str,
    header: ModelHeader,
    asked: Asked,
    digest: str,
    progress: Progress,
    parts: ImportCounts,
) -> ImportReport:
    counts = {f"{kind}s": progress.tally(kind) for kind in KIND_NAMES}
    totals = {
        name: sum(getattr(one, name) for one in counts.values())
        for name in ("created", "updated", "unchanged", "skipped", "removed")
    }
    return ImportReport(
        id=id,
        model=header.name,
        model_id=progress.naming.model_id,
        mode=asked.mode,
        dry_run=asked.dry_run,
        **totals,
        **counts,
        parts=parts,
        skipped_items=progress.items.get("skipped", [])[:LISTED],
        removed_items=progress.items.get("removed", [])[:LISTED],
        file_sha256=digest,
    )


def _fields(one: FoundElement | FoundRelationship, *without: str) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name not in without}


async def _digest(body: bytes) -> str:
    return (await asyncio.to_thread(sha256, body)).hexdigest()


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]
