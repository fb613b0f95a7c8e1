"""The catalog service: the rules of a valid ArchiMate model, and nothing about HTTP."""

from collections.abc import Mapping
from typing import Any

from functions.catalog.archimate import is_allowed
from functions.catalog.deleting import LISTED, delete, shown
from functions.catalog.graph import (
    ENDS,
    around,
    by_ids,
    check_allowed,
    concept_of,
    find_end,
    keep_shallow,
    meeting,
)
from functions.catalog.junctions import keep_one_type
from functions.catalog.models import (
    Element,
    ElementFields,
    Neighborhood,
    NeighborQuery,
    Relationship,
    RelationshipFields,
)
from functions.catalog.values import element_values, relationship_values
from shared.errors import Conflict, FieldError, Invalid
from shared.work.change import Change
from shared.work.service import ResourceService
from shared.work.session import TenantSession

MOST_TOUCHED = 90  # of the hundred operations of a batch
ONLY = {"access_type": "Access", "influence": "Influence", "is_directed": "Association"}


class ElementService(ResourceService[Element, ElementFields]):
    """Elements; a new type must suit the relationships that are there."""

    model = Element

    def values(self, sent: ElementFields, old: Element | None) -> Mapping[str, Any]:
        return element_values(sent, old)

    async def check(self, tenant: TenantSession, change: Change, old: Element | None, new: Element) -> None:
        if old is not None:
            await keep_relationships_allowed(tenant, change, old, new)

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None, *, cascade: bool = False) -> None:
        """`Conflict`, listing them, while relationships (without `cascade`) or others refer to it."""
        await delete(tenant, Element, id, if_match, cascade=cascade)

    async def neighbors(self, tenant: TenantSession, id: str, query: NeighborQuery) -> Neighborhood:
        """What is around an element, as far as `query` says. `NotFound`."""
        return await around(tenant, await self.get(tenant, id), query)


class RelationshipService(ResourceService[Relationship, RelationshipFields]):
    """Relationships between what is there, of the types that ArchiMate 3.2 allows."""

    model = Relationship

    def values(self, sent: RelationshipFields, old: Relationship | None) -> Mapping[str, Any]:
        return relationship_values(sent, old)

    async def check(self, tenant: TenantSession, change: Change, old: Relationship | None, new: Relationship) -> None:
        """Both ends are there and stay there (they are touched), and ArchiMate knows such a relationship."""
        misplaced = [
            FieldError(name, f"belongs to a relationship of type {type} only", getattr(new, name))
            for name, type in ONLY.items()
            if getattr(new, name) is not None and new.type != type
        ]
        if misplaced:
            raise Invalid(misplaced)
        ends = [await find_end(tenant, field, getattr(new, field)) for field in ENDS]
        await keep_shallow(tenant, change, ends, new, old)
        check_allowed(new.type, concept_of(ends[0]), concept_of(ends[1]))
        await keep_one_type(tenant, change, [new], {end["id"]: end for end in ends})
        for field, end in {"source_id": ends[0], "target_id": ends[1]}.items():
            change.touch(change.kinds.named(end["kind"]), end["id"], field, revision=end["revision"])

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None, *, cascade: bool = False) -> None:
        """`Conflict`, listing them, while other relationships begin or end at it (without `cascade`)."""
        await delete(tenant, Relationship, id, if_match, cascade=cascade)


async def keep_relationships_allowed(tenant: TenantSession, change: Change, old: Element, new: Element) -> None:
    """A new type must suit the relationships that are there."""
    if new.type == old.type:
        return
    met = [stored.body for stored in (await meeting(tenant, [new.id])).values()]
    ends = {body[end] for body in met for end in ENDS} - {new.id}
    others = await by_ids(tenant, Element.KIND, ends)
    for id in sorted(others)[:MOST_TOUCHED]:  # should one of them change its type as well, one of the two looks again
        change.touch(Element.KIND, id, "type", revision=others[id]["revision"])
    concepts = {id: concept_of(body) for id, body in others.items()}
    concepts |= {id: "Relationship" for id in ends - set(concepts)}
    concepts[new.id] = new.type
    wrong = [
        Relationship.model_validate(body)
        for body in met
        if not is_allowed(body["type"], concepts[body["source_id"]], concepts[body["target_id"]])
    ]
    if wrong:
        raise Conflict(
            f"As a {new.type} it could not have {len(wrong)} of its relationships; change or delete them first.",
            relationships=[shown(one) for one in wrong[:LISTED]],
            total=len(wrong),
        )
