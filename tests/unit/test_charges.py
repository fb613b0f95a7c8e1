"""Request units are told by tenant and operation, each once, by every process for itself."""

import io
import json
import logging

import pytest

from functions.kinds import KINDS
from shared.adapters import build
from shared.clock import SystemClock
from shared.settings import Settings
from shared.telemetry.charges import FLUSH_SECONDS, Charges
from shared.telemetry.log import JsonLines, log_fields
from shared.telemetry.port import Telemetry
from tests.unit.world import World


class Stopwatch:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def level(log: pytest.LogCaptureFixture) -> None:
    log.set_level(logging.INFO, logger="flowgrid.charges")


@pytest.fixture
def stopwatch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def charges(stopwatch: Stopwatch) -> Charges:
    return Charges(stopwatch)


def told(log: pytest.LogCaptureFixture) -> dict[tuple[str, str], tuple[float, int]]:
    lines = [vars(record) for record in log.records if record.name == "flowgrid.charges"]
    return {(one["tenant_id"], one["operation"]): (one["request_units"], one["calls"]) for one in lines}


def test_what_was_spent_is_written_by_tenant_and_operation_and_then_forgotten(
    charges: Charges, log: pytest.LogCaptureFixture
) -> None:
    for tenant, operation, units in (("a", "get", 1.0), ("a", "get", 1.5), ("a", "commit", 7.0), ("b", "get", 1.0)):
        charges.record(tenant, operation, units)
    charges.flush()
    assert told(log) == {("a", "get"): (2.5, 2), ("a", "commit"): (7.0, 1), ("b", "get"): (1.0, 1)}
    log.clear()
    charges.flush()
    assert told(log) == {}


def test_what_is_written_is_told_as_a_figure_too(stopwatch: Stopwatch) -> None:
    figures: list[tuple[object, ...]] = []

    class KeptTelemetry(Telemetry):
        def metric(self, *told: object, **more: object) -> None:
            figures.append(told)

    charges = Charges(stopwatch, KeptTelemetry())
    for tenant, operation, units in (("a", "get", 1.0), ("a", "get", 1.5), ("b", "commit", 7.0)):
        charges.record(tenant, operation, units)
    charges.flush()
    assert figures == [
        ("Request Units", "a", 2.5, {"operation": "get"}, 2),
        ("Request Units", "b", 7.0, {"operation": "commit"}, 1),
    ]


def test_a_call_five_minutes_after_the_first_writes_them_all(
    charges: Charges, stopwatch: Stopwatch, log: pytest.LogCaptureFixture
) -> None:
    charges.record("a", "get", 1.0)
    stopwatch.seconds += FLUSH_SECONDS - 0.1
    charges.record("a", "get", 1.0)
    assert told(log) == {}
    stopwatch.seconds += 0.1
    charges.record("b", "get", 2.0)
    assert told(log) == {("a", "get"): (2.0, 2), ("b", "get"): (2.0, 1)}


def test_the_next_five_minutes_begin_with_the_next_call(
    charges: Charges, stopwatch: Stopwatch, log: pytest.LogCaptureFixture
) -> None:
    charges.record("a", "get", 1.0)
    stopwatch.seconds += FLUSH_SECONDS
    charges.record("a", "get", 1.0)
    log.clear()
    stopwatch.seconds += 60
    charges.record("a", "get", 1.0)
    stopwatch.seconds += FLUSH_SECONDS - 1
    charges.record("a", "get", 1.0)
    assert told(log) == {}


def test_the_lines_are_not_those_of_the_request_that_happens_to_write_them(charges: Charges) -> None:
    written = logging.StreamHandler(io.StringIO())
    written.setFormatter(JsonLines())
    logging.getLogger("flowgrid.charges").addHandler(written)
    token = log_fields.set({"request_id": "r-1", "user_id": "u-1", "tenant_id": "other"})
    charges.record("a", "get", 1.0)
    charges.flush()
    log_fields.reset(token)
    logging.getLogger("flowgrid.charges").removeHandler(written)
    line = json.loads(written.stream.getvalue())
    assert (line["tenant_id"], line.keys() & {"request_id", "user_id"}) == ("a", set())


async def test_a_process_that_ends_writes_what_is_left(tmp_path: object, log: pytest.LogCaptureFixture) -> None:
    adapters = build(Settings.model_validate({"flowgrid_data_dir": tmp_path}), SystemClock(), KINDS)
    adapters.charges.record("a", "get", 1.0)
    await adapters.close()
    assert told(log) == {("a", "get"): (1.0, 1)}


async def test_the_sweep_writes_no_request_units_because_it_runs_in_one_process_only(
    world: World, log: pytest.LogCaptureFixture
) -> None:
    world.core.adapters.charges.record("a", "get", 1.0)
    await world.sweep()
    assert told(log) == {}
