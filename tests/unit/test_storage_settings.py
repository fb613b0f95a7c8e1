"""The settings of blobs, secrets and provisioning: a mode that lacks what it needs says so at start."""

import ast
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from functions.kinds import KINDS
from shared.adapters import build
from shared.clock import SystemClock
from shared.settings import Settings, SettingsError

ROOT = Path(__file__).parents[2]
TENANT = "0190c2a8-7e10-7abc-8def-000000000001"
ACCOUNT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.DocumentDB/databaseAccounts/flowgrid"
ISSUERS = '[{"issuer": "https://login.example/v2.0", "audience": "flowgrid"}]'
LOCAL_ISSUERS = '[{"issuer": "http://127.0.0.1:1", "audience": "flowgrid"}]'
AZURITE = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=k;BlobEndpoint=http://127.0.0.1:1/d;"
REDIS = {"FLOWGRID_RATE_LIMITS": "redis"}
MANAGED = "rediss://x.westeurope.redis.azure.net:10000"
CASES = [
    ({"FLOWGRID_BLOBS": "azure"}, "FLOWGRID_BLOB_ACCOUNT_URL: missing; Storage account, https://"),
    ({"FLOWGRID_BLOB_ACCOUNT_URL": "http://x"}, "FLOWGRID_BLOB_ACCOUNT_URL: 'http://x' is not an https address"),
    (
        {"FLOWGRID_BLOB_EMULATOR_CONNECTION": "DefaultEndpointsProtocol=https;AccountName=real;AccountKey=k"},
        "FLOWGRID_BLOB_EMULATOR_CONNECTION: not an emulator's",
    ),
    (
        {"FLOWGRID_BLOB_ACCOUNT_URL": "https://x", "FLOWGRID_BLOB_EMULATOR_CONNECTION": AZURITE},
        "FLOWGRID_BLOB_EMULATOR_CONNECTION: there is an account as well",
    ),
    ({"FLOWGRID_SECRETS": "keyvault"}, "FLOWGRID_KEYVAULT_URL: missing; Key Vault, https://"),
    ({"FLOWGRID_KEYVAULT_URL": "vault"}, "FLOWGRID_KEYVAULT_URL: 'vault' is not an https address"),
    ({"FLOWGRID_RATE_LIMITS": "redis"}, "FLOWGRID_REDIS_URL: missing; Azure Managed Redis"),
    ({**REDIS, "FLOWGRID_REDIS_URL": "redis://:key@127.0.0.1:1"}, "FLOWGRID_REDIS_URL: there is a password in it"),
    ({**REDIS, "FLOWGRID_REDIS_URL": "redis://x", "FLOWGRID_ISSUERS": ISSUERS}, "FLOWGRID_REDIS_URL: 'redis://x' is"),
    ({"FLOWGRID_SECRETS_KEY": "secret"}, "FLOWGRID_SECRETS_KEY: not 32 bytes in URL-safe base64"),
    ({"FLOWGRID_COSMOS_ACCOUNT_ID": "flowgrid"}, "FLOWGRID_COSMOS_ACCOUNT_ID: 'flowgrid' is not the resource id"),
]


@pytest.mark.parametrize(("environ", "says"), CASES)
def test_what_is_missing_or_wrong_is_named(environ: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.load(environ)
    (line,) = str(error.value).splitlines()
    assert line.startswith(says)


@pytest.mark.parametrize(
    "environ",
    [
        {"FLOWGRID_BLOBS": "azure", "FLOWGRID_BLOB_ACCOUNT_URL": "https://x.blob.core.windows.net"},
        {"FLOWGRID_BLOBS": "azure", "FLOWGRID_BLOB_EMULATOR_CONNECTION": "UseDevelopmentStorage=true"},
        {"FLOWGRID_BLOBS": "azure", "FLOWGRID_BLOB_EMULATOR_CONNECTION": AZURITE},
        {"FLOWGRID_SECRETS": "keyvault", "FLOWGRID_KEYVAULT_URL": "https://x.vault.azure.net"},
        {**REDIS, "FLOWGRID_REDIS_URL": MANAGED},
        {**REDIS, "FLOWGRID_REDIS_URL": "redis://127.0.0.1:6379", "FLOWGRID_ISSUERS": LOCAL_ISSUERS},
        {"FLOWGRID_SECRETS_KEY": "A" * 43 + "="},
        {"FLOWGRID_COSMOS_ACCOUNT_ID": ACCOUNT},
    ],
)
def test_what_is_whole_passes(environ: dict[str, str]) -> None:
    Settings.load({"FLOWGRID_ISSUERS": ISSUERS, **environ})


async def test_the_key_of_the_secrets_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    settings = Settings.load({"FLOWGRID_DATA_DIR": str(tmp_path)})
    reference = await build(settings, SystemClock(), KINDS).secrets.space(TENANT).put("webhook", "s3cret")
    assert await build(settings, SystemClock(), KINDS).secrets.space(TENANT).get(reference) == "s3cret"
    assert stat.S_IMODE((tmp_path / "secrets.key").stat().st_mode) == 0o600


async def test_the_key_of_the_secrets_may_be_given(tmp_path: Path) -> None:
    environ = {"FLOWGRID_DATA_DIR": str(tmp_path), "FLOWGRID_SECRETS_KEY": "A" * 43 + "="}
    await build(Settings.load(environ), SystemClock(), KINDS).secrets.space(TENANT).put("webhook", "s3cret")
    assert not (tmp_path / "secrets.key").exists()


def test_the_sdks_are_not_imported_before_they_are_needed() -> None:
    """In a process of its own: cold starts pay for every import."""
    environ = {
        "FLOWGRID_BLOBS": "azure",
        "FLOWGRID_BLOB_ACCOUNT_URL": "https://x.blob.core.windows.net",
        "FLOWGRID_SECRETS": "keyvault",
        "FLOWGRID_KEYVAULT_URL": "https://x.vault.azure.net",
        "FLOWGRID_COSMOS_ACCOUNT_ID": ACCOUNT,
        "FLOWGRID_REDIS_URL": MANAGED,
        **REDIS,
        "FLOWGRID_ISSUERS": ISSUERS,
    }
    code = "import sys, function_app; print([m for m in sys.modules if m.startswith(('azure.', 'aiohttp', 'redis.'))])"
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert {name.split(".")[1] for name in ast.literal_eval(done.stdout)} <= {"functions"}
