"""Cursors: opaque, signed, bound to one list of one tenant with one filter."""

import base64
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.errors import Invalid
from shared.http.pagination import Cursors
from tests.unit.world import AGENT, STAFF, Answer, World, admin

CURSORS = Cursors(lambda: b"k" * 32)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
POSITIONS = st.tuples(TEXTS, TEXTS)
FILTERS = st.dictionaries(TEXTS, st.none() | TEXTS, max_size=3)


def signed(position: tuple[str, str] = ("2026-11-24T12:00:00.000000Z", "id-1")) -> str:
    cursor = CURSORS.sign(position, "tenant:list", {"status": "active"})
    assert cursor is not None
    return cursor


def refused(cursor: str, scope: str = "tenant:list", filters: dict[str, Any] | None = None) -> bool:
    try:
        CURSORS.open(cursor, scope, {"status": "active"} if filters is None else filters)
    except Invalid:
        return True
    return False


@given(POSITIONS, TEXTS, FILTERS)
def test_a_cursor_opens_to_what_was_put_in(position: tuple[str, str], scope: str, filters: dict[str, Any]) -> None:
    assert CURSORS.open(CURSORS.sign(position, scope, filters), scope, filters) == position


@given(st.data())
def test_a_cursor_with_any_bit_flipped_is_refused(data: st.DataObject) -> None:
    raw = bytearray(base64.urlsafe_b64decode(signed() + "=="))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    assert refused(base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode())


@given(st.integers(0, 60))
def test_a_cursor_cut_short_is_refused(length: int) -> None:
    assume(length < len(signed()))
    assert refused(signed()[:length])


@given(TEXTS)
def test_a_made_up_cursor_is_refused(text: str) -> None:
    assert refused(text)


@given(TEXTS)
def test_a_cursor_of_another_scope_is_refused(scope: str) -> None:
    assume(scope != "tenant:list")
    assert refused(signed(), scope)


@given(FILTERS)
def test_a_cursor_of_another_filter_is_refused(filters: dict[str, Any]) -> None:
    assume(filters != {"status": "active"})
    assert refused(signed(), filters=filters)


def test_the_order_of_the_filters_does_not_matter() -> None:
    cursor = CURSORS.sign(("a", "b"), "s", {"x": 1, "y": 2})
    assert CURSORS.open(cursor, "s", {"y": 2, "x": 1}) == ("a", "b")


def test_a_cursor_of_another_key_is_refused() -> None:
    other = Cursors(lambda: b"o" * 32).sign(("a", "b"), "tenant:list", {"status": "active"})
    assert other is not None and refused(other)


def test_a_cursor_fits_in_a_url_as_it_is() -> None:
    assert signed(("\xff" * 20, "?" * 20)).replace("-", "").replace("_", "").isalnum()


def test_the_last_page_has_no_cursor() -> None:
    assert CURSORS.sign(None, "s", {}) is None


def test_no_cursor_is_the_first_page() -> None:
    assert CURSORS.open(None, "s", {}) is None


# Through the pipeline


@pytest.fixture
async def cursor(world: World) -> str:
    """The cursor of Acme's list of draft agents."""
    for slug in ("acme", "globex"):
        tenant = await world.onboard(slug, tier="enterprise")
        for _ in range(3):
            await world.call("create_agent", admin(tenant["id"]), AGENT)
    answer = await page(world, "acme", status="draft")
    return str(answer.json["next_cursor"])


async def page(world: World, slug: str, **query: str) -> Answer:
    entry = await world.call("list_tenants", STAFF, query={"slug": slug})
    return await world.call("list_agents", admin(entry.json["items"][0]["id"]), query={"limit": "1", **query})


async def test_a_page_leads_to_the_next(world: World, cursor: str) -> None:
    assert (await page(world, "acme", status="draft", cursor=cursor)).status == 200


async def test_a_cursor_of_another_tenant_is_invalid(world: World, cursor: str) -> None:
    answer = await page(world, "globex", status="draft", cursor=cursor)
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "cursor")


async def test_a_cursor_with_another_filter_is_invalid(world: World, cursor: str) -> None:
    assert (await page(world, "acme", cursor=cursor)).status == 400


async def test_a_cursor_goes_with_another_page_size(world: World, cursor: str) -> None:
    answer = await page(world, "acme", status="draft", cursor=cursor, limit="200")
    assert len(answer.json["items"]) == 2


@pytest.mark.parametrize("limit", ["0", "201", "-1", "many", "1.5", ""])
async def test_a_page_size_is_1_to_200(world: World, cursor: str, limit: str) -> None:
    answer = await page(world, "acme", limit=limit)
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "limit")
