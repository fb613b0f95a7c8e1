"""Every way in over HTTP on the embedded database: nothing of the victim's is seen, changed or told."""

import re

import pytest

from tests.isolation.cases import WORDS, Stage, batch, id_fields
from tests.isolation.changes import through_belongings
from tests.isolation.expected import BODIES, CREDENTIALS, EXPECTED
from tests.isolation.page import PAGE
from tests.isolation.prover import Prover
from tests.isolation.watch import Watch, kind_of

DECISIVE = ("admin", "the victim's tenant, oneself")  # who may most, and who reads another's partition


@pytest.mark.timeout(300)
async def test_nothing_leaks(on_sqlite: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Every route as the decisive callers and some of the others; as everybody in test_whole.py."""
    watch = Watch(on_sqlite.site, on_sqlite.victim.id)
    prover = Prover(on_sqlite, watch)
    await prover.prove(every=20, always=DECISIVE)
    found = [str(leak) async for leak in through_belongings(on_sqlite, on_sqlite.home.id) if leak]
    watch.close()
    with capsys.disabled():
        print(f"\nisolation on SQLite: {prover.cases:,} cases, {len(prover.leaks)} leaks")
    assert list(map(str, prover.leaks[:20])) == [] and found == []
    assert {route for route, _ in prover.outcomes} == EXPECTED.keys()
    assert {name for _, name in prover.outcomes} == CREDENTIALS.keys()
    page = PAGE.read_text("utf-8")
    assert [key for key in EXPECTED if f"| `{key}` |" not in page] == [], "run `make pages`"


async def test_the_victim_has_something_wherever_anything_is_kept(on_sqlite: Stage) -> None:
    """Else that nothing of it is changed would prove nothing."""
    watch = Watch(on_sqlite.site, on_sqlite.victim.id)
    dump = watch.dump()
    watch.close()
    kinds = {kind_of(where, dump) for where in dump}
    own = {
        "agent",
        "element",
        "relationship",
        "view",
        "model",
        "model_part",
        "user",
        "case",
        "design",
        "provider",
        "tool",
        "mcp_server",
        "audit",
        "job",
    }
    own |= {
        "issuer",
        "api_key",
        "api_key_proof",
        "staff_access",
        "backup",
        "execution",
        "execution_step",
        "notification",
        "webhook",
        "webhook_delivery",
        "webhook_line",
        "idempotency",
        "counter",
        "binding",
        "usage_block",
    }
    assert own | {"tenant", "reservation", "dead_letter", "blobs", "secrets"} <= kinds


async def test_the_victim_itself_reaches_all_of_it(on_sqlite: Stage) -> None:
    """Else that others do not would prove nothing: staff who name it are shown each of its ids."""
    shown = [case for key in EXPECTED for case in batch(on_sqlite, on_sqlite.site.routes[key], "staff, the victim")]
    tried = {id for case in shown for id in case.params.values()}
    read = [route.path for route in on_sqlite.site.routes.values() if route.method == "GET"]
    of_paths = {name for path in read for name in _parameters(path)}
    assert {on_sqlite.victim.ids[name] for name in of_paths} <= tried


# --- what has no expectation fails -----------------------------------------------------------------------------------


def test_every_route_has_an_expectation_and_every_expectation_a_route(on_sqlite: Stage) -> None:
    assert set(on_sqlite.site.routes) == set(EXPECTED), "add its line to ROUTES in expected.py, or take it away"


def test_every_credential_has_an_expectation(on_sqlite: Stage) -> None:
    assert set(on_sqlite.credentials) == set(CREDENTIALS), "add it to CREDENTIALS, and make one in credentials.py"


def test_every_field_of_a_body_that_takes_an_id_has_an_expectation(on_sqlite: Stage) -> None:
    found = {(key, field) for key, route in on_sqlite.site.routes.items() for field in id_fields(route)}
    assert found == set(BODIES), "add the field to BODIES in tests/isolation/expected.py"


def test_every_parameter_of_a_path_has_an_id_of_both_tenants(on_sqlite: Stage) -> None:
    names = {name for route in on_sqlite.site.routes.values() for name in _parameters(route.path)}
    for tenant in (on_sqlite.victim, on_sqlite.home):
        assert names - set(tenant.ids) == set(), "make one of it in tests/isolation/people.py"


def _parameters(path: str) -> set[str]:
    return {*re.findall(r"{(\w+)}", path)} - {*WORDS}
