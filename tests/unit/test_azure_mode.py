"""With the Azure adapters on: identities instead of keys, and each SDK only where its adapter is used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.settings import Settings

ROOT = Path(__file__).parents[2]
AZURE = {
    "FLOWGRID_DATABASE": "cosmos",
    "FLOWGRID_COSMOS_ENDPOINT": "https://flowgrid.documents.azure.com:443/",
    "FLOWGRID_MESSAGING": "servicebus",
    "FLOWGRID_SERVICEBUS_NAMESPACE": "flowgrid.servicebus.windows.net",
    "ServiceBusConnection__fullyQualifiedNamespace": "flowgrid.servicebus.windows.net",
    "FLOWGRID_BLOBS": "azure",
    "FLOWGRID_BLOB_ACCOUNT_URL": "https://flowgrid.blob.core.windows.net",
    "FLOWGRID_SECRETS": "keyvault",
    "FLOWGRID_KEYVAULT_URL": "https://flowgrid.vault.azure.net",
    "FLOWGRID_ISSUERS": '[{"issuer": "https://login.example/v2.0", "audience": "flowgrid"}]',
}
SDKS = ("azure.cosmos", "azure.servicebus", "azure.storage.blob", "azure.keyvault", "azure.identity")
REPORT = f"""
import json, sys, function_app
adapters = function_app.own_core.adapters
names = {{name: type(getattr(adapters, name)).__name__ for name in ("database", "messaging", "blobs", "secrets")}}
functions = [one.get_function_name() for one in function_app.app.get_functions()]
print(json.dumps([names, functions, [name for name in {SDKS} if name in sys.modules]]))
"""


def report(settings: dict[str, str], folder: Path) -> tuple[dict[str, str], list[str], list[str]]:
    """What a fresh process has chosen, registered and loaded."""
    env = {**os.environ, **settings, "FLOWGRID_DATA_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", REPORT], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    names, functions, loaded = json.loads(done.stdout)
    return names, functions, loaded


def test_azure_mode_needs_no_key_and_no_connection_string() -> None:
    settings = Settings.load(AZURE)
    given = {name for name, field in Settings.model_fields.items() if getattr(settings, name) != field.default}
    assert given == {name.lower() for name in AZURE}
    secret = [name for name in given if name.endswith("_key") or "connection" in name or "emulator" in name]
    assert secret == ["servicebusconnection__fullyqualifiednamespace"]  # a host name, no secret
    assert "SharedAccessKey" not in json.dumps(AZURE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLOWGRID_COSMOS_EMULATOR_KEY", "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM=="),
        ("FLOWGRID_SERVICEBUS_EMULATOR", "Endpoint=sb://flowgrid.servicebus.windows.net/;SharedAccessKey=x"),
        ("FLOWGRID_BLOB_EMULATOR_CONNECTION", "AccountName=flowgrid;AccountKey=x"),
    ],
)
def test_a_key_of_a_real_account_is_refused(name: str, value: str) -> None:
    with pytest.raises(Exception, match=name):
        Settings.load({**AZURE, name: value})


def test_embedded_mode_loads_no_azure_sdk(tmp_path: Path) -> None:
    names, functions, loaded = report({}, tmp_path)
    assert names == {
        "database": "SqliteDatabase",
        "messaging": "SqliteMessaging",
        "blobs": "FileBlobs",
        "secrets": "FileSecrets",
    }
    assert "drain_queues" in functions
    assert loaded == []


def test_azure_mode_chooses_the_azure_adapters_and_loads_their_sdks_on_first_use(tmp_path: Path) -> None:
    names, functions, loaded = report(AZURE, tmp_path)
    assert names == {
        "database": "CosmosDatabase",
        "messaging": "ServiceBusMessaging",
        "blobs": "AzureBlobs",
        "secrets": "KeyVaultSecrets",
    }
    assert {"store_usage", "run_job"} <= set(functions)
    assert "drain_queues" not in functions
    assert loaded == []


@pytest.mark.parametrize(
    ("name", "sdk"),
    [("database", "azure.cosmos"), ("messaging", "azure.servicebus"), ("blobs", "azure.storage.blob")],
)
def test_an_sdk_is_loaded_when_its_adapter_is_used_and_no_other(tmp_path: Path, name: str, sdk: str) -> None:
    code = f"""
import asyncio, contextlib, json, sys, function_app
async def use():
    with contextlib.suppress(Exception):
        async with asyncio.timeout(3):
            await function_app.own_core.adapters.{name}.ping()
asyncio.run(use())
print(json.dumps([one for one in {SDKS[:3]} if one in sys.modules]))
"""
    here = {
        "FLOWGRID_COSMOS_ENDPOINT": "http://127.0.0.1:9/",
        "FLOWGRID_COSMOS_EMULATOR_KEY": "eA==",
        "FLOWGRID_SERVICEBUS_NAMESPACE": "",
        "FLOWGRID_SERVICEBUS_EMULATOR": "Endpoint=sb://localhost:9;SharedAccessKeyName=a;SharedAccessKey=b;"
        "UseDevelopmentEmulator=true;",
        "FLOWGRID_BLOB_ACCOUNT_URL": "",
        "FLOWGRID_BLOB_EMULATOR_CONNECTION": "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
        "AccountKey=eA==;BlobEndpoint=http://127.0.0.1:9/devstoreaccount1;",
    }
    env = {**os.environ, **AZURE, **here, "FLOWGRID_DATA_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [sdk]
