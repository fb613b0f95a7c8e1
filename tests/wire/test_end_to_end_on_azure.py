"""The end-to-end suite again, with Cosmos DB, Service Bus and Blob storage on: the doubles and the real Azurite."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from shared.folders import private_folder
from tests.doubles.azurite import azurite
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import KEY
from tests.doubles.servicebus import service_bus
from tests.e2e.host import SECRETS_FOLDER

ROOT = Path(__file__).parents[2]


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings of a host that lives on them; `tests/e2e/host.py` hands on what begins with E2E_.

    Its hosts share a registry, and so the folder of their secrets: Key Vault takes no plain HTTP.

    In the end no query of theirs had to do without an index.
    """
    with CosmosDouble() as cosmos, service_bus() as bus, azurite() as blobs:
        yield {
            "E2E_FLOWGRID_DATABASE": "cosmos",
            "E2E_FLOWGRID_COSMOS_ENDPOINT": cosmos.endpoint,
            "E2E_FLOWGRID_COSMOS_EMULATOR_KEY": KEY,
            "E2E_FLOWGRID_MESSAGING": "servicebus",
            "E2E_FLOWGRID_SERVICEBUS_EMULATOR": bus.connection,
            "E2E_FLOWGRID_BLOBS": "azure",
            "E2E_FLOWGRID_BLOB_EMULATOR_CONNECTION": blobs,
            "E2E_FLOWGRID_SECRETS_KEY": Fernet.generate_key().decode(),
            SECRETS_FOLDER: str(private_folder(tmp_path / "secrets")),
        }
        assert set(cosmos.unindexed) == set()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_end_to_end_suite_passes_on_all_three(azure: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "tests/e2e", "-q", "-m", "not long", "--timeout", "180"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **azure}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-20_000:]
