"""The Cosmos DB double is as strict as the service where an adapter could be wrong without noticing."""

from typing import Any

import pytest

from functions.kinds import KINDS
from shared.database.cosmos.containers import definition
from tests.doubles.cosmos_documents import Documents
from tests.doubles.cosmos_sql import SqlError, parse, parse_predicate
from tests.doubles.cosmos_store import Container, Refused, Store

KEY = '["t"]'


def matches(condition: str, document: dict[str, Any], **parameters: Any) -> bool:
    given = {f"@{name}": value for name, value in parameters.items()}
    return parse(f"SELECT * FROM c WHERE {condition}").matches(document, given)


@pytest.fixture
def container() -> Container:
    store = Store(lambda: 1000.0)
    store.create_database("db")
    store.create_container("db", definition("items", KINDS))
    return store.container("db", "items")


def patched(container: Container, *operations: dict[str, Any], condition: str = "") -> int:
    store = Store(lambda: 1000.0)
    store.batch(container, KEY, [{"operationType": "Upsert", "resourceBody": {"id": "a", "tenant_id": "t", "n": 1}}])
    body = {"operations": list(operations), "condition": condition}
    _, [result] = store.batch(container, KEY, [{"operationType": "Patch", "id": "a", "resourceBody": body}])
    return int(result["statusCode"])


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM c WHERE c.value = 1",
        "SELECT * FROM c WHERE c.order = 1",
        "SELECT * FROM c WHERE a.name = 1",
        "SELECT * FROM c WHERE c.x IN ()",
        "SELECT * FROM c WHERE c.x = 1 OFFSET 1",
        "SELECT * FROM c GROUP BY c.x",
    ],
)
def test_what_the_service_cannot_read_is_refused(text: str) -> None:
    with pytest.raises(SqlError):
        parse(text)


def test_comparisons_with_nothing_or_another_type_select_nothing() -> None:
    assert not matches("c.x < 1", {})
    assert not matches("NOT c.x < 1", {})
    assert not matches('c.x < 1 OR c.x = "a"', {"x": "b"})
    assert matches("NOT IS_DEFINED(c.x) OR c.x < 1", {})
    assert matches('c["a"]["b/c"] = @v AND c.n IN (1, 2)', {"a": {"b/c": None}, "n": 2}, v=None)
    assert not matches("c.flag = 1", {"flag": True})


def test_a_condition_has_the_form_of_a_query_without_select() -> None:
    assert parse_predicate('from c where c["value"] <= 3').matches({"value": 3}, {})
    with pytest.raises(SqlError):
        parse_predicate('c["value"] <= 3')


def test_an_order_by_two_fields_needs_a_composite_index(container: Container) -> None:
    unindexed: list[str] = []
    documents = Documents(Store(lambda: 0.0), unindexed, lambda: 1000)
    documents._check_index(container, parse("SELECT * FROM c ORDER BY c.tenant_id DESC, c.kind DESC, c.id DESC"))
    with pytest.raises(Refused, match="composite index"):
        documents._check_index(container, parse("SELECT * FROM c ORDER BY c.tenant_id DESC, c.kind DESC, c.id ASC"))
    assert unindexed == []
    documents._check_index(container, parse("SELECT * FROM c WHERE c.description = 1"))
    assert unindexed == ["description"]


def test_patches_follow_the_services_rules(container: Container) -> None:
    add = {"op": "incr", "path": "/n", "value": 1}
    assert patched(container, add, {"op": "set", "path": "/mark", "value": "x"}) == 200
    assert patched(container, {"op": "incr", "path": "/none/x", "value": 1}) == 400
    assert patched(container, {"op": "set", "path": "/tenant_id", "value": "other"}) == 400
    assert patched(container, *[add] * 11) == 400
    assert patched(container, add, condition='from c where c["n"] <= 0') == 412


def test_a_document_belongs_to_the_partition_that_is_named(container: Container) -> None:
    store = Store(lambda: 1000.0)
    create = {"operationType": "Create", "resourceBody": {"id": "a", "tenant_id": "other"}}
    done, [result] = store.batch(container, KEY, [create])
    assert (done, result["statusCode"], result["subStatusCode"]) == (False, 400, 1001)


def test_what_has_expired_is_hidden_at_once_and_its_id_is_not_free(container: Container) -> None:
    """It is deleted some time later (cosmos-db/time-to-live); what a create does until then is said nowhere."""
    now = [1000.0]
    store = Store(lambda: now[0])
    body = {"id": "a", "tenant_id": "t", "ttl": 10}
    create = {"operationType": "Create", "resourceBody": body}
    assert store.batch(container, KEY, [create])[0]
    now[0] += 11
    assert container.documents(KEY, now[0]) == []
    _, [read] = store.batch(container, KEY, [{"operationType": "Read", "id": "a"}])
    _, [again] = store.batch(container, KEY, [create])
    assert (read["statusCode"], again["statusCode"]) == (404, 409)


def test_a_reader_without_a_token_is_behind_and_one_with_a_token_is_not(container: Container) -> None:
    store = Store(lambda: 1000.0)
    for number in range(3):
        store.batch(
            container, KEY, [{"operationType": "Create", "resourceBody": {"id": f"{number}", "tenant_id": "t"}}]
        )
    before, lsn = container.seen_by(0, 2)
    assert (before, lsn < container.lsn) == ({}, True)
    seen, lsn = container.seen_by(container.lsn, 2)
    assert (len(seen[KEY]), lsn) == (3, container.lsn)
    store.batch(container, KEY, [{"operationType": "Delete", "id": "0"}])
    assert [len(container.seen_by(0, 2)[0][KEY]) for _ in range(4)] == [3, 3, 2, 2]
