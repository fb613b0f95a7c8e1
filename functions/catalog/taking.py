"""Taking the items of a file, in batches, each change audited; or only finding out what that would be (`dry_run`)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from functions.catalog.archimate import Concept, allowed_types, is_allowed
from functions.catalog.deleting import OutOfTime
from functions.catalog.exchange import KIND_NAMES, ItemKind
from functions.catalog.graph import by_ids, concept_of, keep_shallow
from functions.catalog.import_models import ImportCounts, ImportedItem, What
from functions.catalog.junctions import keep_one_type
from functions.catalog.models import Element, Imported, Model, Relationship
from functions.catalog.naming import Naming
from functions.catalog.service import keep_relationships_allowed
from functions.catalog.view_models import View
from shared.database.port import Document, Where
from shared.errors import Conflict, Invalid, Stale, TooLarge
from shared.kinds import Kind
from shared.tenancy.fence import Overtaken
from shared.work.change import Change
from shared.work.resources import Versioned
from shared.work.session import TRIES_AT_A_RACE, TenantSession

ITEMS_BETWEEN_OTHERS = 4
CHEAP_BETWEEN_OTHERS = 200
T = TypeVar("T")
KINDS: Mapping[str, Kind] = {"element": Element.KIND, "relationship": Relationship.KIND, "view": View.KIND}


@dataclass(frozen=True)
class Wanted:
    """An item as the file has it; `ends` are touched by a new relationship."""

    identifier: str
    fields: Mapping[str, Any]
    ends: tuple[tuple[Kind, str], ...] = ()


@dataclass
class Progress:
    """What an import knows by now: ids and concepts of what it took, and what became of the others.

    `arms`: the ids of the relationships that the file has. `patient`: something is changed before its time is over.
    """

    in_time: Callable[[], bool]
    naming: Naming
    dry_run: bool = False
    patient: bool = False
    ids: dict[str, str] = field(default_factory=dict)
    concepts: dict[str, Concept] = field(default_factory=dict)
    arms: set[str] = field(default_factory=set)
    counts: dict[ItemKind, ImportCounts] = field(default_factory=dict)
    items: dict[What, list[ImportedItem]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    refused: set[tuple[str, str]] = field(default_factory=set)

    @property
    def late(self) -> bool:
        return not self.in_time() and not (self.patient and not any(one.changed for one in self.counts.values()))

    def tally(self, kind: ItemKind) -> ImportCounts:
        return self.counts.setdefault(kind, ImportCounts())

    def skip(self, identifier: str, kind: ItemKind, reason: str) -> None:
        self.refused.add((kind, identifier))
        self.tally(kind).skipped += 1
        self.note("skipped", identifier, kind, reason)

    def note(self, what: What, identifier: str, kind: ItemKind, reason: str) -> None:
        self.items.setdefault(what, []).append(ImportedItem(identifier=identifier, kind=kind, reason=reason))

    def tell_removed(self, items: Iterable[ImportedItem]) -> None:
        """All that is removed by now, by whichever part of the import."""
        listed = self.items["removed"] = list(items)
        counted = Counter(one.kind for one in listed)
        for kind in KIND_NAMES:
            self.tally(kind).removed = counted[kind]

    def take(self, one: Wanted, kind: Kind, id: str) -> None:
        """What ends at it is at this item, unless the file has another one of this identifier."""
        if kind is not View.KIND and (kind, one.identifier) not in self.refused:
            self.ids[one.identifier] = id
            self.concepts[one.identifier] = one.fields["type"] if kind is Element.KIND else "Relationship"


async def unhurried(items: Iterable[T], at_once: int = CHEAP_BETWEEN_OTHERS) -> AsyncIterator[T]:
    """These; after so many the loop is others'."""
    for number, one in enumerate(items):
        if number % at_once == 0:
            await asyncio.sleep(0)
        yield one


def unknown(type: str, source: Concept, target: Concept) -> str:
    choice = ", ".join(allowed_types(source, target)) or "none"
    return f"ArchiMate 3.2 knows no {type} from {source} to {target}; it allows: {choice}"


async def take(tenant: TenantSession, model: type[Imported], wanted: list[Wanted], progress: Progress) -> None:
    """At most one batch; again when somebody else was faster, in parts when it cannot be as a whole."""
    if progress.late:
        raise OutOfTime("The import takes long; what it has taken is kept. Send the file again: it goes on there.")
    refusal = "others kept changing it, or deleted its ends; import again"
    for _ in range(TRIES_AT_A_RACE):
        try:
            made, changed, ids = await _commit(tenant, model, wanted, progress)
        except TooLarge as error:
            if len(wanted) == 1:
                progress.skip(wanted[0].identifier, kind_of(model), error.message)
                return
            middle = len(wanted) // 2
            await take(tenant, model, wanted[:middle], progress)
            await take(tenant, model, wanted[middle:], progress)
            return
        except (Stale, Invalid, Overtaken):
            continue
        except Conflict as conflict:
            refusal = conflict.message
            if len(wanted) > 1:
                break
            continue
        _tally(model, wanted, progress, made, changed)
        for one in wanted:
            progress.take(one, model.KIND, ids[one.identifier])
        return
    if len(wanted) == 1:
        progress.skip(wanted[0].identifier, kind_of(model), refusal)
        return
    for one in wanted:
        await take(tenant, model, [one], progress)


def _tally(
    model: type[Imported], wanted: list[Wanted], progress: Progress, made: list[Wanted], changed: list[Wanted]
) -> None:
    counts = progress.tally(kind_of(model))
    counts.created += len(made)
    counts.updated += len(changed)
    counts.unchanged += len(wanted) - len(made) - len(changed)
    if progress.dry_run:
        listed: list[tuple[What, list[Wanted]]] = [("created", made), ("updated", changed)]
        for what, items in listed:
            for one in items:
                progress.note(what, one.identifier, kind_of(model), one.fields["name"])


async def _commit(
    tenant: TenantSession, model: type[Imported], wanted: list[Wanted], progress: Progress
) -> tuple[list[Wanted], list[Wanted], dict[str, str]]:
    """What was made and what was changed, and the id of each; one query for all that they may be."""
    kind, naming = model.KIND, progress.naming
    meant = {one.identifier: naming.meant(kind, one.identifier) for one in wanted}
    maybe = sorted({id for one in meant.values() for id in one.ids})
    page = await tenant.store.query(kind, [Where("id", "in", maybe)])
    there: dict[str, Versioned[Any]] = {stored.body["id"]: Versioned.of(model, stored) for stored in page.items}
    values = {id: held.value for id, held in there.items()}
    ids = {identifier: one.among(values) for identifier, one in meant.items()}
    new_ids = [id for id in ids.values() if id not in there]
    buried = await tenant.buried(kind, new_ids) if new_ids else {}
    change = tenant.change(*(there[id] for id in ids.values() if id in there), *buried.values())
    made: list[Wanted] = []
    changed: list[Wanted] = []
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
            made.append(one)
        elif (new := change.update(held, fields)) is old:
            continue
        else:
            changed.append(one)
        if part_of is not None and (old is None or old.model_id is None):
            change.touch(Model.KIND, part_of, "model")
        if isinstance(new, Relationship):
            joined.append((one, new, old))
        elif isinstance(new, Element) and isinstance(old, Element):
            if new.type != old.type and len(wanted) > 1:
                raise Conflict("New types are taken one by one, so that each is checked against those before it.")
            await keep_relationships_allowed(tenant, change, old, new)
    if progress.dry_run:
        return made, changed, ids
    await _join(tenant, change, joined, progress.arms)
    if made or changed:
        await change.commit(None)
    return made, changed, ids


async def _join(
    tenant: TenantSession,
    change: Change,
    joined: list[tuple[Wanted, Relationship, Relationship | None]],
    arms: set[str],
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
            raise Conflict(unknown(new.type, concept_of(source), concept_of(target)))
        try:
            await keep_shallow(tenant, change, (source, target), new, old)
        except Invalid as invalid:
            raise Conflict(invalid.message) from invalid
    try:
        await keep_one_type(tenant, change, [new for _, new, _ in joined], ends, besides=arms)
    except Invalid as invalid:
        raise Conflict(invalid.message) from invalid
    for one, _, _ in joined:
        for end in (ends[id] for _, id in one.ends):
            change.touch(change.kinds.named(end["kind"]), end["id"], "ends", revision=end["revision"])


def kind_of(model: type[Imported]) -> ItemKind:
    return "element" if model is Element else "relationship" if model is Relationship else "view"
