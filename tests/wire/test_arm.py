"""Databases of dedicated tenants over Azure Resource Manager, against a double of it over HTTPS."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import pytest

from functions.kinds import KINDS
from shared.database.cosmos.containers import TENANT_CONTAINERS, indexing
from shared.database.cosmos.provisioner import CosmosProvisioner, NotMade
from shared.errors import Conflict, Full, Throttled, Unavailable
from tests.doubles.arm import ACCOUNT, ArmDouble, Refusal
from tests.doubles.certificate import make_certificate
from tests.doubles.clock import FakeClock
from tests.doubles.identity import Identity
from tests.doubles.server import serving

TENANT = "0190c2a8-7e10-7abc-8def-000000000001"
DATABASE = f"{ACCOUNT}/sqlDatabases/tenant-1"
EVERYTHING = {DATABASE, f"{DATABASE}/containers/items", f"{DATABASE}/containers/usage"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ArmDouble, str]]:
    double = ArmDouble()
    with serving(double.app(), make_certificate(tmp_path_factory.mktemp("tls"))) as address:
        yield double, address


@pytest.fixture
def arm(server: tuple[ArmDouble, str]) -> ArmDouble:
    server[0].reset()
    return server[0]


def provisioner_of(address: str, **options: Any) -> CosmosProvisioner:
    given = {"endpoint": address, "credential": Identity, "poll_seconds": 0.01, "connection_verify": False}
    return CosmosProvisioner(ACCOUNT, KINDS, **{**given, **options})


@pytest.fixture
async def provisioner(arm: ArmDouble, server: tuple[ArmDouble, str]) -> AsyncIterator[CosmosProvisioner]:
    provisioner = provisioner_of(server[1])
    yield provisioner
    await provisioner.close()


@pytest.mark.parametrize("answer", ["azure-async", "location", "at once"])
async def test_the_database_and_its_containers_are_made_one_after_the_other(
    arm: ArmDouble, provisioner: CosmosProvisioner, answer: Literal["azure-async", "location", "at once"]
) -> None:
    arm.answer = answer
    assert await provisioner.ensure("tenant-1", tenant_id=TENANT) is None
    assert set(arm.made) == EVERYTHING
    assert [one for one in arm.requests if one.startswith("PUT")] == ["PUT tenant-1", "PUT items", "PUT usage"]


async def test_containers_are_partitioned_by_tenant_expire_and_index_what_is_queried(
    arm: ArmDouble, provisioner: CosmosProvisioner
) -> None:
    await provisioner.ensure("tenant-1", tenant_id=TENANT)
    for name in TENANT_CONTAINERS:
        made = arm.made[f"{DATABASE}/containers/{name}"]
        assert made["partitionKey"] == {"paths": ["/tenant_id"], "kind": "Hash", "version": 2}
        assert made["defaultTtl"] == -1
        assert made["indexingPolicy"] == indexing(name, KINDS)


async def test_a_second_time_only_looks(arm: ArmDouble, provisioner: CosmosProvisioner) -> None:
    await provisioner.ensure("tenant-1", tenant_id=TENANT)
    arm.requests.clear()
    assert await provisioner.ensure("tenant-1", tenant_id=TENANT) is None
    assert arm.requests == ["GET tenant-1", "GET items", "GET usage"]


async def test_a_serverless_account_gets_no_throughput_and_another_one_autoscale(
    arm: ArmDouble, server: tuple[ArmDouble, str]
) -> None:
    for autoscale, options in ((0, {}), (4000, {"autoscaleSettings": {"maxThroughput": 4000}})):
        arm.reset()
        provisioner = provisioner_of(server[1], autoscale=autoscale)
        await provisioner.ensure("tenant-1", tenant_id=TENANT)
        await provisioner.close()
        assert [body["properties"]["options"] for body in arm.bodies] == [options, {}, {}]


async def test_a_long_operation_is_handed_back_and_taken_up_again(
    arm: ArmDouble, server: tuple[ArmDouble, str]
) -> None:
    arm.looks = 100
    provisioner = provisioner_of(server[1], follow_seconds=0.1)
    operation = await provisioner.ensure("tenant-1", tenant_id=TENANT)
    assert operation is not None
    assert operation.startswith(f"{server[1]}/operations/")
    assert arm.made == {}
    arm.looks = 0
    while operation is not None:
        operation = await provisioner.ensure("tenant-1", operation, tenant_id=TENANT)
    await provisioner.close()
    assert set(arm.made) == EVERYTHING


async def test_an_operation_that_is_forgotten_is_looked_for_in_its_result(
    arm: ArmDouble, provisioner: CosmosProvisioner, server: tuple[ArmDouble, str]
) -> None:
    assert await provisioner.ensure("tenant-1", f"{server[1]}/operations/gone", tenant_id=TENANT) is None
    assert set(arm.made) == EVERYTHING


async def test_an_operation_that_has_failed_is_not_followed_for_ever(
    arm: ArmDouble, server: tuple[ArmDouble, str]
) -> None:
    """The job's checkpoint names it, and Azure tells of its end for a day."""
    provisioner = provisioner_of(server[1], follow_seconds=0.1)
    arm.looks = 100
    operation = await provisioner.ensure("tenant-1", tenant_id=TENANT)
    assert operation is not None
    arm.fail(operation, "Cosmos DB had an outage of five minutes.")
    arm.looks = 0
    assert await provisioner.ensure("tenant-1", operation, tenant_id=TENANT) is None
    await provisioner.close()
    assert set(arm.made) == EVERYTHING


@pytest.mark.parametrize("answer", ["azure-async", "location", "at once"])
async def test_what_is_discarded_is_gone_with_its_containers_before_that_is_said(
    arm: ArmDouble, provisioner: CosmosProvisioner, answer: Literal["azure-async", "location", "at once"]
) -> None:
    arm.answer = answer
    await provisioner.ensure("tenant-1", tenant_id=TENANT)
    arm.looks = 3
    await provisioner.discard("tenant-1")
    assert arm.made == {}
    await provisioner.discard("tenant-1")


async def test_a_deletion_that_takes_long_is_unavailable_until_it_is_over(
    arm: ArmDouble, server: tuple[ArmDouble, str]
) -> None:
    provisioner = provisioner_of(server[1], follow_seconds=0.1)
    await provisioner.ensure("tenant-1", tenant_id=TENANT)
    arm.looks = 100
    with pytest.raises(Unavailable, match="still being deleted"):
        await provisioner.discard("tenant-1")
    with pytest.raises(Unavailable, match="busy"):
        await provisioner.discard("tenant-1")
    arm.hurry()
    await provisioner.discard("tenant-1")
    await provisioner.close()
    assert arm.made == {}


async def test_a_deletion_that_fails_is_not_taken_for_done(arm: ArmDouble, provisioner: CosmosProvisioner) -> None:
    await provisioner.ensure("tenant-1", tenant_id=TENANT)
    arm.outcome = "Failed"
    with pytest.raises(Unavailable, match="No capacity"):
        await provisioner.discard("tenant-1")


async def test_an_operation_of_another_host_is_not_asked(provisioner: CosmosProvisioner) -> None:
    with pytest.raises(Unavailable, match="somebody else"):
        await provisioner.ensure("tenant-1", "https://evil.example/operations/1", tenant_id=TENANT)


@pytest.mark.parametrize("at", range(6))
async def test_a_refusal_at_any_request_is_survived(arm: ArmDouble, provisioner: CosmosProvisioner, at: int) -> None:
    arm.looks = 0
    arm.refuse_at = {at: Refusal(503, "ServiceUnavailable")}
    with pytest.raises(Unavailable, match="503"):
        await provisioner.ensure("tenant-1", tenant_id=TENANT)
    assert await provisioner.ensure("tenant-1", tenant_id=TENANT) is None
    assert set(arm.made) == EVERYTHING


@pytest.mark.parametrize(
    ("refusal", "error", "says"),
    [
        (Refusal(403, "AuthorizationFailed"), NotMade, f"role Cosmos DB Operator on {ACCOUNT} "),
        (Refusal(401, "InvalidAuthenticationToken"), NotMade, "role Cosmos DB Operator"),
        (Refusal(404, "ResourceGroupNotFound", method="PUT"), Unavailable, "FLOWGRID_COSMOS_ACCOUNT_ID is wrong"),
        (Refusal(409, "Conflict"), Unavailable, "busy with another operation"),
        (Refusal(412, "PreconditionFailed"), Unavailable, "busy with another operation"),
        (Refusal(429, "TooManyRequests", headers={"Retry-After": "17"}), Throttled, "slow down"),
        (Refusal(500, "InternalServerError", "Oops."), NotMade, "500 .InternalServerError: Oops"),
    ],
)
async def test_a_refusal_says_what_to_do(
    arm: ArmDouble, provisioner: CosmosProvisioner, refusal: Refusal, error: type[Exception], says: str
) -> None:
    arm.refusals = [refusal]
    with pytest.raises(error, match=says) as raised:
        await provisioner.ensure("tenant-1", tenant_id=TENANT)
    assert type(raised.value) is error
    assert not isinstance(raised.value, Throttled) or raised.value.retry_after == 17


@pytest.mark.parametrize("outcome", ["Failed", "Canceled"])
async def test_an_operation_that_fails_tells_why(
    arm: ArmDouble, provisioner: CosmosProvisioner, outcome: Literal["Failed", "Canceled"]
) -> None:
    arm.outcome = outcome
    with pytest.raises(Unavailable, match="No capacity"):
        await provisioner.ensure("tenant-1", tenant_id=TENANT)


async def test_a_container_of_another_shape_is_a_conflict(arm: ArmDouble, provisioner: CosmosProvisioner) -> None:
    arm.made[DATABASE] = {"id": "tenant-1"}
    arm.made[f"{DATABASE}/containers/items"] = {"id": "items", "partitionKey": {"paths": ["/id"]}}
    with pytest.raises(Conflict, match="partition key"):
        await provisioner.ensure("tenant-1", tenant_id=TENANT)


def test_there_is_room_for_what_the_registry_and_the_shards_leave() -> None:
    provisioner = provisioner_of("https://127.0.0.1:1")
    assert [provisioner.room(shards) for shards in (1, 4)] == [164, 161]


@pytest.mark.parametrize("full", [400, 403, 202])
async def test_an_account_that_is_full_says_so_whatever_azure_calls_it(
    arm: ArmDouble, provisioner: CosmosProvisioner, full: Literal[400, 403, 202]
) -> None:
    arm.fill(166)
    arm.full = full
    with pytest.raises(Full, match="500 databases and containers"):
        await provisioner.ensure("tenant-1", tenant_id=TENANT)
    assert len(arm.made) <= 500
    await provisioner.discard("tenant-1")
    assert len(arm.made) == 498, "what was made of it is gone"
    await provisioner.discard("tenant-1")


async def test_the_last_database_that_fits_is_made(arm: ArmDouble, provisioner: CosmosProvisioner) -> None:
    arm.fill(165)
    assert await provisioner.ensure("tenant-1", tenant_id=TENANT) is None
    assert len(arm.made) == 498
    assert await provisioner.ensure("tenant-1", tenant_id=TENANT) is None


async def test_a_refusal_of_an_account_with_room_stays_what_azure_says(
    arm: ArmDouble, provisioner: CosmosProvisioner
) -> None:
    arm.refusals = [Refusal(403, "Forbidden", method="PUT")]
    with pytest.raises(Unavailable, match="role Cosmos DB Operator"):
        await provisioner.ensure("tenant-1", tenant_id=TENANT)


@pytest.mark.long
async def test_the_hundred_and_first_creation_of_a_minute_waits(arm: ArmDouble, provisioner: CosmosProvisioner) -> None:
    clock = FakeClock()
    arm.now, arm.answer = clock.monotonic, "at once"
    made = 0
    with pytest.raises(Throttled) as raised:
        while True:
            await provisioner.ensure(f"tenant-{made}", tenant_id=TENANT)
            made += 1
    assert (made, raised.value.retry_after) == (50, 60)  # two containers each
    clock.forward(seconds=61)
    assert await provisioner.ensure(f"tenant-{made}", tenant_id=TENANT) is None


async def test_nobody_listening_is_unavailable() -> None:
    provisioner = provisioner_of("https://127.0.0.1:1")
    with pytest.raises(Unavailable, match="does not answer"):
        await provisioner.ensure("tenant-1", tenant_id=TENANT)
    await provisioner.close()
