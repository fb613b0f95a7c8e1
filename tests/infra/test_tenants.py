"""Tenants as code: what infra/tenant.bicep makes of a fleet, beside what onboarding puts through Resource Manager."""

from pathlib import Path
from typing import Any

import pytest

from functions.kinds import KINDS
from shared.database.cosmos.containers import TENANT_CONTAINERS, definition
from shared.database.cosmos.provisioner import CosmosProvisioner
from tests.doubles.arm import ArmDouble
from tests.doubles.certificate import make_certificate
from tests.doubles.identity import Identity
from tests.doubles.server import serving
from tests.infra.snapshot import Resource, Snapshot, snapshot

DATABASES = "Microsoft.DocumentDB/databaseAccounts/sqlDatabases"
FIRST, SECOND, THIRD = (f"0190c2a8-7e10-7abc-8def-00000000000{number}" for number in (1, 2, 3))


@pytest.fixture
def fleet() -> Snapshot:
    return snapshot("tenants")


def made_of(fleet: Snapshot, tenant: str) -> dict[str, Resource]:
    """A tenant's database (by ""), and its containers by name."""
    named = f"tenant-{tenant}-00000001"
    containers = [one for one in fleet.all(f"{DATABASES}/containers") if f"/{named}/" in one["name"]]
    return {"": fleet.one(DATABASES, named), **{one["name"].rpartition("/")[2]: one for one in containers}}


@pytest.mark.parametrize("tenant", [FIRST, SECOND, THIRD])
async def test_what_is_deployed_by_hand_is_what_onboarding_puts(fleet: Snapshot, tenant: str, tmp_path: Path) -> None:
    double = ArmDouble(answer="at once")
    account = "/subscriptions/s/resourceGroups/g/providers/Microsoft.DocumentDB/databaseAccounts/a"
    with serving(double.app(), make_certificate(tmp_path)) as address:
        provisioner = CosmosProvisioner(account, KINDS, endpoint=address, credential=Identity, connection_verify=False)
        await provisioner.ensure(f"tenant-{tenant}-00000001", tenant_id=tenant)
        await provisioner.close()
    put = dict(zip(("", *TENANT_CONTAINERS), double.bodies, strict=True))
    deployed = made_of(fleet, tenant)
    assert deployed.keys() == put.keys()
    for name, one in deployed.items():
        assert one["properties"]["resource"] == put[name]["properties"]["resource"]
        assert one["properties"].get("options", {}) == put[name]["properties"]["options"]
        assert one.get("tags") == put[name].get("tags")


@pytest.mark.parametrize("name", TENANT_CONTAINERS)
def test_a_container_has_the_keys_the_lifetime_and_the_index_of_the_code(fleet: Snapshot, name: Any) -> None:
    assert made_of(fleet, FIRST)[name]["properties"]["resource"] == definition(name, KINDS)


def test_each_tenant_has_a_group_that_says_whose_it_is_and_of_which_plan(fleet: Snapshot) -> None:
    groups = fleet.all("Microsoft.Resources/resourceGroups")
    tags = {one["tags"]["tenant"]: one["tags"]["tier"] for one in groups}
    assert tags == {FIRST: "enterprise", SECOND: "professional", THIRD: "enterprise"}
    assert all(one["tags"]["tenant"] in one["name"] for one in groups)


def test_only_who_asks_for_it_has_an_account_of_its_own_and_no_key_opens_it(fleet: Snapshot) -> None:
    account = fleet.one("Microsoft.DocumentDB/databaseAccounts")
    assert account["tags"]["tenant"] == THIRD
    assert account["properties"]["disableLocalAuth"] is True
    assert account["properties"]["publicNetworkAccess"] == "Disabled"
    shared = [one["name"].partition("/")[0] for one in fleet.all(DATABASES)]
    assert [name for name in shared if name != account["name"]] == ["flowgrid-prod-account"] * 2


def test_everything_of_a_tenant_is_in_the_region_of_its_stamp(fleet: Snapshot) -> None:
    located = [one["location"] for one in fleet.resources if "location" in one]
    account = fleet.one("Microsoft.DocumentDB/databaseAccounts")["properties"]["locations"]
    assert {*located, *(one["locationName"] for one in account)} == {"westeurope"}
