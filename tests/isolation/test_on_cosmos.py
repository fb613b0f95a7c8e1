"""The same cases on Cosmos DB, through the real SDK, as the decisive callers; all of them are among the long tests."""

from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

import shared.database.cosmos.store as cosmos_store
from shared.database.cosmos.calls import Calls
from tests.isolation import both, changes, senders, ways
from tests.isolation.cases import Stage
from tests.isolation.expected import EXPECTED
from tests.isolation.mutating import mutate
from tests.isolation.prover import Prover
from tests.isolation.watch import Watch, kind_of

DECISIVE = (  # who reads another's partition, and who may most
    "the victim's tenant, oneself",
    "admin",
)
LIST = "GET v1/agents"
UNNAMED = ("[] if tenant_id is None else [f\"{path('tenant_id')} = {query.bind(tenant_id)}\"]", "list[str]()")
UNKEYED = ('{} if key is None else {"partition_key": key}', "{}")


@pytest_asyncio.fixture(loop_scope="module")
async def watch(on_cosmos: Stage) -> AsyncIterator[Watch]:
    own = Watch(on_cosmos.site, on_cosmos.victim.id)
    yield own
    own.close()


async def leaks(stage: Stage, watch: Watch, routes: Sequence[str], *credentials: str, every: int = 1) -> str:
    prover = Prover(stage, watch)
    await prover.prove(routes, credentials, every=every)
    return "\n".join(map(str, prover.leaks))


async def test_the_victim_is_in_the_account(on_cosmos: Stage, watch: Watch) -> None:
    dump = watch.dump()
    kinds = {kind_of(where, dump) for where in dump}
    assert {"agent", "element", "audit", "usage_block", "tenant", "reservation", "blobs", "secrets"} <= kinds


async def test_a_query_that_does_not_name_its_tenant_is_found_though_the_partition_key_still_holds(
    on_cosmos: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, cosmos_store, "select", UNNAMED)
    found = await leaks(on_cosmos, watch, [LIST], "viewer")
    assert f"{LIST} as viewer, own ids: a query of items does not name its tenant" in found
    assert "the answer holds" not in found


async def test_a_query_that_forgets_the_partition_key_is_found_though_its_text_still_holds(
    on_cosmos: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, Calls, "query", UNKEYED)
    found = await leaks(on_cosmos, watch, [LIST], "viewer")
    assert f"{LIST} as viewer, own ids: a Query of items names no partition" in found
    assert "the answer holds" not in found


async def test_a_query_that_forgets_both_is_found_by_what_it_shows(
    on_cosmos: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, cosmos_store, "select", UNNAMED)
    mutate(monkeypatch, Calls, "query", UNKEYED)
    found = await leaks(on_cosmos, watch, [LIST], "viewer")
    assert f"{LIST} as viewer, own ids: the answer holds the victim's agent_id" in found


@pytest.mark.timeout(300)
async def test_nothing_leaks_to_api_keys(on_cosmos: Stage, watch: Watch) -> None:
    keys = [name for name in on_cosmos.credentials if name.startswith(("key", "the victim's key"))]
    routes = [LIST, "POST v1/users", *(key for key in EXPECTED if "v1/api-keys" in key)]
    assert len(keys) == 16 and await leaks(on_cosmos, watch, routes, *keys) == ""


@pytest.mark.timeout(300)
async def test_nothing_leaks_to_the_decisive_callers(on_cosmos: Stage, watch: Watch) -> None:
    assert await leaks(on_cosmos, watch, tuple(EXPECTED), *DECISIVE, every=4) == ""


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_no_other_way_in_leaks_either(on_cosmos: Stage, watch: Watch) -> None:
    for way in (both.at_once, both.figures, both.windows):
        assert [str(leak) async for leak in way(on_cosmos) if leak] == [], way.__name__
    within = (ways.through_queues, ways.through_agents, ways.through_jobs, changes.through_changes)
    for through in (*within, changes.through_work, senders.through_hooks, ways.through_timers):
        assert [str(leak) async for leak in through(on_cosmos, watch) if leak] == [], through.__name__
