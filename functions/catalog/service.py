"""The catalog service: the rules of a valid ArchiMate model, and nothing about HTTP."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from functions.catalog.archimate import is_allowed
from functions.catalog.graph import (
    ENDS,
    around,
    by_ids,
    check_allowed,
    concept_of,
    depending_on,
    find_end,
    keep_shallow,
    meeting,
)
from functions.catalog.models import (
    Element,
    ElementFields,
    Neighbourhood,
    NeighbourQuery,
    Relationship,
    RelationshipFields,
)
from functions.catalog.values import element_values, relationship_values
from shared.database.port import Where
from shared.errors import Conflict, FieldError, Invalid, Stale
from shared.http.bodies import MergePatch
from shared.kinds import Kind
from shared.work.change import Change
from shared.work.resources import Held, Listing, PageRequest, find, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession

BATCH = 40
BATCH_BYTES = 1024 * 1024
LISTED = 100
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
        await self._delete(tenant, Element, id, if_match, cascade=cascade)

    async def neighbours(self, tenant: TenantSession, id: str, query: NeighbourQuery) -> Neighbourhood:
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
        raise Conflict("Others keep changing its ends at the same time; try again.")

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
        await self._delete(tenant, Relationship, id, if_match, cascade=cascade)

    async def _delete(
        self,
        tenant: TenantSession,
        model: type[Element] | type[Relationship],
        id: str,
        if_match: str | None,
        *,
        cascade: bool,
    ) -> None:
        """What depends on the item first, the item last, in as few batches as hold them; a race is run again.

        Once a batch is committed it goes on, as often as it gets further, whatever becomes of the version that If-Match
        named: a refusal would say that nothing was done. An agent that comes meanwhile ends it; the refusal says so.
        """
        lost = gone = 0
        while lost < TRIES_AT_A_RACE:
            held: Held[Any] = await load(tenant, model, id)
            if not gone:
                held.value.check(if_match)
            await _check_nothing_else(tenant, model.KIND, id, gone)
            depending = await depending_on(tenant, id)
            if depending and not cascade:
                raise Conflict(
                    f"{len(depending)} relationships would lose an end; delete them first, or with ?cascade=true.",
                    relationships=[_shown(one.value) for one in depending[:LISTED]],
                    total=len(depending),
                )
            try:
                for batch in _batches([*depending, held]):
                    await _delete_all(tenant, batch)
                    lost, gone = 0, gone + len(batch)
                return
            except Stale:
                lost += 1
        raise Conflict(f"Others keep changing this at the same time; try again.{_already(gone)}")


def _batches(items: Sequence[Held[Any]]) -> Iterator[list[Held[Any]]]:
    """In order, as many together as one batch holds with their audit entries."""
    batch: list[Held[Any]] = []
    room = BATCH_BYTES
    for one in items:
        size = len(one.value.model_dump_json().encode())
        if batch and (len(batch) == BATCH or size > room):
            yield batch
            batch, room = [], BATCH_BYTES
        batch.append(one)
        room -= size
    yield batch


async def _delete_all(tenant: TenantSession, held: list[Held[Any]]) -> None:
    change = tenant.change(*held)
    for one in held:
        change.delete(one)
    await change.commit(None)


def _already(gone: int) -> str:
    return f" ({gone} of its relationships had been deleted before.)" if gone else ""


async def _check_nothing_else(tenant: TenantSession, kind: Kind, id: str, gone: int) -> None:
    """`Conflict`, listing them, while anything but relationships refers to it."""
    for referring, field in tenant.services.kinds.referring(kind):
        if referring == Relationship.KIND:
            continue
        found = (await tenant.store.query(referring, [Where(field, "=", id)], limit=LISTED)).items
        if found:
            listed = [{"id": stored.body["id"], "name": stored.body.get("name", "")} for stored in found]
            raise Conflict(
                f"{referring.capitalize()}s refer to this {kind}; give them another one, or none, first."
                f"{_already(gone)}",
                **{f"{referring}s": listed},
            )


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
            relationships=[_shown(one) for one in wrong[:LISTED]],
            total=len(wrong),
        )


def _shown(relationship: Relationship) -> dict[str, str]:
    return relationship.model_dump(include={"id", "type", "source_id", "target_id"})
