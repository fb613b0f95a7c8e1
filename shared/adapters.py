"""The adapters that the settings ask for, opened on first use and closed together."""

from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from shared.ai.models import AiModels
from shared.ai.port import Models
from shared.blobs.port import Blobs
from shared.clock import Clock
from shared.database.port import Database
from shared.database.provisioning import Provisioner
from shared.folders import kept_key
from shared.kinds import Kinds
from shared.limits.memory import MemoryLimiter
from shared.limits.port import RateLimiter
from shared.messaging.port import Messaging
from shared.messaging.receiving import Receiving
from shared.observed import ObservedBlobs, ObservedMessaging, ObservedModels, ObservedSecrets
from shared.outgoing.client import Outgoing
from shared.outside import client_id
from shared.secrets.port import Secrets
from shared.settings import Settings
from shared.telemetry.charges import Charges
from shared.telemetry.log import tenant_at_hand
from shared.telemetry.port import OFF, Telemetry
from shared.tenancy.directory import shard
from shared.tracing import Tell


@dataclass(frozen=True)
class Adapters:
    database: Database
    charges: Charges
    messaging: Messaging
    receiving: Receiving | None  # the embedded queue, to be drained here; None with Service Bus
    blobs: Blobs
    secrets: Secrets
    outgoing: Outgoing
    models: Models
    limiter: RateLimiter
    provisioner: Provisioner | None = None
    telemetry: Telemetry = OFF

    def pings(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """For the health check, what calls fail without: each raises `Unavailable` when its service does not answer."""
        return {
            **self.database.parts(),
            "serviceBus": self.messaging.ping,
            "blobs": self.blobs.ping,
            "secrets": self.secrets.ping,
        }

    async def close(self) -> None:
        ports = (self.messaging, self.database, self.blobs, self.secrets, self.models, self.limiter, self.outgoing)
        for adapter in ports:
            await adapter.close()
        if self.provisioner is not None:
            await self.provisioner.close()
        self.charges.flush()
        await self.telemetry.close()


def build(settings: Settings, clock: Clock, kinds: Kinds) -> Adapters:
    """No file and no socket is opened here."""
    telemetry = _telemetry(settings)
    tell = telemetry.dependency if telemetry.on else None
    messaging, receiving = _messaging(settings, clock)
    charges = Charges(telemetry=telemetry)
    outgoing = Outgoing(settings.outgoing_allowed, tell=tell, whose=tenant_at_hand)
    adapters = Adapters(
        database=_database(settings, clock, kinds, charges, tell),
        charges=charges,
        messaging=messaging,
        receiving=receiving,
        blobs=_blobs(settings),
        secrets=_secrets(settings),
        outgoing=outgoing,
        models=AiModels(outgoing),
        limiter=_limiter(settings, clock, tell),
        provisioner=_provisioner(settings, kinds),
        telemetry=telemetry,
    )
    return adapters if tell is None else _observed(adapters, settings, tell)


def _observed(adapters: Adapters, settings: Settings, tell: Tell) -> Adapters:
    """By the names that Application Insights has for the services."""
    queue = "Azure Service Bus" if settings.flowgrid_messaging == "servicebus" else "queue"
    storage = "Azure blob" if settings.flowgrid_blobs == "azure" else "files"
    vault = "Azure Key Vault" if settings.flowgrid_secrets == "keyvault" else "secrets"
    return replace(
        adapters,
        messaging=ObservedMessaging(adapters.messaging, queue, tell, usage_queue=settings.usage_queue),
        blobs=ObservedBlobs(adapters.blobs, storage, tell),
        secrets=ObservedSecrets(adapters.secrets, vault, tell),
        models=ObservedModels(adapters.models, adapters.telemetry),
    )


def _telemetry(settings: Settings) -> Telemetry:
    if not settings.applicationinsights_connection_string:
        return OFF
    from shared.telemetry.insights import Insights

    return Insights(
        settings.applicationinsights_connection_string,
        environment=settings.flowgrid_environment,
        sample=settings.flowgrid_telemetry_sample,
        client_id=client_id(settings.applicationinsights_authentication_string),
    )


def _database(settings: Settings, clock: Clock, kinds: Kinds, charges: Charges, tell: Tell | None) -> Database:
    shards = [shard(number).database for number in range(1, settings.flowgrid_shards + 1)]
    if settings.flowgrid_database == "sqlite":
        from shared.database.sqlite import SqliteDatabase

        return SqliteDatabase(settings.flowgrid_data_dir / "database", clock, shards, kinds)
    from shared.database.cosmos.store import CosmosDatabase

    return CosmosDatabase(
        endpoint=settings.flowgrid_cosmos_endpoint,
        registry=settings.flowgrid_cosmos_registry,
        shards=shards,
        clock=clock,
        kinds=kinds,
        emulator_key=settings.flowgrid_cosmos_emulator_key or None,
        on_charge=charges.record,
        tell=tell,
    )


def _messaging(settings: Settings, clock: Clock) -> tuple[Messaging, Receiving | None]:
    if settings.flowgrid_messaging == "sqlite":
        from shared.messaging.sqlite import SqliteMessaging

        embedded = SqliteMessaging(settings.flowgrid_data_dir / "queues", clock)
        return embedded, embedded
    from shared.messaging.servicebus import ServiceBusMessaging

    azure = ServiceBusMessaging(
        namespace=settings.flowgrid_servicebus_namespace,
        emulator_connection=settings.flowgrid_servicebus_emulator,
        health_queue=settings.usage_queue,
        clock=clock,
    )
    return azure, None


def _provisioner(settings: Settings, kinds: Kinds) -> Provisioner | None:
    if settings.flowgrid_database != "cosmos" or not settings.flowgrid_cosmos_account_id:
        return None
    from shared.database.cosmos.provisioner import CosmosProvisioner

    account, autoscale = settings.flowgrid_cosmos_account_id, settings.flowgrid_cosmos_dedicated_ru
    return CosmosProvisioner(account, kinds, autoscale=autoscale)


def _blobs(settings: Settings) -> Blobs:
    if settings.flowgrid_blobs == "files":
        from shared.blobs.files import FileBlobs

        return FileBlobs(settings.flowgrid_data_dir / "blobs")
    from shared.blobs.azure import AzureBlobs

    return AzureBlobs(settings.flowgrid_blob_account_url, emulator=settings.flowgrid_blob_emulator_connection)


def _limiter(settings: Settings, clock: Clock, tell: Tell | None) -> RateLimiter:
    if settings.flowgrid_rate_limits == "memory":
        return MemoryLimiter(clock)
    from shared.limits.redis import RedisLimiter

    return RedisLimiter(settings.flowgrid_redis_url, clock, tell=tell)


def _secrets(settings: Settings) -> Secrets:
    if settings.flowgrid_secrets == "keyvault":
        from shared.secrets.keyvault import KeyVaultSecrets

        return KeyVaultSecrets(settings.flowgrid_keyvault_url)
    from shared.secrets.file import FileSecrets

    def key() -> bytes:
        given, kept = settings.flowgrid_secrets_key, settings.flowgrid_data_dir / "secrets.key"
        return given.encode() or urlsafe_b64encode(kept_key(kept))

    return FileSecrets(settings.flowgrid_data_dir / "secrets", key)
