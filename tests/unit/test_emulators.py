"""The emulators' configuration fits the app."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.messaging.again import LONGEST_PAUSE_SECONDS
from shared.messaging.queues import DUPLICATES_REMEMBERED, LOCK, MAX_DELIVERIES
from shared.settings import Settings
from tests.emulators import address

ROOT = Path(__file__).parents[2]


def queues() -> list[dict[str, Any]]:
    config = json.loads((ROOT / "infra/emulators/servicebus.json").read_text("utf-8"))
    (namespace,) = config["UserConfig"]["Namespaces"]
    assert namespace["Name"] == "sbemulatorns", "the emulator takes no other name"
    return list(namespace["Queues"])


OF_THE_CONTRACT = {"things", "elsewhere"}


def test_the_service_bus_emulator_has_the_apps_queues_and_the_contracts() -> None:
    settings = Settings.load({})
    named = {getattr(settings, name) for name in Settings.model_fields if name.endswith("_queue")}
    assert {queue["Name"] for queue in queues()} == named | OF_THE_CONTRACT


# ServiceBus-Emulator/Schema/Config-schema.json of azure-service-bus-emulator-installer: it takes no more
LONGEST_WINDOW = timedelta(minutes=5)
LONGEST_LIFE = timedelta(hours=1)


def test_the_emulators_queues_are_made_as_ours_are_as_far_as_it_can() -> None:
    for queue in queues():
        properties = queue["Properties"]
        lock = timedelta(seconds=5) if queue["Name"] in OF_THE_CONTRACT else LOCK
        assert properties == {
            "RequiresDuplicateDetection": True,
            "DuplicateDetectionHistoryTimeWindow": iso(min(DUPLICATES_REMEMBERED, LONGEST_WINDOW)),
            "DefaultMessageTimeToLive": iso(LONGEST_LIFE),
            "LockDuration": iso(lock),
            "MaxDeliveryCount": MAX_DELIVERIES,
            "DeadLetteringOnMessageExpiration": True,
        }


def test_what_waits_for_its_next_try_outlives_no_queues_time_to_live() -> None:
    assert LONGEST_LIFE.total_seconds() >= 2 * LONGEST_PAUSE_SECONDS


def iso(span: timedelta) -> str:
    """`PT5M`, `PT1H`."""
    seconds = int(span.total_seconds())
    size, unit = next((size, unit) for size, unit in ((3600, "H"), (60, "M"), (1, "S")) if not seconds % size)
    return f"PT{seconds // size}{unit}"


def test_the_addresses_that_make_names_are_those_that_docker_opens() -> None:
    make, compose = ((ROOT / name).read_text("utf-8") for name in ("Makefile", "docker-compose.yml"))
    named = dict(re.findall(r"(TEST_\w+)='?([^'\s]+)'?", make))
    assert set(named) == {"TEST_COSMOS_ENDPOINT", "TEST_SERVICEBUS_CONNECTION", "TEST_BLOB_CONNECTION"}
    opened = {int(port) for port in re.findall(r'"127\.0\.0\.1:(\d+):\d+"', compose)}
    assert {address(name, value)[1] for name, value in named.items()} <= opened


@pytest.mark.parametrize("value", ["", "localhost", "UseDevelopmentStorage=true"])
def test_an_address_that_names_no_host_is_told(value: str) -> None:
    with pytest.raises(SystemExit, match="TEST_BLOB_CONNECTION"):
        address("TEST_BLOB_CONNECTION", value)
