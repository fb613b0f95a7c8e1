"""What a file's identifiers lead to: looked up as many at once as a query takes, some ahead of what is taken."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from functions.catalog.models import Imported
from functions.catalog.naming import Meant, Naming
from shared.work.resources import Tombstone, Versioned
from shared.work.session import TenantSession

AT_ONCE: Final = 200
"""Ids that a query takes."""
ITEMS_BETWEEN_OTHERS = 4
CHEAP_BETWEEN_OTHERS = 200
T = TypeVar("T")


class Named(Protocol):
    @property
    def identifier(self) -> str: ...


N = TypeVar("N", bound=Named)


@dataclass(frozen=True, slots=True)
class Known:
    """The id that an identifier means, what it leads to, and the model that the item is part of from now on."""

    id: str
    held: Versioned[Any] | None
    buried: Versioned[Tombstone] | None
    part_of: str | None

    @property
    def versions(self) -> list[Versioned[Any]]:
        return [one for one in (self.held, self.buried) if one is not None]


async def unhurried(items: Iterable[T], at_once: int = CHEAP_BETWEEN_OTHERS) -> AsyncIterator[T]:
    """These; after so many the loop is others'."""
    for number, one in enumerate(items):
        if number % at_once == 0:
            await asyncio.sleep(0)
        yield one


async def look_up(
    tenant: TenantSession, model: type[Imported], identifiers: Iterable[str], naming: Naming
) -> dict[str, Known]:
    """What each of them means, by one query: they may mean 200 ids at most."""
    return await _look_up(tenant, model, {one: naming.meant(model.KIND, one) for one in identifiers})


async def _look_up(tenant: TenantSession, model: type[Imported], meant: Mapping[str, Meant]) -> dict[str, Known]:
    traces = await tenant.store.traces(model.KIND, sorted({id for one in meant.values() for id in one.ids}))
    there = {
        stored.body["id"]: Versioned.of(model, stored) async for stored in unhurried(traces.there, ITEMS_BETWEEN_OTHERS)
    }
    buried = {stored.body["id"]: Versioned.of(Tombstone, stored) for stored in traces.buried}
    values = {id: held.value for id, held in there.items()}
    return {identifier: _known(one, values, there, buried) for identifier, one in meant.items()}


async def looked_up(
    tenant: TenantSession, model: type[Imported], found: Sequence[N], naming: Naming
) -> AsyncIterator[tuple[N, Known]]:
    """These in order, each with what it means."""
    some: list[tuple[N, Meant]] = []
    room = AT_ONCE
    async for one in unhurried(found):
        meant = naming.meant(model.KIND, one.identifier)
        if some and len(meant.ids) > room:
            for known in await _each(tenant, model, some):
                yield known
            some, room = [], AT_ONCE
        some.append((one, meant))
        room -= len(meant.ids)
    for known in await _each(tenant, model, some):
        yield known


async def _each(tenant: TenantSession, model: type[Imported], some: Sequence[tuple[N, Meant]]) -> list[tuple[N, Known]]:
    known = await _look_up(tenant, model, {one.identifier: meant for one, meant in some}) if some else {}
    return [(one, known[one.identifier]) for one, _ in some]


def _known(
    meant: Meant,
    values: Mapping[str, Imported],
    there: Mapping[str, Versioned[Any]],
    buried: Mapping[str, Versioned[Tombstone]],
) -> Known:
    id = meant.among(values)
    held = there.get(id)
    return Known(id, held, buried.get(id) if held is None else None, meant.part_of(id, held.value if held else None))
