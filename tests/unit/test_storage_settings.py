"""The settings of blobs, secrets and provisioning: a mode that lacks what it needs says so at start."""

import pytest

from shared.settings import Settings, SettingsError

ACCOUNT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.DocumentDB/databaseAccounts/flowgrid"
AZURITE = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=k;BlobEndpoint=http://127.0.0.1:1/d;"
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
        {"FLOWGRID_SECRETS_KEY": "A" * 43 + "="},
        {"FLOWGRID_COSMOS_ACCOUNT_ID": ACCOUNT},
    ],
)
def test_what_is_whole_passes(environ: dict[str, str]) -> None:
    Settings.load(environ)
