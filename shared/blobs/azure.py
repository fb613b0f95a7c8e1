"""Blobs in Azure Storage: one container per area, the tenant's id as the first segment of every name.

A blob is sent as blocks and appears with the commit of their list, so memory holds one block and a half-sent blob is
never seen (Azure forgets its blocks after a week). Without tags and leases on purpose: writing tags takes the Owner
role, lifecycle rules go by prefix, and a job's lease is in its item.
"""

import asyncio
import base64
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from shared.blobs.port import BlobInfo, Blobs, BlobSpace, checked_area, checked_name, checked_tenant
from shared.errors import Conflict, FlowgridError, NotFound, Stale, Throttled, TooLarge, Unavailable, Unknown

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.exceptions import HttpResponseError
    from azure.storage.blob.aio import BlobClient, BlobServiceClient, ContainerClient

BLOCK_BYTES = 4 * 1024 * 1024
MAX_BLOCKS = 50_000
ONE_CALL_BYTES = 1024 * 1024
CONNECT_SECONDS = 5
READ_SECONDS = 30
CALL_SECONDS = 120
PING_AREA = "backups"
_WRITE_ID = "writeid"
_ROLE = "the app's identity needs the role Storage Blob Data Contributor on the storage account"


class AzureBlobs(Blobs):
    """`emulator`: a connection string of Azurite, in place of `account_url` with managed identity."""

    def __init__(self, account_url: str = "", *, emulator: str = "", retries: int = 3) -> None:
        self._account_url = account_url
        self._emulator = emulator
        self._retries = retries
        self._credential: AsyncTokenCredential | None = None
        self._service: BlobServiceClient | None = None
        self._made: set[str] = set()

    def space(self, area: str, tenant_id: str) -> BlobSpace:
        return _Space(self, checked_area(area), checked_tenant(tenant_id))

    async def ping(self) -> None:
        container = await self.container(PING_AREA)
        with _explained(PING_AREA):
            async with asyncio.timeout(CALL_SECONDS):
                await container.get_container_properties()

    async def container(self, area: str) -> "ContainerClient":
        """The area's container; made on first use in an emulator, by Bicep in Azure."""
        client = self._open().get_container_client(area)
        if self._emulator and area not in self._made:
            from azure.core.exceptions import ResourceExistsError

            with _explained(area), suppress(ResourceExistsError):
                await client.create_container()
            self._made.add(area)
        return client

    async def close(self) -> None:
        service, credential = self._service, self._credential
        self._service = self._credential = None
        if service is not None:
            await service.close()
        if credential is not None:
            await credential.close()

    def _open(self) -> "BlobServiceClient":
        if self._service is None:
            from azure.identity.aio import DefaultAzureCredential
            from azure.storage.blob.aio import BlobServiceClient, ExponentialRetry

            options: dict[str, Any] = {
                "retry_policy": ExponentialRetry(
                    initial_backoff=0, increment_base=2, random_jitter_range=1, retry_total=self._retries
                ),
                "connection_timeout": CONNECT_SECONDS,
                "read_timeout": READ_SECONDS,
                "max_single_get_size": BLOCK_BYTES,
                "max_chunk_get_size": BLOCK_BYTES,
                "max_single_put_size": BLOCK_BYTES,
            }
            if self._emulator:
                self._service = BlobServiceClient.from_connection_string(self._emulator, **options)
            else:
                self._credential = DefaultAzureCredential()
                self._service = BlobServiceClient(self._account_url, self._credential, **options)
        return self._service


class _Space(BlobSpace):
    def __init__(self, blobs: AzureBlobs, area: str, tenant_id: str) -> None:
        self._blobs = blobs
        self._area = area
        self._folder = f"{tenant_id}/"

    async def write(self, name: str, chunks: AsyncIterable[bytes], *, overwrite: bool = True) -> BlobInfo:
        upload = _Upload(await self._blob(name), name, overwrite)
        rest, size = bytearray(), 0
        async for chunk in chunks:
            size += len(chunk)
            rest += chunk
            while len(rest) >= BLOCK_BYTES:
                await upload.stage(bytes(rest[:BLOCK_BYTES]))
                del rest[:BLOCK_BYTES]
        return BlobInfo(name, size, await upload.finish(bytes(rest)))

    async def read(self, name: str) -> AsyncIterator[bytes]:
        blob = await self._blob(name)
        with _explained(name):
            async with asyncio.timeout(CALL_SECONDS):
                download = await blob.download_blob(max_concurrency=1)
            chunks = download.chunks()
            while True:
                try:
                    async with asyncio.timeout(CALL_SECONDS):
                        chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
                yield chunk

    async def info(self, name: str) -> BlobInfo | None:
        blob = await self._blob(name)
        try:
            with _explained(name):
                async with asyncio.timeout(CALL_SECONDS):
                    found = await blob.get_blob_properties()
        except NotFound:
            return None
        return BlobInfo(name, found.size, _plain(found.etag))

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        container = await self._blobs.container(self._area)
        with _explained(prefix):
            async for found in container.list_blobs(name_starts_with=self._folder + prefix):
                yield BlobInfo(found.name.removeprefix(self._folder), found.size, _plain(found.etag))

    async def delete(self, name: str) -> None:
        blob = await self._blob(name)
        try:
            with _explained(name):
                async with asyncio.timeout(CALL_SECONDS):
                    await blob.delete_blob()
        except NotFound:
            return

    async def _blob(self, name: str) -> "BlobClient":
        checked_name(name)
        return (await self._blobs.container(self._area)).get_blob_client(self._folder + name)


class _Upload:
    """One write: its blocks have ids of their own, so that two writes of one name never mix."""

    def __init__(self, blob: "BlobClient", name: str, overwrite: bool) -> None:
        self._blob = blob
        self._name = name
        self._overwrite = overwrite
        self._id = uuid4().hex
        self._blocks: list[str] = []

    async def stage(self, block: bytes) -> None:
        if len(self._blocks) == MAX_BLOCKS:
            raise TooLarge(f"A blob has at most {MAX_BLOCKS} blocks of {BLOCK_BYTES} bytes.")
        id = base64.b64encode(f"{self._id}-{len(self._blocks):05}".encode()).decode()
        with _explained(self._name):
            async with asyncio.timeout(CALL_SECONDS):
                await self._blob.stage_block(id, BytesIO(block), length=len(block))
        self._blocks.append(id)

    async def finish(self, rest: bytes) -> str:
        """Make the blob visible with `rest` as its end; the new ETag."""
        if (self._blocks and rest) or len(rest) > ONE_CALL_BYTES:
            await self.stage(rest)
        try:
            with _explained(self._name, unanswered=Unknown):
                async with asyncio.timeout(CALL_SECONDS):
                    return _plain((await self._commit(rest))["etag"])
        except Conflict:
            etag = await self._made_by_a_lost_try()
            if etag is None:
                raise
            return etag

    async def _commit(self, rest: bytes) -> dict[str, Any]:
        from azure.core import MatchConditions
        from azure.storage.blob import BlobBlock

        options: dict[str, Any] = {"metadata": {_WRITE_ID: self._id}}
        if not self._blocks:
            return await self._blob.upload_blob(rest, length=len(rest), overwrite=self._overwrite, **options)
        if not self._overwrite:
            options["match_condition"] = MatchConditions.IfMissing
        return await self._blob.commit_block_list([BlobBlock(id) for id in self._blocks], **options)

    async def _made_by_a_lost_try(self) -> str | None:
        """The ETag if the blob in the way is this very write, whose first answer was lost."""
        try:
            with _explained(self._name):
                async with asyncio.timeout(CALL_SECONDS):
                    found = await self._blob.get_blob_properties()
        except NotFound:
            return None
        return _plain(found.etag) if (found.metadata or {}).get(_WRITE_ID) == self._id else None


@contextmanager
def _explained(name: str, unanswered: type[Unavailable] = Unavailable) -> Iterator[None]:
    """What the SDK raises as one of our errors; `unanswered` is for a request that may have been done.

    azure-core says ServiceRequestError ("not sent") also when the server hung up on a request that it had read.
    """
    from azure.core.exceptions import AzureError, HttpResponseError

    try:
        yield
    except HttpResponseError as error:
        raise _refused(error, name, unanswered) from error
    except AzureError as error:
        raise unanswered(f"The blob storage does not answer: {error.message}") from error
    except TimeoutError as error:
        raise unanswered(f"The blob storage did not answer within {CALL_SECONDS} s.") from error


def _refused(error: "HttpResponseError", name: str, unanswered: type[Unavailable]) -> FlowgridError:
    status, code = error.status_code, _code(error)
    match status, code:
        case _, "ContainerNotFound":
            return Unavailable("The area's blob container is not there; the infrastructure (Bicep) makes it.")
        case 404, _:
            return NotFound(f"There is no blob {name}.")
        case 409, "BlobAlreadyExists":
            return Conflict(f"There is a blob {name} already.")
        case 409, _:  # immutable by a policy of the account, leased, with snapshots, its container being deleted
            return Unavailable(f"The blob storage does not let {name} be changed now ({code}).")
        case 412, _:
            return Stale(f"The blob {name} was replaced while it was read.")
        case 400, "InvalidBlockList":
            return Conflict(f"Another write of the blob {name} ended meanwhile.")
        case ((401 | 403), _):
            return Unavailable(f"The blob storage refuses the app ({code or status}): {_ROLE}.")
        case ((429 | 503), _):
            return Throttled("The blob storage asks to slow down.")
        case _:
            return unanswered(f"The blob storage answered {status} {code}.")


def _code(error: "HttpResponseError") -> str:
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))


def _plain(etag: Any) -> str:
    return str(etag).strip('"')
