"""Importing an ArchiMate exchange file: elements, then relationships, in batches, each change audited.

Ids are derived from the file's identifiers, so a rerun after a crash, or the same file again, changes only what
differs. Others go on meanwhile: every few items the loop is theirs.
"""

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Any

from functions.catalog.archimate import Concept, allowed_types, is_allowed, layer_of
from functions.catalog.exchange import FoundElement, FoundRelationship, ModelHeader, Skipped
from functions.catalog.graph import MOST_NESTED, by_ids, concept_of, keep_shallow
from functions.catalog.models import Element, ImportCounts, ImportReport, Relationship, SkippedItem
from functions.catalog.reading import Uploads
from functions.catalog.service import keep_relationships_allowed
from shared.blobs.port import Blobs
from shared.database.port import Document, Where
from shared.errors import Conflict, Invalid, Stale, TooLarge, Unavailable
from shared.ids import derived_id
from shared.kinds import Kind
from shared.tenancy.fence import Overtaken
from shared.work.change import Change
from shared.work.resources import Held
from shared.work.session import TRIES_AT_A_RACE, TenantSession

AREA = "imports"
ELEMENTS_AT_ONCE = 40
RELATIONSHIPS_AT_ONCE = 24  # each touches both its ends: four operations of the hundred in a batch
WRITE_SECONDS = 200.0  # Azure's load balancer gives a call up after 230
ITEMS_BETWEEN_OTHERS = 4
LISTED = 200
CHUNK_BYTES = 1024 * 1024
NESTED = f"it ends at a relationship that was not taken, that ends at it in turn, or deeper than {MOST_NESTED}"
_OWN_ID = re.compile(r"id-([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\Z")


@dataclass(frozen=True)
class Wanted:
    """An item as the file has it, under the id that it gets here; `ends` are touched by a new relationship."""

    id: str
    identifier: str
    fields: Mapping[str, Any]
    ends: tuple[tuple[Kind, str], ...] = ()


@dataclass
class Progress:
    """What an import knows by now: ids and concepts of what it took, and what it skipped (the first are listed)."""

    in_time: Callable[[], bool]
    ids: dict[str, str] = field(default_factory=dict)
    concepts: dict[str, Concept] = field(default_factory=dict)
    listed: list[SkippedItem] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    refused: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def skip(self, identifier: str, kind: str, reason: str) -> None:
        self.skipped[kind] += 1
        self.refused[kind].add(identifier)
        if len(self.listed) < LISTED:
            self.listed.append(SkippedItem(identifier=identifier, kind=kind, reason=reason))


class CatalogImport:
    """`uploads` says how many files at once, and how long."""

    def __init__(self, blobs: Blobs, uploads: Uploads | None = None) -> None:
        self._blobs = blobs
        self._uploads = uploads or Uploads()

    async def run(self, tenant: TenantSession, body: bytes) -> ImportReport:
        """`Invalid` for a file that is no exchange file; what single things are wrong is in the report.

        `TooLarge` for one beyond a limit, `Unavailable` while too much is being imported, or when it takes too long:
        what has been taken by then is kept, and the same file again goes on from there.
        """
        monotonic = self._uploads.monotonic
        with self._uploads.admit(tenant.id, len(body)):
            found = await self._uploads.read(body)
            digest = (await asyncio.to_thread(sha256, body)).hexdigest()
            kept = self._blobs.space(AREA, tenant.id)
            if await kept.info(f"{digest}.xml") is None:
                await kept.write(f"{digest}.xml", _chunks(body))
            tenant = replace(tenant, idempotency=None)  # the key's answer is the report, not the first batch
            until = monotonic() + WRITE_SECONDS
            progress = Progress(lambda: monotonic() <= until)
            for one in found:
                if isinstance(one, Skipped) and one.kind != "view":
                    progress.skip(one.identifier, one.kind, one.reason)
            elements = await _import_elements(tenant, [one for one in found if isinstance(one, FoundElement)], progress)
            arrows = [one for one in found if isinstance(one, FoundRelationship)]
            relationships = await _import_relationships(tenant, arrows, progress)
            for counts, kind in ((elements, "element"), (relationships, "relationship")):
                counts.skipped = progress.skipped[kind]
            return ImportReport(
                model=next((one.name for one in found if isinstance(one, ModelHeader)), ""),
                created=elements.created + relationships.created,
                updated=elements.updated + relationships.updated,
                unchanged=elements.unchanged + relationships.unchanged,
                skipped=progress.skipped.total(),
                elements=elements,
                relationships=relationships,
                skipped_items=progress.listed,
                views=sum(isinstance(one, Skipped) and one.kind == "view" for one in found),
                file_sha256=digest,
            )


async def _import_elements(tenant: TenantSession, found: list[FoundElement], progress: Progress) -> ImportCounts:
    ids = await _ids(tenant, Element.KIND, [one.identifier for one in found])
    counts = ImportCounts()
    for start in range(0, len(found), ELEMENTS_AT_ONCE):
        wanted = [
            Wanted(ids[one.identifier], one.identifier, {**_fields(one, "identifier"), "layer": layer_of(one.type)})
            for one in found[start : start + ELEMENTS_AT_ONCE]
        ]
        await _apply(tenant, Element, wanted, counts, progress)
    for one in found:
        if one.identifier not in progress.refused[Element.KIND]:
            progress.ids[one.identifier] = ids[one.identifier]
            progress.concepts[one.identifier] = one.type
    return counts


async def _import_relationships(
    tenant: TenantSession, found: list[FoundRelationship], progress: Progress
) -> ImportCounts:
    """Those between elements first, then those at relationships taken before, as long as there are any."""
    ids = await _ids(tenant, Relationship.KIND, [one.identifier for one in found])
    counts = ImportCounts()
    waiting = found
    for _ in range(MOST_NESTED):
        ready = [one for one in waiting if _ends_known(one, progress)]
        waiting = [one for one in waiting if not _ends_known(one, progress)]
        if not ready:
            break
        allowed = [one for one in ready if _allowed(one, progress)]
        for start in range(0, len(allowed), RELATIONSHIPS_AT_ONCE):
            some = allowed[start : start + RELATIONSHIPS_AT_ONCE]
            wanted = [_wanted(one, ids[one.identifier], progress) for one in some]
            await _apply(tenant, Relationship, wanted, counts, progress)
        for one in ready:
            if one.identifier not in progress.refused[Relationship.KIND]:
                progress.ids[one.identifier] = ids[one.identifier]
                progress.concepts[one.identifier] = "Relationship"
    there = progress.ids.keys() | {one.identifier for one in waiting}
    for one in waiting:
        missing = [end for end in (one.source, one.target) if end not in there]
        reason = f"its end {missing[0]} is not in the file, or was skipped" if missing else NESTED
        progress.skip(one.identifier, "relationship", reason)
    return counts


def _ends_known(one: FoundRelationship, progress: Progress) -> bool:
    return one.source in progress.ids and one.target in progress.ids


def _allowed(one: FoundRelationship, progress: Progress) -> bool:
    source, target = progress.concepts[one.source], progress.concepts[one.target]
    if is_allowed(one.type, source, target):
        return True
    progress.skip(one.identifier, "relationship", _unknown(one.type, source, target))
    return False


def _unknown(type: str, source: Concept, target: Concept) -> str:
    choice = ", ".join(allowed_types(source, target)) or "none"
    return f"ArchiMate 3.2 knows no {type} from {source} to {target}; it allows: {choice}"


def _wanted(one: FoundRelationship, id: str, progress: Progress) -> Wanted:
    ends = {"source_id": one.source, "target_id": one.target}
    fields = {**_fields(one, "identifier", "source", "target"), **{at: progress.ids[end] for at, end in ends.items()}}
    kinds = [Relationship.KIND if progress.concepts[end] == "Relationship" else Element.KIND for end in ends.values()]
    touched = tuple(zip(kinds, (progress.ids[end] for end in ends.values()), strict=True))
    return Wanted(id, one.identifier, fields, touched)


async def _apply(
    tenant: TenantSession,
    model: type[Element] | type[Relationship],
    wanted: list[Wanted],
    counts: ImportCounts,
    progress: Progress,
) -> None:
    """At most one batch; again when somebody else was faster, in parts when it cannot be as a whole."""
    if not progress.in_time():
        raise Unavailable("The import takes long; what it has taken is kept. Send the file again: it goes on there.")
    refusal = "others kept changing it, or deleted its ends; import again"
    for _ in range(TRIES_AT_A_RACE):
        try:
            tally = await _commit(tenant, model, wanted)
        except TooLarge as error:
            if len(wanted) == 1:
                progress.skip(wanted[0].identifier, model.KIND, error.message)
                return
            middle = len(wanted) // 2
            await _apply(tenant, model, wanted[:middle], counts, progress)
            await _apply(tenant, model, wanted[middle:], counts, progress)
            return
        except (Stale, Invalid, Overtaken):
            continue
        except Conflict as conflict:
            refusal = conflict.message
            if len(wanted) > 1:
                break
            continue
        counts.created += tally.created
        counts.updated += tally.updated
        counts.unchanged += tally.unchanged
        return
    if len(wanted) == 1:
        progress.skip(wanted[0].identifier, model.KIND, refusal)
        return
    for one in wanted:
        await _apply(tenant, model, [one], counts, progress)


async def _commit(
    tenant: TenantSession, model: type[Element] | type[Relationship], wanted: list[Wanted]
) -> ImportCounts:
    page = await tenant.store.query(model.KIND, [Where("id", "in", [one.id for one in wanted])])
    there: dict[str, Held[Any]] = {stored.body["id"]: Held.of(model, stored) for stored in page.items}
    new_ids = [one.id for one in wanted if one.id not in there]
    buried = await tenant.buried(model.KIND, new_ids) if new_ids else {}
    change = tenant.change(*there.values(), *buried.values())
    tally = ImportCounts()
    joined: list[tuple[Wanted, Relationship, Relationship | None]] = []
    for number, one in enumerate(wanted):
        if number % ITEMS_BETWEEN_OTHERS == 0:
            await asyncio.sleep(0)
        held = there.get(one.id)
        old = None if held is None else held.value
        if held is None:
            fields = {**one.fields, "source_identifier": one.identifier}
            new = change.create(model, fields, id=one.id, buried=buried.get(one.id))
            tally.created += 1
        elif (new := change.update(held, one.fields)) is old:
            tally.unchanged += 1
            continue
        else:
            tally.updated += 1
        if isinstance(new, Relationship):
            joined.append((one, new, old))
        elif old is not None:
            if new.type != old.type and len(wanted) > 1:
                raise Conflict("New types are taken one by one, so that each is checked against those before it.")
            await keep_relationships_allowed(tenant, change, old, new)
    await _join(tenant, change, joined)
    if tally.created or tally.updated:
        await change.commit(None)
    return tally


async def _join(
    tenant: TenantSession, change: Change, joined: list[tuple[Wanted, Relationship, Relationship | None]]
) -> None:
    """Relationships still suit their ends as these are now, whoever has changed them since, and none hangs too deep."""
    ends: dict[str, Document] = {}
    for kind in (Element.KIND, Relationship.KIND):
        ids = [id for one, _, _ in joined for end_kind, id in one.ends if end_kind is kind]
        ends |= await by_ids(tenant, kind, ids)
    for one, new, old in joined:
        for _, id in one.ends:
            if id not in ends:
                raise Invalid.of("ends", "is not there any more", id)
        source, target = (ends[id] for _, id in one.ends)
        if not is_allowed(new.type, concept_of(source), concept_of(target)):
            raise Conflict(_unknown(new.type, concept_of(source), concept_of(target)))
        try:
            await keep_shallow(tenant, change, (source, target), new, old)
        except Invalid as invalid:
            raise Conflict(invalid.message) from invalid
        for end in (source, target):
            change.touch(Kind(end["kind"]), end["id"], "ends", revision=end["revision"])


async def _ids(tenant: TenantSession, kind: Kind, identifiers: list[str]) -> dict[str, str]:
    """Derived from the file's identifiers; but an item of our own, exported under its id, is found again."""
    own = {match[1]: identifier for identifier in identifiers if (match := _OWN_ID.match(identifier))}
    there = await by_ids(tenant, kind, own)
    ids = {identifier: derived_id(kind, tenant.id, identifier) for identifier in identifiers}
    return ids | {own[id]: id for id in there}


def _fields(one: FoundElement | FoundRelationship, *without: str) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name not in without}


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]
