"""What becomes of a backup is said once, with what follows from it: the tenant's storage is metered, or it is told."""

from collections.abc import Mapping
from typing import Any

from functions.backups.models import WRITTEN, Backup
from shared.ids import derived_id
from shared.work.change import Change
from shared.work.events import Metric
from shared.work.notices import notify
from shared.work.session import TenantSession

BAD = ("failed", "inconsistent")


async def settle(
    session: TenantSession, backup: Backup, fields: Mapping[str, Any], held: Mapping[str, int] | None = None
) -> None:
    """What has become of the backup, unless another runner has said so before. `held`: bytes by kind."""

    async def also(change: Change, _: Backup, settled: Backup) -> None:
        if settled.status in WRITTEN and settled.type == "daily":
            _meter(change, settled, held or {})
        if settled.status in BAD:
            _tell(change, settled)

    await session.modify(
        Backup, backup.id, lambda now: fields if now.status == "running" else {}, if_match=None, also=also
    )


def _meter(change: Change, backup: Backup, held: Mapping[str, int]) -> None:
    """How much the tenant stores, a day's worth: an event for each kind. The daily backup's id is made of its day."""
    for kind, size in held.items():
        if size:
            id = derived_id(Metric.STORAGE_BYTES, backup.tenant_id, backup.id, kind)
            change.emit(Metric.STORAGE_BYTES, size, event_id=id, kind=kind)


def _tell(change: Change, backup: Backup) -> None:
    begun = backup.created_at[:16].replace("T", " ")
    which = {"daily": "daily backup", "manual": "backup on demand", "pre_restore": "backup before a restore"}
    what = "failed" if backup.status == "failed" else "cannot be restored"
    why = (backup.error or "no reason is known").rstrip(".")
    text = (
        f"The {which[backup.type]} begun at {begun} UTC {what}: {why}. Earlier backups are not touched. "
        "Make another one (POST /api/v1/backups), or wait for the next daily one."
    )
    data = {"backup_id": backup.id, "type": backup.type, "status": backup.status, "error": backup.error}
    notify(change, f"backup_failed:{backup.id}", "backup_failed", f"A backup {what}", text, data)
