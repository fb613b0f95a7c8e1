"""The catalog service: the rules of a valid ArchiMate model, and nothing about HTTP."""

from collections.abc import Mapping
from functools import partial
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
from functions.catalog.models import (
    Element,
    ElementFields,
    Neighborhood,
    NeighborQuery,
    Relationship,
    RelationshipFields,
)
from functions.catalog.values import element_values, relationship_values
from shared.errors import Conflict, Contended, FieldError, Invalid, Stale
from shared.http.bodies import MergePatch
from shared.work.change import Change
from shared.work.resources import Listing, PageRequest, find, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession

MOST_TOUCHED = 90  # of the hundred operations of a batch
ONLY = {"access_type": "Access", "influence": "Influence", "is_directed": "Association"}


class CatalogService:
    async def create_element(self, tenant: TenantSession, new: ElementFields) -> Element:
        change = tenant.change()
        return await change.commit(change.create(Element, element_values(new)))

    async def list_elements(
        self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest
    ) -> Listing[Element]:
        return await find(tenant, Element, filters, page)

    async def get_element(self, tenant: TenantSession, id: str) -> Element:
        return (await load(tenant, Element, id)).value

    async def replace_element(
        self, tenant: TenantSession, id: str, new: ElementFields, if_match: str | None
    ) -> Element:
        return await tenant.modify(
            Element,
            id,
            partial(element_values, new),
            if_match=if_match,
            also=partial(keep_relationships_allowed, tenant),
        )

    async def patch_element(
        self, tenant: TenantSession, id: str, patch: MergePatch[ElementFields], if_match: str | None
    ) -> Element:
        return await tenant.modify(
            Element,
            id,
            lambda element: element_values(patch.onto(element), element),
            if_match=if_match,
            also=partial(keep_relationships_allowed, tenant),
        )

    async def delete_element(self, tenant: TenantSession, id: str, if_match: str | None, *, cascade: bool) -> None:
        """`Conflict`, listing them, while relationships (without `cascade`) or agents refer to it."""
        await delete(tenant, Element, id, if_match, cascade=cascade)

    async def neighbors(self, tenant: TenantSession, id: str, query: NeighborQuery) -> Neighborhood:
        return await around(tenant, await self.get_element(tenant, id), query)

    async def create_relationship(self, tenant: TenantSession, new: RelationshipFields) -> Relationship:
        for _ in range(TRIES_AT_A_RACE):
            change = tenant.change()
            relationship = change.create(Relationship, relationship_values(new))
            await _check_relationship(tenant, change, None, relationship)
            try:
                return await change.commit(relationship)
            except Stale:
                continue
        raise Contended("Others keep changing its ends at the same time; try again.")

    async def list_relationships(
        self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest
    ) -> Listing[Relationship]:
        return await find(tenant, Relationship, filters, page)

    async def get_relationship(self, tenant: TenantSession, id: str) -> Relationship:
        return (await load(tenant, Relationship, id)).value

    async def replace_relationship(
        self, tenant: TenantSession, id: str, new: RelationshipFields, if_match: str | None
    ) -> Relationship:
        return await tenant.modify(
            Relationship,
            id,
            partial(relationship_values, new),
            if_match=if_match,
            also=partial(_check_relationship, tenant),
        )

    async def patch_relationship(
        self, tenant: TenantSession, id: str, patch: MergePatch[RelationshipFields], if_match: str | None
    ) -> Relationship:
        return await tenant.modify(
            Relationship,
            id,
            lambda relationship: relationship_values(patch.onto(relationship), relationship),
            if_match=if_match,
            also=partial(_check_relationship, tenant),
        )

    async def delete_relationship(self, tenant: TenantSession, id: str, if_match: str | None, *, cascade: bool) -> None:
        """`Conflict`, listing them, while other relationships begin or end at it (without `cascade`)."""
        await delete(tenant, Relationship, id, if_match, cascade=cascade)


async def _check_relationship(
    tenant: TenantSession, change: Change, old: Relationship | None, new: Relationship
) -> None:
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
    for field, end in {"source_id": ends[0], "target_id": ends[1]}.items():
        change.touch(change.kinds.named(end["kind"]), end["id"], field, revision=end["revision"])


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
