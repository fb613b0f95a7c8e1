"""Blobs over a wire that breaks: whole or not there, and writing again converges."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Literal
from uuid import uuid4

import pytest

import shared.blobs.azure
from shared.blobs.azure import AzureBlobs, _explained
from shared.blobs.port import BlobSpace
from shared.errors import Conflict, NotFound, Stale, Throttled, Unavailable, Unknown
from tests.contract.blobs import content, names, stream
from tests.doubles.azurite import azurite, connection_string
from tests.doubles.cutting_proxy import Cut, CuttingProxy

How = Literal["before", "half", "answer"]
BLOCK_BYTES = 512 * 1024
"""Of their real size they are in the contract (tests/contract/blobs.py); to the proxy all are alike."""
WHOLE = b"x" * BLOCK_BYTES + b"y" * BLOCK_BYTES + b"z"
REQUESTS_OF_A_WRITE = 4  # three blocks and their commit
CUTS = [(how, at) for how in ("before", "half", "answer") for at in range(REQUESTS_OF_A_WRITE)]


@pytest.fixture(autouse=True)
def smaller_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared.blobs.azure, "BLOCK_BYTES", BLOCK_BYTES)


@pytest.fixture(scope="module")
def connection() -> Iterator[str]:
    with azurite() as connection:
        yield connection


@pytest.fixture
async def proxy(connection: str) -> AsyncIterator[CuttingProxy]:
    found = re.search(r"BlobEndpoint=http://[^:/;]+:(\d+)/", connection)
    if found is None:
        pytest.skip("the proxy needs an emulator without TLS")
    async with CuttingProxy(int(found[1])) as proxy:
        yield proxy


@pytest.fixture
def tenant() -> str:
    return str(uuid4())


@pytest.fixture
async def direct(connection: str, tenant: str) -> AsyncIterator[BlobSpace]:
    """The same blobs, without the proxy: what is really there."""
    blobs = AzureBlobs(emulator=connection)
    yield blobs.space("backups", tenant)
    await blobs.close()


@pytest.fixture
async def fragile(proxy: CuttingProxy, tenant: str) -> AsyncIterator[BlobSpace]:
    """Through the proxy, without the SDK's own retries."""
    blobs = AzureBlobs(emulator=connection_string(proxy.port), retries=0)
    await blobs.ping()
    yield blobs.space("backups", tenant)
    await blobs.close()


@pytest.fixture
async def retrying(proxy: CuttingProxy, tenant: str) -> AsyncIterator[BlobSpace]:
    blobs = AzureBlobs(emulator=connection_string(proxy.port), retries=1)
    await blobs.ping()
    yield blobs.space("backups", tenant)
    await blobs.close()


@pytest.mark.parametrize(("how", "at"), CUTS)
async def test_a_cut_upload_is_whole_or_not_there_and_converges(
    proxy: CuttingProxy, fragile: BlobSpace, direct: BlobSpace, how: How, at: int
) -> None:
    committed = (how, at) == ("answer", REQUESTS_OF_A_WRITE - 1)
    proxy.cut(Cut(how, at, times=2))
    with pytest.raises(Unavailable):
        await fragile.write("a", stream(WHOLE))
    assert at < len(proxy.requests) <= at + 2
    proxy.cut(None)
    assert await names(direct) == (["a"] if committed else [])
    if committed:
        assert await content(direct, "a") == WHOLE
    await fragile.write("a", stream(WHOLE))
    assert await content(direct, "a") == WHOLE


@pytest.mark.parametrize(("how", "at"), CUTS)
async def test_a_cut_overwrite_leaves_the_old_or_the_new(
    proxy: CuttingProxy, fragile: BlobSpace, direct: BlobSpace, how: How, at: int
) -> None:
    await direct.write("a", stream(b"old"))
    proxy.cut(Cut(how, at, times=2))
    with pytest.raises(Unavailable):
        await fragile.write("a", stream(WHOLE))
    assert await content(direct, "a") in (b"old", WHOLE)
    proxy.cut(None)
    await fragile.write("a", stream(WHOLE))
    assert await content(direct, "a") == WHOLE


async def test_a_commit_without_an_answer_is_unknown(proxy: CuttingProxy, fragile: BlobSpace) -> None:
    proxy.cut(Cut("answer", REQUESTS_OF_A_WRITE - 1, times=2))
    with pytest.raises(Unknown):
        await fragile.write("a", stream(WHOLE), overwrite=False)


@pytest.mark.parametrize(("data", "last"), [(b"small", 0), (WHOLE, REQUESTS_OF_A_WRITE - 1)])
async def test_a_new_name_is_no_conflict_with_its_own_lost_answer(
    proxy: CuttingProxy, retrying: BlobSpace, direct: BlobSpace, data: bytes, last: int
) -> None:
    proxy.cut(Cut("answer", last))
    written = await retrying.write("a", stream(data), overwrite=False)
    assert await direct.info("a") == written
    with pytest.raises(Conflict):
        await retrying.write("a", stream(data), overwrite=False)


async def test_a_cut_download_is_taken_up_again(proxy: CuttingProxy, retrying: BlobSpace, direct: BlobSpace) -> None:
    await direct.write("a", stream(WHOLE))
    proxy.cut(Cut("half_answer", 1))
    assert await content(retrying, "a") == WHOLE


async def test_a_download_that_cannot_go_on_is_unavailable(
    proxy: CuttingProxy, fragile: BlobSpace, direct: BlobSpace
) -> None:
    await direct.write("a", stream(WHOLE))
    proxy.cut(Cut("before", 1, times=2))
    with pytest.raises(Unavailable):
        await content(fragile, "a")


async def test_a_blob_replaced_while_it_is_read_is_stale(fragile: BlobSpace, direct: BlobSpace) -> None:
    await direct.write("a", stream(WHOLE))
    with pytest.raises(Stale):
        async for _ in fragile.read("a"):
            await direct.write("a", stream(WHOLE))


@pytest.mark.parametrize(
    ("status", "code", "error", "says"),
    [
        (403, "AuthorizationPermissionMismatch", Unavailable, "Storage Blob Data Contributor"),
        (401, "NoAuthenticationInformation", Unavailable, "Storage Blob Data Contributor"),
        (404, "ContainerNotFound", Unavailable, "Bicep"),
        (404, "BlobNotFound", NotFound, "no blob a"),
        (412, "ConditionNotMet", Stale, "replaced"),
        (400, "InvalidBlockList", Conflict, "meanwhile"),
        (429, "TooManyRequests", Throttled, "slow down"),
        (503, "ServerBusy", Throttled, "slow down"),
        (500, "InternalError", Unavailable, "500 InternalError"),
    ],
)
async def test_a_refusal_says_what_to_do(
    proxy: CuttingProxy, fragile: BlobSpace, status: int, code: str, error: type[Exception], says: str
) -> None:
    proxy.cut(Cut("refuse", status=status, code=code))
    with pytest.raises(error, match=says):
        await content(fragile, "a")


async def test_nobody_listening_is_unavailable(proxy: CuttingProxy) -> None:
    blobs = AzureBlobs(emulator=connection_string(1), retries=0)
    with pytest.raises(Unavailable):
        await blobs.ping()
    await blobs.close()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("BlobAlreadyExists", Conflict),
        ("BlobImmutableDueToPolicy", Unavailable),
        ("SnapshotsPresent", Unavailable),
        ("ContainerBeingDeleted", Unavailable),
    ],
)
def test_only_a_blob_that_is_there_is_taken_for_one(code: str, error: type[Exception]) -> None:
    """A 409 has many reasons (storageservices/blob-service-error-codes); most pass, or need an operator."""
    from azure.core.exceptions import HttpResponseError

    refusal = HttpResponseError("no")
    refusal.status_code, refusal.error_code = 409, code  # type: ignore[attr-defined]
    with pytest.raises(error), _explained("manifest.json"):
        raise refusal
