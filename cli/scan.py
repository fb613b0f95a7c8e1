"""checkov over what would be deployed: `python -m cli.scan CHECKOV` (`make infra-scan`).

It is given the snapshots, each as one template: there every module, loop and parameter is evaluated, so it sees all
resources, and needs no compiler. Of a file that it cannot read it only says how many there were, and exits 0: the
counts have to agree.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ENVIRONMENTS = Path(__file__).parents[1] / "infra" / "environments"
SECONDS = 300.0
EVERYWHERE = {
    "CKV_AZURE_17": "callers have tokens, no certificates",
    "CKV_AZURE_78": "Flex Consumption has no FTP, and no property for it",
    "CKV_AZURE_206": "copies in another region would take data out of its own; prod has them in three zones",
    "CKV_AZURE_212": "instances that are always there are said by functionAppConfig, which it does not read",
    "CKV_AZURE_213": "Flex Consumption has no health check by the platform",
    "CKV_AZURE_222": "the API is public; a gateway may be put before it",
}
OPEN = {
    "CKV_AZURE_35": "without a network of its own the app has no address that a rule could name; identities decide",
    "CKV_AZURE_59": "the same",
    "CKV_AZURE_101": "the same",
    "CKV_AZURE_109": "the same",
    "CKV_AZURE_189": "the same",
}
IN_ONE_ZONE = {"CKV_AZURE_225": "what may be away for an hour is in one zone"}
BEHIND_A_GATEWAY = {
    "CKV_AZURE_107": "Basic v2 has no virtual network; the app takes calls of the gateway's identity only",
    "CKV_AZURE_174": "its callers are in the Internet",
}
REASONS: Mapping[str, Mapping[str, str]] = {
    "dev": {**EVERYWHERE, **OPEN, **IN_ONE_ZONE},
    "prod": {**EVERYWHERE, **OPEN},
    "private": EVERYWHERE,
    "gateway": {**EVERYWHERE, **OPEN, **BEHIND_A_GATEWAY},
    "tenants": {},
}


def template(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """The snapshot's resources as a template of Azure Resource Manager."""
    schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    return {"$schema": schema, "contentVersion": "1.0.0.0", "resources": snapshot["predictedResources"]}


def wrong(report: Mapping[str, Any], resources: int, reasons: Mapping[str, str]) -> list[str]:
    """Of checkov's report: what it has not read, what fails for no reason of ours, reasons that nothing needs."""
    summary, failed = report["summary"], report["results"]["failed_checks"]
    told = [f"{one['check_id']} {one['resource']}: {one['check_name']}" for one in failed]
    found = [line for line in told if line.split()[0] not in reasons]
    found += [f"{id}: a reason that nothing needs" for id in reasons.keys() - {line.split()[0] for line in told}]
    if summary["parsing_errors"] or summary["resource_count"] != resources:
        found.append(f"{summary['resource_count']} of {resources} resources read, {summary['parsing_errors']} errors")
    return found


def scan(checkov: str, environment: str) -> list[str]:
    snapshot = json.loads((ENVIRONMENTS / f"{environment}.snapshot.json").read_text("utf-8"))
    with TemporaryDirectory() as folder:
        (Path(folder) / "template.json").write_text(json.dumps(template(snapshot), indent=1), "utf-8")
        command = [checkov, "-d", folder, "--framework", "arm", "--skip-download", "--quiet", "-o", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)  # noqa: S603  no shell
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return [f"no report: {done.stderr[-2000:]}"]
    return [f"{environment}: {one}" for one in wrong(report, len(snapshot["predictedResources"]), REASONS[environment])]


if __name__ == "__main__":
    if lines := [line for environment in REASONS for line in scan(sys.argv[1], environment)]:
        raise SystemExit("\n".join(lines))
