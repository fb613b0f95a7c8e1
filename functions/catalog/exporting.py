"""Exporting the whole model as an ArchiMate exchange file, under the identifiers that its parts came with."""

import asyncio
from collections.abc import Iterable
from typing import Any

from functions.catalog.exchange import FoundElement, FoundRelationship, ModelHeader
from functions.catalog.exchange_write import write_model
from functions.catalog.models import Element, Relationship
from shared.database.port import Kind
from shared.session import TenantSession

SHARED = ("type", "name", "description", "languages", "translations", "properties")
OF_RELATIONSHIPS = ("access_type", "influence", "is_directed")


async def export_model(tenant: TenantSession) -> bytes:
    """The exchange file (XML, UTF-8); importing it again changes nothing."""
    elements: list[Element] = []
    relationships: list[Relationship] = []
    async for page in tenant.store.scan([Kind.ELEMENT]):
        elements += [Element.model_validate(stored.body) for stored in page]
    async for page in tenant.store.scan([Kind.RELATIONSHIP]):
        relationships += [Relationship.model_validate(stored.body) for stored in page]
    return await asyncio.to_thread(_write, tenant, elements, relationships)


def _write(tenant: TenantSession, elements: list[Element], relationships: list[Relationship]) -> bytes:
    names = _identifiers([*elements, *relationships])
    header = ModelHeader(f"id-{tenant.id}", tenant.entry.name)
    return b"".join(
        write_model(
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
                if one.source_id in names and one.target_id in names  # others come while this is written
            ),
        )
    )


def _identifiers(items: Iterable[Element | Relationship]) -> dict[str, str]:
    """By id, no two alike: one that another item has already (from another file) gives way to the item's own id."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for one in items:
        name = one.source_identifier or f"id-{one.id}"
        names[one.id] = f"id-{one.id}" if name in taken else name
        taken.add(names[one.id])
    return names


def _values(one: Element | Relationship, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(one, name) for name in names}
