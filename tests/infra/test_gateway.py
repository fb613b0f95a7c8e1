"""The gateway's modules as the compiler evaluates them: what API Management would be given is what was tested."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cli.gateway import SERVICES
from tests.doubles.gateway_setup import AUDIENCE, PUBLIC_URL, filled, named_values, read
from tests.infra.edge import the_gateway_reads_tokens_as_the_app_does
from tests.infra.snapshot import ROOT, Snapshot

MODULES = Path(__file__).parents[2] / "infra" / "modules"
ISSUERS = [
    {"issuer": "https://flowgrid.ciamlogin.com/1/v2.0", "audience": "one"},
    {"issuer": "https://flowgrid.eu.auth0.com/", "audience": "two", "tenant_claim": "https://flowgrid.app/tenant"},
]
CLAIMS = {"tenantClaim": "extension_TenantId", "rolesClaim": "roles"}
PAGES = ["https://app.acme.example", "https://admin.acme.example"]
STAMP = "../main.bicep"
A_STAMP: dict[str, object] = {
    "environmentName": "test",
    "location": "westeurope",
    "issuers": ISSUERS,
    "alertEmails": ["ops@acme.example"],
    "monthlyBudget": 100,
    "budgetStartDate": "2026-12-01",
}
NOBODY = "00000000-0000-0000-0000-000000000000"
Resource = dict[str, Any]


def evaluated(folder: Path, module: str, **parameters: Any) -> list[Resource]:
    """The resources of a module, with these parameters; the compiler has nothing to say about it."""
    bicep = shutil.which("bicep")
    if bicep is None:
        pytest.skip("bicep is not on the PATH")
    file = folder / "these.bicepparam"
    lines = [f"using '{os.path.relpath(MODULES / module, folder)}'"]
    texts = {name: json.dumps(value).replace("\\", "\\\\") for name, value in parameters.items()}
    lines += [f"param {name} = json('{text}')" for name, text in texts.items()]
    file.write_text("\n".join(lines), "utf-8")
    ids = ["--tenant-id", NOBODY, "--subscription-id", NOBODY, "--location", "westeurope"]
    ids += [] if module == STAMP else ["--resource-group", "x"]
    done = subprocess.run([bicep, "snapshot", file, "--mode", "overwrite", *ids], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    resources: list[Resource] = json.loads((folder / "these.snapshot.json").read_text("utf-8"))["predictedResources"]
    return resources


def of(resources: list[Resource], kind: str) -> dict[str, Resource]:
    """Their properties, by the last part of their names."""
    found = [one for one in resources if one["type"] == f"Microsoft.ApiManagement/service{kind}"]
    return {one["id"].rpartition("/")[2]: one["properties"] for one in found}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> list[Resource]:
    return evaluated(
        tmp_path_factory.mktemp("api"),
        "gatewayapi.bicep",
        gatewayName="flowgrid-test",
        appHost="flowgrid-test.azurewebsites.net",
        hosts={"agents": "flowgrid-agents.azurewebsites.net"},
        issuers=ISSUERS,
        **CLAIMS,
        audience=AUDIENCE,
        publicUrl=PUBLIC_URL,
        corsOrigins=PAGES,
    )


def test_policies_are_put_together_as_the_double_puts_them(api: list[Resource]) -> None:
    names = {"": "global.xml", "flowgrid": "open.xml", "flowgrid-v1": "v1.xml"}
    policies = {one["id"].split("/")[-3]: one for one in api if one["type"].endswith("/policies")}
    assert len(policies) == len(names)
    for one in policies.values():
        api_of = one["id"].split("/apis/")[1].partition("/")[0] if "/apis/" in one["id"] else ""
        assert one["properties"]["format"] == "xml"
        assert one["properties"]["value"] == filled(names[api_of], len(ISSUERS), PAGES)


def test_named_values_are_those_that_the_double_has_and_none_is_secret(api: list[Resource]) -> None:
    made = of(api, "/namedValues")
    assert {name: one["value"] for name, one in made.items()} == named_values(ISSUERS)
    assert all(name == one["displayName"] for name, one in made.items())


def test_each_service_goes_to_its_own_app_or_to_the_one_that_has_the_rest(api: list[Resource]) -> None:
    urls = {name: one["url"] for name, one in of(api, "/backends").items()}
    assert set(urls) == {one["name"] for one in json.loads(read("backends.json"))}
    assert urls["v1-agents"] == "https://flowgrid-agents.azurewebsites.net/api/v1"
    assert urls["v1-identity"] == "https://flowgrid-test.azurewebsites.net/api/v1"
    assert urls["open-claims"] == "https://flowgrid-test.azurewebsites.net/api"
    assert {name.partition("-")[2] for name in urls} == set(SERVICES)


def test_the_guide_puts_each_service_into_one_app() -> None:
    """What is in none would have no timers and no queues: 404 at every route of it."""
    guide = (ROOT / "docs/gateway.md").read_text("utf-8")
    table = guide.partition("| app | `FLOWGRID_SERVICES` |")[2].partition("\n\n")[0]
    named = [name for row in re.findall(r"`([a-z0-9,]+)`", table) for name in row.split(",")]
    assert sorted(named) == sorted(SERVICES)


def test_versions_share_a_path_and_need_no_key_of_a_subscription(api: list[Resource]) -> None:
    apis = of(api, "/apis")
    assert {name: (one["path"], one.get("apiVersion")) for name, one in apis.items()} == {
        "flowgrid": ("api", None),
        "flowgrid-v1": ("api", "v1"),
    }
    (versions,) = of(api, "/apiVersionSets").values()
    assert versions["versioningScheme"] == "Segment"
    for name, document in (("flowgrid", "openapi.json"), ("flowgrid-v1", "openapi.v1.json")):
        one = apis[name]
        assert (one["subscriptionRequired"], one["protocols"], one["format"]) == (False, ["https"], "openapi+json")
        assert json.loads(one["value"]) == json.loads(read(document))
        assert len(one["value"]) < 4 * 1024 * 1024, "the importer takes no more inline"


def test_without_pages_there_is_no_cors_at_all(tmp_path: Path) -> None:
    given = {"gatewayName": "x", "appHost": "y", "issuers": ISSUERS[:1], "audience": AUDIENCE, **CLAIMS}
    given["publicUrl"] = PUBLIC_URL
    policies = [one for one in evaluated(tmp_path, "gatewayapi.bicep", **given) if one["type"].endswith("/policies")]
    assert [one for one in policies if "<cors" in one["properties"]["value"]] == []


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> list[Resource]:
    given = {"name": "flowgrid-test", "publisherEmail": "ops@flowgrid.example", "insightsName": "flowgrid-insights"}
    return evaluated(tmp_path_factory.mktemp("gateway"), "gateway.bicep", **given)


def test_the_gateway_has_an_identity_and_may_write_telemetry_and_nothing_else(gateway: list[Resource]) -> None:
    (service,) = [one for one in gateway if one["type"] == "Microsoft.ApiManagement/service"]
    assert (service["identity"]["type"], service["sku"]["name"]) == ("SystemAssigned", "BasicV2")
    (role,) = [one for one in gateway if one["type"] == "Microsoft.Authorization/roleAssignments"]
    assert role["properties"]["roleDefinitionId"].endswith("/3913510d-42f4-4e42-8a64-420c390055eb")
    (logger,) = of(gateway, "/loggers").values()
    assert logger["credentials"]["identityClientId"] == "SystemAssigned"
    assert "instrumentationKey" not in logger["credentials"]


def test_what_the_gateway_tells_has_a_trace_and_nothing_of_persons(gateway: list[Resource]) -> None:
    (told,) = of(gateway, "/diagnostics").values()
    assert (told["httpCorrelationProtocol"], told["logClientIp"]) == ("W3C", False)
    for side in ("frontend", "backend"):
        for message in told[side].values():
            assert message == {"headers": [], "body": {"bytes": 0}}


@pytest.mark.long
def test_a_stamp_with_a_gateway_has_an_app_that_takes_calls_of_it_only(tmp_path: Path) -> None:
    gateway = {"gatewaySku": "StandardV2", "gatewayAudience": AUDIENCE, "gatewayEmail": "ops@flowgrid.example"}
    resources = evaluated(tmp_path, STAMP, **A_STAMP, **gateway)
    (service,) = [one for one in resources if one["type"] == "Microsoft.ApiManagement/service"]
    assert service["sku"]["name"] == "StandardV2"
    settings = Snapshot(resources).app_settings()
    assert settings["FLOWGRID_TRUSTED_PROXIES"] == "2"
    for known in ("caller", "principalId", AUDIENCE, "/v2.0"):
        assert known in settings["FLOWGRID_GATEWAY"]
    assert len(of(resources, "/apis")) == 2


@pytest.mark.long
def test_a_gateway_of_another_kind_is_what_settings_say(tmp_path: Path) -> None:
    """One that Bicep has not made, in front of one proxy more."""
    own = {"FLOWGRID_GATEWAY": '[{"issuer": "https://a", "audience": "b", "caller": "c"}]'}
    own |= {"FLOWGRID_TRUSTED_PROXIES": "3", "FLOWGRID_PUBLIC_URL": "https://flowgrid.acme.example"}
    settings = Snapshot(evaluated(tmp_path, STAMP, **A_STAMP, settings=own)).app_settings()
    assert {name: settings[name] for name in own} == own


@pytest.mark.long
def test_the_gateway_reads_the_claims_that_settings_name(tmp_path: Path) -> None:
    gateway = {"gatewaySku": "BasicV2", "gatewayAudience": AUDIENCE, "gatewayEmail": "ops@flowgrid.example"}
    claims = {"FLOWGRID_TENANT_CLAIM": "tid", "FLOWGRID_ROLES_CLAIM": "groups"}
    public = {"FLOWGRID_PUBLIC_URL": "https://flowgrid.acme.example"}
    found = evaluated(tmp_path, STAMP, **A_STAMP, **gateway, settings={**claims, **public})
    assert list(the_gateway_reads_tokens_as_the_app_does(Snapshot(found))) == []
    values = {name: one["value"] for name, one in of(found, "/namedValues").items()}
    assert (values["issuer-0-tenant-claim"], values["issuer-0-roles-claim"]) == ("tid", "groups")
    assert values["public-url"] == "https://flowgrid.acme.example"
