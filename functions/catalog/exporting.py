"""Exporting the catalog, or one model, as an exchange file, under the identifiers that its parts came with."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Final

from functions.catalog.exchange import MAX_ITEMS, FoundElement, FoundRelationship, ModelHeader, Rows, Section
from functions.catalog.exchange_write import write_model
from functions.catalog.exchange_xml import xml_id
from functions.catalog.exporting_views import folders_in_file, shown_in, view_in_file
from functions.catalog.graph import ENDS, MOST_NESTED, by_ids, of_model
from functions.catalog.model_service import find_model
from functions.catalog.models import MAX_FILE_BYTES, Element, Model, Relationship
from functions.catalog.naming import models_in, names_in_file, whole_of
from functions.catalog.parts import definitions_of, parts_of
from functions.catalog.reading import RETRY_AFTER, give_back
from functions.catalog.view_models import View
from shared.database.port import Stored
from shared.errors import Conflict, NotFound, TooLarge, Unavailable
from shared.kinds import Kind
from shared.work.resources import size_of
from shared.work.session import TRIES_AT_A_RACE, TenantSession

SHARED = ("type", "name", "description", "languages", "translations", "properties")
LISTED = 100
OF_MODEL = ("name", "description", "version", "languages", "translations")
OF_RELATIONSHIPS = ("access_type", "influence", "is_directed")
AT_ONCE: Final = 2
AT_A_TIME: Final = 50  # a view may have 250 KB
ITEM_BYTES: Final = 100  # the tags of an item with its name, and its identifiers
PROPERTY_BYTES: Final = 80
BEYOND: Final = "flowgrid:beyond"
"""A property of an export of one model: what is in it only because the model's relationships begin or end there."""


class Exports:
    """The exports that this process is writing: each holds a whole model, so there are few, and one of each tenant."""

    def __init__(self) -> None:
        self._running: set[str] = set()

    async def run(self, tenant: TenantSession, *, named: str | None = None) -> bytes:
        """As `export_model`, of the model that is `named` (`NotFound` without one), or of the whole catalog.

        `Unavailable` while the tenant has one here already, or there is no room.
        """
        if tenant.id in self._running:
            raise Unavailable("Another export of this tenant is running; try again later.", retry_after=RETRY_AFTER)
        if len(self._running) >= AT_ONCE:
            raise Unavailable("Too many exports are running; try again later.", retry_after=RETRY_AFTER)
        self._running.add(tenant.id)
        try:
            model = None if named is None else await find_model(tenant, named)
            if named is not None and model is None:
                raise NotFound("There is no such model.")
            return await export_model(tenant, model)
        finally:
            self._running.remove(tenant.id)
            give_back()


async def export_model(tenant: TenantSession, model: Model | None = None) -> bytes:
    """The exchange file (XML, UTF-8); importing it again changes nothing. `TooLarge` for what no import would take.

    Of one model: its elements and relationships, and beyond it whatever these begin or end at; a property of the file
    says what that is. `Conflict`, naming them, when relationships refer to what is not there: nothing is left out in
    silence.
    """
    elements: list[Element] = []
    relationships: list[Relationship] = []
    room = MAX_FILE_BYTES
    async for page in _pages(tenant, Element.KIND, model):
        elements += [Element.model_validate(stored.body) for stored in page]
        room = _left(room, elements[-len(page) :], len(elements))
    async for page in _pages(tenant, Relationship.KIND, model):
        relationships += [Relationship.model_validate(stored.body) for stored in page]
        room = _left(room, relationships[-len(page) :], len(elements) + len(relationships))
    views: list[View] = []
    async for page in _pages(tenant, View.KIND, model):
        for stored in page:
            room = _left(room, [], len(elements) + len(relationships) + len(views) + 1, size_of(stored))
            views.append(View.model_validate(stored.body))
    await _bring_shown(tenant, elements, relationships, views)
    await _complete(tenant, elements, relationships)
    _left(room, [], len(elements) + len(relationships) + len(views))
    parts = {} if model is None else await parts_of(tenant, model.id)
    return await asyncio.to_thread(_write, tenant, model, elements, relationships, views, parts)


def _pages(tenant: TenantSession, kind: Kind, model: Model | None) -> AsyncIterator[list[Stored]]:
    return tenant.store.scan([kind]) if model is None else of_model(tenant, kind, model.id, AT_A_TIME)


async def _bring_shown(
    tenant: TenantSession, elements: list[Element], relationships: list[Relationship], views: list[View]
) -> None:
    """What is shown and beyond the model, or has come since its kind was read."""
    known = {one.id for one in (*elements, *relationships)}
    wanted = {id for view in views for id in shown_in(view)} - known
    if wanted:
        elements += map(Element.model_validate, (await by_ids(tenant, Element.KIND, wanted)).values())
        relationships += map(Relationship.model_validate, (await by_ids(tenant, Relationship.KIND, wanted)).values())


async def _complete(tenant: TenantSession, elements: list[Element], relationships: list[Relationship]) -> None:
    """Bring in the ends that are beyond the model or have come since their kind was read, and let go of relationships
    that have gone since. An end that is a relationship brings its own ends, and so on."""
    for _ in range(MOST_NESTED + TRIES_AT_A_RACE):
        known = {one.id for one in (*elements, *relationships)}
        open_ended = [one for one in relationships if {one.source_id, one.target_id} - known]
        if not open_ended:
            return
        there = await by_ids(tenant, Relationship.KIND, (one.id for one in open_ended))
        gone = {one.id for one in open_ended} - set(there)
        relationships[:] = [one for one in relationships if one.id not in gone]
        wanted = {body[end] for body in there.values() for end in ENDS} - known
        elements += map(Element.model_validate, (await by_ids(tenant, Element.KIND, wanted)).values())
        nested = (await by_ids(tenant, Relationship.KIND, wanted)).values()
        relationships += [Relationship.model_validate(body) for body in nested]
    known = {one.id for one in (*elements, *relationships)}
    lost = [one.id for one in relationships if {one.source_id, one.target_id} - known]
    if lost:
        raise Conflict(
            f"{len(lost)} relationships refer to what is not there; nothing is exported without them.",
            relationships=lost[:LISTED],
            total=len(lost),
        )


def _left(room: int, items: Iterable[Element | Relationship], count: int, drawn: int = 0) -> int:
    """What is left of the room after these: their texts and tags; keys each time, as an import counts them. `drawn`:
    the bytes of a view, as it is stored."""
    if count > MAX_ITEMS:
        raise TooLarge(f"This model has more than {MAX_ITEMS:,} items, which no import takes; make a backup instead.")
    room -= drawn
    for one in items:
        room -= ITEM_BYTES + len(one.name) + len(one.description)
        room -= sum(PROPERTY_BYTES + len(key) + len(text) for key, text in one.properties.items())
        room -= sum(len(text) for texts in one.translations.values() for text in texts.values())
    if room < 0:
        raise _too_large()
    return room


def _too_large() -> TooLarge:
    megabytes = MAX_FILE_BYTES // 1024**2
    return TooLarge(f"As an exchange file, this model has more than {megabytes} MB; make a backup instead.")


def _write(
    tenant: TenantSession,
    model: Model | None,
    elements: list[Element],
    relationships: list[Relationship],
    views: list[View],
    parts: Mapping[Section, Rows],
) -> bytes:
    items = [*elements, *relationships, *views]
    if model is None:
        names = names_in_file(items)
        header = ModelHeader(whole_of(tenant.id), tenant.entry.name, properties=models_in(items))
    else:
        beyond = {one.id for one in items if one.model_id != model.id}
        names = names_in_file(items, beyond)
        said = {name: getattr(model, name) for name in OF_MODEL}
        properties = {**model.properties, **_said_of(beyond)}
        definitions = definitions_of(parts["definitions"])
        header = ModelHeader(model.identifier, properties=properties, definitions=definitions, **said)
    taken = {xml_id(header.identifier), *names.values(), *(xml_id(one.identifier) for one in header.definitions)}
    drawn = [view_in_file(one, names, taken, parts.get("viewpoints", ())) for one in views]
    written = write_model(
        header,
        (FoundElement(names[one.id], **_values(one, SHARED)) for one in elements),
        (
            FoundRelationship(
                names[one.id],
                source=names[one.source_id],
                target=names[one.target_id],
                **_values(one, (*SHARED, *OF_RELATIONSHIPS)),
            )
            for one in relationships
        ),
        drawn,
        {**parts, "organizations": folders_in_file(parts.get("organizations", ()), names, taken)},
    )
    return b"".join(_bounded(written))


def _said_of(beyond: set[str]) -> dict[str, str]:
    if not beyond:
        return {}
    listed = " ".join(f"id-{id}" for id in sorted(beyond)[:LISTED])
    more = f" and {len(beyond) - LISTED} more" if len(beyond) > LISTED else ""
    return {BEYOND: f"{len(beyond)} not of this model, but at its relationships: {listed}{more}"}


def _bounded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_FILE_BYTES:
            raise _too_large()
        yield piece


def _values(one: Element | Relationship, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(one, name) for name in names}
