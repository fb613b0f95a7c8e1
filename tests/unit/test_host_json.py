"""host.json beside what the code rests on: locks, time limits, and how much comes at once.

https://learn.microsoft.com/azure/azure-functions/functions-bindings-service-bus: `maxConcurrentCalls` and
`maxAutoLockRenewalDuration` are for functions that take one message, the other three for those that take many.
"""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from shared.database.cosmos.store import DEADLINE_SECONDS
from shared.jobs.ledger import LEASE
from shared.messaging.queues import DELIVERY_SECONDS, LOCK, MESSAGES_AT_ONCE, SENDING_SECONDS
from tests.unit.world import World

HOST: dict[str, Any] = json.loads((Path(__file__).parents[2] / "host.json").read_text("utf-8"))
BUS: dict[str, Any] = HOST["extensions"]["serviceBus"]
LEVELS: dict[str, str] = HOST["logging"]["logLevel"]
DELIVERY = timedelta(seconds=DELIVERY_SECONDS + SENDING_SECONDS)  # the work, and sending again what is left
LARGEST_BODY = 104_857_600  # FUNCTIONS_REQUEST_BODY_SIZE_LIMIT, where nobody sets it


def span(text: str) -> timedelta:
    hours, minutes, seconds = map(int, text.split(":"))
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def test_the_host_hands_over_as_many_messages_as_we_reckon_with() -> None:
    assert BUS["maxMessageBatchSize"] == MESSAGES_AT_ONCE


def test_a_delivery_is_over_in_two_thirds_of_its_lock_though_it_was_waited_for() -> None:
    waited = span(BUS.get("maxBatchWaitTime", "00:00:30")) if BUS.get("minMessageBatchSize", 1) > 1 else timedelta(0)
    assert waited <= min(LOCK / 2, timedelta(seconds=150))  # the extension refuses more
    assert waited + DELIVERY < LOCK * 2 / 3


def test_a_delivery_is_never_what_the_function_timeout_kills_the_worker_for() -> None:
    assert span(HOST["functionTimeout"]) / 5 > DELIVERY


def test_one_call_of_a_tenants_store_leaves_time_for_the_others() -> None:
    assert DEADLINE_SECONDS < DELIVERY_SECONDS / 2


def test_no_run_of_a_timer_outlives_its_lease_as_the_host_kills_it_before() -> None:
    assert span(HOST["functionTimeout"]) < LEASE


def test_the_lock_of_a_jobs_message_is_renewed_for_as_long_as_a_slice_may_run() -> None:
    assert span(BUS["maxAutoLockRenewalDuration"]) >= span(HOST["functionTimeout"])


def test_the_host_tells_of_no_call_as_the_app_does_so_itself() -> None:
    """Else each call would be counted twice (docs/decisions/0045)."""
    assert LEVELS["Host.Results"] == "None"
    assert LEVELS["Host.Aggregator"] == "Warning", "nor figures of each function, which nobody samples"


def test_the_host_writes_no_lines_of_its_own_about_each_execution() -> None:
    """Two of each, that it begins and that it has ended, would be the dearest part of the bill (0049)."""
    assert LEVELS["Function"] == "Warning"


async def test_what_the_rounds_and_the_jobs_say_is_kept_such_as_the_heads_of_audit_chains(world: World) -> None:
    """Lines of ours go by `Function.<name>.User` (learn.microsoft.com/azure/azure-functions/configure-monitoring)."""
    said = {name.split(".")[1] for name, level in LEVELS.items() if level == "Information"}
    assert said == {"rounds", "run_job"} and "rounds" in world.functions


async def test_the_host_takes_every_body_that_a_route_takes(world: World) -> None:
    assert max(route.body.max_bytes for route in world.core.endpoint.routes if route.body) < LARGEST_BODY
