"""What the code rests on in Azure: each fact tells what of a snapshot is otherwise, by the code's own constants."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from cli.infra import ELSEWHERE, LIFETIME, iso
from functions.kinds import KINDS
from shared.blobs.azure import PING_AREA
from shared.database.cosmos.containers import REGISTRY_CONTAINERS, TENANT_CONTAINERS, definition
from shared.messaging.queues import DUPLICATES_REMEMBERED, LOCK, MAX_DELIVERIES
from shared.settings import Settings
from shared.tenancy.directory import shard
from tests.infra.edge import EDGE
from tests.infra.snapshot import ROOT, Snapshot

Fact = Callable[[Snapshot], Iterator[str]]

COSMOS = "Microsoft.DocumentDB/databaseAccounts"
STORAGE = "Microsoft.Storage/storageAccounts"
BUS = "Microsoft.ServiceBus/namespaces"
VAULT = "Microsoft.KeyVault/vaults"
REDIS = "Microsoft.Cache/redisEnterprise"
INSIGHTS = "Microsoft.Insights/components"
WORKSPACE = "Microsoft.OperationalInsights/workspaces"
SITE = "Microsoft.Web/sites"
IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
ASSIGNMENT = "Microsoft.Authorization/roleAssignments"
RETAINED = ("deleteRetentionPolicy", "containerDeleteRetentionPolicy")
LEAST_DAYS = 7  # in which somebody sees that something is gone (decision 0047)
STORES = (COSMOS, STORAGE, BUS, VAULT, REDIS)

# https://learn.microsoft.com/azure/azure-functions/functions-app-settings: what Flex Consumption has no use for, or
# refuses; and what would give each process caches and limits of its own (docs/settings.md).
FORBIDDEN = re.compile(
    r"FUNCTIONS_(WORKER_.*|EXTENSION_VERSION|REQUEST_BODY_SIZE_LIMIT|MAX_HTTP_CONCURRENCY)|AzureWebJobsStorage"
    r"|PYTHON_THREADPOOL_THREAD_COUNT|WEBSITE_.*|SCM_DO_BUILD_DURING_DEPLOYMENT|ENABLE_ORYX_BUILD|LINUX_FX_VERSION"
    r"|(OPENAI|ANTHROPIC)_CUSTOM_HEADERS|APPINSIGHTS_INSTRUMENTATIONKEY|TZ",
    re.IGNORECASE,
)
NOT_OF_FLEX = {  # of siteConfig: what functionAppConfig says instead, or nothing does
    *("alwaysOn", "cors", "ftpsState", "functionAppScaleLimit", "healthCheckPath", "linuxFxVersion"),
    *("minimumElasticInstanceCount", "numberOfWorkers", "pythonVersion", "vnetRouteAllEnabled"),
}
SECRET = re.compile(
    r"AccountKey=|SharedAccessKey|InstrumentationKey=|listKeys\(|listAccountSas|password|\bsig=", re.IGNORECASE
)
GLOBAL = (  # are in no region, and hold nothing of tenants: names, and who is told of what
    "Microsoft.Network/privateDnsZones",
    "Microsoft.Insights/actionGroups",
    "Microsoft.Insights/metricAlerts",
)
UUID = "11111111-2222-3333-4444-555555555555"
OF_A_RUNNING_STORE = {  # what only Azure can say, as it would
    "FLOWGRID_COSMOS_ENDPOINT": "https://one.documents.azure.com:443/",
    "FLOWGRID_BLOB_ACCOUNT_URL": "https://one.blob.core.windows.net/",
    "FLOWGRID_KEYVAULT_URL": "https://one.vault.azure.net/",
    "FLOWGRID_GATEWAY": json.dumps([{"issuer": "https://login.example/v2.0", "audience": UUID, "caller": UUID}]),
    "FLOWGRID_PUBLIC_URL": "https://one.azure-api.net",
    "FLOWGRID_REDIS_URL": "rediss://one.westeurope.redis.azure.net:10000",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={UUID};IngestionEndpoint=https://i.example/",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": f"Authorization=AAD;ClientId={UUID}",
}


def every_setting_is_there(found: Snapshot) -> Iterator[str]:
    given = {name.lower() for name in found.app_settings()}
    yield from (name for name in Settings.model_fields if name not in ELSEWHERE and name not in given)


def what_triggers_name_is_set(found: Snapshot) -> Iterator[str]:
    """By the host, which knows no default of ours."""
    named: set[str] = set()
    for path in [*(ROOT / "functions").rglob("*.py"), ROOT / "host.json"]:
        text = path.read_text("utf-8")
        named |= set(re.findall(r'"%(\w+)%"', text))
        connections = re.findall(r"connection=\"(\w+)\"", text)
        named |= {f"{one}__{what}" for one in connections for what in ("fullyQualifiedNamespace", "credential")}
    given = {name for name, value in found.app_settings().items() if value}
    yield from (named - given) if len(named) > 5 else ["no triggers were found"]


def as_azure_would_give_them(found: Snapshot) -> dict[str, str]:
    """The app settings, with what is looked up when it is deployed."""
    values = found.app_settings()
    return values | {name: value for name, value in OF_A_RUNNING_STORE.items() if _of_azure(values.get(name, ""))}


def the_app_starts_with_its_settings(found: Snapshot) -> Iterator[str]:
    values = as_azure_would_give_them(found)
    settings = Settings.load(values)
    if not settings.queue_triggers:
        yield "no queue is received from"
    adapters = [getattr(settings, f"flowgrid_{port}") for port in ("database", "messaging", "blobs", "secrets")]
    if adapters != ["cosmos", "servicebus", "azure", "keyvault"]:
        yield f"adapters {adapters}"
    if values["ServiceBusConnection__fullyQualifiedNamespace"] != settings.flowgrid_servicebus_namespace:
        yield "it sends to another namespace than it receives from"


def no_setting_is_there_that_must_not_be(found: Snapshot) -> Iterator[str]:
    names = found.app_settings()
    yield from (name for name in names if FORBIDDEN.fullmatch(name) or name.lower() in ELSEWHERE)
    yield from NOT_OF_FLEX & found.one(SITE)["properties"]["siteConfig"].keys()


def each_setting_is_of_this_stamp(found: Snapshot) -> Iterator[str]:
    """What is looked up in Azure is looked up at the stamp's own store."""
    settings, bus = found.app_settings(), found.one(BUS)["name"]
    sources = {
        "FLOWGRID_COSMOS_ENDPOINT": found.one(COSMOS)["id"],
        "FLOWGRID_COSMOS_ACCOUNT_ID": found.one(COSMOS)["id"],
        "FLOWGRID_BLOB_ACCOUNT_URL": _data(found)["id"],
        "FLOWGRID_KEYVAULT_URL": found.one(VAULT)["id"],
        "APPLICATIONINSIGHTS_CONNECTION_STRING": found.one(INSIGHTS)["id"],
        "FLOWGRID_SERVICEBUS_NAMESPACE": bus,
    }
    if redis := found.all(REDIS):
        sources["FLOWGRID_REDIS_URL"] = redis[0]["id"]
    yield from (name for name, source in sources.items() if source not in settings[name])
    if (settings["FLOWGRID_RATE_LIMITS"] == "redis") != bool(redis):
        yield "limits are counted in a Redis that is not there, or the one that is there is not used"


def every_queue_is_as_the_code_rests_on(found: Snapshot) -> Iterator[str]:
    settings = found.app_settings()
    wanted = {settings[name] for name in ("USAGE_QUEUE", "JOBS_QUEUE", "EXECUTIONS_QUEUE", "DELIVERIES_QUEUE")}
    properties = {
        "lockDuration": iso(LOCK),
        "maxDeliveryCount": MAX_DELIVERIES,
        "requiresDuplicateDetection": True,
        "duplicateDetectionHistoryTimeWindow": iso(DUPLICATES_REMEMBERED),
        "defaultMessageTimeToLive": LIFETIME,
        "deadLetteringOnMessageExpiration": True,
        "enablePartitioning": False,
    }
    queues = {one["name"].rpartition("/")[2]: one["properties"] for one in found.all(f"{BUS}/queues")}
    if queues.keys() != wanted:
        yield f"queues {sorted(queues)}, not {sorted(wanted)}"
    for name, one in queues.items():
        yield from (f"{name}: {what}" for what, value in properties.items() if one.get(what) != value)


def every_container_is_as_the_code_declares_it(found: Snapshot) -> Iterator[str]:
    settings = found.app_settings()
    shards = [shard(number).database for number in range(1, int(settings["FLOWGRID_SHARDS"]) + 1)]
    wanted = {(settings["FLOWGRID_COSMOS_REGISTRY"], name): definition(name, KINDS) for name in REGISTRY_CONTAINERS}
    wanted |= {(database, name): definition(name, KINDS) for database in shards for name in TENANT_CONTAINERS}
    made = {
        tuple(one["name"].split("/")[1:]): one["properties"]["resource"]
        for one in found.all(f"{COSMOS}/sqlDatabases/containers")
    }
    yield from (
        f"{name}: not as declared" for name in wanted.keys() | made.keys() if wanted.get(name) != made.get(name)
    )


def every_area_of_blobs_has_a_container(found: Snapshot) -> Iterator[str]:
    texts = [path.read_text("utf-8") for path in (ROOT / "functions").rglob("*.py")]
    wanted = {area for text in texts for area in re.findall(r'^AREA\b.*= "(.+)"', text, re.MULTILINE)} | {PING_AREA}
    made = {
        one["name"].rpartition("/")[2]
        for one in found.all(f"{STORAGE}/blobServices/containers")
        if one["name"].startswith(f"{_data(found)['name']}/")
    }
    yield from (f"container {name}" for name in wanted ^ made)


def nobody_else_reads_a_blob(found: Snapshot) -> Iterator[str]:
    for one in found.all(f"{STORAGE}/blobServices/containers"):
        if one["properties"].get("publicAccess") != "None":
            yield one["name"]


def blobs_can_be_brought_back_and_none_is_deleted_by_a_rule(found: Snapshot) -> Iterator[str]:
    """Nor is any immutable: retention of backups deletes, parts are written again (decision 0047)."""
    for one in found.all(f"{STORAGE}/blobServices"):
        properties = one["properties"]
        kept = [properties[name]["enabled"] for name in RETAINED]
        if not (properties["isVersioningEnabled"] and all(kept)):
            yield f"{one['name']}: what is overwritten or deleted is gone"
        if any(one["properties"][name]["days"] < LEAST_DAYS for name in RETAINED):
            yield f"{one['name']}: what is deleted is gone too soon"
    for one in found.all(f"{STORAGE}/managementPolicies"):
        rules = one["properties"]["policy"]["rules"]
        actions = [rule["definition"]["actions"] for rule in rules]
        gone = [
            action["version"]["delete"]["daysAfterCreationGreaterThan"] for action in actions if "version" in action
        ]
        if not gone:
            yield f"{one['name']}: old versions stay for ever"
        if any(days < LEAST_DAYS for days in gone):
            yield f"{one['name']}: what is overwritten is gone too soon"
        if any("delete" in action.get("baseBlob", {}) for action in actions):
            yield f"{one['name']}: a rule deletes what the code still names"
    if "immutab" in json.dumps([one for one in found.resources if one["type"].startswith(STORAGE)]).lower():
        yield "blobs are immutable"


def the_database_is_consistent_and_restorable_as_decided(found: Snapshot) -> Iterator[str]:
    properties = found.one(COSMOS)["properties"]
    if properties["consistencyPolicy"]["defaultConsistencyLevel"] != "Session":
        yield "0024 is about session consistency"
    if len(properties["locations"]) != 1 or properties["enableMultipleWriteLocations"]:
        yield "one region decides, and is the only one with data"
    if properties["backupPolicy"]["type"] != "Continuous":
        yield "the account cannot be restored to a point in time"


def throughput_is_what_the_app_gives_to_dedicated_databases(found: Snapshot) -> Iterator[str]:
    """A serverless account refuses any, and a provisioned one without any gives each container 400 RU/s."""
    capabilities = found.one(COSMOS)["properties"]["capabilities"]
    serverless = {"name": "EnableServerless"} in capabilities
    most = int(found.app_settings()["FLOWGRID_COSMOS_DEDICATED_RU"])
    if serverless != (most == 0):
        yield f"{most} RU/s, serverless: {serverless}"
    registry = found.app_settings()["FLOWGRID_COSMOS_REGISTRY"]
    for one in found.all(f"{COSMOS}/sqlDatabases"):
        given = one["properties"].get("options", {}).get("autoscaleSettings", {}).get("maxThroughput", 0)
        least = min(most, 1000) if one["name"].endswith(f"/{registry}") else most
        if given != least:
            yield f"{one['name']}: {given} RU/s"


def no_key_opens_a_store(found: Snapshot) -> Iterator[str]:
    off: dict[str, dict[str, Any]] = {
        COSMOS: {"disableLocalAuth": True, "disableKeyBasedMetadataWriteAccess": True},
        STORAGE: {"allowSharedKeyAccess": False, "allowBlobPublicAccess": False, "isLocalUserEnabled": False},
        BUS: {"disableLocalAuth": True},
        INSIGHTS: {"DisableLocalAuth": True},
        VAULT: {"enableRbacAuthorization": True},
        f"{REDIS}/databases": {"accessKeysAuthentication": "Disabled"},
    }
    for type, wanted in off.items():
        for one in found.all(type):
            given = {name: one["properties"].get(name) for name in wanted}
            yield from (f"{one['name']}: {name}" for name in wanted if given[name] != wanted[name])
    for one in found.all(WORKSPACE):
        if one["properties"]["features"].get("disableLocalAuth") is not True:
            yield f"{one['name']}: features.disableLocalAuth"


def no_secret_is_written_down(found: Snapshot) -> Iterator[str]:
    for one in found.resources:
        yield from (f"{one['name']}: {word}" for word in SECRET.findall(json.dumps(one)))


def everything_speaks_tls(found: Snapshot) -> Iterator[str]:
    wanted: dict[str, dict[str, Any]] = {
        COSMOS: {"minimalTlsVersion": "Tls12"},
        STORAGE: {"minimumTlsVersion": "TLS1_2", "supportsHttpsTrafficOnly": True},
        BUS: {"minimumTlsVersion": "1.2"},
        REDIS: {"minimumTlsVersion": "1.2"},
        f"{REDIS}/databases": {"clientProtocol": "Encrypted"},
        SITE: {"httpsOnly": True},
    }
    for type, values in wanted.items():
        for one in found.all(type):
            yield from (f"{one['name']}: {name}" for name, v in values.items() if one["properties"].get(name) != v)
    config = found.one(SITE)["properties"]["siteConfig"]
    if (config["minTlsVersion"], config["scmMinTlsVersion"]) != ("1.2", "1.2"):
        yield "the site"


def the_host_has_storage_of_its_own(found: Snapshot) -> Iterator[str]:
    settings, data, host = found.app_settings(), _data(found), _host(found)
    package = found.one(SITE)["properties"]["functionAppConfig"]["deployment"]["storage"]["value"]
    if host["id"] == data["id"] or len(found.all(STORAGE)) != 2:
        yield "one account for both"
    if host["id"] not in settings["AzureWebJobsStorage__blobServiceUri"] or host["id"] not in package:
        yield "locks and packages are not in the host's account"
    containers = [one["name"] for one in found.all(f"{STORAGE}/blobServices/containers")]
    if not any(name.startswith(f"{host['name']}/") and f", '{name.split('/')[-1]}')" in package for name in containers):
        yield "packages have no container"


def one_identity_signs_in_everywhere(found: Snapshot) -> Iterator[str]:
    identity, site, settings = found.one(IDENTITY, "-app")["id"], found.one(SITE), found.app_settings()
    if "SystemAssigned" in site["identity"]["type"] or [*site["identity"]["userAssignedIdentities"]] != [identity]:
        yield "the app has another identity"
    clients = ("AZURE_CLIENT_ID", "AzureWebJobsStorage__clientId", "ServiceBusConnection__clientId")
    for name in (*clients, "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"):
        if f"'{identity}'" not in settings.get(name, "") or ".clientId" not in settings.get(name, ""):
            yield name
    if settings["AZURE_TOKEN_CREDENTIALS"] != "ManagedIdentityCredential":
        yield "other ways of signing in are tried"
    for name in ("AzureWebJobsStorage__credential", "ServiceBusConnection__credential"):
        if settings.get(name) != "managedidentity":
            yield name
    storage = site["properties"]["functionAppConfig"]["deployment"]["storage"]["authentication"]
    if storage != {"type": "UserAssignedIdentity", "userAssignedIdentityResourceId": identity}:
        yield "the package is fetched by somebody else"


def the_app_may_do_what_it_does_and_no_more(found: Snapshot) -> Iterator[str]:
    """Role by what it is for, and where: the smallest scope that holds what the code touches."""
    queues = [one["id"] for one in found.all(f"{BUS}/queues")]
    wanted = Counter(
        [
            (_host(found)["id"], "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"),  # Storage Blob Data Owner
            (_data(found)["id"], "ba92f5b4-2d11-453d-a403-e96b0029c9fe"),  # Storage Blob Data Contributor
            *((queue, "090c5cfd-751d-490a-894a-3ce6f1109419") for queue in queues),  # Azure Service Bus Data Owner
            (found.one(VAULT)["id"], "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"),  # Key Vault Secrets Officer
            (found.one(INSIGHTS)["id"], "3913510d-42f4-4e42-8a64-420c390055eb"),  # Monitoring Metrics Publisher
            (found.one(COSMOS)["id"], "databases"),
            ("/subscriptions/00000000-0000-0000-0000-000000000000", "operations"),
        ]
    )
    own = {
        one["id"].rpartition("/")[2]: one["properties"]["roleName"].split()[1]
        for one in found.all("Microsoft.Authorization/roleDefinitions")
    }
    given: Counter[tuple[str, str]] = Counter()
    for one in _of_the_app(found):
        role = one["properties"]["roleDefinitionId"].rpartition("/")[2]
        given[one["id"].rpartition("/providers/Microsoft.Authorization/")[0], own.get(role, role)] += 1
    yield from (f"too much: {one}" for one in given - wanted)
    yield from (f"missing: {one}" for one in wanted - given)
    if len(found.all(f"{COSMOS}/sqlRoleAssignments")) != 1:
        yield "one assignment for items"
    if len(found.all(f"{REDIS}/databases/accessPolicyAssignments")) != len(found.all(REDIS)):
        yield "one assignment for Redis"
    app = found.one(IDENTITY, "-app")["id"]
    for one in found.all(f"{REDIS}/databases/accessPolicyAssignments"):
        if one["properties"]["accessPolicyName"] != "default" or app not in one["properties"]["user"]["objectId"]:
            yield f"{one['name']}: another policy, or somebody else"


def roles_of_our_own_allow_what_the_code_calls(found: Snapshot) -> Iterator[str]:
    items = found.one(f"{COSMOS}/sqlRoleDefinitions")["properties"]["permissions"]
    parts = "sqlDatabases/containers"
    wanted = ["readMetadata", f"{parts}/executeQuery", f"{parts}/executeStoredProcedure", f"{parts}/items/*"]
    if items != [{"dataActions": [f"{COSMOS}/{action}" for action in wanted]}]:
        yield "items"
    own = {
        one["properties"]["roleName"].split()[1]: one["properties"]["permissions"]
        for one in found.all("Microsoft.Authorization/roleDefinitions")
    }
    databases = ["sqlDatabases/read", "sqlDatabases/write", "sqlDatabases/delete", "sqlDatabases/operationResults/read"]
    databases += [f"{parts}/read", f"{parts}/write", f"{parts}/operationResults/read"]
    if own["databases"] != [{"actions": [f"{COSMOS}/{one}" for one in databases], "notActions": []}]:
        yield "databases"
    operations = "Microsoft.DocumentDB/locations/operationsStatus/read"
    if own["operations"] != [{"actions": [operations], "notActions": []}]:
        yield "operations"


def secrets_can_be_brought_back(found: Snapshot) -> Iterator[str]:
    properties = found.one(VAULT)["properties"]
    yield from (name for name in ("enableSoftDelete", "enablePurgeProtection") if properties.get(name) is not True)


def all_of_it_is_in_one_region(found: Snapshot) -> Iterator[str]:
    region = found.app_settings()["FLOWGRID_REGION"]
    for one in found.resources:
        elsewhere = one["type"].startswith(GLOBAL)
        if not elsewhere and one.get("location", region) != region:
            yield f"{one['name']} is in {one['location']}"
    places = [one["locationName"] for one in found.one(COSMOS)["properties"]["locations"]]
    copies = {one["sku"]["name"] for one in found.all(STORAGE)}
    if places != [region] or not copies <= {"Standard_LRS", "Standard_ZRS"}:
        yield f"copies: {places}, {copies}"


def an_instance_is_used_as_the_code_can_be(found: Snapshot) -> Iterator[str]:
    config = found.one(SITE)["properties"]["functionAppConfig"]
    scale = config["scaleAndConcurrency"]
    if config["runtime"]["name"] != "python" or config["runtime"]["version"] not in ("3.11", "3.12", "3.13"):
        yield f"{config['runtime']}"
    if scale["triggers"]["http"]["perInstanceConcurrency"] != {512: 4, 2048: 16, 4096: 32}[scale["instanceMemoryMB"]]:
        yield "each call at the same time would take an instance, or one takes more than fits"
    if config["siteUpdateStrategy"]["type"] != "RollingUpdate":
        yield "a change of a setting kills what runs"
    zones = found.one("Microsoft.Web/serverfarms")["properties"]["zoneRedundant"]
    for one in scale["alwaysReady"]:
        if one["name"] != "http" or (zones and one["instanceCount"] < 2):
            yield f"{one}"


def stores_are_private_where_there_is_a_network(found: Snapshot) -> Iterator[str]:
    networks = found.all("Microsoft.Network/virtualNetworks")
    stores = [one for type in STORES for one in found.all(type)]
    wanted = "Disabled" if networks else "Enabled"
    yield from (one["name"] for one in stores if one["properties"]["publicNetworkAccess"] != wanted)
    connections = [
        one["properties"]["privateLinkServiceConnections"][0]["properties"]["privateLinkServiceId"]
        for one in found.all("Microsoft.Network/privateEndpoints")
    ]
    if sorted(connections) != sorted(one["id"] for one in stores if networks):
        yield "a store has no endpoint of its own"
    if len(found.all("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")) != len(connections):
        yield "an endpoint has no name"
    subnet = found.one(SITE)["properties"].get("virtualNetworkSubnetId")
    if (subnet or "") != (f"{networks[0]['id']}/subnets/app" if networks else ""):
        yield "the app is not in the network"
    if (found.one(BUS)["sku"]["name"] == "Premium") != bool(networks):
        yield "private endpoints take Service Bus Premium"


def windows_of_limits_lie_in_one_slot_or_there_are_none(found: Snapshot) -> Iterator[str]:
    """And what is thrown away first is what ends first (decision 0041)."""
    for one in found.all(f"{REDIS}/databases"):
        policy = (one["properties"]["clusteringPolicy"], one["properties"]["evictionPolicy"])
        if policy not in {("EnterpriseCluster", "VolatileTTL"), ("NonClustered", "VolatileTTL")}:
            yield f"{policy}"


def every_resource_says_whose_it_is(found: Snapshot) -> Iterator[str]:
    region = found.app_settings()["FLOWGRID_REGION"]
    for one in found.resources:
        tags = one.get("tags", {"product": "flowgrid", "stamp": region})
        if ("location" in one and "tags" not in one) or (tags["product"], tags["stamp"]) != ("flowgrid", region):
            yield f"{one['name']}"


def _of_azure(value: str) -> bool:
    return value.startswith("[") and not value.startswith("[{")


def _host(found: Snapshot) -> dict[str, Any]:
    (one,) = [one for one in found.all(STORAGE) if "host" in one["name"]]
    return one


def _data(found: Snapshot) -> dict[str, Any]:
    (one,) = [one for one in found.all(STORAGE) if "data" in one["name"]]
    return one


def _of_the_app(found: Snapshot) -> list[dict[str, Any]]:
    """Assignments to the app's identity: a gateway, or whoever delivers, has others."""
    name = found.one(IDENTITY, "-app")["name"]
    return [
        one
        for one in found.all(ASSIGNMENT)
        if f"/{name}'" in one["properties"]["principalId"] or "format('identity-" in one["properties"]["principalId"]
    ]


FACTS: tuple[Fact, ...] = (
    every_setting_is_there,
    what_triggers_name_is_set,
    the_app_starts_with_its_settings,
    no_setting_is_there_that_must_not_be,
    each_setting_is_of_this_stamp,
    every_queue_is_as_the_code_rests_on,
    every_container_is_as_the_code_declares_it,
    every_area_of_blobs_has_a_container,
    nobody_else_reads_a_blob,
    blobs_can_be_brought_back_and_none_is_deleted_by_a_rule,
    the_database_is_consistent_and_restorable_as_decided,
    throughput_is_what_the_app_gives_to_dedicated_databases,
    no_key_opens_a_store,
    no_secret_is_written_down,
    everything_speaks_tls,
    the_host_has_storage_of_its_own,
    one_identity_signs_in_everywhere,
    the_app_may_do_what_it_does_and_no_more,
    roles_of_our_own_allow_what_the_code_calls,
    secrets_can_be_brought_back,
    all_of_it_is_in_one_region,
    an_instance_is_used_as_the_code_can_be,
    stores_are_private_where_there_is_a_network,
    windows_of_limits_lie_in_one_slot_or_there_are_none,
    every_resource_says_whose_it_is,
    *EDGE,
)
