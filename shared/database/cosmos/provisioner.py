"""Databases of dedicated tenants, made in a Cosmos DB account over Azure Resource Manager.

Data-plane identities cannot make databases, so this goes to management.azure.com: look, put what is missing, follow the
operation (https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations). One thing after the
other: an account takes one such operation at a time and answers 409 or 412 to a second.

An account holds 500 databases and containers together (https://learn.microsoft.com/azure/cosmos-db/concepts-limits).
What it answers to one more is documented nowhere, so after a refusal the databases are counted.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from shared.database.cosmos.containers import REGISTRY_CONTAINERS, TENANT_CONTAINERS, definition
from shared.database.provisioning import Provisioner
from shared.errors import Conflict, Full, Throttled, Unavailable
from shared.kinds import Kinds

if TYPE_CHECKING:
    from azure.core import AsyncPipelineClient
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.rest import AsyncHttpResponse, HttpRequest

logger = logging.getLogger("flowgrid.provisioning")

ENDPOINT = "https://management.azure.com"
API_VERSION = "2024-11-15"
CONNECT_SECONDS = 5
READ_SECONDS = 30
FOLLOW_SECONDS = 60.0
POLL_SECONDS = 5.0
ROLE = "Cosmos DB Operator"
MOST = 500
REGISTRY_PARTS = 1 + len(REGISTRY_CONTAINERS)
PARTS = 1 + len(TENANT_CONTAINERS)
UNFINISHED = ("InProgress", "Running", "Accepted", "Enqueued", "Dequeued", "Updating", "Creating")


class NotMade(Unavailable):
    """Azure did not make it, for a reason that is its own."""

    code = "not_made"
    meaning = "Azure did not make the database, for a reason of its own."
    remedy = "An operator looks at the job's `error`."


class CosmosProvisioner(Provisioner):
    """`account` is the account's resource id; `autoscale` the most RU/s of a database (0: serverless)."""

    def __init__(
        self,
        account: str,
        kinds: Kinds,
        *,
        autoscale: int = 0,
        endpoint: str = ENDPOINT,
        credential: "Callable[[], AsyncTokenCredential] | None" = None,
        follow_seconds: float = FOLLOW_SECONDS,
        poll_seconds: float = POLL_SECONDS,
        **options: Any,
    ) -> None:
        self._account = account
        self._kinds = kinds
        self._autoscale = autoscale
        self._endpoint = endpoint
        self._make_credential = credential
        self._follow_seconds = follow_seconds
        self._poll_seconds = poll_seconds
        self._options = options
        self._credential: AsyncTokenCredential | None = None
        self._client: AsyncPipelineClient[HttpRequest, AsyncHttpResponse] | None = None

    def room(self, shards: int) -> int:
        return (MOST - REGISTRY_PARTS - shards * PARTS) // PARTS

    async def ensure(self, database: str, operation: str | None = None, *, tenant_id: str) -> str | None:
        try:
            return await self._ensure(database, operation, tenant_id)
        except NotMade as error:
            listed = await self._send("GET", self._url(f"{self._account}/sqlDatabases"))
            if len({database, *(one["name"] for one in listed.json()["value"])}) * PARTS <= MOST:
                raise
            raise Full(f"{self._account} holds {MOST} databases and containers, which is all it can.") from error

    async def discard(self, database: str) -> None:
        """Deleting is an operation too, and takes its time: until it is over, or has failed, the database has a place.

        https://learn.microsoft.com/rest/api/cosmos-db-resource-provider/sql-resources/delete-sql-database
        """
        answer = await self._send("DELETE", self._url(f"{self._account}/sqlDatabases/{database}"))
        operation = _operation(answer)
        if operation is not None and await self._follow(operation):
            raise Unavailable(f"{database} is still being deleted.", retry_after=int(self._follow_seconds))

    async def _ensure(self, database: str, operation: str | None, tenant_id: str) -> str | None:
        try:
            if operation is not None and (still := await self._follow(operation)):
                return still
        except NotMade as error:  # Azure would tell that for a day: what has failed is put anew
            logger.warning("an operation has failed", extra={"resource": database, "reason": error.message})
        path = f"{self._account}/sqlDatabases/{database}"
        options = {"autoscaleSettings": {"maxThroughput": self._autoscale}} if self._autoscale else {}
        own = {"tags": {"tenant": tenant_id}, **_body({"id": database}, options)}
        wanted = [(path, own)]
        wanted += [(f"{path}/containers/{name}", _body(definition(name, self._kinds))) for name in TENANT_CONTAINERS]
        for path, body in wanted:
            if still := await self._make(path, body):
                return still
        return None

    async def close(self) -> None:
        client, credential = self._client, self._credential
        self._client = self._credential = None
        if client is not None:
            await client.close()
        if credential is not None:
            await credential.close()

    async def _make(self, path: str, body: Mapping[str, Any]) -> str | None:
        found = await self._send("GET", self._url(path))
        if found.status_code == 200:
            _check_same(path, found.json()["properties"]["resource"], body["properties"]["resource"])
            return None
        answer = await self._send("PUT", self._url(path), body)
        logger.info("making", extra={"resource": path, "status": answer.status_code})
        operation = _operation(answer)
        return await self._follow(operation) if operation else None

    async def _follow(self, operation: str) -> str | None:
        """Wait for an operation, for a while; its address when it still goes on."""
        if not operation.startswith(f"{self._endpoint}/"):
            raise Unavailable("Azure Resource Manager named an operation of somebody else.")
        try:
            async with asyncio.timeout(self._follow_seconds):
                while True:
                    answer = await self._send("GET", operation)
                    if not _goes_on(answer):
                        return None
                    await asyncio.sleep(_retry_after(answer) or self._poll_seconds)
        except TimeoutError:
            return operation

    async def _send(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> "AsyncHttpResponse":
        from azure.core.exceptions import AzureError
        from azure.core.rest import HttpRequest

        try:
            answer = await self._open().send_request(HttpRequest(method, url, json=body))
        except AzureError as error:
            raise Unavailable(f"Azure Resource Manager does not answer: {error.message}") from error
        if answer.status_code >= 400 and (method, answer.status_code) not in (("GET", 404), ("DELETE", 404)):
            raise self._refused(answer)
        return answer

    def _refused(self, answer: "AsyncHttpResponse") -> Unavailable:
        status, (code, message) = answer.status_code, _problem(answer)
        match status:
            case 401 | 403:
                return NotMade(f"The app's identity needs the role {ROLE} on {self._account} ({code}: {message})")
            case 404:
                return Unavailable(f"There is no {self._account}: FLOWGRID_COSMOS_ACCOUNT_ID is wrong ({code}).")
            case 409 | 412:
                return Unavailable(f"The Cosmos DB account is busy with another operation ({code}: {message})")
            case 429:
                wait = _retry_after(answer) or 30
                return Throttled("Azure Resource Manager asks to slow down.", retry_after=int(wait))
            case _:
                return NotMade(f"Azure Resource Manager answered {status} ({code}: {message})")

    def _open(self) -> "AsyncPipelineClient[HttpRequest, AsyncHttpResponse]":
        if self._client is None:
            from azure.core import AsyncPipelineClient
            from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy
            from azure.identity.aio import DefaultAzureCredential

            self._credential = (self._make_credential or DefaultAzureCredential)()
            timeouts: dict[str, Any] = {"connection_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
            policy = AsyncBearerTokenCredentialPolicy(self._credential, f"{ENDPOINT}/.default")
            self._client = AsyncPipelineClient(self._endpoint, policies=[policy], **timeouts, **self._options)
        return self._client

    def _url(self, path: str) -> str:
        return f"{self._endpoint}{path}?api-version={API_VERSION}"


def _body(resource: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"properties": {"resource": resource, "options": options or {}}}


def _check_same(path: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """A partition key cannot be changed: a container of another shape was made by somebody else."""
    paths = found.get("partitionKey", {}).get("paths")
    if paths != wanted.get("partitionKey", {}).get("paths"):
        raise Conflict(f"{path} is there already, with the partition key {paths}: move or delete it.")


def _goes_on(answer: "AsyncHttpResponse") -> bool:
    """Whether the operation is unfinished; raises when it has failed."""
    if answer.status_code == 202:
        return True
    body = answer.json() if answer.content else {}
    status = body.get("status") or body.get("properties", {}).get("provisioningState") or "Succeeded"
    if status in ("Failed", "Canceled"):
        error = body.get("error") or {}
        raise NotMade(f"Azure could not do it ({error.get('code')}: {error.get('message')})")
    return status in UNFINISHED


def _operation(answer: "AsyncHttpResponse") -> str | None:
    """Where to follow what the answer has only begun."""
    return answer.headers.get("Azure-AsyncOperation") or answer.headers.get("Location")


def _retry_after(answer: "AsyncHttpResponse") -> float | None:
    given = answer.headers.get("Retry-After", "")
    return float(given) if given.isdecimal() else None


def _problem(answer: "AsyncHttpResponse") -> tuple[str, str]:
    try:
        error = answer.json()["error"]
        return str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        return str(answer.status_code), answer.reason
