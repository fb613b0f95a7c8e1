"""Backups and restores: what is stored and shown, and what a client may ask for."""

import json
from collections.abc import Mapping
from datetime import timedelta
from types import new_class
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import ConfigDict, Field, StringConstraints

from shared.auth.emails import Email
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Document, Where
from shared.http.pagination import ResourceQuery
from shared.jobs.jobs import Job, JobStatus, Progress
from shared.kinds import Kind
from shared.work.change import Change
from shared.work.resources import Answer, Body, Id, Resource, Timestamp
from shared.work.session import TenantSession

BackupType = Literal["daily", "manual", "pre_restore"]
BackupStatus = Literal["running", "succeeded", "inconsistent", "failed", "pruning"]
WRITTEN = ("succeeded", "inconsistent")  # the latter holds items that refer to nothing, and is not restored
Target = Literal["in_place", "new_tenant"]


FORMERLY = {"succeeded": "complete"}  # until schema 2: what is stored so is found too


def stored_as(status: BackupStatus) -> list[str]:
    """How a status may stand in what is stored."""
    return [status, *([FORMERLY[status]] if status in FORMERLY else [])]


def _succeeded(body: dict[str, Any]) -> dict[str, Any]:
    """Schema 2: a status is called as a job's is, and says how much was written."""
    status = "succeeded" if body["status"] == FORMERLY["succeeded"] else body["status"]
    return {**body, "status": status, "progress": finished(body.get("counts", {})).model_dump()}


def finished(counts: Mapping[str, int]) -> Progress:
    """Of a backup that holds so many items of each kind."""
    items = sum(counts.values())
    return Progress(phase="finish" if items else None, done=items, total=items or None)


class Backup(Resource):
    """A backup of the whole tenant at one moment."""

    KIND: ClassVar[Kind] = Kind(
        "backup",
        filtered=("status", "type", "as_of"),
        sorted=("updated_at",),
        journalled=True,
        upcasts=[_succeeded],
        told=("created", "updated", "deleted"),
        path="backups",
    )

    type: BackupType = Field(description="What it was made for.")
    status: BackupStatus = Field(
        "running", description="`inconsistent`: written, but it holds items that refer to nothing."
    )
    note: str = Field("", description="What whoever asked for it has noted.")
    job_id: Id = Field(description="The job that makes it; see `GET v1/jobs/{job_id}`.")
    as_of: Timestamp | None = Field(None, description="The one moment that it shows; null until it has succeeded.")
    counts: dict[str, int] = Field({}, description="Items of each kind.")
    bytes: int = Field(0, description="Size of its parts, compressed.")
    sha256: str | None = Field(None, description="Hash of its manifest, which holds the hash of every part.")
    parts: int = Field(0, description="Blobs that it is made of.")
    expires_at: Timestamp = Field(description="When it may be pruned.")
    verified_at: Timestamp | None = Field(None, description="When all of it was last read back on demand.")
    progress: Progress = Field(Progress(), description="Phases: scan, journal, undo, history, finish.")
    error: str | None = Field(None, description="Why it failed, or what the last verification found damaged.")

    @property
    def etag(self) -> str:
        """With the progress, which is shown as the job knows it and moves at the same revision."""
        moving = self.status == "running" and self.progress.phase is not None
        return f'{super().etag[:-1]}-{self.progress.phase}-{self.progress.done}"' if moving else super().etag

    @classmethod
    def begin(
        cls, change: Change, session: TenantSession, type: BackupType, *, id: str, job_id: str, note: str = ""
    ) -> "Backup":
        """A backup that `job_id` is going to make, kept for as long as the tenant's plan says."""
        expires = parse_rfc3339(change.at) + timedelta(days=session.plan.backup_retention_days)
        fields = {"type": type, "job_id": job_id, "note": note, "expires_at": rfc3339(expires)}
        return change.create(cls, fields, id=id)


class NewBackup(Body):
    """A backup on demand."""

    note: str = Field("", max_length=500, description="What the backup is for.")


class BackupQuery(ResourceQuery):
    status: BackupStatus | None = None
    type: BackupType | None = None

    def filters(self) -> dict[str, Any]:
        return {"type": self.type}

    def where(self) -> list[Where]:
        return [*super().where(), *([Where("status", "in", stored_as(self.status))] if self.status else [])]


class Verification(Answer):
    """What reading all of a backup back has found; `ok` when `problems` is empty."""

    backup_id: Id = Field(description="The backup that was read.")
    ok: bool = Field(description="Whether all of it can be restored.")
    checked_at: Timestamp = Field(description="When it was read.")
    problems: list[str] = Field(description="What is wrong, a line each.")
    parts: int = Field(description="Blobs read.")
    lines: int = Field(description="Items and journal entries read.")
    bytes: int = Field(description="Bytes read, compressed.")


class RestoredTenant(Body):
    """The tenant that a restore makes; plan, settings, trial and status are those of the tenant restored from."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)] = Field(
        description="What the new tenant is called."
    )
    slug: str = Field(
        pattern=r"^[a-z0-9-]{3,63}$", examples=["acme-restored"], description="Its name in URLs; nobody else's."
    )
    admin_email: Email = Field(description="Address of its first admin.")


class NewRestore(Body):
    """Name a backup, or a point in time."""

    backup_id: Id | None = Field(None, description="The backup to bring back; null with `as_of`.")
    as_of: Timestamp | None = Field(None, description="Any moment since the oldest backup, by backup and journal.")
    target: Target = Field(description="Over this tenant's data, or into a new tenant.")
    new_tenant: RestoredTenant | None = Field(None, description="Needed with `new_tenant`: which one to make.")
    confirm: str | None = Field(
        None, description="Needed with in_place: this tenant's slug, as a guard against mistakes."
    )


class Restore(Resource):
    """A restore: a job, seen as what it restores. `report` says what it did."""

    KIND: ClassVar[Kind] = Job.KIND

    status: JobStatus = Field(description="How far it is.")
    job_id: Id = Field(description="The job that it is: the same id; see `GET v1/jobs/{job_id}`.")
    progress: Progress = Field(
        description="Phases: check, keep (the backup of what is replaced), target, write, delete, finish."
    )
    backup_id: Id = Field(description="The backup that it begins with.")
    as_of: Timestamp | None = Field(description="The point in time asked for; null: the backup's own moment.")
    target: Target = Field(description="Over this tenant's data, or into a new tenant.")
    new_tenant: RestoredTenant | None = Field(description="The tenant that it makes, if it makes one.")
    report: dict[str, Any] | None = Field(None, description="What it has done, once it has succeeded.")
    error: str | None = Field(None, description="Why it failed, or what it waits for.")

    @classmethod
    def of(cls, job: Job) -> "Restore":
        own = job.model_dump(exclude={"input", "result"})
        return cls.model_validate({**job.input, **own, "job_id": job.id, "report": job.result})


class RestoreQuery(ResourceQuery):
    """The filter of the list of restores: equality."""

    status: JobStatus | None = None


class AnyResource(Resource):
    """Any resource, whole: a backup carries what its service has written without knowing what it means."""

    model_config = ConfigDict(extra="allow", frozen=True)


def resource_of(kind: Kind) -> type[AnyResource]:
    """The model of a kind's items as backups see them."""
    body = {"KIND": kind, "__module__": __name__}
    return cast(
        type[AnyResource], new_class(f"Any{kind.title()}", (AnyResource,), {}, lambda namespace: namespace.update(body))
    )


def plain(body: Mapping[str, Any]) -> Document:
    """An item as its service sees it: without what the store (`kind`) and `Change.touch` add."""
    return {name: value for name, value in body.items() if name not in ("kind", "touched")}


def same_content(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two versions of a resource say the same; who wrote which revision when does not matter."""
    return _content(one) == _content(other)


def _content(body: Mapping[str, Any]) -> str:
    """JSON text, because Python holds 1, 1.0 and True for equal and a client does not."""
    aside = ("tenant_id", "revision", "updated_at", "updated_by")
    return json.dumps({name: value for name, value in plain(body).items() if name not in aside}, sort_keys=True)
