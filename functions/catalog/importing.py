"""Importing an ArchiMate exchange file: elements, then relationships, in batches, each change audited.

Ids are derived from the model and the file's identifiers (`naming.py`), so a rerun after a crash, or the same file
again, changes only what differs. Others go on meanwhile: every few items the loop is theirs.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

from functions.catalog.archimate import Concept, allowed_types, is_allowed, layer_of
from functions.catalog.exchange import Found, FoundElement, FoundRelationship, ModelHeader, Skipped
from functions.catalog.graph import MOST_NESTED, by_ids, concept_of, keep_shallow
from functions.catalog.model_service import conclude, naming_of
from functions.catalog.models import (
    Element,
    ImportCounts,
    ImportReport,
    ItemKind,
    Model,
    Relationship,
    SkippedItem,
)
from functions.catalog.naming import Naming
from functions.catalog.reading import Uploads
from functions.catalog.service import keep_relationships_allowed
from shared.blobs.port import Blobs
from shared.database.port import Document, Where
from shared.errors import Conflict, Invalid, Stale, TooLarge, Unavailable
from shared.kinds import Kind
from shared.tenancy.fence import Overtaken, newest
from shared.work.change import Change
from shared.work.fencing import closed_since
from shared.work.resources import Versioned
from shared.work.session import TRIES_AT_A_RACE, TenantSession

AREA = "imports"
ELEMENTS_AT_ONCE = 40
RELATIONSHIPS_AT_ONCE = 24  # each touches both its ends: four operations of the hundred in a batch
WRITE_SECONDS = 200.0  # Azure's load balancer gives a call up after 230
ITEMS_BETWEEN_OTHERS = 4
LISTED = 200
CHUNK_BYTES = 1024 * 1024
NESTED = f"it ends at a relationship that was not taken, that ends at it in turn, or deeper than {MOST_NESTED}"
SEVERAL = "by now several items here came with this identifier; import each model alone (?model=…), or export again"


@dataclass(frozen=True)
class Wanted:
    """An item as the file has it; `ends` are touched by a new relationship."""

    identifier: str
    fields: Mapping[str, Any]
    ends: tuple[tuple[Kind, str], ...] = ()


@dataclass
class Progress:
    """What an import knows by now: ids and concepts of what it took, and what it skipped (the first are listed)."""

    in_time: Callable[[], bool]
    naming: Naming
    ids: dict[str, str] = field(default_factory=dict)
    concepts: dict[str, Concept] = field(default_factory=dict)
    listed: list[SkippedItem] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    refused: set[tuple[str, str]] = field(default_factory=set)

    def skip(self, identifier: str, kind: ItemKind, reason: str) -> None:
        self.skipped[kind] += 1
        self.refused.add((kind, identifier))
        if len(self.listed) < LISTED:
            self.listed.append(SkippedItem(identifier=identifier, kind=kind, reason=reason))

    def take(self, one: Wanted, kind: Kind, id: str, concept: Concept) -> None:
        """What ends at it is at this item, unless the file has another one of this identifier."""
        if (kind, one.identifier) not in self.refused:
            self.ids[one.identifier] = id
            self.concepts[one.identifier] = concept


class CatalogImport:
    """`uploads` says how many files at once, and how long."""

    def __init__(self, blobs: Blobs, uploads: Uploads | None = None) -> None:
        self._blobs = blobs
        self._uploads = uploads or Uploads()

    async def run(self, tenant: TenantSession, body: bytes, *, named: str | None = None) -> ImportReport:
        """Into the file's own model, or into the one that is `named`. What single things are wrong is in the report.

        `Invalid` for a file that is no exchange file, or whose model has no identifier, `NotFound` when there is none
        of the id that is named, `TooLarge` for a file beyond a limit, `Unavailable` while too much is being imported,
        or when it takes too long: what has been taken by then is kept, and the same file again goes on from there.
        """
        monotonic = self._uploads.monotonic
        with self._uploads.admit(tenant.id, len(body)):
            found = await self._uploads.read(body)
            header = next(one for one in found if isinstance(one, ModelHeader))
            tenant = tenant.without_key()  # the key's answer is the report, not the first batch
            naming = await naming_of(tenant, header, named)
            digest = (await asyncio.to_thread(sha256, body)).hexdigest()
            kept = self._blobs.space(AREA, tenant.id)
            if await kept.info(f"{digest}.xml") is None:
                await kept.write(f"{digest}.xml", _chunks(body))
            until, began = monotonic() + WRITE_SECONDS, await newest(tenant.store)
            progress = Progress(lambda: monotonic() <= until, naming)
            elements, relationships = await _import(tenant, found, progress)
            if await closed_since(tenant.store, began):
                raise Conflict("This tenant was restored while the file was imported; send it again.")
            if naming.model is not None:
                await conclude(tenant, naming.model, header, digest, elements, relationships)
            return ImportReport(
                model=header.name,
                model_id=naming.model_id,
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


async def _import(tenant: TenantSession, found: list[Found], progress: Progress) -> tuple[ImportCounts, ImportCounts]:
    for one in found:
        if isinstance(one, Skipped) and one.kind != "view":
            progress.skip(one.identifier, one.kind, one.reason)
    elements = await _import_elements(tenant, [one for one in found if isinstance(one, FoundElement)], progress)
    arrows = [one for one in found if isinstance(one, FoundRelationship)]
    relationships = await _import_relationships(tenant, arrows, progress)
    elements.skipped, relationships.skipped = progress.skipped["element"], progress.skipped["relationship"]
    return elements, relationships


async def _import_elements(tenant: TenantSession, found: list[FoundElement], progress: Progress) -> ImportCounts:
    counts = ImportCounts()
    clear = [one for one in found if _is_clear(one, Element.KIND, progress)]
    for start in range(0, len(clear), ELEMENTS_AT_ONCE):
        wanted = [
            Wanted(one.identifier, {**_fields(one, "identifier"), "layer": layer_of(one.type)})
            for one in clear[start : start + ELEMENTS_AT_ONCE]
        ]
        await _apply(tenant, Element, wanted, counts, progress)
    return counts


async def _import_relationships(
    tenant: TenantSession, found: list[FoundRelationship], progress: Progress
) -> ImportCounts:
    """Those between elements first, then those at relationships taken before, as long as there are any."""
    counts = ImportCounts()
    waiting = [one for one in found if _is_clear(one, Relationship.KIND, progress)]
    for _ in range(MOST_NESTED):
        ready = [one for one in waiting if _ends_known(one, progress)]
        waiting = [one for one in waiting if not _ends_known(one, progress)]
        if not ready:
            break
        allowed = [one for one in ready if _allowed(one, progress)]
        for start in range(0, len(allowed), RELATIONSHIPS_AT_ONCE):
            wanted = [_wanted(one, progress) for one in allowed[start : start + RELATIONSHIPS_AT_ONCE]]
            await _apply(tenant, Relationship, wanted, counts, progress)
    there = progress.ids.keys() | {one.identifier for one in waiting}
    for one in waiting:
        missing = [end for end in (one.source, one.target) if end not in there]
        reason = f"its end {missing[0]} is not in the file, or was skipped" if missing else NESTED
        progress.skip(one.identifier, "relationship", reason)
    return counts


def _is_clear(one: FoundElement | FoundRelationship, kind: Kind, progress: Progress) -> bool:
    if not progress.naming.several(kind, one.identifier):
        return True
    progress.skip(one.identifier, "element" if kind is Element.KIND else "relationship", SEVERAL)
    return False


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


def _wanted(one: FoundRelationship, progress: Progress) -> Wanted:
    ends = {"source_id": one.source, "target_id": one.target}
    fields = {**_fields(one, "identifier", "source", "target"), **{at: progress.ids[end] for at, end in ends.items()}}
    kinds = [Relationship.KIND if progress.concepts[end] == "Relationship" else Element.KIND for end in ends.values()]
    touched = tuple(zip(kinds, (progress.ids[end] for end in ends.values()), strict=True))
    return Wanted(one.identifier, fields, touched)


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
            tally, ids = await _commit(tenant, model, wanted, progress.naming)
        except TooLarge as error:
            if len(wanted) == 1:
                progress.skip(wanted[0].identifier, _kind(model), error.message)
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
        for one in wanted:
            concept: Concept = one.fields["type"] if model is Element else "Relationship"
            progress.take(one, model.KIND, ids[one.identifier], concept)
        return
    if len(wanted) == 1:
        progress.skip(wanted[0].identifier, _kind(model), refusal)
        return
    for one in wanted:
        await _apply(tenant, model, [one], counts, progress)


async def _commit(
    tenant: TenantSession, model: type[Element] | type[Relationship], wanted: list[Wanted], naming: Naming
) -> tuple[ImportCounts, dict[str, str]]:
    """What was done, and the id of each; one query for all that they may be."""
    kind = model.KIND
    meant = {one.identifier: naming.meant(kind, one.identifier) for one in wanted}
    maybe = sorted({id for one in meant.values() for id in one.ids})
    page = await tenant.store.query(kind, [Where("id", "in", maybe)])
    there: dict[str, Versioned[Any]] = {stored.body["id"]: Versioned.of(model, stored) for stored in page.items}
    values = {id: held.value for id, held in there.items()}
    ids = {identifier: one.among(values) for identifier, one in meant.items()}
    new_ids = [id for id in ids.values() if id not in there]
    buried = await tenant.buried(kind, new_ids) if new_ids else {}
    change = tenant.change(*(there[id] for id in ids.values() if id in there), *buried.values())
    tally = ImportCounts()
    joined: list[tuple[Wanted, Relationship, Relationship | None]] = []
    for number, one in enumerate(wanted):
        if number % ITEMS_BETWEEN_OTHERS == 0:
            await asyncio.sleep(0)
        id = ids[one.identifier]
        held = there.get(id)
        old = None if held is None else held.value
        part_of = meant[one.identifier].part_of(id, old)
        fields = {**one.fields, "model_id": part_of}
        if held is None:
            new = change.create(model, {**fields, "source_identifier": one.identifier}, id=id, buried=buried.get(id))
            tally.created += 1
        elif (new := change.update(held, fields)) is old:
            tally.unchanged += 1
            continue
        else:
            tally.updated += 1
        if part_of is not None and (old is None or old.model_id is None):
            change.touch(Model.KIND, part_of, "model")
        if isinstance(new, Relationship):
            joined.append((one, new, old))
        elif old is not None:
            if new.type != old.type and len(wanted) > 1:
                raise Conflict("New types are taken one by one, so that each is checked against those before it.")
            await keep_relationships_allowed(tenant, change, old, new)
    await _join(tenant, change, joined)
    if tally.created or tally.updated:
        await change.commit(None)
    return tally, ids


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
            change.touch(change.kinds.named(end["kind"]), end["id"], "ends", revision=end["revision"])


def _kind(model: type[Element] | type[Relationship]) -> ItemKind:
    return "element" if model is Element else "relationship"


def _fields(one: FoundElement | FoundRelationship, *without: str) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name not in without}


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]
