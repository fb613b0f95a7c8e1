"""The load of a deployment as infra/environments has it: what its snapshot says of what costs by the hour."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.cost.load import Load

ENVIRONMENTS = Path(__file__).parents[2] / "infra/environments"


def deployed(environment: str, load: Load) -> Load:
    """The same tenants and calls there."""
    text = (ENVIRONMENTS / f"{environment}.snapshot.json").read_text("utf-8")
    resources: list[dict[str, Any]] = json.loads(text)["predictedResources"]
    site = _all(resources, "Microsoft.Web/sites")[0]["properties"]
    scale = site["functionAppConfig"]["scaleAndConcurrency"]
    settings = {one["name"]: one["value"] for one in site["siteConfig"]["appSettings"]}
    (account,) = _all(resources, "Microsoft.DocumentDB/databaseAccounts")
    serverless = {"name": "EnableServerless"} in account["properties"]["capabilities"]
    endpoints = _all(resources, "Microsoft.Network/privateEndpoints")
    zones = _all(resources, "Microsoft.Network/privateDnsZones")
    counted: Mapping[str, float] = {"endpoints": float(len(endpoints)), "zones": float(len(zones))} if endpoints else {}
    return replace(
        load,
        memory=scale["instanceMemoryMB"],
        at_once=scale["triggers"]["http"]["perInstanceConcurrency"],
        ready=sum(one["instanceCount"] for one in scale["alwaysReady"] if one["name"] == "http"),
        sample=float(settings["FLOWGRID_TELEMETRY_SAMPLE"]),
        shards=int(settings["FLOWGRID_SHARDS"]),
        autoscale=0 if serverless else int(settings["FLOWGRID_COSMOS_DEDICATED_RU"]),
        long_backup=account["properties"]["backupPolicy"]["continuousModeProperties"]["tier"] == "Continuous30Days",
        gateway=load.gateway or bool(_all(resources, "Microsoft.ApiManagement/service")),
        redis=bool(_all(resources, "Microsoft.Cache/redisEnterprise")),
        private=bool(endpoints),
        assumed=replace(load.assumed, **counted),
    )


def _all(resources: list[dict[str, Any]], type: str) -> list[dict[str, Any]]:
    return [one for one in resources if one["type"].lower() == type.lower()]
