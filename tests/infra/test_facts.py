"""Every fact holds in each environment, and is told of when it does not."""

import json
import os
import subprocess
import sys

import pytest

from shared.messaging.queues import DELIVERY_SECONDS, SENDING_SECONDS
from shared.settings import SettingsError
from tests.infra.changes import CHANGES, Change
from tests.infra.edge import EDGE
from tests.infra.facts import BUS, FACTS, Fact, as_azure_would_give_them
from tests.infra.snapshot import ENVIRONMENTS, ROOT, snapshot


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_what_would_be_deployed_is_what_the_code_rests_on(fact: Fact, environment: str) -> None:
    assert list(fact(snapshot(environment))) == []


@pytest.mark.parametrize(("fact", "change"), CHANGES, ids=lambda one: getattr(one, "__name__", ""))
def test_a_fact_that_is_otherwise_is_told(fact: Fact, change: Change) -> None:
    found = snapshot("gateway" if fact in EDGE else "private")  # in which there is everything of it
    change(found)
    try:
        told = list(fact(found))
    except (AssertionError, SettingsError) as error:
        told = [repr(error)]
    assert told != []


def test_no_fact_is_without_a_change_that_it_tells_of() -> None:
    assert [fact.__name__ for fact in FACTS if fact not in {one for one, _ in CHANGES}] == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_app_that_is_deployed_has_triggers_of_its_queues_and_loads_no_sdk_when_it_starts(environment: str) -> None:
    settings = as_azure_would_give_them(snapshot(environment))
    program = (
        "import sys, function_app\n"
        "print(*[one.get_function_name() for one in function_app.app.get_functions()])\n"
        "print(*[name for name in sys.modules if name.startswith(('azure.', 'redis', 'opencensus'))])"
    )
    command, env = [sys.executable, "-c", program], {"PATH": os.environ["PATH"], **settings}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    functions, modules = (line.split() for line in done.stdout.splitlines())
    assert {"store_usage", "run_job", "run_execution", "sweep", "get_agent"} <= set(functions)
    assert "drain_queues" not in functions
    assert {name.split(".")[1] for name in modules} == {"functions"}


def test_what_waits_for_a_batch_and_what_works_on_it_fit_into_the_lock_that_is_deployed() -> None:
    """A batch's lock is not renewed; the extension takes half of one, and 2:30, as the longest wait."""
    bus = json.loads((ROOT / "host.json").read_text("utf-8"))["extensions"]["serviceBus"]
    waits = sum(int(part) * 60**power for power, part in enumerate(reversed(bus["maxBatchWaitTime"].split(":"))))
    for environment in ENVIRONMENTS:
        for queue in snapshot(environment).all(f"{BUS}/queues"):
            lock = int(queue["properties"]["lockDuration"].removeprefix("PT").removesuffix("M")) * 60
            assert waits <= min(lock / 2, 150)
            assert waits + DELIVERY_SECONDS + SENDING_SECONDS < lock
