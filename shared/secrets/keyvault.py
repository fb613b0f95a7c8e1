"""Secrets in Azure Key Vault, named `t-<tenant>-<name>`.

A deleted secret stays recoverable for the vault's retention time, and its name is taken until then: `put` recovers it
first, so that its name can be used again at once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from shared.errors import NotFound, Throttled, Unavailable
from shared.secrets.port import Secrets, SecretSpace, checked_name, checked_tenant, checked_value, name_of, reference

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.exceptions import HttpResponseError
    from azure.keyvault.secrets.aio import SecretClient

CONNECT_SECONDS = 5
READ_SECONDS = 10
CALL_SECONDS = 30
TRIES = 10
OK = 200
_PING = "flowgrid-ping"
_ROLE = "the app's identity needs the role Key Vault Secrets Officer on the vault"


class KeyVaultSecrets(Secrets):
    """`credential` and `options` (of the SDK's client) are for tests; in Azure the app's own identity is used."""

    def __init__(
        self,
        vault_url: str,
        *,
        credential: "Callable[[], AsyncTokenCredential] | None" = None,
        poll_seconds: float = 1.0,
        **options: Any,
    ) -> None:
        self._vault_url = vault_url
        self._make_credential = credential
        self._options = options
        self._credential: AsyncTokenCredential | None = None
        self._client: SecretClient | None = None
        self.poll_seconds = poll_seconds

    def space(self, tenant_id: str) -> SecretSpace:
        return _Vault(self, f"t-{checked_tenant(tenant_id)}-")

    async def ping(self) -> None:
        try:
            async with _explained():
                await self.client().get_secret(_PING)
        except NotFound:
            return

    async def close(self) -> None:
        client, credential = self._client, self._credential
        self._client = self._credential = None
        if client is not None:
            await client.close()
        if credential is not None:
            await credential.close()

    def client(self) -> "SecretClient":
        if self._client is None:
            from azure.identity.aio import DefaultAzureCredential
            from azure.keyvault.secrets.aio import SecretClient

            self._credential = (self._make_credential or DefaultAzureCredential)()
            timeouts = {"connection_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
            self._client = SecretClient(self._vault_url, self._credential, **timeouts, **self._options)
        return self._client


class _Vault(SecretSpace):
    def __init__(self, secrets: KeyVaultSecrets, prefix: str) -> None:
        self._secrets = secrets
        self._prefix = prefix

    async def put(self, name: str, value: str) -> str:
        full = self._prefix + checked_name(name)
        checked_value(value)
        client = self._secrets.client()
        async with _explained():
            for _ in range(TRIES):
                if await _status(client.set_secret(full, value)) == OK:
                    return reference(name)
                # Deleted, or on its way there or back: recovering again does no harm, and takes a few seconds.
                await _status(client.recover_deleted_secret(full, _polling_interval=self._secrets.poll_seconds))
                await asyncio.sleep(self._secrets.poll_seconds)
        raise Unavailable("The key vault is still deleting the secret that was here.", retry_after=10)

    async def get(self, reference: str) -> str:
        async with _explained():
            found = await self._secrets.client().get_secret(self._prefix + name_of(reference))
        return found.value or ""

    async def delete(self, reference: str) -> None:
        full = self._prefix + name_of(reference)
        async with _explained():
            await _status(self._secrets.client().delete_secret(full, _polling_interval=self._secrets.poll_seconds))


async def _status(call: Awaitable[Any]) -> int:
    """`OK`, 404, or 409 (a deletion or a recovery of the same name is in the way); other refusals are raised."""
    from azure.core.exceptions import HttpResponseError

    try:
        await call
    except HttpResponseError as error:
        if error.status_code in (404, 409):
            return error.status_code
        raise
    return OK


@asynccontextmanager
async def _explained() -> AsyncIterator[None]:
    """What the SDK raises, as one of our errors; all of it within a bound."""
    from azure.core.exceptions import AzureError, HttpResponseError

    try:
        async with asyncio.timeout(CALL_SECONDS):
            yield
    except HttpResponseError as error:
        raise _refused(error) from error
    except AzureError as error:
        raise Unavailable(f"The key vault does not answer: {error.message}") from error
    except TimeoutError as error:
        raise Unavailable(f"The key vault did not answer within {CALL_SECONDS} s.") from error


def _refused(error: "HttpResponseError") -> NotFound | Unavailable:
    match error.status_code:
        case 404:
            return NotFound("There is no such secret.")
        case 401 | 403:
            return Unavailable(f"The key vault refuses the app: {_ROLE}.")
        case 429:
            return Throttled("The key vault asks to slow down.")
        case status:
            return Unavailable(f"The key vault answered {status}.")
