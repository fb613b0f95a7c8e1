"""What settings need of each other, beyond what each must be alone: a name, and what is wrong with it."""

import re
from collections.abc import Mapping

from shared.emulators import is_emulator, is_local
from shared.outside import listed, wrong_outside

_TRIGGERS = "ServiceBusConnection__fullyQualifiedNamespace"
_FERNET_KEY = re.compile(r"[A-Za-z0-9_-]{43}=\Z")
_COSMOS_ACCOUNT = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.DocumentDB/databaseAccounts/[^/]+\Z", re.IGNORECASE
)
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(?::(?P<port>[1-9][0-9]{0,4}))?"
)


def related(known: Mapping[str, str]) -> list[tuple[str, str]]:
    """Of the settings as they were given, by name in lower case."""
    rules = (_cosmos, _service_bus, _storage, _redis, _cors, wrong_outside)
    return [wrong for rule in rules for wrong in rule(known)]


def _cosmos(known: Mapping[str, str]) -> list[tuple[str, str]]:
    """What the Cosmos DB settings need of each other."""
    endpoint = known.get("flowgrid_cosmos_endpoint", "")
    key = known.get("flowgrid_cosmos_emulator_key", "")
    if known.get("flowgrid_database") != "cosmos":
        return []
    if not endpoint:
        return [("FLOWGRID_COSMOS_ENDPOINT", "missing")]
    here = is_local(endpoint)
    wrong = []
    if key and not here:
        wrong.append(("FLOWGRID_COSMOS_EMULATOR_KEY", "only for an endpoint on localhost"))
    if not (endpoint.startswith("https://") or (here and key and endpoint.startswith("http://"))):
        wrong.append(("FLOWGRID_COSMOS_ENDPOINT", f"{endpoint!r} is not an https address"))
    return wrong


def _service_bus(known: Mapping[str, str]) -> list[tuple[str, str]]:
    """What the Service Bus settings need of each other: an identity's namespace, or an emulator on this machine."""
    namespace, emulator = known.get("flowgrid_servicebus_namespace", ""), known.get("flowgrid_servicebus_emulator", "")
    if known.get("flowgrid_messaging") != "servicebus":
        return []
    if emulator and not is_emulator(emulator):
        return [("FLOWGRID_SERVICEBUS_EMULATOR", "not a connection to this machine")]
    wrong = []
    if not namespace and not emulator:
        wrong.append(("FLOWGRID_SERVICEBUS_NAMESPACE", "missing"))
    if not any(known.get(name) for name in ("servicebusconnection", _TRIGGERS.lower())):
        wrong.append((_TRIGGERS, "missing, so nothing would receive what is sent"))
    return wrong


def _storage(known: Mapping[str, str]) -> list[tuple[str, str]]:
    """What the settings of blobs, secrets and provisioning need of each other."""
    wrong = []
    account, emulator = known.get("flowgrid_blob_account_url", ""), known.get("flowgrid_blob_emulator_connection", "")
    if known.get("flowgrid_blobs") == "azure" and not account and not emulator:
        wrong.append(("FLOWGRID_BLOB_ACCOUNT_URL", "missing"))
    if account and emulator:
        wrong.append(("FLOWGRID_BLOB_EMULATOR_CONNECTION", "there is an account as well"))
    if account and not account.startswith("https://"):
        wrong.append(("FLOWGRID_BLOB_ACCOUNT_URL", f"{account!r} is not an https address"))
    if emulator and "UseDevelopmentStorage=true" not in emulator and "AccountName=devstoreaccount1;" not in emulator:
        wrong.append(("FLOWGRID_BLOB_EMULATOR_CONNECTION", "not an emulator's; a real account takes no keys"))
    vault = known.get("flowgrid_keyvault_url", "")
    if known.get("flowgrid_secrets") == "keyvault" and not vault:
        wrong.append(("FLOWGRID_KEYVAULT_URL", "missing"))
    if vault and not vault.startswith("https://"):
        wrong.append(("FLOWGRID_KEYVAULT_URL", f"{vault!r} is not an https address"))
    if (key := known.get("flowgrid_secrets_key", "")) and not _FERNET_KEY.match(key):
        wrong.append(("FLOWGRID_SECRETS_KEY", "not 32 bytes in URL-safe base64"))
    if (id := known.get("flowgrid_cosmos_account_id", "")) and not _COSMOS_ACCOUNT.match(id):
        wrong.append(("FLOWGRID_COSMOS_ACCOUNT_ID", f"{id!r} is not the resource id of a Cosmos DB account"))
    return wrong


def _redis(known: Mapping[str, str]) -> list[tuple[str, str]]:
    """An address in Azure, where no key is taken, or one on this machine."""
    url = known.get("flowgrid_redis_url", "")
    if known.get("flowgrid_rate_limits") != "redis":
        return []
    if not url:
        return [("FLOWGRID_REDIS_URL", "missing")]
    if "@" in url:
        return [("FLOWGRID_REDIS_URL", "there is a password in it")]
    right = url.startswith("rediss://") or (url.startswith("redis://") and is_local(url))
    return [] if right else [("FLOWGRID_REDIS_URL", f"{url!r} is no such address")]


def _cors(known: Mapping[str, str]) -> list[tuple[str, str]]:
    """Origins that no browser sends, and those that a page of anybody could have."""
    origins = listed(known.get("flowgrid_cors_origins", ""))
    return [("FLOWGRID_CORS_ORIGINS", f"{one!r} is no origin") for one in origins if not _is_origin(one)]


def _is_origin(text: str) -> bool:
    """As a browser writes it: host in lower case, no port that is the scheme's own; http on this machine only."""
    found = _ORIGIN.fullmatch(text)
    if found is None or int(found["port"] or 1) > 65535:
        return False
    return found["port"] != "443" if found["scheme"] == "https" else is_local(text) and found["port"] != "80"
