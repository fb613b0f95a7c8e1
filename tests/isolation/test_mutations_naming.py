"""What the prover is worth where bodies name ids: MCP's calls of tools, and A2A's messages."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

import shared.database.sqlite_query as sqlite_query
from tests.isolation.cases import Stage
from tests.isolation.mutating import mutate
from tests.isolation.naming import MCP, SEND, TOOLS
from tests.isolation.test_mutations import leaks
from tests.isolation.watch import Watch


@pytest_asyncio.fixture(loop_scope="module")
async def watch(on_sqlite: Stage) -> AsyncIterator[Watch]:
    own = Watch(on_sqlite.site, on_sqlite.victim.id)
    yield own
    own.close()


async def test_without_a_mutation_the_same_cases_find_nothing(on_sqlite: Stage, watch: Watch) -> None:
    assert await leaks(on_sqlite, watch, [MCP, SEND], "viewer", "user", "admin") == ""


@pytest.mark.parametrize("tool", TOOLS)
async def test_a_tool_of_mcp_whose_point_read_forgets_the_tenant(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    mutate(monkeypatch, sqlite_query, "get", ("WHERE tenant_id = ? AND", "WHERE ? IS NOT NULL AND"))
    found = await leaks(on_sqlite, watch, [MCP], "user")
    what = TOOLS[tool][1]
    assert (
        f"{MCP} as user, {tool}: the victim's {what}: is answered otherwise than with {tool}: an id that never" in found
    )


@pytest.mark.parametrize(("tool", "what"), [("catalog_search", "element"), ("list_agents", "agent")])
async def test_a_tool_of_mcp_whose_query_forgets_the_tenant(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch, tool: str, what: str
) -> None:
    mutate(monkeypatch, sqlite_query, "select", ('"tenant_id = ?")', '"? IS NOT NULL")'))
    found = await leaks(on_sqlite, watch, [MCP], "viewer")
    assert f"{MCP} as viewer, {tool}: the victim's {what}: the answer holds the victim's {what}_id" in found


async def test_a_message_to_a_task_whose_point_read_forgets_the_tenant(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, sqlite_query, "get", ("WHERE tenant_id = ? AND", "WHERE ? IS NOT NULL AND"))
    found = await leaks(on_sqlite, watch, [SEND], "user")
    assert f"{SEND} as user, their agent, taskId: the victim's task of it: 400 where 404 must be" in found
