"""The settings of the Cosmos DB mode, and the adapter that they choose."""

import pytest

from functions.kinds import KINDS
from shared.adapters import build
from shared.clock import SystemClock
from shared.database.cosmos.store import CosmosDatabase
from shared.settings import Settings, SettingsError

ISSUERS = '[{"issuer": "https://login.example/v2.0", "audience": "flowgrid"}]'
ACCOUNT = "https://flowgrid.documents.azure.com:443/"


def wrong(**environ: str) -> str:
    with pytest.raises(SettingsError) as error:
        Settings.load({"FLOWGRID_DATABASE": "cosmos", "FLOWGRID_ISSUERS": ISSUERS, **environ})
    [line] = str(error.value).splitlines()
    return line


def test_cosmos_needs_its_endpoint() -> None:
    assert wrong().startswith("FLOWGRID_COSMOS_ENDPOINT: missing; Cosmos DB account, https://")


@pytest.mark.parametrize("endpoint", ["flowgrid.documents.azure.com", "http://flowgrid.test/", "http://localhost:8081"])
def test_the_endpoint_is_an_https_address(endpoint: str) -> None:
    assert wrong(FLOWGRID_COSMOS_ENDPOINT=endpoint).startswith(
        f"FLOWGRID_COSMOS_ENDPOINT: {endpoint!r} is not an https"
    )


def test_a_key_is_for_emulators_on_this_machine_only() -> None:
    line = wrong(FLOWGRID_COSMOS_ENDPOINT=ACCOUNT, FLOWGRID_COSMOS_EMULATOR_KEY="key")
    assert line.startswith("FLOWGRID_COSMOS_EMULATOR_KEY: only for an endpoint on localhost; ")


@pytest.mark.parametrize("endpoint", ["http://localhost:8081/", "https://127.0.0.1:8081/"])
def test_an_emulator_is_taken_with_its_key(endpoint: str) -> None:
    environ = {
        "FLOWGRID_DATABASE": "cosmos",
        "FLOWGRID_COSMOS_ENDPOINT": endpoint,
        "FLOWGRID_COSMOS_EMULATOR_KEY": "key",
    }
    assert Settings.load(environ).flowgrid_cosmos_endpoint == endpoint


def test_nothing_of_it_is_needed_with_sqlite() -> None:
    assert Settings.load({"FLOWGRID_COSMOS_ENDPOINT": "nonsense"}).flowgrid_database == "sqlite"


def test_the_settings_choose_the_adapter() -> None:
    environ = {"FLOWGRID_DATABASE": "cosmos", "FLOWGRID_COSMOS_ENDPOINT": ACCOUNT, "FLOWGRID_ISSUERS": ISSUERS}
    settings = Settings.load(environ)
    assert isinstance(build(settings, SystemClock(), KINDS).database, CosmosDatabase)
