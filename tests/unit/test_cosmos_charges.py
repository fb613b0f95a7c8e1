"""The double charges what the service is documented, or was seen, to charge (sources beside the double's formulas)."""

import json
from typing import Any

import pytest

from functions.agents.models import Agent
from functions.kinds import KINDS
from shared.database.cosmos.containers import definition
from shared.database.cosmos.query import select
from shared.database.port import NEWEST_FIRST, Where
from tests.doubles import cosmos_charges as charges
from tests.doubles.cosmos_documents import Documents
from tests.doubles.cosmos_store import Container, Store

KEY = '["t"]'
NO_INDEX: dict[str, Any] = {"includedPaths": []}
ITEMS = definition("items", KINDS)["indexingPolicy"]


def sized(kilobytes: float) -> dict[str, Any]:
    document = {"id": "a", "text": ""}
    return {**document, "text": "x" * (round(kilobytes * 1024) - len(json.dumps(document, separators=(",", ":"))))}


@pytest.mark.parametrize(("kilobytes", "read", "write"), [(0.2, 1, 5), (1, 1, 5), (100, 10, 50)])
def test_without_an_index_reads_and_writes_cost_what_the_price_list_says(
    kilobytes: float, read: float, write: float
) -> None:
    assert charges.read(sized(kilobytes)) == pytest.approx(read)
    assert charges.written(NO_INDEX, sized(kilobytes)) == pytest.approx(write)


def test_with_our_index_small_writes_cost_seven_a_replace_eleven_and_large_ones_by_their_size() -> None:
    assert 6 < charges.written(ITEMS, sized(1)) < 7.5
    assert 10 <= charges.replaced(ITEMS, sized(1)) < 12
    assert charges.written(ITEMS, sized(30)) == pytest.approx(20, rel=0.1)
    assert charges.written(ITEMS, sized(256)) == pytest.approx(120, rel=0.1)


def test_every_included_path_costs_every_item_whether_it_has_it_or_not() -> None:
    more = {**ITEMS, "includedPaths": [*ITEMS["includedPaths"], {"path": "/absent/?"}]}
    assert charges.written(more, {"id": "a"}) > charges.written(ITEMS, {"id": "a"})


@pytest.fixture
def container() -> Container:
    store = Store(lambda: 1000.0)
    store.create_database("db")
    store.create_container("db", definition("items", KINDS))
    return store.container("db", "items")


def spent(container: Container, *operations: dict[str, Any]) -> list[float]:
    _, results = Store(lambda: 1000.0).batch(container, KEY, list(operations))
    return [result["requestCharge"] for result in results]


def test_a_patch_costs_a_replace_of_the_whole_and_a_refusal_little(container: Container) -> None:
    large = {**sized(100), "tenant_id": "t", "n": 1}
    [created] = spent(container, {"operationType": "Create", "resourceBody": large})
    [replaced] = spent(container, {"operationType": "Replace", "id": "a", "resourceBody": large})
    one = {"operations": [{"op": "incr", "path": "/n", "value": 1}]}
    [patched] = spent(container, {"operationType": "Patch", "id": "a", "resourceBody": one})
    assert patched == pytest.approx(replaced, rel=0.01)
    assert patched > 1.5 * created
    assert spent(container, {"operationType": "Create", "resourceBody": large}) == [1.24]


def charge_of(container: Container, text: str, parameters: list[dict[str, Any]]) -> float:
    documents = Documents(Store(lambda: 1000.0), [], lambda: 1000)
    headers = {"x-ms-documentdb-partitionkey": KEY}
    reply = documents.answer("Query", headers, ["", "db", "", "items"], {"query": text, "parameters": parameters}, 0)
    return float(reply.headers["x-ms-request-charge"])


@pytest.fixture
def full(container: Container) -> Container:
    """A thousand agents."""
    for number in range(1000):
        body = {"id": f"agent:{number}", "kind": "agent", "tenant_id": "t", "created_at": f"{number:04}", "status": "x"}
        spent(container, {"operationType": "Create", "resourceBody": {**body, "text": "x" * 500}})
    container.seen_by(container.lsn, 0)
    return container


def test_a_page_of_ours_costs_what_is_on_it_not_what_the_tenant_has(
    full: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "container", lambda *_: full)
    query = select("t", Agent.KIND, [Where("status", "=", "x")], NEWEST_FIRST, 21, None)
    assert 2.8 < charge_of(full, query.text, query.parameters) < 4
    turned = query.text.replace(
        ' c["tenant_id"] DESC, c["kind"] DESC, c["created_at"] DESC, c["id"] DESC', " c.created_at"
    )
    assert "ORDER BY c.created_at" in turned
    assert charge_of(full, turned, query.parameters) > 5 * charge_of(full, query.text, query.parameters)
