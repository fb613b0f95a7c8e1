"""Pages are bounded by their bytes as well: none is held whole that would keep others waiting."""

from typing import Any

import pytest

from functions.catalog.models import Element, NeighborQuery
from shared.auth.roles import Role
from shared.work.resources import FIRST_READ, MAX_PAGE_BYTES, PageRequest
from tests.unit.catalog_world import Catalog
from tests.unit.world import World, admin, person

LARGE = {f"p{number}": "x" * 20_000 for number in range(10)}


@pytest.fixture
async def catalog(world: World) -> Catalog:
    return await Catalog.of(world)


def watch_queries(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items each query has brought."""
    brought: list[int] = []
    query = catalog.store.inner.query

    async def watched(*args: Any, **more: Any) -> Any:
        page = await query(*args, **more)
        brought.append(len(page.items))
        return page

    monkeypatch.setattr(catalog.store.inner, "query", watched)
    return brought


async def listed(world: World, name: str, tenant: str, limit: int) -> list[list[Any]]:
    pages: list[list[Any]] = []
    query = {"limit": str(limit)}
    while True:
        answer = await world.call(name, admin(tenant), query=query)
        assert len(answer.raw) < MAX_PAGE_BYTES + 512 * 1024
        pages.append(answer.json["items"])
        if answer.json["next_cursor"] is None:
            return pages
        query["cursor"] = answer.json["next_cursor"]


async def test_a_page_of_large_items_ends_early_and_the_next_goes_on_there(world: World) -> None:
    tenant = (await world.onboard())["id"]
    for number in range(30):
        body = {"name": f"n{number}", "type": "Node", "properties": LARGE}
        assert (await world.call("create_element", person(tenant, Role.USER), body)).status == 201
    for name, most in (("list_elements", 200), ("list_audit", 100)):
        pages = await listed(world, name, tenant, most)
        assert len(pages) > 1
        ids = [one["id"] for page in pages for one in page]
        assert len(ids) == len(set(ids)) >= 30


async def test_a_page_of_the_usual_size_is_one_query(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(FIRST_READ + 10):
        await catalog.element()
    brought = watch_queries(catalog, monkeypatch)
    page = await catalog.elements.list(catalog.tenant, {}, PageRequest(FIRST_READ))
    assert (len(page.items), brought) == (FIRST_READ, [FIRST_READ])
    page = await catalog.elements.list(catalog.tenant, {}, PageRequest(200))
    assert (len(page.items), brought) == (FIRST_READ + 10, [FIRST_READ, FIRST_READ, 10])
    assert page.next is None


async def test_an_item_larger_than_a_page_is_a_page(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.work.resources.MAX_PAGE_BYTES", 10)
    made = [await catalog.element() for _ in range(3)]
    page = await catalog.elements.list(catalog.tenant, {}, PageRequest(200))
    assert ([one.id for one in page.items], page.next is None) == ([made[-1].id], False)


async def test_what_is_read_for_a_page_of_large_items_is_little_more_than_it_shows(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.work.resources.FIRST_READ", 2)
    monkeypatch.setattr("shared.work.resources.MAX_PAGE_BYTES", 1_000_000)
    for _ in range(12):
        await catalog.element(properties=LARGE)
    brought = watch_queries(catalog, monkeypatch)
    page = await catalog.elements.list(catalog.tenant, {}, PageRequest(200))
    assert len(page.items) == 4
    assert sum(brought) <= 6


async def test_neighbors_are_no_more_than_a_page(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.catalog.graph.MAX_PAGE_BYTES", 1_000_000)
    center = await catalog.element()
    for _ in range(8):
        await catalog.relationship(center, await catalog.element(properties=LARGE), type="Flow")
    around = await catalog.elements.neighbors(catalog.tenant, center.id, NeighborQuery())
    assert (len(around.elements), len(around.relationships), around.truncated) == (4, 4, True)
    assert len(await catalog.stored(Element.KIND)) == 9


async def test_what_is_read_for_neighbors_is_little_more_than_they_show(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.catalog.graph.MAX_PAGE_BYTES", 1_000_000)
    monkeypatch.setattr("functions.catalog.graph.FIRST_READ", 2, raising=False)
    center, other = await catalog.element(), await catalog.element()
    for _ in range(12):
        await catalog.relationship(center, other, properties=LARGE)
        await catalog.relationship(center, await catalog.element(properties=LARGE), type="Flow")
    brought = watch_queries(catalog, monkeypatch)
    around = await catalog.elements.neighbors(catalog.tenant, center.id, NeighborQuery(depth=5))
    assert len(around.elements) + len(around.relationships) >= 3 and around.truncated
    assert sum(brought) <= 20


async def test_relationships_that_were_met_before_take_no_room_of_those_further_on(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.catalog.graph.MOST_NEIGHBORS", 3)
    center = await catalog.element()
    for _ in range(4):
        await catalog.relationship(center, await catalog.element(), type="Flow")
    one, two = await catalog.element(), await catalog.element()
    for end in (one, two):
        await catalog.relationship(end, one if end is two else await catalog.element(), type="Flow")
    around = await catalog.elements.neighbors(catalog.tenant, two.id, NeighborQuery(depth=5))
    assert (len(around.elements), len(around.relationships), around.truncated) == (2, 2, False)
