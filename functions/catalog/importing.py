"""Importing an ArchiMate file: elements, relationships, views, then what the model is beside these, in batches.

Ids are derived from the model and the file's identifiers (`naming.py`), so a rerun after a crash, or the same file
again, changes only what differs. Others go on meanwhile: every few items the loop is theirs.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, Final

from functions.catalog.archimate import is_allowed, layer_of
from functions.catalog.concluding import Ended, Ending, conclude, finish
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
from functions.catalog.looking import Known, looked_up, unhurried
from functions.catalog.mirroring import check_is_of, check_not_empty, mirror
from functions.catalog.model_service import check_texts, naming_of
from functions.catalog.models import Element, Relationship
from functions.catalog.parts import check_definitions, parts_of_file, take_parts
from functions.catalog.reading import Uploads
from functions.catalog.reports import AREA, Reports
from functions.catalog.taking import KINDS, MadeMeanwhile, Portion, Progress, Wanted, not_allowed, take
from functions.catalog.taking_views import take_views
from shared.blobs.port import Blobs
from shared.errors import Contended, Unavailable
from shared.kinds import Kind
from shared.tenancy.fence import opening
from shared.work.session import TRIES_AT_A_RACE, TenantSession

ITEMS_AT_ONCE = 40
RELATIONSHIP_OPERATIONS = 96  # of the hundred in a batch: each has two and touches its ends; the rest is the model's
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
            take = partial(self._take, tenant, found, asked, digest, part, lambda: monotonic() <= until)
            for _ in range(TRIES_AT_A_RACE):
                with suppress(MadeMeanwhile):
                    report, progress = await take()
                    await self.reports.keep(tenant, report, progress.items)
                    return report
        raise Contended("Others keep making and deleting this model at the same time; import again.")

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
        opened = await opening(tenant.store)  # what is not there, is made
        naming, making = await naming_of(tenant, header, asked.named)
        bare = making is not None and making.buried is None
        progress = Progress(in_time, naming, asked.dry_run, part.patient, making, bare)
        if naming.model is not None:
            if asked.mode == "mirror":
                check_is_of(naming.model, header)
            check_texts(header, naming.model, keep=asked.mode == "merge")
            if making is None:
                await check_definitions(tenant, naming.model, parts, asked.mode)
        ending = Ending(header, parts, asked, digest, part.before, opened)
        try:
            ended = await self._take_all(tenant, found, progress, ending, part)
        except OutOfTime as late:
            raise Paused(late.message, progress.counts, len(found)) from late
        if not ended.written:
            await opening(tenant.store)
        await ending.check_not_restored(tenant)
        return _report(part.id, header, asked, digest, ended.progress, ended.parts), ended.progress

    async def _take_all(
        self, tenant: TenantSession, found: list[Found], progress: Progress, ending: Ending, part: Slice
    ) -> Ended:
        model, asked = progress.naming.model, ending.asked
        hold = model is not None and asked.mode == "merge" and not asked.dry_run
        last = await _take_items(tenant, found, progress, hold=hold)
        if model is not None and hold:
            return await finish(tenant, model, last, progress, ending)
        parts = ImportCounts()
        if model is not None:
            parts = await take_parts(tenant, model, ending.parts, asked.mode, progress)
            if asked.mode == "mirror":
                await mirror(tenant, model, found, progress, self.reports.plan(tenant, part.id))
            if not asked.dry_run:
                return await conclude(tenant, model, progress, parts, ending)
        progress.add(part.before)
        return Ended(progress, parts, written=False)


async def _take_items(
    tenant: TenantSession, found: Sequence[Found], progress: Progress, *, hold: bool
) -> Portion | None:
    """`hold`: what is last of them is answered, not taken, where it is known to be the last."""
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
    last = await _take_elements(tenant, elements, progress, hold=hold and not arrows and not views)
    async for identifier, reason in unhurried((await asyncio.to_thread(mixed, elements, arrows)).items()):
        progress.skip(identifier, "relationship", reason)
    arrows = [one for one in arrows if ("relationship", one.identifier) not in progress.refused]
    meant = progress.naming.meant
    progress.arms = {id async for one in unhurried(arrows) for id in meant(Relationship.KIND, one.identifier).ids}
    last = await _take_relationships(tenant, arrows, progress, hold=hold and not views) or last
    return await take_views(tenant, views, progress, hold=hold) or last


async def _take_elements(
    tenant: TenantSession, found: list[FoundElement], progress: Progress, *, hold: bool
) -> Portion | None:
    known: dict[str, Known] = {}
    wanted: list[Wanted] = []
    async for one, means in looked_up(tenant, Element, found, progress.naming):
        if len(wanted) == ITEMS_AT_ONCE:
            await take(tenant, Portion(Element, wanted, known), progress)
            known, wanted = {}, []
        known[one.identifier] = means
        wanted.append(Wanted(one.identifier, {**_fields(one, "identifier"), "layer": layer_of(one.type)}))
    return await _held(tenant, Portion(Element, wanted, known), progress, hold=hold)


async def _take_relationships(
    tenant: TenantSession, waiting: list[FoundRelationship], progress: Progress, *, hold: bool
) -> Portion | None:
    """Those between elements first, then those at relationships taken before, as long as there are any."""
    held: Portion | None = None
    for _ in range(MOST_NESTED):
        ready: list[FoundRelationship] = []
        left: list[FoundRelationship] = []
        async for one in unhurried(waiting):
            (ready if _ends_known(one, progress) else left).append(one)
        waiting = left
        if not ready:
            break
        allowed = [one async for one in unhurried(ready) if _allowed(one, progress)]
        held = await _take_ready(tenant, allowed, progress, hold=hold and not waiting)
    there = progress.ids.keys() | {one.identifier for one in waiting}
    async for one in unhurried(waiting):
        missing = [end for end in (one.source, one.target) if end not in there]
        reason = f"its end {missing[0]} is not in the file, or was skipped" if missing else NESTED
        progress.skip(one.identifier, "relationship", reason)
    return held


async def _take_ready(
    tenant: TenantSession, ready: list[FoundRelationship], progress: Progress, *, hold: bool
) -> Portion | None:
    """As many at once as a batch holds with what they touch: many share an end."""
    known: dict[str, Known] = {}
    wanted: list[Wanted] = []
    ends: set[tuple[Kind, str]] = set()
    async for one, means in looked_up(tenant, Relationship, ready, progress.naming):
        more = _wanted(one, progress)
        operations = 2 * (len(wanted) + 1) + len(ends.union(more.ends))
        if len(wanted) == ITEMS_AT_ONCE or operations > RELATIONSHIP_OPERATIONS:
            await take(tenant, Portion(Relationship, wanted, known), progress)
            known, wanted, ends = {}, [], set()
        known[one.identifier] = means
        wanted.append(more)
        ends.update(more.ends)
    return await _held(tenant, Portion(Relationship, wanted, known), progress, hold=hold)


async def _held(tenant: TenantSession, portion: Portion, progress: Progress, *, hold: bool) -> Portion | None:
    if hold and portion.wanted:
        return portion
    if portion.wanted:
        await take(tenant, portion, progress)
    return None


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
    progress.skip(one.identifier, "relationship", not_allowed(one.type, source, target))
    return False


def _wanted(one: FoundRelationship, progress: Progress) -> Wanted:
    ends = {"source_id": one.source, "target_id": one.target}
    fields = {**_fields(one, "identifier", "source", "target"), **{at: progress.ids[end] for at, end in ends.items()}}
    kinds = [Relationship.KIND if progress.concepts[end] == "Relationship" else Element.KIND for end in ends.values()]
    touched = tuple(zip(kinds, (progress.ids[end] for end in ends.values()), strict=True))
    return Wanted(one.identifier, fields, touched)


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
