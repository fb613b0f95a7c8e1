"""Taking the items of a file, in batches, each change audited; or only finding out what that would be (`dry_run`)."""

from collections import ChainMap, Counter
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from functions.catalog.archimate import Concept, allowed_types, is_allowed
from functions.catalog.deleting import OutOfTime
from functions.catalog.exchange import KIND_NAMES, ItemKind
from functions.catalog.graph import by_ids, concept_of, keep_shallow
from functions.catalog.import_models import ImportCounts, ImportedItem, What
from functions.catalog.junctions import keep_one_type
from functions.catalog.looking import ITEMS_BETWEEN_OTHERS, Known, look_up, unhurried
from functions.catalog.making import Making
from functions.catalog.models import Element, Imported, Model, Relationship
from functions.catalog.naming import Naming
from functions.catalog.service import keep_relationships_allowed
from functions.catalog.view_models import View
from shared.database.port import Document
from shared.errors import Conflict, Invalid, Stale, Taken, TooLarge
from shared.kinds import Kind
from shared.tenancy.fence import Overtaken
from shared.work.change import Change
from shared.work.resources import Versioned
from shared.work.session import TRIES_AT_A_RACE, TenantSession

KINDS: Mapping[str, Kind] = {"element": Element.KIND, "relationship": Relationship.KIND, "view": View.KIND}


class MadeMeanwhile(Exception):
    """Another import has made the model first. This one has written nothing yet, and begins again: what it may do to
    that model has to be asked of that model."""


@dataclass(frozen=True)
class Wanted:
    """An item as the file has it; `ends` are touched by a new relationship."""

    identifier: str
    fields: Mapping[str, Any]
    ends: tuple[tuple[Kind, str], ...] = ()


@dataclass(frozen=True)
class Portion:
    """Items of one kind that are taken together, with what they lead to where that is known."""

    model: type[Imported]
    wanted: Sequence[Wanted]
    known: Mapping[str, Known] | None = None

    @property
    def versions(self) -> list[Versioned[Any]]:
        return [version for one in self.wanted for version in self.of(one).versions]

    def of(self, one: Wanted) -> Known:
        return (self.known or {})[one.identifier]

    async def looked_up(self, tenant: TenantSession, naming: Naming) -> "Portion":
        """With what its items lead to, by one query where that is not known."""
        if self.known is not None:
            return self
        return replace(self, known=await look_up(tenant, self.model, [one.identifier for one in self.wanted], naming))

    def halves(self) -> tuple["Portion", "Portion"]:
        middle = len(self.wanted) // 2
        return replace(self, wanted=self.wanted[:middle]), replace(self, wanted=self.wanted[middle:])


@dataclass
class Outcome:
    """What became of a portion; revisions by id."""

    made: list[Wanted] = field(default_factory=list)
    changed: list[Wanted] = field(default_factory=list)
    revisions: dict[str, int] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        return bool(self.made or self.changed)


@dataclass
class Progress:
    """What an import knows by now: ids and concepts of what it took, and what became of the others.

    `arms`: the ids of the relationships that the file has. `patient`: something is changed before its time is over.
    `making`: the model, until a batch has made it. `bare`: it had nothing when the import began. `views`: ids of all
    views of the file. `stood`: concept and revision of the elements that were taken, by id.
    """

    in_time: Callable[[], bool]
    naming: Naming
    dry_run: bool = False
    patient: bool = False
    making: Making | None = None
    bare: bool = False
    ids: MutableMapping[str, str] = field(default_factory=dict)
    concepts: MutableMapping[str, Concept] = field(default_factory=dict)
    views: MutableMapping[str, str] = field(default_factory=dict)
    stood: MutableMapping[str, tuple[Concept, int]] = field(default_factory=dict)
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

    @property
    def versions(self) -> list[Versioned[Any]]:
        """What a batch that makes the model replaces by it."""
        return [] if self.making is None else self.making.versions

    def tried(self) -> "Progress":
        """As it would be after a batch that may fail yet."""
        counts = {kind: one.model_copy() for kind, one in self.counts.items()}
        return replace(
            self,
            counts=counts,
            ids=ChainMap({}, self.ids),
            concepts=ChainMap({}, self.concepts),
            views=ChainMap({}, self.views),
            stood=ChainMap({}, self.stood),
        )

    def add(self, before: Mapping[str, Mapping[str, int]]) -> None:
        """What earlier parts of the import have made and changed is unchanged by now, and is told as what it was."""
        for kind in KIND_NAMES:
            counts = self.tally(kind)
            for name, count in before.get(kind, {}).items():
                setattr(counts, name, getattr(counts, name) + count)
                counts.unchanged = max(0, counts.unchanged - count)

    def settle(self, portion: Portion, outcome: Outcome) -> None:
        """The portion is taken."""
        counts = self.tally(kind_of(portion.model))
        counts.created += len(outcome.made)
        counts.updated += len(outcome.changed)
        counts.unchanged += len(portion.wanted) - len(outcome.made) - len(outcome.changed)
        if self.dry_run:
            listed: list[tuple[What, list[Wanted]]] = [("created", outcome.made), ("updated", outcome.changed)]
            for what, items in listed:
                for one in items:
                    self.note(what, one.identifier, kind_of(portion.model), one.fields["name"])
        for one in portion.wanted:
            if portion.model is Element:
                id = portion.of(one).id
                self.stood[id] = (one.fields["type"], outcome.revisions[id])
        self.expect(portion)

    def expect(self, portion: Portion) -> None:
        """What ends at these, is at them, unless the file has another item of this identifier."""
        for one in portion.wanted:
            id = portion.of(one).id
            if portion.model is View:
                self.views[one.identifier] = id
            elif (portion.model.KIND, one.identifier) not in self.refused:
                self.ids[one.identifier] = id
                self.concepts[one.identifier] = one.fields["type"] if portion.model is Element else "Relationship"


def not_allowed(type: str, source: Concept, target: Concept) -> str:
    choice = ", ".join(allowed_types(source, target)) or "none"
    return f"ArchiMate 3.2 knows no {type} from {source} to {target}; it allows: {choice}"


async def take(tenant: TenantSession, portion: Portion, progress: Progress) -> None:
    """At most one batch; again when somebody else was faster, in parts when it cannot be as a whole."""
    check_in_time(progress)
    refusal = "others kept changing it, or deleted its ends; import again"
    unknown = replace(portion, known=None)
    for lost in range(TRIES_AT_A_RACE):
        try:
            await _commit(tenant, unknown if lost else portion, progress)
        except TooLarge as error:
            if len(portion.wanted) == 1:
                progress.skip(portion.wanted[0].identifier, kind_of(portion.model), error.message)
                return
            for half in portion.halves():
                await take(tenant, half, progress)
            return
        except (Stale, Invalid, Overtaken):
            continue
        except Conflict as conflict:
            if await made_by_others(tenant, conflict, progress):
                continue
            refusal = conflict.message
            if len(portion.wanted) > 1:
                break
            continue
        return
    if len(portion.wanted) == 1:
        progress.skip(portion.wanted[0].identifier, kind_of(portion.model), refusal)
        return
    for one in portion.wanted:
        await take(tenant, replace(unknown, wanted=[one]), progress)


def check_in_time(progress: Progress) -> None:
    if progress.late:
        raise OutOfTime("The import takes long; what it has taken is kept. Send the file again: it goes on there.")


async def made_by_others(tenant: TenantSession, conflict: Conflict, progress: Progress) -> bool:
    """Whether something was taken as the model's own id was, which was free and then buried. Raises `MadeMeanwhile`."""
    making = progress.making
    if making is None or not isinstance(conflict, Taken):
        return False
    progress.making, progress.bare = await making.again(tenant), False
    if progress.making is None:
        raise MadeMeanwhile
    return progress.making != making


async def _commit(tenant: TenantSession, portion: Portion, progress: Progress) -> None:
    trusted = portion.known is not None
    portion = await portion.looked_up(tenant, progress.naming)
    making = progress.making
    change = tenant.change(*portion.versions, *progress.versions)
    if making is not None:
        making.put(change)
    outcome = await put(tenant, change, portion, progress, trusted=trusted, modelled=making is not None)
    if outcome.changes and not progress.dry_run:
        await change.commit(None)
        progress.making = None
    progress.settle(portion, outcome)


async def put(
    tenant: TenantSession, change: Change, portion: Portion, progress: Progress, *, trusted: bool, modelled: bool
) -> Outcome:
    """Into the change what is new and what differs; the portion's items have been looked up.

    `trusted`: ends are as they were when this import took them, or the batch fails. `modelled`: the change proves that
    the model is there.
    """
    outcome = Outcome()
    joined: list[tuple[Wanted, Relationship, Relationship | None]] = []
    async for one in unhurried(portion.wanted, ITEMS_BETWEEN_OTHERS):
        known = portion.of(one)
        held, old = known.held, None if known.held is None else known.held.value
        fields = {**one.fields, "model_id": known.part_of}
        if held is None:
            named = {**fields, "source_identifier": one.identifier}
            new = change.create(portion.model, named, id=known.id, buried=known.buried)
            outcome.made.append(one)
        elif (new := change.update(held, fields)) is not old:
            outcome.changed.append(one)
        outcome.revisions[known.id] = new.revision
        if new is old:
            continue
        if known.part_of is not None and not modelled and (old is None or old.model_id is None):
            change.touch(Model.KIND, known.part_of, "model")
        if isinstance(new, Relationship):
            joined.append((one, new, old))
        elif isinstance(new, Element) and isinstance(old, Element):
            if new.type != old.type and len(portion.wanted) > 1:
                raise Conflict("New types are taken one by one, so that each is checked against those before it.")
            await keep_relationships_allowed(tenant, change, old, new)
    if not progress.dry_run:
        await _join(tenant, change, joined, progress, trusted)
    return outcome


async def _join(
    tenant: TenantSession,
    change: Change,
    joined: list[tuple[Wanted, Relationship, Relationship | None]],
    progress: Progress,
    trusted: bool,
) -> None:
    """Relationships still suit their ends as these are now, whoever has changed them since, and none hangs too deep."""
    ends = await _ends(tenant, {end for one, _, _ in joined for end in one.ends}, progress.stood if trusted else {})
    for one, new, old in joined:
        for _, id in one.ends:
            if id not in ends:
                raise Invalid.of("ends", "is not there any more", id)
        source, target = (ends[id] for _, id in one.ends)
        if not is_allowed(new.type, concept_of(source), concept_of(target)):
            raise Conflict(not_allowed(new.type, concept_of(source), concept_of(target)))
        try:
            await keep_shallow(tenant, change, (source, target), new, old)
        except Invalid as invalid:
            raise Conflict(invalid.message) from invalid
    try:
        await keep_one_type(tenant, change, [new for _, new, _ in joined], ends, besides=progress.arms)
    except Invalid as invalid:
        raise Conflict(invalid.message) from invalid
    for one, _, _ in joined:
        for end in (ends[id] for _, id in one.ends):
            change.touch(change.kinds.named(end["kind"]), end["id"], "ends", revision=end["revision"])


async def _ends(
    tenant: TenantSession, wanted: Iterable[tuple[Kind, str]], stood: Mapping[str, tuple[Concept, int]]
) -> dict[str, Document]:
    """What relationships are at, by id. Of an element that this import has seen its revision says enough: the batch
    fails where it is another one by then. How often a junction was touched is asked, and what a relationship is at.
    """
    ends: dict[str, Document] = {}
    asked: dict[Kind, list[str]] = {Element.KIND: [], Relationship.KIND: []}
    for kind, id in wanted:
        concept, revision = stood.get(id, ("Junction", 0))
        if concept == "Junction":
            asked[kind].append(id)
        else:
            ends[id] = {"kind": Element.KIND, "id": id, "type": concept, "revision": revision}
    for kind, ids in asked.items():
        ends |= await by_ids(tenant, kind, ids)
    return ends


def kind_of(model: type[Imported]) -> ItemKind:
    return "element" if model is Element else "relationship" if model is Relationship else "view"
