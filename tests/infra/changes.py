"""Changes of a deployment, each of which some fact is there to tell of."""

import json
from collections.abc import Callable
from typing import Any

from tests.infra import edge, facts
from tests.infra.edge import GATEWAY, GROUP, METRIC_ALERT, RULE, WEB_TEST
from tests.infra.facts import ASSIGNMENT, BUS, COSMOS, IDENTITY, INSIGHTS, REDIS, SITE, STORAGE, VAULT, WORKSPACE, Fact
from tests.infra.snapshot import Snapshot

Change = Callable[[Snapshot], None]
ROLES = "Microsoft.Authorization/roleDefinitions"
ENDPOINT = "Microsoft.Network/privateEndpoints"


def put(type: str, path: str, value: Any, ends: str = "") -> Change:
    """Another value in the first resource of a type whose name ends so; `path` has dots, and digits for lists."""

    def change(found: Snapshot) -> None:
        place, _, last = f"properties.{path}".rpartition(".")
        one: Any = next(one for one in found.all(type) if one["name"].endswith(ends))
        for step in place.split("."):
            one = one[int(step)] if step.isdecimal() else one[step]
        before = one.get(last) if isinstance(one, dict) else one[int(last)]
        assert before != value
        one[int(last) if last.isdecimal() else last] = value

    return change


def drop(type: str, ends: str = "") -> Change:
    """Without the first resource of a type whose name ends so."""

    def change(found: Snapshot) -> None:
        found.resources.remove(next(one for one in found.all(type) if one["name"].endswith(ends)))

    return change


def again(type: str, ends: str = "", **changed: Any) -> Change:
    """One more of a type."""

    def change(found: Snapshot) -> None:
        one = json.loads(json.dumps(next(one for one in found.all(type) if one["name"].endswith(ends))))
        found.resources.append({**one, **changed})

    return change


def setting(name: str, value: str | None) -> Change:
    """Another value of an app setting, or none."""

    def change(found: Snapshot) -> None:
        config = found.one(SITE)["properties"]["siteConfig"]
        others = [one for one in config["appSettings"] if one["name"] != name]
        config["appSettings"] = [*others, *([] if value is None else [{"name": name, "value": value}])]

    return change


def elsewhere(found: Snapshot) -> None:
    found.one(VAULT)["location"] = "eastus"


def untagged(found: Snapshot) -> None:
    del found.one(VAULT)["tags"]


def another_identity(found: Snapshot) -> None:
    found.one(SITE)["identity"]["type"] = "SystemAssigned, UserAssigned"


def a_plain_sku(found: Snapshot) -> None:
    found.one(BUS)["sku"]["name"] = "Standard"


def copied_abroad(found: Snapshot) -> None:
    found.all(STORAGE)[0]["sku"]["name"] = "Standard_GZRS"


def a_wider_scope(found: Snapshot) -> None:
    one = next(one for one in found.all(ASSIGNMENT) if "/queues/jobs/" in one["id"])
    one["id"] = one["id"].replace("/queues/jobs", "")


def a_stronger_role(found: Snapshot) -> None:
    one = next(one for one in found.all(ASSIGNMENT) if "/vaults/" in one["id"])
    one["properties"]["roleDefinitionId"] = "/x/00482a5a-887f-4fb3-b363-3b7fe8e74483"


def packages_beside_data(found: Snapshot) -> None:
    data, host = sorted(found.all(STORAGE), key=lambda one: "data" not in one["name"])
    storage = found.one(SITE)["properties"]["functionAppConfig"]["deployment"]["storage"]
    storage["value"] = storage["value"].replace(host["id"], data["id"])


def a_deleting_rule(found: Snapshot) -> None:
    rules = found.all(f"{STORAGE}/managementPolicies")[1]["properties"]["policy"]["rules"]
    rules[1]["definition"]["actions"]["baseBlob"]["delete"] = {"daysAfterModificationGreaterThan": 365}


def immutable(found: Snapshot) -> None:
    made = found.all(f"{STORAGE}/blobServices/containers")[-1]
    made["properties"]["immutableStorageWithVersioning"] = {"enabled": True}


VERSIONS = "policy.rules.0.definition.actions.version"
SCALE = "functionAppConfig.scaleAndConcurrency"
ITEMS = f"{COSMOS}/sqlDatabases/containers"
INDEXED = "resource.indexingPolicy.includedPaths.1.path"
SERVERLESS = [{"name": "EnableServerless"}]
CHANGES: tuple[tuple[Fact, Change], ...] = (
    *((facts.every_setting_is_there, setting(name, None)) for name in ("FLOWGRID_CLAIMS", "FLOWGRID_ISSUERS")),
    (facts.what_triggers_name_is_set, setting("SWEEP_SCHEDULE", "")),
    (facts.what_triggers_name_is_set, setting("EXECUTIONS_QUEUE", None)),
    (facts.what_triggers_name_is_set, setting("ServiceBusConnection__credential", None)),
    (facts.the_app_starts_with_its_settings, setting("ServiceBusConnection__fullyQualifiedNamespace", None)),
    (facts.the_app_starts_with_its_settings, setting("FLOWGRID_ISSUERS", '[{"issuer": "http://a", "audience": "b"}]')),
    (facts.the_app_starts_with_its_settings, setting("FLOWGRID_SECRETS", "file")),
    (facts.the_app_starts_with_its_settings, setting("FLOWGRID_COSMOS_ENDPOINT", "http://one.example")),
    (facts.no_setting_is_there_that_must_not_be, setting("FUNCTIONS_WORKER_RUNTIME", "python")),
    (facts.no_setting_is_there_that_must_not_be, setting("WEBSITE_RUN_FROM_PACKAGE", "1")),
    (facts.no_setting_is_there_that_must_not_be, setting("AzureWebJobsStorage", "x")),
    (facts.no_setting_is_there_that_must_not_be, put(SITE, "siteConfig.cors", {"allowedOrigins": ["*"]})),
    (facts.no_setting_is_there_that_must_not_be, put(SITE, "siteConfig.alwaysOn", True)),
    (facts.no_setting_is_there_that_must_not_be, setting("ServiceBusConnection", "")),
    (facts.no_setting_is_there_that_must_not_be, setting("FLOWGRID_COSMOS_EMULATOR_KEY", "")),
    (facts.each_setting_is_of_this_stamp, setting("FLOWGRID_KEYVAULT_URL", "https://other.vault.azure.net")),
    (facts.each_setting_is_of_this_stamp, setting("FLOWGRID_RATE_LIMITS", "memory")),
    (facts.every_queue_is_as_the_code_rests_on, drop(f"{BUS}/queues", "executions")),
    (facts.every_queue_is_as_the_code_rests_on, put(f"{BUS}/queues", "lockDuration", "PT1M")),
    (facts.every_queue_is_as_the_code_rests_on, put(f"{BUS}/queues", "requiresDuplicateDetection", False)),
    (facts.every_queue_is_as_the_code_rests_on, put(f"{BUS}/queues", "enablePartitioning", True)),
    (facts.every_queue_is_as_the_code_rests_on, put(f"{BUS}/queues", "defaultMessageTimeToLive", "PT1H")),
    (facts.every_container_is_as_the_code_declares_it, drop(ITEMS, "shard-2/usage")),
    (facts.every_container_is_as_the_code_declares_it, put(ITEMS, "resource.defaultTtl", 60)),
    (facts.every_container_is_as_the_code_declares_it, put(ITEMS, "resource.partitionKey.paths.0", "/id")),
    (
        facts.every_container_is_as_the_code_declares_it,
        put(ITEMS, INDEXED, "/x"),
    ),
    (facts.every_area_of_blobs_has_a_container, drop(f"{STORAGE}/blobServices/containers", "/audit")),
    (facts.nobody_else_reads_a_blob, put(f"{STORAGE}/blobServices/containers", "publicAccess", "Blob", "/audit")),
    (facts.nobody_else_reads_a_blob, put(f"{STORAGE}/blobServices/containers", "publicAccess", None, "/packages")),
    *(
        (
            facts.blobs_can_be_brought_back_and_none_is_deleted_by_a_rule,
            put(f"{STORAGE}/blobServices", f"{name}.days", 1),
        )
        for name in facts.RETAINED
    ),
    (
        facts.blobs_can_be_brought_back_and_none_is_deleted_by_a_rule,
        put(f"{STORAGE}/managementPolicies", f"{VERSIONS}.delete.daysAfterCreationGreaterThan", 1),
    ),
    (facts.blobs_can_be_brought_back_and_none_is_deleted_by_a_rule, a_deleting_rule),
    (facts.blobs_can_be_brought_back_and_none_is_deleted_by_a_rule, immutable),
    (
        facts.blobs_can_be_brought_back_and_none_is_deleted_by_a_rule,
        put(f"{STORAGE}/blobServices", "isVersioningEnabled", False),
    ),
    (
        facts.blobs_can_be_brought_back_and_none_is_deleted_by_a_rule,
        put(f"{STORAGE}/managementPolicies", "policy.rules", []),
    ),
    (
        facts.the_database_is_consistent_and_restorable_as_decided,
        put(COSMOS, "consistencyPolicy.defaultConsistencyLevel", "Eventual"),
    ),
    (facts.the_database_is_consistent_and_restorable_as_decided, put(COSMOS, "enableMultipleWriteLocations", True)),
    (facts.the_database_is_consistent_and_restorable_as_decided, put(COSMOS, "backupPolicy.type", "Periodic")),
    (facts.throughput_is_what_the_app_gives_to_dedicated_databases, put(COSMOS, "capabilities", SERVERLESS)),
    (facts.throughput_is_what_the_app_gives_to_dedicated_databases, setting("FLOWGRID_COSMOS_DEDICATED_RU", "1000")),
    (facts.throughput_is_what_the_app_gives_to_dedicated_databases, put(f"{COSMOS}/sqlDatabases", "options", {})),
    (facts.no_key_opens_a_store, put(COSMOS, "disableLocalAuth", False)),
    (facts.no_key_opens_a_store, put(STORAGE, "allowSharedKeyAccess", True)),
    (facts.no_key_opens_a_store, put(BUS, "disableLocalAuth", None)),
    (facts.no_key_opens_a_store, put(INSIGHTS, "DisableLocalAuth", False)),
    (facts.no_key_opens_a_store, put(WORKSPACE, "features", {})),
    (facts.no_key_opens_a_store, put(VAULT, "enableRbacAuthorization", False)),
    (facts.no_key_opens_a_store, put(f"{REDIS}/databases", "accessKeysAuthentication", "Enabled")),
    (facts.no_secret_is_written_down, setting("FLOWGRID_LOG_LEVEL", "AccountKey=x")),
    (facts.no_secret_is_written_down, setting("X", "[listKeys('one', '2025-06-01').keys[0].value]")),
    (facts.everything_speaks_tls, put(SITE, "httpsOnly", False)),
    (facts.everything_speaks_tls, put(SITE, "siteConfig.minTlsVersion", "1.0")),
    (facts.everything_speaks_tls, put(STORAGE, "minimumTlsVersion", "TLS1_0")),
    (facts.everything_speaks_tls, put(f"{REDIS}/databases", "clientProtocol", "Plaintext")),
    (facts.the_host_has_storage_of_its_own, packages_beside_data),
    (facts.the_host_has_storage_of_its_own, drop(f"{STORAGE}/blobServices/containers", "/packages")),
    (facts.the_host_has_storage_of_its_own, setting("AzureWebJobsStorage__blobServiceUri", "https://other")),
    (facts.one_identity_signs_in_everywhere, another_identity),
    (facts.one_identity_signs_in_everywhere, setting("AZURE_CLIENT_ID", "other")),
    (facts.one_identity_signs_in_everywhere, setting("AzureWebJobsStorage__credential", None)),
    (facts.one_identity_signs_in_everywhere, setting("AZURE_TOKEN_CREDENTIALS", "dev")),
    (facts.the_app_may_do_what_it_does_and_no_more, drop(ASSIGNMENT)),
    (facts.the_app_may_do_what_it_does_and_no_more, again(ASSIGNMENT)),
    (facts.the_app_may_do_what_it_does_and_no_more, a_wider_scope),
    (facts.the_app_may_do_what_it_does_and_no_more, a_stronger_role),
    (facts.the_app_may_do_what_it_does_and_no_more, drop(f"{COSMOS}/sqlRoleAssignments")),
    (facts.the_app_may_do_what_it_does_and_no_more, drop(f"{REDIS}/databases/accessPolicyAssignments")),
    *(
        (
            facts.the_app_may_do_what_it_does_and_no_more,
            put(f"{REDIS}/databases/accessPolicyAssignments", path, "other"),
        )
        for path in ("accessPolicyName", "user.objectId")
    ),
    (
        facts.roles_of_our_own_allow_what_the_code_calls,
        put(f"{COSMOS}/sqlRoleDefinitions", "permissions.0.dataActions", [f"{COSMOS}/*"]),
    ),
    (facts.roles_of_our_own_allow_what_the_code_calls, put(ROLES, "permissions.0.actions", [f"{COSMOS}/*"])),
    (facts.secrets_can_be_brought_back, put(VAULT, "enablePurgeProtection", None)),
    (facts.all_of_it_is_in_one_region, elsewhere),
    (facts.all_of_it_is_in_one_region, copied_abroad),
    (facts.all_of_it_is_in_one_region, put(COSMOS, "locations.0.locationName", "eastus")),
    (facts.an_instance_is_used_as_the_code_can_be, put(SITE, f"{SCALE}.triggers.http.perInstanceConcurrency", 1)),
    (facts.an_instance_is_used_as_the_code_can_be, put(SITE, f"{SCALE}.alwaysReady.0.instanceCount", 1)),
    (facts.an_instance_is_used_as_the_code_can_be, put(SITE, "functionAppConfig.siteUpdateStrategy.type", "Recreate")),
    (facts.stores_are_private_where_there_is_a_network, put(COSMOS, "publicNetworkAccess", "Enabled")),
    (facts.stores_are_private_where_there_is_a_network, put(SITE, "virtualNetworkSubnetId", None)),
    (facts.stores_are_private_where_there_is_a_network, drop(ENDPOINT)),
    (facts.stores_are_private_where_there_is_a_network, drop(f"{ENDPOINT}/privateDnsZoneGroups")),
    (facts.stores_are_private_where_there_is_a_network, a_plain_sku),
    (
        facts.windows_of_limits_lie_in_one_slot_or_there_are_none,
        put(f"{REDIS}/databases", "clusteringPolicy", "OSSCluster"),
    ),
    (facts.every_resource_says_whose_it_is, untagged),
    (facts.one_identity_signs_in_everywhere, again(IDENTITY)),
    *(
        (edge.as_many_proxies_are_believed_as_there_are, setting("FLOWGRID_TRUSTED_PROXIES", n))
        for n in ("0", "1", "3")
    ),
    (edge.as_many_proxies_are_believed_as_there_are, drop(GATEWAY)),
    (edge.the_app_takes_calls_of_its_gateway_only_where_there_is_one, setting("FLOWGRID_GATEWAY", "")),
    (edge.the_app_takes_calls_of_its_gateway_only_where_there_is_one, drop(GATEWAY)),
    (
        edge.the_gateway_tells_the_app_from_others_and_itself_to_few,
        put(f"{GATEWAY}/backends", "tls.validateCertificateName", False),
    ),
    (edge.the_gateway_tells_the_app_from_others_and_itself_to_few, put(f"{GATEWAY}/backends", "tls", None)),
    (
        edge.the_gateway_tells_the_app_from_others_and_itself_to_few,
        put(GATEWAY, "developerPortalStatus", "Enabled"),
    ),
    *(
        (edge.the_app_calls_itself_as_clients_do, setting("FLOWGRID_PUBLIC_URL", url))
        for url in ("", "https://a.example")
    ),
    (edge.the_app_calls_itself_as_clients_do, drop(GATEWAY)),
    (edge.what_opens_something_is_in_no_path_that_the_gateway_tells, drop(f"{GATEWAY}/apis/diagnostics")),
    (
        edge.what_opens_something_is_in_no_path_that_the_gateway_tells,
        put(f"{GATEWAY}/apis/diagnostics", "sampling.percentage", 100),
    ),
    (
        edge.what_opens_something_is_in_no_path_that_the_gateway_tells,
        put(f"{GATEWAY}/apis/diagnostics", "alwaysLog", "allErrors"),
    ),
    (edge.the_gateway_reads_tokens_as_the_app_does, setting("FLOWGRID_TENANT_CLAIM", "tid")),
    (edge.the_gateway_reads_tokens_as_the_app_does, put(f"{GATEWAY}/namedValues", "value", "groups", "-roles-claim")),
    (edge.the_gateway_tells_as_few_successes_as_the_app, setting("FLOWGRID_TELEMETRY_SAMPLE", "0.5")),
    (
        edge.the_gateway_tells_as_few_successes_as_the_app,
        put(f"{GATEWAY}/diagnostics", "alwaysLog", None),
    ),
    (edge.every_alert_is_on_and_somebody_is_told, put(GROUP, "enabled", False)),
    (edge.every_alert_is_on_and_somebody_is_told, put(GROUP, "emailReceivers", [])),
    (edge.every_alert_is_on_and_somebody_is_told, put(WEB_TEST, "Enabled", False)),
    (edge.every_alert_is_on_and_somebody_is_told, drop(METRIC_ALERT)),
    *((edge.every_alert_is_on_and_somebody_is_told, put(type, "enabled", False)) for type in (RULE, METRIC_ALERT)),
    (edge.every_alert_is_on_and_somebody_is_told, put(RULE, "actions.actionGroups", [])),
    (edge.every_alert_is_on_and_somebody_is_told, put(METRIC_ALERT, "actions", [])),
)
