"""Settings: checked at start; whatever is wrong is named, one line each, with what it should be."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.outside import client_id
from shared.settings import Settings, SettingsError
from shared.tenancy.sharedkey import FolderKey

ISSUER = {"issuer": "https://login.example/v2.0", "audience": "flowgrid"}


def wrong(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as error:
        Settings.load(environ)
    return str(error.value).splitlines()


def test_an_empty_environment_is_a_working_development_setup() -> None:
    assert Settings.load({}).flowgrid_database == "sqlite"


def test_names_are_read_in_any_case() -> None:
    assert Settings.load({"Flowgrid_Region": "westeurope"}).flowgrid_region == "westeurope"


def test_other_peoples_variables_are_ignored() -> None:
    assert Settings.load({"PATH": "/bin", "FLOWGRID": "x"}) == Settings.load({})


def test_the_text_of_a_number_is_a_number() -> None:
    assert Settings.load({"FLOWGRID_SHARDS": "7"}).flowgrid_shards == 7


def test_issuers_are_a_json_list() -> None:
    (issuer,) = Settings.load({"FLOWGRID_ISSUERS": json.dumps([ISSUER])}).flowgrid_issuers
    assert (issuer.issuer, issuer.audience, issuer.jwks_uri) == ("https://login.example/v2.0", "flowgrid", None)


@pytest.mark.parametrize("value", ["<your region>", "CHANGEME", "your-region", "TODO: region"])
def test_a_placeholder_is_named_with_what_it_should_be(value: str) -> None:
    assert wrong(FLOWGRID_REGION=value) == [
        f"FLOWGRID_REGION: still a placeholder ({value!r}); Region that new tenants are placed in."
    ]


def test_a_placeholder_is_one_line_though_it_is_no_number_either() -> None:
    assert wrong(FLOWGRID_SHARDS="<number>") == [
        "FLOWGRID_SHARDS: still a placeholder ('<number>'); Number of shared databases that new tenants spread over."
    ]


def test_a_placeholder_within_the_issuers_is_found() -> None:
    (line,) = wrong(FLOWGRID_ISSUERS=json.dumps([{**ISSUER, "audience": "<client id>"}]))
    assert line.startswith("FLOWGRID_ISSUERS: still a placeholder")


def test_issuers_that_are_no_json_are_shown_some() -> None:
    (line,) = wrong(FLOWGRID_ISSUERS="https://login.example")
    assert line.startswith("FLOWGRID_ISSUERS: ") and 'it should be JSON, such as [{"issuer"' in line


def test_no_issuer_at_all_is_wrong() -> None:
    (line,) = wrong(FLOWGRID_ISSUERS="[]")
    assert line.startswith("FLOWGRID_ISSUERS: ") and "JSON list of accepted token issuers: issuer, audience;" in line


def test_an_issuer_without_audience_says_which_one() -> None:
    (line,) = wrong(FLOWGRID_ISSUERS=json.dumps([ISSUER, {"issuer": "https://other.example"}]))
    assert line.startswith("FLOWGRID_ISSUERS (1.audience): Field required")


LOCAL = "http://127.0.0.1:7071/oidc"
COSMOS = {"FLOWGRID_DATABASE": "cosmos", "FLOWGRID_COSMOS_ENDPOINT": "https://x.documents.azure.com:443/"}
BUS = {
    "FLOWGRID_MESSAGING": "servicebus",
    "FLOWGRID_SERVICEBUS_NAMESPACE": "x.servicebus.windows.net",
    "ServiceBusConnection__fullyQualifiedNamespace": "x.servicebus.windows.net",
}
BLOBS = {"FLOWGRID_BLOBS": "azure", "FLOWGRID_BLOB_ACCOUNT_URL": "https://x.blob.core.windows.net"}
VAULT = {"FLOWGRID_SECRETS": "keyvault", "FLOWGRID_KEYVAULT_URL": "https://x.vault.azure.net"}
EMULATORS = {
    "FLOWGRID_DATABASE": "cosmos",
    "FLOWGRID_COSMOS_ENDPOINT": "http://localhost:8081/",
    "FLOWGRID_COSMOS_EMULATOR_KEY": "key",
    "FLOWGRID_MESSAGING": "servicebus",
    "FLOWGRID_SERVICEBUS_EMULATOR": "Endpoint=sb://localhost;SharedAccessKeyName=a;SharedAccessKey=b",
    "ServiceBusConnection": "local",
    "FLOWGRID_BLOBS": "azure",
    "FLOWGRID_BLOB_EMULATOR_CONNECTION": "UseDevelopmentStorage=true",
}


def issued(issuer: str, **more: str) -> dict[str, str]:
    return {"FLOWGRID_ISSUERS": json.dumps([ISSUER, {"issuer": issuer, "audience": "flowgrid", **more}])}


@pytest.mark.parametrize("azure", [COSMOS, BUS, BLOBS, VAULT, {**EMULATORS, **VAULT}])
def test_an_issuer_on_this_machine_opens_nothing_that_is_in_azure(azure: dict[str, str]) -> None:
    for issuers in ({}, issued(LOCAL), issued("HTTP://localhost/oidc")):
        (line,) = wrong(**azure, **issuers)
        assert line.startswith(
            "FLOWGRID_ISSUERS: 'http://127.0.0.1:7071/oidc' is on this machine, but not FLOWGRID_"
        ) or (line.startswith("FLOWGRID_ISSUERS: 'HTTP://localhost/oidc' is on this machine, but not FLOWGRID_"))


def test_an_issuer_on_this_machine_opens_emulators_on_this_machine() -> None:
    assert Settings.load({**EMULATORS, **issued(LOCAL)}).flowgrid_database == "cosmos"


@pytest.mark.parametrize("azure", [{}, COSMOS, EMULATORS])
@pytest.mark.parametrize(
    "issuer", ["http://login.example/v2.0", "login.example", "http://[::1", "http://localhost.example/"]
)
def test_an_issuer_elsewhere_speaks_https(azure: dict[str, str], issuer: str) -> None:
    (line,) = wrong(**azure, **issued(issuer))
    assert line.startswith(f"FLOWGRID_ISSUERS: {issuer!r} is not https; ")


@pytest.mark.parametrize("uri", ["http://login.example/keys", "http://127.0.0.1/keys"])
def test_the_keys_of_an_issuer_elsewhere_come_over_https(uri: str) -> None:
    (line,) = wrong(**issued("https://login.example/v2.0", jwks_uri=uri))
    assert line.startswith(f"FLOWGRID_ISSUERS: {uri!r} is not https; ")


def test_an_https_issuer_opens_azure() -> None:
    https = {"FLOWGRID_ISSUERS": json.dumps([{**ISSUER, "jwks_uri": "https://login.example/keys"}])}
    assert Settings.load({**COSMOS, **BUS, **BLOBS, **VAULT, **https}).flowgrid_secrets == "keyvault"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLOWGRID_DATABASE", "oracle"),
        ("FLOWGRID_MESSAGING", "kafka"),
        ("FLOWGRID_BLOBS", "ftp"),
        ("FLOWGRID_SHARDS", "0"),
        ("FLOWGRID_SHARDS", "many"),
        ("FLOWGRID_SHARDS", ""),
        ("FLOWGRID_REGION", ""),
        ("FLOWGRID_GLOBAL_LIMIT", "-1"),
        ("FLOWGRID_TRUSTED_PROXIES", "-1"),
        ("FLOWGRID_TRUSTED_PROXIES", "11"),
        ("FLOWGRID_LOG_LEVEL", "LOUD"),
        ("USAGE_QUEUE", ""),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_it_should_be(name: str, value: str) -> None:
    (line,) = wrong(**{name: value})
    description = Settings.model_fields[name.lower()].description or "?"
    assert line.startswith(f"{name}: ") and line.endswith(description)


@pytest.mark.parametrize("key", ["x", "x" * 31])
def test_a_short_cursor_key_is_refused(key: str) -> None:
    (line,) = wrong(FLOWGRID_CURSOR_KEY=key)
    assert line.startswith("FLOWGRID_CURSOR_KEY: too short; Secret that signs page cursors, 32 characters or more")


def test_a_cursor_key_of_32_characters_is_taken() -> None:
    assert Settings.load({"FLOWGRID_CURSOR_KEY": "x" * 32}).flowgrid_cursor_key == "x" * 32


def test_everything_that_is_wrong_is_named_at_once() -> None:
    lines = wrong(FLOWGRID_REGION="<region>", FLOWGRID_SHARDS="0", FLOWGRID_CURSOR_KEY="short")
    assert sorted(line.partition(":")[0] for line in lines) == [
        "FLOWGRID_CURSOR_KEY",
        "FLOWGRID_REGION",
        "FLOWGRID_SHARDS",
    ]


def test_a_secret_is_not_repeated_in_the_complaint_about_it() -> None:
    assert "hunter2" not in " ".join(wrong(FLOWGRID_CURSOR_KEY="hunter2"))


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings.load({}).flowgrid_shards = 2  # type: ignore[misc]


def test_bindings_get_the_settings_by_their_names() -> None:
    values = Settings.load({"USAGE_QUEUE": "events"}).values()
    assert (values["USAGE_QUEUE"], values["SWEEP_SCHEDULE"]) == ("events", "*/30 * * * * *")


def test_the_sample_lists_every_setting() -> None:
    sample = json.loads(Path("local.settings.sample.json").read_text())["Values"]
    assert {name.upper() for name in sample} >= {name.upper() for name in Settings.model_fields}


def test_the_samples_values_are_the_defaults() -> None:
    sample = json.loads(Path("local.settings.sample.json").read_text())["Values"]
    assert Settings.load(sample) == Settings.load({})


# The cursor key


def _cursor_key(settings: Settings) -> FolderKey:
    return FolderKey(settings.flowgrid_cursor_key, settings.flowgrid_data_dir / "cursor.key")


def test_the_cursor_key_is_the_settings(tmp_path: Path) -> None:
    key = "x" * 32
    assert _cursor_key(Settings(flowgrid_data_dir=tmp_path, flowgrid_cursor_key=key))() == key.encode()


def test_without_a_setting_a_cursor_key_is_made_and_kept(tmp_path: Path) -> None:
    settings = Settings(flowgrid_data_dir=tmp_path / "data")
    first, second = _cursor_key(settings)(), _cursor_key(settings)()
    assert (len(first), first == second) == (32, True)


def test_the_kept_cursor_key_is_its_owners_only(tmp_path: Path) -> None:
    _cursor_key(Settings(flowgrid_data_dir=tmp_path))()
    assert (tmp_path / "cursor.key").stat().st_mode & 0o077 == 0


def test_two_processes_that_make_a_cursor_key_at_once_have_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, others = Settings(flowgrid_data_dir=tmp_path), list[bytes]()

    def meanwhile(number: int) -> bytes:
        monkeypatch.undo()
        others.append(_cursor_key(settings)())
        return b"k" * number

    monkeypatch.setattr("shared.folders.secrets.token_bytes", meanwhile)
    assert [_cursor_key(settings)()] == others


# The outside


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", set()),
        (" 127.0.0.1:8931 ,[::1]:80,", {("127.0.0.1", 8931), ("::1", 80)}),
        ("[0:0:0:0:0:0:0:1]:80", {("::1", 80)}),
        ("10.1.0.4:443", {("10.1.0.4", 443)}),
    ],
)
def test_addresses_that_may_be_called_are_addresses_with_a_port(text: str, found: set[tuple[str, int]]) -> None:
    assert Settings.load({"FLOWGRID_OUTGOING_ALLOWED": text}).outgoing_allowed == found


@pytest.mark.parametrize(
    "text",
    [
        *("127.0.0.1", "localhost:80", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x", "127.1:80", "10.0.0.0/8:80"),
        *("169.254.169.254:80", "168.63.129.16:80", "[fe80::1]:80", "127.0.0.1:80;127.0.0.1:81"),
    ],
)
def test_what_is_no_address_with_a_port_or_gives_out_identities_is_not_allowed(text: str) -> None:
    (line,) = wrong(FLOWGRID_OUTGOING_ALLOWED=text)
    assert line.startswith(f"FLOWGRID_OUTGOING_ALLOWED: {text!r} is ")


AI = {"FLOWGRID_AI_WIRE": "openai", "FLOWGRID_AI_MODELS": "gpt-5, gpt-5-mini", "FLOWGRID_AI_KEY_SECRET": "openai"}


def test_the_platforms_own_ai_has_models_and_a_key() -> None:
    assert Settings.load(AI).ai_models == ["gpt-5", "gpt-5-mini"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"FLOWGRID_AI_MODELS": " ,"}, "FLOWGRID_AI_MODELS: missing"),
        ({"FLOWGRID_AI_KEY_SECRET": ""}, "FLOWGRID_AI_KEY_SECRET: missing"),
        ({"FLOWGRID_AI_KEY_SECRET": "sk-A_1"}, "FLOWGRID_AI_KEY_SECRET: not the name of a secret"),
        ({"FLOWGRID_AI_WIRE": "azure_openai"}, "FLOWGRID_AI_BASE_URL: missing"),
        ({"FLOWGRID_AI_BASE_URL": "api.example"}, "FLOWGRID_AI_BASE_URL: 'api.example' is no address"),
        ({"FLOWGRID_AI_BASE_URL": "https://[::1"}, "FLOWGRID_AI_BASE_URL: 'https://[::1' is no address"),
        ({"FLOWGRID_AI_WIRE": "gemini"}, "FLOWGRID_AI_WIRE: "),
    ],
)
def test_what_the_platforms_own_ai_lacks_is_named(changed: dict[str, str], says: str) -> None:
    (line,) = wrong(**{**AI, **changed})
    assert line.startswith(says)


def test_azure_openai_needs_no_key_for_the_apps_own_identity_opens_it() -> None:
    azure = {"FLOWGRID_AI_WIRE": "azure_openai", "FLOWGRID_AI_BASE_URL": "https://x.openai.azure.com"}
    assert Settings.load({**azure, "FLOWGRID_AI_MODELS": "chat"}).flowgrid_ai_key_secret == ""


# Telemetry

INSIGHTS = "InstrumentationKey=11111111-2222-3333-4444-555555555555"
REGION = "https://westeurope-5.in.applicationinsights.azure.com/"
AUTHENTICATION = "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"


@pytest.mark.parametrize("endpoint", [REGION, "http://127.0.0.1:8931", "http://localhost:8931/"])
def test_telemetry_goes_over_tls_or_to_this_machine(endpoint: str) -> None:
    connection = f"{INSIGHTS};IngestionEndpoint={endpoint};LiveEndpoint=https://live.example/;ApplicationId=1"
    settings = Settings.load({"APPLICATIONINSIGHTS_CONNECTION_STRING": connection})
    assert settings.applicationinsights_connection_string == connection


@pytest.mark.parametrize(
    ("connection", "what"),
    [
        (INSIGHTS, "no https IngestionEndpoint"),
        (f"{INSIGHTS};IngestionEndpoint=http://telemetry.example", "no https IngestionEndpoint"),
        (f"{INSIGHTS};IngestionEndpoint=https://[::1", "no https IngestionEndpoint"),
        (f"InstrumentationKey=one;IngestionEndpoint={REGION}", "no InstrumentationKey"),
        ("canary", "no InstrumentationKey"),
    ],
)
def test_a_connection_string_that_leads_nowhere_is_named_and_not_told(connection: str, what: str) -> None:
    first, *_ = wrong(APPLICATIONINSIGHTS_CONNECTION_STRING=connection)
    assert first.startswith(f"APPLICATIONINSIGHTS_CONNECTION_STRING: {what}; ")
    assert "canary" not in first and "telemetry.example" not in first


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("", None),
        ("Authorization=AAD", ""),
        (
            f"Authorization=AAD;ClientId={'1' * 8}-{'2' * 4}-{'3' * 4}-{'4' * 4}-{'5' * 12}",
            "11111111-2222-3333-4444-555555555555",
        ),
    ],
)
def test_telemetry_is_sent_by_the_identity_that_is_named(text: str, id: str | None) -> None:
    assert client_id(Settings.load({AUTHENTICATION: text}).applicationinsights_authentication_string) == id


@pytest.mark.parametrize("text", ["AAD", "Authorization=Key", "Authorization=AAD;ClientId=me", "Authorization=AAD;x"])
def test_another_way_of_sending_it_is_refused(text: str) -> None:
    (line,) = wrong(**{AUTHENTICATION: text})
    assert line.startswith(f"{AUTHENTICATION}: not of that form; ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLOWGRID_TELEMETRY_SAMPLE", "0"),
        ("FLOWGRID_TELEMETRY_SAMPLE", "1.5"),
        ("FLOWGRID_TELEMETRY_SAMPLE", "nan"),
        ("FLOWGRID_ENVIRONMENT", ""),
        ("FLOWGRID_ENVIRONMENT", "a b"),
    ],
)
def test_a_share_is_more_than_nothing_and_an_environment_is_a_word(name: str, value: str) -> None:
    (line,) = wrong(**{name: value})
    assert line.startswith(f"{name}: ")
