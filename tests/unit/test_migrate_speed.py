"""What makes a migration fast says the same as what it took the place of."""

import gc
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cli.heap import YOUNG, seldom_collected
from cli.legacy.mapping import KNOWN
from cli.legacy.old_file import opened
from cli.legacy.reading import rows
from functions.catalog.models import ElementFields
from functions.catalog.values import MAX_FIELDS_BYTES, element_values
from functions.migration.digests import FIELDS, digest
from functions.migration.taking import item_id
from shared.ids import DEFAULT_TENANT_ID
from tests.unit.legacy_world import old_file

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(TEXTS, st.dictionaries(TEXTS, JSON, max_size=4))
def test_a_digest_is_the_hash_of_json_with_sorted_names(key: str, config: dict[str, Any]) -> None:
    fields = {**dict.fromkeys(FIELDS["agents"]), "name": key, "config": config}
    told = ["agents", key, *(fields[name] for name in FIELDS["agents"])]
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    assert digest("agents", key, fields) == sha256(text.encode()).hexdigest()


def test_whole_numbers_are_one_kind_wherever_they_stand() -> None:
    fields = dict.fromkeys(FIELDS["agents"])
    each = [{"a": {"b": [1.0, {"c": 2.0}]}, "d": 3.0}, {"a": {"b": [1, {"c": 2}]}, "d": 3}]
    first, second = (digest("agents", "7", {**fields, "config": config}) for config in each)
    assert first == second


def test_rows_come_in_the_order_of_the_ids_that_they_get_with_equal_keys_side_by_side(tmp_path: Path) -> None:
    some: list[dict[str, Any]] = [{"id": str(number % 40), "name": "One"} for number in range(60)]
    old = old_file(tmp_path / "old.db", {"elements": some})
    with opened(old) as found:
        read = list(
            rows(found.connection, "elements", KNOWN, lambda _, key: item_id(DEFAULT_TENANT_ID, "elements", key))
        )
    ids = [item_id(DEFAULT_TENANT_ID, "elements", one.key or "") for one in read]
    assert len(ids) == 60 and ids == sorted(ids)
    assert sum(one.repeated for one in read) == 20


@given(st.text(st.characters(codec="utf-8")))
def test_no_text_is_longer_in_json_than_four_times_as_it_is_shown(text: str) -> None:
    fields = {"name": text, "languages": {}, "properties": {text: text}}
    assert len(json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()) <= 4 * len(repr(fields))


def test_values_of_an_element_that_are_near_the_limit_are_measured() -> None:
    texts = {f"p{number}": "x" * 20_000 for number in range(11)}
    sent = ElementFields(name="One", type="Node", properties=texts)
    assert 200_000 < len(json.dumps(element_values(sent))) < MAX_FIELDS_BYTES


def test_python_collects_as_before_when_the_command_is_over() -> None:
    before = gc.get_threshold()
    with seldom_collected():
        assert gc.get_threshold()[0] == YOUNG
    assert gc.get_threshold() == before
