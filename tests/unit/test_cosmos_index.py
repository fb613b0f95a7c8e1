"""The indexing policies have a path for every field that the services filter by, each container its own."""

import re
from pathlib import Path
from typing import get_args

import pytest

import function_app
from functions.kinds import KINDS
from shared.database.cosmos.containers import ALWAYS, FILTERED_FIRST, indexing
from shared.http.pagination import ListQuery, NamedQuery, ResourceQuery
from shared.http.routes import Content, Route
from shared.kinds import Container

ROOT = Path(__file__).parents[2]
CONTAINERS: tuple[Container, ...] = get_args(Container)
COMPUTED = ("list_costs",)  # of tenants, but each item is worked out
LISTS = [
    route
    for route in function_app.own_core.endpoint.routes
    if issubclass(route.query, ListQuery) and route.name not in COMPUTED and not isinstance(route.answer, Content)
]
BY_SORTED = {(): ListQuery, ("updated_at",): ResourceQuery, ("updated_at", "name"): NamedQuery}


def test_every_field_that_is_filtered_by_is_indexed_somewhere() -> None:
    sources = [path.read_text("utf-8") for folder in ("functions", "shared") for path in (ROOT / folder).rglob("*.py")]
    asked = {name for source in sources for name in re.findall(r'Where\("([a-z_.]+)"', source)}
    assert {"created_at", "lease_until", "unaudited.created_at"} <= asked
    indexed = {name for container in CONTAINERS for name in (*ALWAYS[container], *KINDS.filtered(container))}
    indexed |= {name for container in CONTAINERS for name in KINDS.sorted(container)}
    assert asked - {*indexed, "id"} == set(), "name it in `filtered` of its kind"


@pytest.mark.parametrize("route", LISTS, ids=lambda route: route.name)
def test_what_a_list_is_filtered_by_is_declared_by_its_kind(route: Route) -> None:
    (shown,) = route.answer.__pydantic_generic_metadata__["args"]
    asked = set(route.query.model_fields) - set(NamedQuery.model_fields)
    declared = getattr(shown, "KIND", None)
    assert declared is not None or not asked
    assert asked - set(declared.filtered if declared else ()) == set(), f"name it in `filtered` of {declared}"


@pytest.mark.parametrize("route", LISTS, ids=lambda route: route.name)
def test_a_list_is_sorted_by_whatever_its_items_have_a_time_or_a_name_for(route: Route) -> None:
    (shown,) = route.answer.__pydantic_generic_metadata__["args"]
    has = tuple(name for name in ("updated_at", "name") if name in shown.model_fields)
    assert shown.KIND.sorted == has, f"name it in `sorted` of {shown.KIND}"
    assert issubclass(route.query, BY_SORTED[has]), f"make its query a {BY_SORTED[has].__name__}"
    assert "q" in route.query.model_fields or "name" not in has


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_policy_is_short_and_says_each_thing_once(container: Container) -> None:
    """Each item pays for each path; a composite index serves both directions (index-policy)."""
    policy = indexing(container, KINDS)
    paths = [one["path"] for one in policy["includedPaths"]]
    assert len(set(paths)) == len(paths) <= 28
    composites = [[one["path"] for one in composite] for composite in policy["compositeIndexes"]]
    assert len({tuple(one) for one in composites}) == len(composites) <= 4
    first = [f"/{name}" for name in FILTERED_FIRST[container]]
    assert all(one[: len(first)] == first for one in composites)
    assert policy["excludedPaths"] == [{"path": "/*"}]
