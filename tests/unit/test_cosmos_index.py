"""The indexing policies name every field that the services filter by, each container its own."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from functions.agents.models import AgentQuery
from functions.audit.models import AuditQuery
from functions.backups.models import BackupQuery, RestoreQuery
from functions.catalog.models import ElementQuery, ModelQuery, RelationshipQuery
from functions.identity.models import UserQuery
from functions.platform.models import JobQuery
from functions.tenants.models import TenantQuery
from functions.usage.models import UsageEventQuery, UsageQuery
from shared.database.cosmos.containers import FILTERED, SORTED, indexing
from shared.http.pagination import PageQuery

ROOT = Path(__file__).parents[2]
OTHERS = {"since", "until"}  # bounds of created_at
QUERIES: dict[str, list[type[BaseModel]]] = {
    "items": [
        AgentQuery,
        AuditQuery,
        BackupQuery,
        ElementQuery,
        JobQuery,
        ModelQuery,
        RelationshipQuery,
        RestoreQuery,
        UserQuery,
    ],
    "usage": [UsageEventQuery, UsageQuery],
    "tenants": [TenantQuery],
}


def test_every_field_that_is_filtered_by_is_indexed_somewhere() -> None:
    sources = [path.read_text("utf-8") for folder in ("functions", "shared") for path in (ROOT / folder).rglob("*.py")]
    asked = {name for source in sources for name in re.findall(r'Where\("([a-z_.]+)"', source)}
    assert {"created_at", "lease_until", "unaudited.created_at"} <= asked
    assert {name.replace(".", "/") for name in asked} - {*sum(FILTERED.values(), ()), "id"} == set()


@pytest.mark.parametrize("container", QUERIES)
def test_what_lists_are_filtered_by_is_indexed_where_they_are(container: str) -> None:
    asked = {name for query in QUERIES[container] for name in query.model_fields}
    assert asked - set(PageQuery.model_fields) - OTHERS - {*FILTERED[container]} == set()


@pytest.mark.parametrize("container", FILTERED)
def test_a_policy_is_short_and_says_each_thing_once(container: str) -> None:
    """Each item pays for each path; a composite index serves both directions (index-policy)."""
    policy = indexing(container)
    paths = [one["path"] for one in policy["includedPaths"]]
    assert len(set(paths)) == len(paths) <= 19
    composites = [[one["path"] for one in composite] for composite in policy["compositeIndexes"]]
    assert len({tuple(one) for one in composites}) == len(composites) == len(SORTED[container]) <= 2
    assert policy["excludedPaths"] == [{"path": "/*"}]
