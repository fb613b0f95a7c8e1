"""Elements and relationships that come together: some are there, others new, which have keys until they have ids."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from pydantic import Field, StringConstraints

from functions.catalog.archimate import ElementType, RelationshipType, allowed_types
from functions.catalog.models import Element, ElementFields, Relationship, RelationshipFields
from functions.catalog.values import element_values, relationship_values
from shared.errors import FieldError
from shared.kinds import Kind
from shared.work.change import Change
from shared.work.resources import Body, Id, Name, load
from shared.work.session import TenantSession

Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,79}$")]


class AddedElement(Body):
    """An element: one that is there (`existing_id`), or a new one."""

    key: Key = Field(description="What the relationships call it.")
    existing_id: Id | None = Field(None, description="The element of the catalog that is meant; null: a new one.")
    name: Name = Field(description="What it is called.")
    type: ElementType = Field(description="Its type in ArchiMate 3.2.")
    description: Annotated[str, Field(max_length=5000)] = Field("", description="What it is, in words.")


class AddedRelationship(Body):
    """A new relationship between two of the elements."""

    type: RelationshipType = Field(description="Its type in ArchiMate 3.2.")
    source: Key = Field(description="Key of the element that it begins at.")
    target: Key = Field(description="Key of the element that it ends at.")
    name: Annotated[str, Field(max_length=255)] = Field("", description="What it is called; may be empty.")


def wrong_with(
    elements: Sequence[AddedElement], relationships: Sequence[AddedRelationship], known: Mapping[str, ElementType]
) -> list[FieldError]:
    """What forbids them, by field; `known`: the types of those elements, by id, that are there."""
    found: list[FieldError] = []
    types: dict[str, ElementType] = {}
    for number, one in enumerate(elements):
        at = f"elements.{number}"
        if one.key in types:
            found.append(FieldError(f"{at}.key", "is another element's key as well", one.key))
        if one.existing_id is not None and one.existing_id not in known:
            found.append(FieldError(f"{at}.existing_id", "is no element of this tenant", one.existing_id))
        types[one.key] = known.get(one.existing_id, one.type) if one.existing_id is not None else one.type
    for number, arrow in enumerate(relationships):
        at = f"relationships.{number}"
        ends = {end: types.get(getattr(arrow, end)) for end in ("source", "target")}
        for end, type in ends.items():
            if type is None:
                found.append(FieldError(f"{at}.{end}", "is no key of an element among these", getattr(arrow, end)))
        source, target = ends["source"], ends["target"]
        if source and target and arrow.type not in (allowed := allowed_types(source, target)):
            said = f"ArchiMate 3.2 allows from {source} to {target}: {', '.join(allowed) or 'none'}"
            found.append(FieldError(f"{at}.type", said, arrow.type))
    return found


async def types_of(tenant: TenantSession, elements: Sequence[AddedElement]) -> dict[str, ElementType]:
    """The types of those that are meant to be there and are; a point read each."""
    found: dict[str, ElementType] = {}
    for id in dict.fromkeys(one.existing_id for one in elements if one.existing_id is not None):
        stored = await tenant.store.get(Element.KIND, id)
        if stored is not None:
            found[id] = stored.body["type"]
    return found


async def add(
    tenant: TenantSession,
    change: Change,
    elements: Sequence[AddedElement],
    relationships: Sequence[AddedRelationship],
    id_of: Callable[[Kind, str], str],
) -> tuple[dict[str, str], list[str]]:
    """Put them into the change, which must be right (`wrong_with`); the elements' ids by key, the relationships' ids.

    `id_of`: the id of a new one, by its kind and key (a relationship's: its number). At commit `Invalid` or `Stale`
    where an element that is meant has gone or changed meanwhile.
    """
    ids = {one.key: one.existing_id or id_of(Element.KIND, one.key) for one in elements}
    for number, one in enumerate(elements):
        if one.existing_id is None:
            sent = ElementFields(name=one.name, type=one.type, description=one.description)
            change.create(Element, element_values(sent, None), id=ids[one.key])
        else:
            held = await load(tenant, Element, one.existing_id)
            change.touch(Element.KIND, held.value.id, f"elements.{number}", revision=held.value.revision)
    made = [id_of(Relationship.KIND, str(number)) for number in range(len(relationships))]
    for arrow, id in zip(relationships, made, strict=True):
        fields = RelationshipFields(
            type=arrow.type, source_id=ids[arrow.source], target_id=ids[arrow.target], name=arrow.name
        )
        change.create(Relationship, relationship_values(fields, None), id=id)
    return ids, made
