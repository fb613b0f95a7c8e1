"""What the catalog's tests are made of: one tenant's session, its services, and exchange files written by hand."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from functions.catalog.archimate import ElementType, RelationshipType
from functions.catalog.exchange import FoundElement, FoundRelationship, ModelHeader
from functions.catalog.exchange_write import write_model
from functions.catalog.exporting import export_model
from functions.catalog.import_models import Asked, ImportReport, Mode
from functions.catalog.importing import CatalogImport
from functions.catalog.model_service import ModelService, find_model
from functions.catalog.models import (
    Element,
    ElementFields,
    Model,
    Relationship,
    RelationshipFields,
)
from functions.catalog.service import ElementService, RelationshipService
from shared.database.port import Operation
from shared.http.bodies import MergePatch
from shared.kinds import Kind
from shared.work.session import TenantSession
from tests.unit.world import WatchedStore, World, entry, register


@dataclass
class Catalog:
    """One tenant's catalog; every batch that it commits is watched."""

    world: World
    tenant: TenantSession
    store: WatchedStore
    elements: ElementService
    relationships: RelationshipService
    imports: CatalogImport
    modelling: ModelService

    @classmethod
    async def of(cls, world: World) -> "Catalog":
        store = WatchedStore(await register(world.core))
        tenant = replace(await world.session(entry().id), store=store)
        imports = CatalogImport(world.core.adapters.blobs)
        return cls(world, tenant, store, ElementService(), RelationshipService(), imports, ModelService())

    async def element(self, type: ElementType = "BusinessProcess", **fields: Any) -> Element:
        return await self.elements.create(self.tenant, ElementFields(**{"name": "x", "type": type, **fields}))

    async def relationship(
        self, source: Element | Relationship, target: Element | Relationship, **fields: Any
    ) -> Relationship:
        sent = {"type": "Association", "source_id": source.id, "target_id": target.id, **fields}
        return await self.relationships.create(self.tenant, RelationshipFields(**sent))

    async def patch_element(self, id: str, **fields: Any) -> Element:
        return await self.elements.patch(self.tenant, id, MergePatch(ElementFields, fields), None)

    async def patch_relationship(self, id: str, **fields: Any) -> Relationship:
        return await self.relationships.patch(self.tenant, id, MergePatch(RelationshipFields, fields), None)

    async def delete_element(self, id: str, *, if_match: str | None = None, cascade: bool = False) -> None:
        await self.elements.delete(self.tenant, id, if_match, cascade=cascade)

    async def read(
        self, body: bytes, named: str | None = None, *, mode: Mode = "merge", dry_run: bool = False
    ) -> ImportReport:
        return await self.imports.run(self.tenant, body, Asked(named, mode, dry_run))

    async def export(self, named: str | None = None) -> bytes:
        return await export_model(self.tenant, None if named is None else await find_model(self.tenant, named))

    async def models(self) -> list[Model]:
        return [Model.model_validate(one) for one in await self.stored(Model.KIND)]

    async def stored(self, kind: Kind) -> list[dict[str, Any]]:
        return [one.body async for page in self.store.inner.scan([kind]) for one in page]

    async def dangling(self) -> list[str]:
        """The relationships with an end that is not there."""
        there = {one["id"] for kind in (Element.KIND, Relationship.KIND) for one in await self.stored(kind)}
        return [
            one["id"]
            for one in await self.stored(Relationship.KIND)
            if not {one["source_id"], one["target_id"]} <= there
        ]

    def once_before(self, when: Callable[[Sequence[Operation]], bool], do: Callable[[], Awaitable[Any]]) -> None:
        """Do something else just before the first batch that `when` holds for."""

        async def before(operations: Sequence[Operation]) -> None:
            if when(operations):
                self.store.before = None
                await do()

        self.store.before = before


def process(identifier: str, name: str = "x", **more: Any) -> FoundElement:
    return FoundElement(identifier, more.pop("type", "BusinessProcess"), name=name, **more)


def arrow(
    identifier: str, source: str, target: str, type: RelationshipType = "Association", **more: Any
) -> FoundRelationship:
    return FoundRelationship(identifier, type, source, target, **more)


def file_of(*items: FoundElement | FoundRelationship, name: str = "Model", model: str = "model-1") -> bytes:
    """An exchange file that holds these; `model` is its model's identifier."""
    elements = [one for one in items if isinstance(one, FoundElement)]
    arrows = [one for one in items if isinstance(one, FoundRelationship)]
    return b"".join(write_model(ModelHeader(model, name), elements, arrows))


def hand_written(elements: str, relationships: str = "") -> bytes:
    """An exchange file with what our own writer would not write."""
    return (
        '<model xmlns="http://www.opengroup.org/xsd/archimate/3.0/" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" identifier="m"><name>M</name>'
        f"<elements>{elements}</elements>"
        + (f"<relationships>{relationships}</relationships>" if relationships else "")
        + "</model>"
    ).encode()
