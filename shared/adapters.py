"""The adapters that the settings ask for, opened on first use and closed together."""

import os
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shared.blobs.port import Blobs
from shared.clock import Clock
from shared.database.port import Database, Provisioner
from shared.disk import outage
from shared.folders import private_folder
from shared.messaging.port import Messaging
from shared.messaging.receiving import Source
from shared.secrets.port import Secrets
from shared.settings import Settings
from shared.telemetry.charges import Charges
from shared.tenancy import shard


@dataclass(frozen=True)
class Adapters:
    database: Database
    charges: Charges
    messaging: Messaging
    source: Source | None  # the embedded queue, to be drained here; None with Service Bus
    blobs: Blobs
    secrets: Secrets
    provisioner: Provisioner | None = None

    def pings(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """For the health check: each raises `Unavailable` when its service does not answer."""
        return {
            **self.database.parts(),
            "messaging": self.messaging.ping,
            "blobs": self.blobs.ping,
            "secrets": self.secrets.ping,
        }

    async def close(self) -> None:
        for adapter in (self.messaging, self.database, self.blobs, self.secrets):
            await adapter.close()
        if self.provisioner is not None:
            await self.provisioner.close()
        self.charges.flush()


def build(settings: Settings, clock: Clock) -> Adapters:
    """No file and no socket is opened here."""
    messaging, source = _messaging(settings, clock)
    charges = Charges()
    return Adapters(
        database=_database(settings, clock, charges),
        charges=charges,
        messaging=messaging,
        source=source,
        blobs=_blobs(settings),
        secrets=_secrets(settings),
        provisioner=_provisioner(settings),
    )


def _database(settings: Settings, clock: Clock, charges: Charges) -> Database:
    shards = [shard(number).database for number in range(1, settings.flowgrid_shards + 1)]
    if settings.flowgrid_database == "sqlite":
        from shared.database.sqlite import SqliteDatabase

        return SqliteDatabase(settings.flowgrid_data_dir / "database", clock, shards)
    from shared.database.cosmos import CosmosDatabase

    return CosmosDatabase(
        endpoint=settings.flowgrid_cosmos_endpoint,
        registry=settings.flowgrid_cosmos_registry,
        shards=shards,
        clock=clock,
        emulator_key=settings.flowgrid_cosmos_emulator_key or None,
        on_charge=charges.record,
    )


def _messaging(settings: Settings, clock: Clock) -> tuple[Messaging, Source | None]:
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


def _provisioner(settings: Settings) -> Provisioner | None:
    if settings.flowgrid_database != "cosmos" or not settings.flowgrid_cosmos_account_id:
        return None
    from shared.database.arm import CosmosProvisioner

    return CosmosProvisioner(settings.flowgrid_cosmos_account_id, autoscale=settings.flowgrid_cosmos_dedicated_ru)


def _blobs(settings: Settings) -> Blobs:
    if settings.flowgrid_blobs == "files":
        from shared.blobs.files import FileBlobs

        return FileBlobs(settings.flowgrid_data_dir / "blobs")
    from shared.blobs.azure import AzureBlobs

    return AzureBlobs(settings.flowgrid_blob_account_url, emulator=settings.flowgrid_blob_emulator_connection)


def _secrets(settings: Settings) -> Secrets:
    if settings.flowgrid_secrets == "keyvault":
        from shared.secrets.keyvault import KeyVaultSecrets

        return KeyVaultSecrets(settings.flowgrid_keyvault_url)
    from shared.secrets.file import FileSecrets

    def key() -> bytes:
        given, kept = settings.flowgrid_secrets_key, settings.flowgrid_data_dir / "secrets.key"
        return given.encode() or urlsafe_b64encode(_kept(kept))

    return FileSecrets(settings.flowgrid_data_dir / "secrets", key)


class CursorKey:
    """The key that signs cursors: the setting's, or one made once in the data folder, read when first needed."""

    def __init__(self, settings: Settings) -> None:
        self._given = settings.flowgrid_cursor_key
        self._path = settings.flowgrid_data_dir / "cursor.key"
        self._key: bytes | None = None

    def __call__(self) -> bytes:
        if self._key is None:
            self._key = self._given.encode() if self._given else _kept(self._path)
        return self._key


@outage("The data folder")
def _kept(path: Path) -> bytes:
    """The file's content; whoever comes first makes it, whole before it has its name."""
    if not path.exists():
        private_folder(path.parent)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
        with suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    return path.read_bytes()
