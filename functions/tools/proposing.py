"""The tool by which agents change the catalog: each call is approved by a person first, and made once, in one batch."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError

from functions.catalog.additions import AddedElement, AddedRelationship, add, types_of, wrong_with
from functions.catalog.models import Element, ElementFields, Text
from functions.catalog.models import Name as ElementName
from functions.catalog.values import element_values
from functions.tools.port import Tool, Toolbox, ToolFailed
from shared.ai.port import ToolSpec
from shared.auth.roles import Role
from shared.database.port import Create
from shared.errors import Conflict, Contended, FieldError, Invalid, NotFound, Stale
from shared.ids import derived_id
from shared.kinds import Kind
from shared.work.change import Change
from shared.work.resources import Body, Id, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession

USED = Kind("tool_use", append_only=True)
USED_SECONDS: Final = 40 * 86400  # longer than any run may last
MAX_ITEMS: Final = 20  # of one call: with what they touch they are one batch


class ChangedElement(Body):
    """What becomes of an element that is there; null: it stays as it is."""

    id: Id = Field(description="The element's id.")
    name: ElementName | None = Field(None, min_length=1, description="Its new name.")
    description: Text | None = Field(None, description="Its new description.")


class Proposed(Body):
    """What is to be made and changed in the catalog."""

    reason: Annotated[str, Field(max_length=2000)] = Field(description="Why, for who has to approve it.")
    elements: list[AddedElement] = Field(
        [], max_length=MAX_ITEMS, description="New ones, and those they are joined to."
    )
    relationships: list[AddedRelationship] = Field([], max_length=MAX_ITEMS, description="New ones.")
    changes: list[ChangedElement] = Field([], max_length=MAX_ITEMS, description="Elements that are there.")


class Propose:
    """`catalog.propose`: a `Tool`. Its result is what was made: ids by key."""

    NAME: Final = "catalog.propose"
    idempotent = True
    approval: Role | None = Role.USER
    fingerprint: Final = ""

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(
            "catalog_propose",
            "Propose new elements and relationships of the ArchiMate catalog, and changes of elements that are there. "
            "A person approves or refuses the whole of it.",
            Proposed.model_json_schema(),
        )

    async def use(self, session: TenantSession, arguments: Mapping[str, Any], key: str) -> Any:
        """Again under the same key, it answers what was made the first time."""
        proposed = _read(arguments)
        for _ in range(TRIES_AT_A_RACE):
            known = await session.store.get(USED, _used(key))
            if known is not None:
                return known.body["result"]
            try:
                return await _made(session, proposed, key)
            except Invalid as invalid:
                raise ToolFailed(invalid.message) from invalid
            except NotFound as gone:
                raise ToolFailed(f"{gone.message} It was deleted meanwhile.") from gone
            except (Conflict, Stale):  # made by another runner of the same call, or what it means has changed
                continue
        raise Contended("Others keep changing what this is about; try again.")


class ProposingTools(Toolbox):
    """`catalog.propose`."""

    async def find(self, session: TenantSession, names: Sequence[str]) -> dict[str, Tool]:
        return {Propose.NAME: Propose()} if Propose.NAME in names else {}


async def _made(session: TenantSession, proposed: Proposed, key: str) -> dict[str, Any]:
    errors = wrong_with(proposed.elements, proposed.relationships, await types_of(session, proposed.elements))
    count = len(proposed.relationships) + len(proposed.changes)
    count += sum(one.existing_id is None for one in proposed.elements)
    if not 0 < count <= MAX_ITEMS:
        errors.append(FieldError("elements", f"with relationships and changes these are {count}; 1 to {MAX_ITEMS}"))
    changed = [one.id for one in proposed.changes]
    if len({*changed}) < len(changed) or {*changed} & {one.existing_id for one in proposed.elements}:
        errors.append(FieldError("changes", "an element is changed once, and not joined to others at the same time"))
    if errors:
        raise Invalid(errors)
    held = [await load(session, Element, one.id) for one in proposed.changes]
    change: Change = session.change(*held)
    for old, new in zip(held, proposed.changes, strict=True):
        change.update(old, _changed(old.value, new))
    elements, relationships = await add(
        session, change, proposed.elements, proposed.relationships, lambda kind, name: derived_id(kind, key, name)
    )
    result = {"elements": elements, "relationships": relationships, "changed": changed}
    body = {"created_at": change.at, "result": result}
    change.write(Create(USED, _used(key), body, ttl=USED_SECONDS))
    await change.commit(None)
    return result


def _changed(old: Element, new: ChangedElement) -> Mapping[str, Any]:
    own = old.model_dump(include={*ElementFields.model_fields})
    texts = new.model_dump(include={"name", "description"}, exclude_none=True)
    return element_values(ElementFields.model_validate({**own, **texts}), old)


def _read(arguments: Mapping[str, Any]) -> Proposed:
    try:
        return Proposed.model_validate_json(json.dumps(arguments))
    except ValidationError as error:
        said = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)[:5]]
        raise ToolFailed("; ".join(said)) from error


def _used(key: str) -> str:
    return derived_id(USED, key)
