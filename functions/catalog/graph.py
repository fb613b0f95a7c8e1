"""Questions about the graph of one tenant: what is at an end, which relationships meet an item, what is around it."""

import json
from collections.abc import AsyncIterator, Container, Iterable, Sequence

from functions.catalog.archimate import Concept, RelationshipType, allowed_types
from functions.catalog.models import Element, Neighbor, Neighborhood, NeighborQuery, Relationship
from shared.database.port import Document, Order, Stored, Where
from shared.errors import Invalid
from shared.kinds import Kind
from shared.work.change import Change
from shared.work.resources import FIRST_READ, MAX_PAGE_BYTES, Versioned
from shared.work.session import TenantSession

IN_AT_ONCE = 200
MOST_NEIGHBORS = 1000
MOST_NESTED = 20
ENDS = ("source_id", "target_id")


def concept_of(body: Document) -> Concept:
    """What an end is to the table of allowed relationships."""
    if body["kind"] == Relationship.KIND:
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
    for kind in (Element.KIND, Relationship.KIND):
        stored = await tenant.store.get(kind, id)
        if stored is not None:
            return stored.body
    raise Invalid.of(field, "is neither an element nor a relationship of this tenant", id)


async def keep_shallow(
    tenant: TenantSession,
    change: Change,
    ends: Sequence[Document],
    new: Relationship,
    old: Relationship | None,
) -> None:
    """`Invalid` when the relationship would end at itself, or with what hangs on it make a chain of too many.

    What it ends at is touched all the way down, so that two changes of one chain cannot both have seen it short: the
    ETag of every relationship moves when something begins to hang on it, at whatever distance.
    """
    if old is not None and (old.source_id, old.target_id) == (new.source_id, new.target_id):
        return
    for field, end in zip(ENDS, ends, strict=True):
        if end["kind"] != Relationship.KIND:
            continue
        chain = await _chain(tenant, field, end, new.id)
        longest = MOST_NESTED - 1 - len(chain)
        if longest < 0 or (old is not None and await _hanging(tenant, new.id, longest) > longest):
            raise Invalid.of(
                field, f"would make a chain of more than {MOST_NESTED} relationships, each at the next", end["id"]
            )
        for below in chain[1:]:
            change.touch(Relationship.KIND, below["id"], field, revision=below["revision"])


async def _chain(tenant: TenantSession, field: str, end: Document, id: str) -> list[Document]:
    """The end, a relationship, and those that it ends at in turn, as far as a chain may go and one further."""
    chain: list[Document] = []
    beyond: Document | None = end
    while beyond is not None and len(chain) < MOST_NESTED:
        if beyond["id"] == id:
            raise Invalid.of(field, "is the relationship itself, or ends at it", id)
        chain.append(beyond)
        nested = await by_ids(tenant, Relationship.KIND, [beyond[at] for at in ENDS])
        beyond = next(iter(nested.values()), None)
    return chain


async def _hanging(tenant: TenantSession, id: str, most: int) -> int:
    """How many relationships the longest chain has that ends at `id`, counted up to one more than `most`."""
    length, frontier = 0, {id}
    while length <= most and (frontier := set(await meeting(tenant, frontier))):
        length += 1
    return length


async def by_ids(tenant: TenantSession, kind: Kind, ids: Iterable[str]) -> dict[str, Document]:
    """The items of these ids that are there."""
    found: dict[str, Document] = {}
    for some in chunks(sorted(set(ids))):
        page = await tenant.store.query(kind, [Where("id", "in", some)])
        found |= {stored.body["id"]: stored.body for stored in page.items}
    return found


async def of_model(
    tenant: TenantSession, kind: Kind, model_id: str, limit: int = IN_AT_ONCE
) -> AsyncIterator[list[Stored]]:
    """The items of one kind that are the model's, in pages ordered by id; smaller ones (`limit`) of large items."""
    after: tuple[str, str] | None = None
    where = [Where("model_id", "=", model_id)]
    while True:
        page = await tenant.store.query(kind, where, order=Order("id"), limit=limit, after=after)
        if page.items:
            yield page.items
        after = page.next
        if after is None:
            break


async def meeting(
    tenant: TenantSession,
    ids: Iterable[str],
) -> dict[str, Stored]:
    """The relationships with one of `ids` at one of their ends, by id."""
    found: dict[str, Stored] = {}
    for some in chunks(sorted(set(ids))):
        for end in ENDS:
            after: tuple[str, str] | None = None
            while True:
                page = await tenant.store.query(Relationship.KIND, [Where(end, "in", some)], after=after)
                found |= {stored.body["id"]: stored for stored in page.items}
                after = page.next
                if after is None:
                    break
    return found


async def depending_on(tenant: TenantSession, ids: Iterable[str]) -> list[Versioned[Relationship]]:
    """All relationships that could not be without these items: those at them, those at those, and so on.

    None comes after one that it ends at, so that a deletion in this order leaves a valid model at every step; each
    has the ETag with which it was seen here, so that none is deleted that has changed since.
    """
    found: dict[str, Stored] = {}
    given = frontier = set(ids)
    while frontier:
        met = await meeting(tenant, frontier)
        frontier = set(met) - set(found) - given
        found |= {one: met[one] for one in frontier}

    def nesting(one: str) -> int:
        """How many others of these it ends at; a relationship has at most one relationship as an end."""
        depth = 0
        while depth < MOST_NESTED and (one := next((end for at in ENDS if (end := found[one].body[at]) in found), "")):
            depth += 1
        return depth

    return [Versioned.of(Relationship, found[one]) for one in sorted(found, key=nesting, reverse=True)]


async def around(tenant: TenantSession, center: Element, query: NeighborQuery) -> Neighborhood:
    """Breadth first: a few queries per direction and step for each 200 elements of the frontier; no more than a page.

    Nothing is read that has no room left in the page, but for what one query brings with it.
    """
    distances = {center.id: 0}
    relationships: dict[str, Document] = {}
    elements: dict[str, Document] = {}
    truncated, room = False, MAX_PAGE_BYTES
    extra = [Where("type", "=", query.type)] if query.type else []
    frontier = {center.id}
    ends_here = {"in": ("target_id",), "out": ("source_id",), "both": ENDS}[query.direction]
    for distance in range(1, query.depth + 1):
        at_ends = [[Where(end, "in", some), *extra] for some in chunks(sorted(frontier)) for end in ends_here]
        met, all_met = await _within(tenant, Relationship.KIND, at_ends, relationships, MOST_NEIGHBORS * 2, room)
        ends = {met[one][end] for one in met for end in ENDS} - set(distances)
        at_ids = [[Where("id", "in", some)] for some in chunks(sorted(ends))]
        most = MOST_NEIGHBORS - len(distances) + 1
        reached, all_reached = await _within(tenant, Element.KIND, at_ids, elements, most, room)
        room -= sum(map(_size, reached.values()))
        distances |= dict.fromkeys(reached, distance)
        elements |= reached
        truncated = not (all_met and all_reached)
        for one, body in met.items():
            if body["source_id"] in distances and body["target_id"] in distances:
                if (size := _size(body)) > room:
                    truncated = True
                    break
                room -= size
                relationships[one] = body
        frontier = set(reached)
        if not frontier or truncated:
            break
    neighbors = [Neighbor(distance=distances[id], element=Element.model_validate(elements[id])) for id in elements]
    return Neighborhood(
        center=center,
        elements=sorted(neighbors, key=lambda neighbor: (neighbor.distance, neighbor.element.name)),
        relationships=[Relationship.model_validate(body) for body in relationships.values()],
        truncated=truncated,
    )


async def _within(
    tenant: TenantSession,
    kind: Kind,
    queries: Iterable[Sequence[Where]],
    known: Container[str],
    most: int,
    room: int,
) -> tuple[dict[str, Document], bool]:
    """What the queries bring that is not known yet, at most so many items and bytes, and whether that is all."""
    found: dict[str, Document] = {}
    for where in queries:
        after: tuple[str, str] | None = None
        while True:
            page = await tenant.store.query(kind, where, limit=FIRST_READ, after=after)
            for body in (stored.body for stored in page.items if stored.body["id"] not in known):
                if body["id"] in found:
                    continue
                room -= _size(body)
                if len(found) == most or room < 0:
                    return found, False
                found[body["id"]] = body
            after = page.next
            if after is None:
                break
    return found, True


def _size(body: Document) -> int:
    return len(json.dumps(body, ensure_ascii=False).encode())


def chunks(ids: Sequence[str]) -> Iterable[list[str]]:
    return (list(ids[start : start + IN_AT_ONCE]) for start in range(0, len(ids), IN_AT_ONCE))
