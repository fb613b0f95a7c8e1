"""Exporting the whole model as an ArchiMate exchange file, under the identifiers that its parts came with."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import chain, count
from typing import Any, Final

from functions.catalog.exchange import MAX_ITEMS, FoundElement, FoundRelationship, ModelHeader
from functions.catalog.exchange_write import write_model
from functions.catalog.graph import ENDS, by_ids
from functions.catalog.models import MAX_FILE_BYTES, Element, Relationship
from functions.catalog.reading import RETRY_AFTER, give_back
from shared.errors import Conflict, TooLarge, Unavailable
from shared.work.session import TRIES_AT_A_RACE, TenantSession

SHARED = ("type", "name", "description", "languages", "translations", "properties")
LISTED = 100
OF_RELATIONSHIPS = ("access_type", "influence", "is_directed")
AT_ONCE: Final = 2
ITEM_BYTES: Final = 100  # the tags of an item with its name, and its identifiers
PROPERTY_BYTES: Final = 80


class Exports:
    """The exports that this process is writing: each holds a whole model, so there are few, and one of each tenant."""

    def __init__(self) -> None:
        self._running: set[str] = set()

    async def run(self, tenant: TenantSession) -> bytes:
        """As `export_model`; `Unavailable` while the tenant has one here already, or there is no room."""
        if tenant.id in self._running:
            raise Unavailable("Another export of this tenant is running; try again later.", retry_after=RETRY_AFTER)
        if len(self._running) >= AT_ONCE:
            raise Unavailable("Too many exports are running; try again later.", retry_after=RETRY_AFTER)
        self._running.add(tenant.id)
        try:
            return await export_model(tenant)
        finally:
            self._running.remove(tenant.id)
            give_back()


async def export_model(tenant: TenantSession) -> bytes:
    """The exchange file (XML, UTF-8); importing it again changes nothing. `TooLarge` for what no import would take.

    `Conflict`, naming them, when relationships refer to what is not there: nothing is left out in silence.
    """
    elements: list[Element] = []
    relationships: list[Relationship] = []
    room = MAX_FILE_BYTES
    async for page in tenant.store.scan([Element.KIND]):
        elements += [Element.model_validate(stored.body) for stored in page]
        room = _left(room, elements[-len(page) :], len(elements))
    async for page in tenant.store.scan([Relationship.KIND]):
        relationships += [Relationship.model_validate(stored.body) for stored in page]
        room = _left(room, relationships[-len(page) :], len(elements) + len(relationships))
    await _complete(tenant, elements, relationships)
    return await asyncio.to_thread(_write, tenant, elements, relationships)


async def _complete(tenant: TenantSession, elements: list[Element], relationships: list[Relationship]) -> None:
    """Bring in the ends that have come since their kind was read, and let go of relationships that have gone since."""
    for _ in range(TRIES_AT_A_RACE):
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


def _left(room: int, items: Iterable[Element | Relationship], count: int) -> int:
    """What is left of the room after these: their texts and tags; keys each time, as an import counts them."""
    if count > MAX_ITEMS:
        raise TooLarge(f"This model has more than {MAX_ITEMS:,} items, which no import takes; make a backup instead.")
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


def _write(tenant: TenantSession, elements: list[Element], relationships: list[Relationship]) -> bytes:
    names = _identifiers([*elements, *relationships])
    header = ModelHeader(f"id-{tenant.id}", tenant.entry.name)
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
    )
    return b"".join(_bounded(written))


def _bounded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_FILE_BYTES:
            raise _too_large()
        yield piece


def _identifiers(items: list[Element | Relationship]) -> dict[str, str]:
    """By id, no two alike: one that another item has already (from another file) gives way to the item's own id."""
    names = {one.id: f"id-{one.id}" for one in items if one.source_identifier is None}
    taken = set(names.values())
    for one in items:
        if one.source_identifier is not None:
            own = (f"id-{one.id}-{number}" for number in count(2))
            name = next(name for name in chain([one.source_identifier, f"id-{one.id}"], own) if name not in taken)
            names[one.id] = name
            taken.add(name)
    return names


def _values(one: Element | Relationship, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(one, name) for name in names}
