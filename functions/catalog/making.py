"""A model that a file brings and that is not there yet: the first batch that names it makes it."""

from dataclasses import dataclass
from typing import Any

from functions.catalog.models import Model
from shared.work.change import Change
from shared.work.resources import Tombstone, Versioned
from shared.work.session import TenantSession


@dataclass(frozen=True)
class Making:
    """`buried`: what a model of this id has left that was deleted."""

    id: str
    identifier: str
    name: str
    buried: Versioned[Tombstone] | None

    @property
    def versions(self) -> list[Versioned[Any]]:
        return [] if self.buried is None else [self.buried]

    def put(self, change: Change, **said: Any) -> Model:
        """Into the change, before anything that names it; `said`: what else it says of itself. `Taken` at commit."""
        fields = {"identifier": self.identifier, "name": self.name, **said}
        return change.create(Model, fields, id=self.id, buried=self.buried)

    async def again(self, tenant: TenantSession) -> "Making | None":
        """After another has made it first: None where it is there, else as it is to be made now."""
        traces = await tenant.store.traces(Model.KIND, [self.id])
        if traces.there:
            return None
        buried = [Versioned.of(Tombstone, one) for one in traces.buried]
        return Making(self.id, self.identifier, self.name, buried[0] if buried else None)
