"""Removing from a model what a file does not have any more (`mode=mirror`), or only finding out what that would be.

What something refers to that is not removed itself, stays: a relationship of another model or of nobody's, an agent.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from functions.catalog.deleting import OutOfTime, batches, delete_all
from functions.catalog.exchange import (
    KIND_NAMES,
    Found,
    FoundElement,
    FoundRelationship,
    FoundView,
    ItemKind,
    ModelHeader,
    Skipped,
)
from functions.catalog.exchange_xml import xml_id
from functions.catalog.graph import ENDS, chunks, depending_on, of_model
from functions.catalog.import_models import ImportedItem
from functions.catalog.looking import unhurried
from functions.catalog.models import Element, Imported, Model, Relationship
from functions.catalog.reports import Plan
from functions.catalog.taking import KINDS, Progress, kind_of
from functions.catalog.view_models import View
from shared.database.port import Where
from shared.errors import Contended, Invalid, Stale
from shared.tenancy.fence import Overtaken
from shared.work.resources import Versioned
from shared.work.session import TRIES_AT_A_RACE, TenantSession

MODELS: Final[tuple[type[Imported], ...]] = (View, Relationship, Element)
EMPTY: Final = "it has no element, relationship or view that can be taken; to be rid of the model, delete that"
OTHERS: Final = (
    "its <model> is called otherwise than {} of the last import, and what that has would be removed; if it is the same "
    "model, import it with mode=merge once, and mirror it then"
)
STAYS: Final = "it is gone from the file, and stays as {} refers to it; delete that first"


@dataclass
class Gone:
    """What is to go, in the order in which it may, and what stays although the file does not have it: why, by id."""

    going: list[Versioned[Any]] = field(default_factory=list)
    staying: dict[str, str] = field(default_factory=dict)
    held: dict[str, Versioned[Any]] = field(default_factory=dict)


async def mirror(tenant: TenantSession, model: Model, found: Sequence[Found], progress: Progress, plan: Plan) -> None:
    """Remove what is gone; told in `progress`. `OutOfTime` beyond the import's time: send the file again."""
    kept = await _in_file(found, progress)
    for _ in range(TRIES_AT_A_RACE):
        gone = await _gone(tenant, model, kept)
        planned = {one.value.id: _told(one.value) for one in gone.going}
        if progress.dry_run:
            break
        planned = await plan.with_these(planned)
        try:
            for batch in batches(gone.going):
                if progress.late:
                    raise OutOfTime("The import takes long; what is done stays so. Send it again: it goes on there.")
                await delete_all(tenant, batch)
                for one in batch:
                    progress.tally(kind_of(type(one.value))).removed += 1
        except (Stale, Overtaken):
            continue
        break
    else:
        raise Contended("Others keep changing this model at the same time; import again.")
    progress.tell_removed(item for id, item in planned.items() if id not in gone.staying)
    for id, why in gone.staying.items():
        one = gone.held[id].value
        progress.skip(_called(one), kind_of(type(one)), why)


def check_not_empty(found: Iterable[Found]) -> None:
    """`Invalid` for a file that has nothing: a mirror of it would remove all."""
    if not any(isinstance(one, FoundElement | FoundRelationship | FoundView) for one in found):
        raise Invalid.of("body", EMPTY)


def check_is_of(model: Model, header: ModelHeader) -> None:
    """`Invalid` for the file of another model than the one that was imported last: a mirror of it would remove all."""
    if model.last_import is None or not header.identifier:
        return
    identifier = xml_id(header.identifier)
    if identifier not in (model.identifier, model.last_import.identifier):
        raise Invalid.of("body", OTHERS.format(model.last_import.identifier), identifier)


async def _in_file(found: Iterable[Found], progress: Progress) -> set[str]:
    """Every id that something in the file may mean, whether it was taken or not."""
    meant = progress.naming.meant
    return {id async for kind, identifier in unhurried(_named(found)) for id in meant(KINDS[kind], identifier).ids}


def _named(found: Iterable[Found]) -> Iterator[tuple[ItemKind, str]]:
    for one in found:
        match one:
            case FoundElement():
                yield "element", one.identifier
            case FoundRelationship():
                yield "relationship", one.identifier
            case FoundView():
                yield "view", one.identifier
            case Skipped(identifier=identifier) if identifier:  # of which kind, may be just what is wrong with it
                for kind in KIND_NAMES:
                    yield kind, xml_id(identifier)


async def _gone(tenant: TenantSession, model: Model, kept: set[str]) -> Gone:
    gone = Gone()
    for kind in MODELS:
        async for page in of_model(tenant, kind.KIND, model.id):
            for stored in page:
                if stored.body["id"] not in kept:
                    gone.held[stored.body["id"]] = Versioned.of(kind, stored)
    items = [id for id, one in gone.held.items() if not isinstance(one.value, View)]
    depending = await depending_on(tenant, items)
    gone.staying = await _referred_to(tenant, gone.held)
    for one in depending:
        if one.value.id not in gone.held:
            _keep(gone, [getattr(one.value, end) for end in ENDS], STAYS.format(f"relationship {one.value.id}"))
    gone.going = [one for id, one in _in_order(gone.held, depending).items() if id not in gone.staying]
    return gone


def _in_order(
    held: Mapping[str, Versioned[Any]], depending: Sequence[Versioned[Relationship]]
) -> dict[str, Versioned[Any]]:
    """Views, relationships (none after one that it ends at, as `depending` has them, then the others), elements."""
    views = {id: one for id, one in held.items() if isinstance(one.value, View)}
    arrows = {one.value.id: one for one in depending if one.value.id in held}
    lone = {id: one for id, one in held.items() if isinstance(one.value, Relationship)}
    return {**views, **arrows, **lone, **held}


async def _referred_to(tenant: TenantSession, held: Mapping[str, Versioned[Any]]) -> dict[str, str]:
    """Which of these something other than relationships refers to, and why that keeps them."""
    found: dict[str, str] = {}
    for model in MODELS:
        ids = sorted(id for id, one in held.items() if isinstance(one.value, model))
        for referring, name in tenant.services.kinds.referring(model.KIND):
            if referring == Relationship.KIND:
                continue
            for some in chunks(ids):
                left = some
                while left:  # a page may be full of what refers to one of them
                    page = await tenant.store.query(referring, [Where(name, "in", left)])
                    new = {stored.body[name]: STAYS.format(f"{referring} {stored.body['id']}") for stored in page.items}
                    found |= new
                    left = [id for id in left if id not in new] if new else []
    return found


def _keep(gone: Gone, ids: list[str], why: str) -> None:
    """These stay, with what they end at in turn."""
    waiting = list(ids)
    while waiting:
        id = waiting.pop()
        if id in gone.held and id not in gone.staying:
            gone.staying[id] = why
            if isinstance(one := gone.held[id].value, Relationship):
                waiting += [one.source_id, one.target_id]


def _told(one: Imported) -> ImportedItem:
    return ImportedItem(identifier=_called(one), kind=kind_of(type(one)), reason=str(getattr(one, "name", "")))


def _called(one: Imported) -> str:
    return one.source_identifier or f"id-{one.id}"
