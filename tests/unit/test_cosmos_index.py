"""The indexing policy names every field that the services filter by."""

import re
from pathlib import Path

from functions.agents.models import AgentQuery
from shared.database.cosmos_containers import FILTERED
from shared.http.pagination import PageQuery

ROOT = Path(__file__).parents[2]


def test_every_field_that_is_filtered_by_is_indexed() -> None:
    sources = [path.read_text("utf-8") for folder in ("functions", "shared") for path in (ROOT / folder).rglob("*.py")]
    asked = {name for source in sources for name in re.findall(r'Where\("([a-z_.]+)"', source)}
    asked |= set(AgentQuery.model_fields) - set(PageQuery.model_fields)
    assert {"created_at", "lease_until", "pattern"} <= asked
    assert {name.replace(".", "/") for name in asked} - {*FILTERED, "id"} == set()
