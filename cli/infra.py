"""What Bicep reads of the code: `python -m cli.infra` (`make pages`) writes infra/generated/ anew."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import functions.audit.segments
import functions.backups.archive
import functions.catalog.reports
import functions.executions.models
import functions.usage.archiving
from functions.kinds import KINDS
from shared.database.cosmos.containers import REGISTRY_CONTAINERS, TENANT_CONTAINERS, definitions
from shared.messaging.queues import DUPLICATES_REMEMBERED, LOCK, MAX_DELIVERIES
from shared.settings import Settings
from shared.tenancy.directory import shard

GENERATED = Path(__file__).parents[1] / "infra" / "generated"
AREAS = (
    functions.audit.segments.AREA,
    functions.backups.archive.AREA,
    functions.catalog.reports.AREA,
    functions.executions.models.AREA,
    functions.usage.archiving.AREA,
)
SELDOM_READ = (functions.catalog.reports.AREA,)
QUEUES = ("usage_queue", "jobs_queue", "executions_queue", "deliveries_queue")
LIFETIME = "P14D"  # of a message: what waits for room waits under new ids
QUEUE_MEGABYTES = 5120  # what comes in while nobody takes it out
ELSEWHERE = {  # what no deployment in Azure may have
    "flowgrid_data_dir": "there is no disk that stays",
    "flowgrid_cosmos_emulator_key": "of an emulator",
    "flowgrid_servicebus_emulator": "of an emulator",
    "flowgrid_blob_emulator_connection": "of an emulator",
    "flowgrid_secrets_key": "of the embedded secrets",
    "flowgrid_cursor_key": "one is made, and kept in the registry",
    "servicebusconnection": "a connection string has a key",
}
OF_THE_STAMP = (  # what main.bicep knows, and no default does
    "flowgrid_issuers",
    "applicationinsights_connection_string",
    "applicationinsights_authentication_string",
    "servicebusconnection__fullyqualifiednamespace",
)


def cosmos() -> dict[str, Any]:
    """Databases and their containers, as the resource model has them."""
    prefix = shard(1).database.removesuffix("1")
    registry = Settings.model_fields["flowgrid_cosmos_registry"].default
    return {
        "registry": {"name": registry, "containers": definitions(REGISTRY_CONTAINERS, KINDS)},
        "tenants": {"prefix": prefix, "containers": definitions(TENANT_CONTAINERS, KINDS)},
    }


def servicebus() -> dict[str, Any]:
    """Queues, with all that cannot be changed later and all that the code rests on (shared/messaging/queues.py)."""
    properties = {
        "lockDuration": iso(LOCK),
        "maxDeliveryCount": MAX_DELIVERIES,
        "requiresDuplicateDetection": True,
        "duplicateDetectionHistoryTimeWindow": iso(DUPLICATES_REMEMBERED),
        "defaultMessageTimeToLive": LIFETIME,
        "deadLetteringOnMessageExpiration": True,
        "enableBatchedOperations": True,
        "enablePartitioning": False,
        "maxSizeInMegabytes": QUEUE_MEGABYTES,
    }
    return {"queues": [{"name": Settings.model_fields[name].default, "properties": properties} for name in QUEUES]}


def blobs() -> dict[str, Any]:
    """Containers of the data account."""
    return {"containers": sorted(AREAS), "cool": sorted(SELDOM_READ)}


def settings() -> dict[str, str]:
    """App settings by name, at their defaults: what a trigger names has to be set, and what is set can be seen.

    Bicep says otherwise where Azure is otherwise.
    """
    left_out = {*ELSEWHERE, *OF_THE_STAMP}
    fields = {name: field.default for name, field in Settings.model_fields.items() if name not in left_out}
    return {name.upper(): "" if value == () else str(value) for name, value in fields.items()}


def iso(span: timedelta) -> str:
    """ISO 8601, in whole minutes."""
    return f"PT{span // timedelta(minutes=1)}M"


FILES: Mapping[Path, Callable[[], object]] = {
    GENERATED / "cosmos.json": cosmos,
    GENERATED / "servicebus.json": servicebus,
    GENERATED / "blobs.json": blobs,
    GENERATED / "settings.json": settings,
}


def text(made: object) -> str:
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path, made in FILES.items():
        path.write_text(text(made()), "utf-8")
