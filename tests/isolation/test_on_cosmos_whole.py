"""All of the cases on Cosmos DB, through the real SDK, as everybody: on a stage of its own, where nobody was before."""

import pytest

from tests.isolation.cases import Stage
from tests.isolation.prover import Prover
from tests.isolation.watch import Watch


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_nothing_leaks_to_anybody(on_cosmos: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch(on_cosmos.site, on_cosmos.victim.id)
    prover = Prover(on_cosmos, watch)
    await prover.prove()
    watch.close()
    with capsys.disabled():
        print(f"\nisolation on Cosmos DB: {prover.cases:,} cases, {len(prover.leaks)} leaks")
    assert list(map(str, prover.leaks[:20])) == []
