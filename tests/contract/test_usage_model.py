"""Whatever happens, in whatever order, each event counts once: two consumers, two closers, crashes, voids, conflicts.

On both databases; on Cosmos DB each process has a client, and so a session, of its own, over replicas that are behind.
`make test-long` makes many more runs.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from itertools import count

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile

from shared.database.port import Database
from shared.database.sqlite import SqliteDatabase
from tests.contract.database import SHARD
from tests.contract.usage_model import Round, Tenant, runs
from tests.doubles.clock import FakeClock
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import cosmos_database

RUNS = {"sqlite": 150, "cosmos": 40}
PARTS = 3  # side by side
MANY_RUNS = {"sqlite": int(os.environ.get("USAGE_RUNS", "19000")) // PARTS, "cosmos": 1000 // PARTS}
NUMBERS = count()


@pytest.fixture(params=["sqlite", "cosmos"])
def processes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, asyncio.Runner, Sequence[Database]]]:
    """What two processes have open, of one database."""
    clock, name = FakeClock(), str(request.param)
    with asyncio.Runner() as runner:
        if name == "sqlite":
            folder = tmp_path_factory.mktemp("usage")
            databases: Sequence[Database] = [SqliteDatabase(folder, clock, ["shard-1"]) for _ in range(2)]
        else:
            double: CosmosDouble = request.getfixturevalue("cosmos")
            databases = [cosmos_database(double.endpoint, clock, deadline=120.0) for _ in range(2)]
        yield name, runner, databases
        for database in databases:
            runner.run(database.close())


def check(processes: tuple[str, asyncio.Runner, Sequence[Database]], how_many: dict[str, int]) -> None:
    name, runner, databases = processes

    @profile(max_examples=how_many[name], deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(rounds=runs)
    def each(rounds: list[Round]) -> None:
        tenant_id = f"0190c2a8-7e10-7abc-8def-{next(NUMBERS):012x}"
        stores = [database.tenant(tenant_id, SHARD) for database in databases]
        runner.run(Tenant(stores).run(rounds))

    each()


def test_totals_are_those_of_a_simple_oracle(
    processes: tuple[str, asyncio.Runner, Sequence[Database]],
) -> None:
    check(processes, RUNS)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(PARTS))
def test_totals_are_those_of_a_simple_oracle_in_many_runs(
    processes: tuple[str, asyncio.Runner, Sequence[Database]], part: int
) -> None:
    check(processes, MANY_RUNS)
