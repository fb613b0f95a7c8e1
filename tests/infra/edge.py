"""Facts of what stands before the app, and of who is told: a gateway, proxies, alerts. As facts.py has the others."""

import json
from collections.abc import Iterator
from typing import Any

from tests.infra.snapshot import Snapshot

GATEWAY = "Microsoft.ApiManagement/service"
RULE = "Microsoft.Insights/scheduledQueryRules"
METRIC_ALERT = "Microsoft.Insights/metricAlerts"
WEB_TEST = "Microsoft.Insights/webtests"
GROUP = "Microsoft.Insights/actionGroups"


def as_many_proxies_are_believed_as_there_are(found: Snapshot) -> Iterator[str]:
    """Azure's front end, and the gateway: one more, and a caller makes up his address."""
    settings = found.app_settings()
    if settings["FLOWGRID_TRUSTED_PROXIES"] != str(1 + len(found.all(GATEWAY))):
        yield f"{settings['FLOWGRID_TRUSTED_PROXIES']} proxies"


def the_app_takes_calls_of_its_gateway_only_where_there_is_one(found: Snapshot) -> Iterator[str]:
    known = found.app_settings()["FLOWGRID_GATEWAY"]
    there = bool(found.all(GATEWAY))
    if ("'principalId'" in known and "'caller'" in known) != there or bool(known) != there:
        yield f"gateway: {there}, and calls are taken of {known or 'anybody'}"


def the_app_calls_itself_as_clients_do(found: Snapshot) -> Iterator[str]:
    """Whoever makes up a Host would else be told of it as ours; and what comes around a gateway is refused."""
    named, app = found.app_settings()["FLOWGRID_PUBLIC_URL"], found.one("Microsoft.Web/sites")["name"]
    of_gateway = named.startswith("[") and "format('gateway-{0}'" in named and "'outputs', 'url'" in named
    if not (of_gateway if found.all(GATEWAY) else named == f"https://{app}.azurewebsites.net"):
        yield f"it is told to be {named or 'nowhere'}"


def what_opens_something_is_in_no_path_that_the_gateway_tells(found: Snapshot) -> Iterator[str]:
    """Of the API without a version, to which tokens in paths belong, it tells nothing at all."""
    open_to_all = [one for one in found.all(f"{GATEWAY}/apis") if not one["properties"].get("apiVersion")]
    told = {one["name"]: one["properties"] for one in found.all(f"{GATEWAY}/apis/diagnostics")}
    for one in open_to_all:
        of_it = told.get(f"{one['name']}/applicationinsights", {})
        if of_it.get("sampling") != {"samplingType": "fixed", "percentage": 0} or of_it.get("alwaysLog") is not None:
            yield one["name"]


def the_gateway_tells_the_app_from_others_and_itself_to_few(found: Snapshot) -> Iterator[str]:
    """Backends by their certificates; no developer portal."""
    wanted = {"validateCertificateChain": True, "validateCertificateName": True}
    for one in found.all(f"{GATEWAY}/backends"):
        if one["properties"].get("tls") != wanted or "'https://" not in one["properties"]["url"]:
            yield one["name"]
    for one in found.all(GATEWAY):
        if one["properties"]["developerPortalStatus"] != "Disabled":
            yield "there is a developer portal"


def the_gateway_reads_tokens_as_the_app_does(found: Snapshot) -> Iterator[str]:
    """Each issuer's claims; other names would make everybody a caller of no tenant, or nobody staff."""
    settings = found.app_settings()
    given = {one["name"].rpartition("/")[2]: one["properties"]["value"] for one in found.all(f"{GATEWAY}/namedValues")}
    for n, issuer in enumerate(json.loads(settings["FLOWGRID_ISSUERS"]) if given else []):
        wanted = {
            f"issuer-{n}": issuer["issuer"],
            f"issuer-{n}-audience": issuer["audience"],
            f"issuer-{n}-tenant-claim": issuer.get("tenant_claim", settings["FLOWGRID_TENANT_CLAIM"]),
            f"issuer-{n}-roles-claim": issuer.get("roles_claim", settings["FLOWGRID_ROLES_CLAIM"]),
        }
        yield from (name for name, value in wanted.items() if given.get(name) != value)


def the_gateway_tells_as_few_successes_as_the_app(found: Snapshot) -> Iterator[str]:
    percent = float(found.app_settings()["FLOWGRID_TELEMETRY_SAMPLE"]) * 100
    for one in found.all(f"{GATEWAY}/diagnostics"):
        sampling = one["properties"]["sampling"]
        if (sampling["samplingType"], one["properties"]["alwaysLog"]) != ("fixed", "allErrors"):
            yield "failures are left out, too"
        if sampling["percentage"] != round(percent):
            yield f"{sampling['percentage']} %, the app {percent:g} %"


def every_alert_is_on_and_somebody_is_told(found: Snapshot) -> Iterator[str]:
    group = found.one(GROUP)
    rules, alerts = found.all(RULE), found.all(METRIC_ALERT)
    if not group["properties"]["enabled"] or not group["properties"]["emailReceivers"]:
        yield "nobody is told"
    if found.one(WEB_TEST)["properties"]["Enabled"] is not True or len(alerts) != 1:
        yield "nobody asks whether it answers"
    for one in [*rules, *alerts]:
        if one["properties"]["enabled"] is not True or _told(one["properties"]["actions"]) != [group["id"]]:
            yield one["name"]


def _told(actions: Any) -> list[str]:
    """Rules on logs and on metrics name their groups in two ways."""
    return [one["actionGroupId"] for one in actions] if isinstance(actions, list) else list(actions["actionGroups"])


EDGE = (
    as_many_proxies_are_believed_as_there_are,
    the_app_takes_calls_of_its_gateway_only_where_there_is_one,
    the_app_calls_itself_as_clients_do,
    what_opens_something_is_in_no_path_that_the_gateway_tells,
    the_gateway_tells_the_app_from_others_and_itself_to_few,
    the_gateway_reads_tokens_as_the_app_does,
    the_gateway_tells_as_few_successes_as_the_app,
    every_alert_is_on_and_somebody_is_told,
)
