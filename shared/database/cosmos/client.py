"""The SDK's client: one per process and account, opened on first use in the worker's loop, renewed if its token sticks.

What azure-cosmos 4.17.1 does by itself and must not: it retries 429 nine times (`retry_total=0` leaves that in place,
hence the policy object), resends writes whose connection broke (`retry_connect`, `retry_read`), and waits 65 seconds
for an answer. It also forgets the session token of a batch, so that a read after it might not see what it wrote:
`remember` gives it back. All clients of an account share one session: a new one reads what the old one wrote.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

from shared.database.cosmos.containers import REGISTRY_CONTAINERS, TENANT_CONTAINERS, definitions
from shared.database.cosmos.retry import NoContainer
from shared.kinds import Kinds

if TYPE_CHECKING:
    from azure.cosmos.aio import ContainerProxy as ContainerProxy
    from azure.cosmos.aio import CosmosClient

CONNECT_SECONDS = 3
SILENCE_SECONDS = 5.0  # without a byte of the answer
RENEW_AFTER_SECONDS = 30.0
PREPARE_SECONDS = 60.0
ABSENT_SECONDS = 5.0  # a container that was not there is looked for no sooner

CredentialFactory = Callable[[], Any]


def default_credential() -> Any:
    """The identity that the app runs under."""
    from azure.identity.aio import DefaultAzureCredential

    return DefaultAzureCredential()


class Client:
    """An open client with its containers."""

    def __init__(self, sdk: "CosmosClient", credential: Any) -> None:
        self.sdk = sdk
        self.opened = asyncio.get_running_loop().time()
        self._credential = credential
        self._containers: dict[tuple[str, str], ContainerProxy] = {}
        self._absent: dict[tuple[str, str], float] = {}

    async def container(self, database: str, name: str) -> "ContainerProxy":
        """The container, its properties known to the SDK; `NoContainer` when it is not there.

        The SDK reads the properties before a call when it does not know them (`_get_properties` in aio/_container.py),
        and 404/0 is the service's answer to that as well as to a point read of nothing. So they are read here, apart,
        once per client: an account takes 240 RU of such reads a second, from all its clients together.
        """
        key = (database, name)
        if key not in self._containers:  # one object per container: it holds the lock of its own metadata
            self._containers[key] = self.sdk.get_database_client(database).get_container_client(name)
        container = self._containers[key]
        if container.container_link in self.sdk.client_connection._container_properties_cache:
            return container
        if asyncio.get_running_loop().time() < self._absent.get(key, 0.0):
            raise NoContainer
        try:
            await container._get_properties()
        except Exception as error:
            if getattr(error, "status_code", None) != 404:
                raise
            self._absent[key] = asyncio.get_running_loop().time() + ABSENT_SECONDS
            raise NoContainer from error
        return container

    def forget(self, database: str, name: str) -> None:
        """The container is gone, or another one by now: its properties are read again."""
        if (database, name) in self._containers:
            link = self._containers[database, name].container_link
            self.sdk.client_connection._container_properties_cache.pop(link, None)

    def expect(self, database: str) -> None:
        """Look at once for what was not there a moment ago."""
        self._absent = {key: until for key, until in self._absent.items() if key[0] != database}

    def remember(self, container: "ContainerProxy", headers: Mapping[str, Any]) -> None:
        """Take in the session token of a batch's answer."""
        connection = self.sdk.client_connection
        known = connection._container_properties_cache.get(container.container_link)
        if connection.session is None or not known or "x-ms-session-token" not in headers:
            return
        path = container.container_link.strip("/")
        link = {"_self": f"{known['_self']}docs/batch/", "id": "batch"}
        session: Any = connection.session
        session.update_session(connection, link, {**headers, "x-ms-alt-content-path": path})

    async def create(self, database: str, wanted: Iterable[Mapping[str, Any]]) -> None:
        """Make a database with its containers (emulators only: in Azure, Bicep and the ARM plane do)."""
        from azure.cosmos import PartitionKey

        made = await self.sdk.create_database_if_not_exists(database)
        for one in wanted:
            await made.create_container_if_not_exists(
                one["id"],
                PartitionKey(one["partitionKey"]["paths"][0]),
                indexing_policy=one["indexingPolicy"],
                default_ttl=one["defaultTtl"],
            )

    async def close(self) -> None:
        await self.sdk.close()
        if self._credential is not None:
            await self._credential.close()


class Account:
    """Opens and replaces the client; `emulator_key` says that this is an emulator, whose databases are made here."""

    def __init__(
        self,
        endpoint: str,
        *,
        credential: CredentialFactory = default_credential,
        emulator_key: str | None = None,
        prepare: Callable[[Client], Awaitable[None]] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._credential = credential
        self._key = emulator_key
        self._prepare = prepare
        self._client: Client | None = None
        self._retired: Client | None = None
        self._session: Any = None  # which of the account's containers was seen how far
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()

    async def client(self, seconds: float) -> Client:
        """The open client of this loop; it has so many seconds to open (an emulator's databases take longer)."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # another loop's sockets are of no use here, and cannot be closed from here
            self._loop, self._client, self._retired, self._opening = loop, None, None, asyncio.Lock()
        if self._client is not None:
            return self._client
        async with self._opening:
            if self._client is None:
                async with asyncio.timeout(max(0.001, PREPARE_SECONDS if self._prepare else seconds)):
                    self._client = await self._open()
            return self._client

    async def renew(self, failed: Client) -> None:
        """Let the next call open a new client, unless somebody did already or this one is itself a fresh one.

        Calls that are under way finish on the old one; it is closed when its successor is replaced.
        """
        young = asyncio.get_running_loop().time() - failed.opened < RENEW_AFTER_SECONDS
        if self._client is not failed or (young and self._retired is not None):
            return
        self._client, previous, self._retired = None, self._retired, failed
        if previous is not None:
            await previous.close()

    def expect(self, database: str) -> None:
        """Look at once for a database that was not there a moment ago."""
        if self._client is not None:
            self._client.expect(database)

    async def close(self) -> None:
        clients, self._client, self._retired = (self._client, self._retired), None, None
        for client in clients:
            if client is not None:
                await client.close()

    async def _open(self) -> Client:
        from azure.core.pipeline.transport import AioHttpTransport
        from azure.cosmos.aio import CosmosClient
        from azure.cosmos.documents import ConnectionPolicy

        policy = ConnectionPolicy()
        policy.RetryOptions._max_retry_attempt_count = 0
        credential: Any = None if self._key else self._credential()
        sdk = CosmosClient(
            self._endpoint,
            self._key if self._key else credential,
            connection_policy=policy,
            connection_timeout=CONNECT_SECONDS,
            read_timeout=SILENCE_SECONDS,
            retry_total=0,
            retry_connect=0,
            retry_read=0,
            retry_status=0,
            retry_write=False,
            enable_endpoint_discovery=self._key is None,
            enable_compact_utf8_item_writes=True,
            # Else aiohttp looks for a proxy, and into a .netrc, at each call, in the threads that all share.
            transport=AioHttpTransport(use_env_settings=bool(getproxies())),
        )
        client = Client(sdk, credential)
        try:
            await sdk.__aenter__()
            self._share_session(sdk)
            if self._prepare is not None:
                await self._prepare(client)
        except BaseException:
            await client.close()
            raise
        return client

    def _share_session(self, sdk: "CosmosClient") -> None:
        """ "This session object can be shared across clients within the same process" (_session.py)."""
        if self._session is None:
            self._session = sdk.client_connection.session
        elif sdk.client_connection.session is not None:
            sdk.client_connection.session = self._session


def preparation(registry: str, shards: tuple[str, ...], kinds: Kinds) -> Callable[[Client], Awaitable[None]]:
    """What an emulator needs before anything else: the registry and the shared databases."""

    async def prepare(client: Client) -> None:
        await client.create(registry, definitions(REGISTRY_CONTAINERS, kinds))
        for shard in shards:
            await client.create(shard, definitions(TENANT_CONTAINERS, kinds))

    return prepare
