"""Tools over the tenant's own catalog: its elements, and what is around each."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from functions.catalog.archimate import ElementType
from functions.catalog.models import Element, ElementQuery, NeighborQuery, Relationship
from functions.catalog.service import ElementService, RelationshipService
from functions.tools.port import Tool, Toolbox, ToolFailed, wrong_in_words
from shared.ai.port import ToolSpec
from shared.auth.roles import Role
from shared.database.port import Order
from shared.errors import NotFound
from shared.work.resources import PageRequest
from shared.work.session import TenantSession

MOST_FOUND = 20
A = TypeVar("A", bound="Arguments")
BY_NAME = Order("name")


class Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Search(Arguments):
    name: str | None = Field(
        None, min_length=1, max_length=100, description="How the name begins, in upper or lower case; none: any."
    )
    type: ElementType | None = Field(None, description="The ArchiMate type; none: any.")
    limit: int = Field(10, ge=1, le=MOST_FOUND, description="At most so many.")


class Read(Arguments):
    id: str = Field(min_length=1, max_length=100, description="The id of an element or a relationship.")


class Neighbors(Arguments):
    id: str = Field(min_length=1, max_length=100, description="The id of an element.")
    depth: int = Field(1, ge=1, le=3, description="How many relationships away.")


@dataclass(frozen=True)
class CatalogTool:
    """One that only reads."""

    spec: ToolSpec
    work: Callable[[TenantSession, Mapping[str, Any]], Awaitable[Any]]
    idempotent: ClassVar[bool] = True
    approval: ClassVar[Role | None] = None
    fingerprint: ClassVar[str] = ""

    async def use(self, session: TenantSession, arguments: Mapping[str, Any], key: str) -> Any:
        return await self.work(session, arguments)


class CatalogTools(Toolbox):
    """`catalog.search`, `catalog.read`, `catalog.neighbors`."""

    def __init__(self, elements: ElementService, relationships: RelationshipService) -> None:
        self._elements = elements
        self._relationships = relationships

    async def find(self, session: TenantSession, names: Sequence[str]) -> dict[str, Tool]:
        return {name: self._tools[name] for name in names if name in self._tools}

    @cached_property
    def _tools(self) -> Mapping[str, Tool]:
        """Their schemas take a while, and are for who runs agents alone."""
        searching = "Finds elements of the enterprise's architecture by name and type."
        around = "What is around an element, and how it is related."
        known = (
            ("catalog.search", searching, Search, self._search),
            ("catalog.read", "Reads one element or relationship, whole.", Read, self._read),
            ("catalog.neighbors", around, Neighbors, self._neighbors),
        )
        return {
            name: CatalogTool(ToolSpec(name, description, arguments.model_json_schema()), work)
            for name, description, arguments, work in known
        }

    async def _search(self, session: TenantSession, given: Mapping[str, Any]) -> Any:
        asked = _checked(Search, given)
        query = ElementQuery(q=asked.name, type=asked.type)
        page = PageRequest(asked.limit, order=BY_NAME, where=query.where())
        found = await self._elements.list(session, query.filters(), page)
        return {"elements": [_brief(one) for one in found.items], "more": found.next is not None}

    async def _read(self, session: TenantSession, given: Mapping[str, Any]) -> Any:
        id = _checked(Read, given).id
        try:
            return _whole(await self._elements.get(session, id))
        except NotFound:
            return _whole(await self._relationships.get(session, id))

    async def _neighbors(self, session: TenantSession, given: Mapping[str, Any]) -> Any:
        asked = _checked(Neighbors, given)
        found = await self._elements.neighbors(session, asked.id, NeighborQuery(depth=asked.depth))
        return {
            "center": _brief(found.center),
            "elements": [{**_brief(one.element), "distance": one.distance} for one in found.elements],
            "relationships": [_related(one) for one in found.relationships],
            "truncated": found.truncated,
        }


def _checked(model: type[A], given: Mapping[str, Any]) -> A:
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        raise ToolFailed(wrong_in_words(error)) from error


def _brief(element: Element) -> dict[str, Any]:
    return {"id": element.id, "name": element.name, "type": element.type, "description": element.description[:300]}


def _related(one: Relationship) -> dict[str, Any]:
    return {"id": one.id, "type": one.type, "source_id": one.source_id, "target_id": one.target_id}


def _whole(one: Element | Relationship) -> dict[str, Any]:
    shown = {"id", "name", "type", "layer", "description", "properties", "source_id", "target_id"}
    return one.model_dump(mode="json", include=shown)
