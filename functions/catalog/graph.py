"""Questions about the graph of one tenant: what is at an end, which relationships meet an item, what is around it."""

from collections.abc import Iterable, Sequence

from functions.catalog.archimate import Concept, RelationshipType, allowed_types
from functions.catalog.models import Element, Neighbour, Neighbourhood, Relationship
from shared.database.port import Document, Kind, Where
from shared.errors import Invalid
from shared.session import TenantSession

IN_AT_ONCE = 200
MOST_NEIGHBOURS = 1000


def concept_of(body: Document) -> Concept:
    """What an end is to the table of allowed relationships."""
    if body["kind"] == Kind.RELATIONSHIP:
        return "Relationship"
    concept: Concept = body["type"]
    return concept


def check_allowed(type: RelationshipType, source: Concept, target: Concept) -> None:
    """`Invalid`, naming what would be allowed, for a relationship that ArchiMate 3.2 does not know."""
    allowed = allowed_types(source, target)
    if type not in allowed:
        choice = ", ".join(allowed) or "none"
        raise Invalid.of("type", f"ArchiMate 3.2 allows from {source} to {target}: {choice}", type)


async def find_end(tenant: TenantSession, field: str, id: str) -> Document:
    """The element or relationship at an end; `Invalid`, naming the field, when it is not there."""
    for kind in (Kind.ELEMENT, Kind.RELATIONSHIP):
        stored = await tenant.store.get(kind, id)
        if stored is not None:
            return stored.body
    raise Invalid.of(field, "is neither an element nor a relationship of this tenant", id)


async def by_ids(tenant: TenantSession, kind: Kind, ids: Iterable[str]) -> dict[str, Document]:
    """The items of these ids that are there."""
    found: dict[str, Document] = {}
    for some in chunks(sorted(set(ids))):
        page = await tenant.store.query(kind, [Where("id", "in", some)])
        found |= {stored.body["id"]: stored.body for stored in page.items}
    return found


async def meeting(
    tenant: TenantSession, ids: Iterable[str], *, type: RelationshipType | None = None, most: int | None = None
) -> dict[str, Document]:
    """The relationships with one of `ids` at either end, by id; at most about `most` of them."""
    found: dict[str, Document] = {}
    extra = [Where("type", "=", type)] if type else []
    for some in chunks(sorted(set(ids))):
        for end in ("source_id", "target_id"):
            after: tuple[str, str] | None = None
            while most is None or len(found) < most:
                page = await tenant.store.query(Kind.RELATIONSHIP, [Where(end, "in", some), *extra], after=after)
                found |= {stored.body["id"]: stored.body for stored in page.items}
                after = page.next
                if after is None:
                    break
    return found


async def depending_on(tenant: TenantSession, id: str) -> list[Relationship]:
    """All relationships that could not be without this item: those at it, those at them, and so on; nearest last."""
    found: dict[str, Document] = {}
    frontier = {id}
    while frontier:
        met = await meeting(tenant, frontier)
        frontier = set(met) - set(found)
        found |= {one: met[one] for one in frontier}
    return [Relationship.model_validate(body) for body in reversed(found.values())]


async def around(tenant: TenantSession, center: Element, *, depth: int, type: RelationshipType | None) -> Neighbourhood:
    """Breadth first: one query per direction and step for each 200 elements of the frontier."""
    distances = {center.id: 0}
    relationships: dict[str, Document] = {}
    truncated = False
    frontier = {center.id}
    for distance in range(1, depth + 1):
        met = await meeting(tenant, frontier, type=type, most=MOST_NEIGHBOURS * 2)
        ends = {met[one][end] for one in met for end in ("source_id", "target_id")}
        reached = await by_ids(tenant, Kind.ELEMENT, ends - set(distances))
        for id in sorted(reached)[: MOST_NEIGHBOURS - len(distances) + 1]:
            distances[id] = distance
        truncated = truncated or any(id not in distances for id in reached) or len(met) >= MOST_NEIGHBOURS * 2
        relationships |= {
            one: body for one, body in met.items() if body["source_id"] in distances and body["target_id"] in distances
        }
        frontier = set(reached) & set(distances)
        if not frontier or truncated:
            break
    elements = await by_ids(tenant, Kind.ELEMENT, set(distances) - {center.id})
    neighbours = [Neighbour(distance=distances[id], element=Element.model_validate(elements[id])) for id in elements]
    return Neighbourhood(
        center=center,
        elements=sorted(neighbours, key=lambda neighbour: (neighbour.distance, neighbour.element.name)),
        relationships=[Relationship.model_validate(body) for body in relationships.values()],
        truncated=truncated,
    )


def chunks(ids: Sequence[str]) -> Iterable[list[str]]:
    return (list(ids[start : start + IN_AT_ONCE]) for start in range(0, len(ids), IN_AT_ONCE))
