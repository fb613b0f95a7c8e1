"""Importing an ArchiMate exchange file: elements, then relationships, in batches, each change audited.

Ids are derived from the file's identifiers, so a rerun after a crash, or the same file again, changes only what
differs.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Any, Literal

from functions.catalog.archimate import Concept, allowed_types, layer_of
from functions.catalog.exchange import ExchangeError, Found, FoundElement, FoundRelationship, ModelHeader, Skipped
from functions.catalog.graph import MOST_NESTED, by_ids
from functions.catalog.models import Element, ImportCounts, ImportReport, Relationship, SkippedItem
from functions.catalog.service import keep_relationships_allowed
from functions.catalog.values import settled_element, settled_relationship
from shared.blobs.port import Blobs
from shared.database.port import Kind, Where
from shared.errors import Conflict, Invalid, Stale, TooLarge
from shared.ids import derived_id
from shared.resources import Held
from shared.session import TRIES_AT_A_RACE, TenantSession

AREA = "imports"
ELEMENTS_AT_ONCE = 40
RELATIONSHIPS_AT_ONCE = 24  # each touches both its ends: four operations of the hundred in a batch
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
    """What an import knows by now: the ids and concepts of what it has taken, and what it has not."""

    ids: dict[str, str] = field(default_factory=dict)
    concepts: dict[str, Concept] = field(default_factory=dict)
    skipped: list[SkippedItem] = field(default_factory=list)

    def skip(self, identifier: str, kind: str, reason: str) -> None:
        self.skipped.append(SkippedItem(identifier=identifier, kind=kind, reason=reason))


class CatalogImport:
    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def run(self, tenant: TenantSession, body: bytes) -> ImportReport:
        """`Invalid` for a file that is no exchange file; what single things are wrong is in the report."""
        found = await asyncio.to_thread(_read, body)
        digest = sha256(body).hexdigest()
        kept = self._blobs.space(AREA, tenant.id)
        if await kept.info(f"{digest}.xml") is None:
            await kept.write(f"{digest}.xml", _chunks(body))
        tenant = replace(tenant, idempotency=None)  # the key's answer is the report, not the first batch
        progress = Progress()
        for one in found:
            if isinstance(one, Skipped) and one.kind != "view":
                progress.skip(one.identifier, one.kind, one.reason)
        elements = await _import_elements(tenant, [one for one in found if isinstance(one, FoundElement)], progress)
        arrows = [one for one in found if isinstance(one, FoundRelationship)]
        relationships = await _import_relationships(tenant, arrows, progress)
        for counts, kind in ((elements, "element"), (relationships, "relationship")):
            counts.skipped = sum(one.kind == kind for one in progress.skipped)
        return ImportReport(
            model=next((one.name for one in found if isinstance(one, ModelHeader)), ""),
            created=elements.created + relationships.created,
            updated=elements.updated + relationships.updated,
            unchanged=elements.unchanged + relationships.unchanged,
            skipped=len(progress.skipped),
            elements=elements,
            relationships=relationships,
            skipped_items=progress.skipped[:LISTED],
            views=sum(isinstance(one, Skipped) and one.kind == "view" for one in found),
            file_sha256=digest,
        )


async def _import_elements(tenant: TenantSession, found: list[FoundElement], progress: Progress) -> ImportCounts:
    ids = await _ids(tenant, Kind.ELEMENT, [one.identifier for one in found])
    wanted = [
        Wanted(ids[one.identifier], one.identifier, {**_fields(one, "identifier"), "layer": layer_of(one.type)})
        for one in found
    ]
    counts = ImportCounts()
    for start in range(0, len(wanted), ELEMENTS_AT_ONCE):
        await _apply(tenant, Element, wanted[start : start + ELEMENTS_AT_ONCE], counts, progress)
    skipped = {one.identifier for one in progress.skipped if one.kind == Kind.ELEMENT}
    for one in found:
        if one.identifier not in skipped:
            progress.ids[one.identifier] = ids[one.identifier]
            progress.concepts[one.identifier] = one.type
    return counts


async def _import_relationships(
    tenant: TenantSession, found: list[FoundRelationship], progress: Progress
) -> ImportCounts:
    """Those between elements first, then those at relationships taken before, as long as there are any."""
    ids = await _ids(tenant, Kind.RELATIONSHIP, [one.identifier for one in found])
    counts = ImportCounts()
    waiting = found
    for _ in range(MOST_NESTED):
        ready = [one for one in waiting if _ends_known(one, progress)]
        waiting = [one for one in waiting if not _ends_known(one, progress)]
        if not ready:
            break
        wanted = [_wanted(one, ids[one.identifier], progress) for one in ready if _allowed(one, progress)]
        for start in range(0, len(wanted), RELATIONSHIPS_AT_ONCE):
            await _apply(tenant, Relationship, wanted[start : start + RELATIONSHIPS_AT_ONCE], counts, progress)
        skipped = {one.identifier for one in progress.skipped if one.kind == Kind.RELATIONSHIP}
        for one in ready:
            if one.identifier not in skipped:
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
    allowed = allowed_types(source, target)
    if one.type not in allowed:
        choice = ", ".join(allowed) or "none"
        reason = f"ArchiMate 3.2 knows no {one.type} from {source} to {target}; it allows: {choice}"
        progress.skip(one.identifier, "relationship", reason)
    return one.type in allowed


def _wanted(one: FoundRelationship, id: str, progress: Progress) -> Wanted:
    ends = {"source_id": one.source, "target_id": one.target}
    fields = {**_fields(one, "identifier", "source", "target"), **{at: progress.ids[end] for at, end in ends.items()}}
    kinds = [Kind.RELATIONSHIP if progress.concepts[end] == "Relationship" else Kind.ELEMENT for end in ends.values()]
    touched = tuple(zip(kinds, (progress.ids[end] for end in ends.values()), strict=True))
    return Wanted(id, one.identifier, fields, touched)


async def _apply(
    tenant: TenantSession,
    model: type[Element] | type[Relationship],
    wanted: list[Wanted],
    counts: ImportCounts,
    progress: Progress,
) -> None:
    """One query, at most one batch; again when somebody else was faster, in parts when it cannot be as a whole."""
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
        except (Stale, Invalid):
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
    for one in wanted:
        held = there.get(one.id)
        if held is None:
            fields = {**one.fields, "source_identifier": one.identifier}
            change.create(model, fields, id=one.id, buried=buried.get(one.id))
            tally.created += 1
        elif (new := change.update(held, one.fields)) is held.value:
            tally.unchanged += 1
            continue
        else:
            tally.updated += 1
            if isinstance(new, Element):
                if new.type != held.value.type and len(wanted) > 1:
                    raise Conflict("New types are taken one by one, so that each is checked against those before it.")
                await keep_relationships_allowed(tenant, change, held.value, new)
        for kind, id in one.ends:
            change.touch(kind, id, "ends")
    if tally.created or tally.updated:
        await change.commit(None)
    return tally


async def _ids(tenant: TenantSession, kind: Kind, identifiers: list[str]) -> dict[str, str]:
    """Derived from the file's identifiers; but an item of our own, exported under its id, is found again."""
    own = {match[1]: identifier for identifier in identifiers if (match := _OWN_ID.match(identifier))}
    there = await by_ids(tenant, kind, own)
    ids = {identifier: derived_id(kind, tenant.id, identifier) for identifier in identifiers}
    return ids | {own[id]: id for id in there}


def _fields(one: FoundElement | FoundRelationship, *without: str) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name not in without}


def _read(body: bytes) -> list[Found]:
    from functions.catalog.exchange_read import read_model

    try:
        return list(_settled(read_model(body)))
    except ExchangeError as error:
        line = f" (line {error.line})" if error.line else ""
        raise Invalid.of("body", f"{error.message}{line}") from error


def _settled(found: Iterable[Found]) -> Iterator[Found]:
    """Everything as it will be kept; two identifiers may become one by that."""
    seen: set[str] = set()
    for one in found:
        if isinstance(one, FoundElement | FoundRelationship):
            one = settled_element(one) if isinstance(one, FoundElement) else settled_relationship(one)
            if one.identifier in seen:
                one = Skipped(one.identifier, _kind(one), "as an XML name, its identifier is that of another item")
            seen.add(one.identifier)
        yield one


def _kind(one: FoundElement | FoundRelationship) -> Literal["element", "relationship"]:
    return "element" if isinstance(one, FoundElement) else "relationship"


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]
