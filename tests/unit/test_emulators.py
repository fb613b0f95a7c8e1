"""The emulators' configuration fits the app."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

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


def test_the_queues_stay_within_the_emulators_limits() -> None:
    for queue in queues():
        properties = queue["Properties"]
        assert properties["RequiresDuplicateDetection"] is True
        assert properties["DuplicateDetectionHistoryTimeWindow"] == "PT5M"
        assert properties["LockDuration"] == ("PT5S" if queue["Name"] in OF_THE_CONTRACT else "PT5M")
        assert properties["DefaultMessageTimeToLive"] == "PT1H"
        assert properties["MaxDeliveryCount"] <= 10


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
