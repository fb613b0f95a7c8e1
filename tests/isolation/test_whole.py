"""All of the cases as everybody, on both databases, each on a stage of its own, where nobody was before."""

import pytest

from tests.isolation.cases import Stage
from tests.isolation.page import PAGE, markdown
from tests.isolation.prover import Prover
from tests.isolation.watch import Watch

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


async def proved(stage: Stage, name: str, capsys: pytest.CaptureFixture[str]) -> Prover:
    watch = Watch(stage.site, stage.victim.id)
    prover = Prover(stage, watch)
    await prover.prove()
    watch.close()
    with capsys.disabled():
        print(f"\nisolation on {name}: {prover.cases:,} cases, {len(prover.leaks)} leaks")
    assert list(map(str, prover.leaks[:20])) == []
    return prover


async def test_nothing_leaks_on_the_embedded_database(on_sqlite: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    prover = await proved(on_sqlite, "SQLite", capsys)
    assert prover.cases > 35_000
    assert PAGE.read_text("utf-8") == markdown(prover), "run `make pages`"


async def test_nothing_leaks_on_cosmos_db_through_the_real_sdk(
    on_cosmos: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    await proved(on_cosmos, "Cosmos DB", capsys)
