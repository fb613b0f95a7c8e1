"""What is too large for one call: imports and deletions of models as jobs, a slice at a time."""

from typing import Final, Literal

from pydantic import Field

from functions.catalog.deleting import OutOfTime, delete_model
from functions.catalog.import_models import Asked, ImportReport
from functions.catalog.importing import WRITE_SECONDS, CatalogImport, Paused, Slice
from functions.catalog.model_service import NO_SUCH, find_model
from functions.catalog.models import Model
from shared.auth.roles import Role
from shared.errors import NotFound, RoleNeeded, TooLarge, Unavailable
from shared.ids import is_uuid
from shared.jobs.jobs import Continue, Done, Job, Progress, enqueue
from shared.members.standing import check_standing, standing_of
from shared.work.resources import Answer, Id, load
from shared.work.session import TenantSession

IMPORT: Final = "import"
DELETE: Final = "delete_model"
SLICE_SECONDS: Final = 60.0
MAX_AT_ONCE_BYTES: Final = 8 * 1024 * 1024
"""Of a file that is imported while its sender waits."""


class ImportRun(Answer):
    """An import as a job."""

    id: Id = Field(description="Its id, and that of its report.")
    status: Literal["queued", "running", "succeeded", "failed"] = Field(description="How far it is.")
    progress: Progress = Field(description="How far it has come.")
    error: str | None = Field(description="Why it failed, or what it waits for.")
    report: ImportReport | None = Field(description="What it has done, once it has succeeded.")


class ModelDeletion(Answer):
    """A deletion of a model as a job; see `GET v1/jobs/{id}`."""

    id: Id = Field(description="The job's.")
    model_id: Id = Field(description="The model.")
    status: Literal["queued", "running", "succeeded", "failed"] = Field(description="How far it is.")


class LongWork:
    """`queue`: of the jobs."""

    def __init__(self, imports: CatalogImport, queue: str) -> None:
        self._imports = imports
        self._queue = queue

    async def import_at_once(self, tenant: TenantSession, body: bytes, asked: Asked) -> ImportReport:
        """`TooLarge` for what is a job's; `RoleNeeded` for who may not mirror."""
        if len(body) > MAX_AT_ONCE_BYTES:
            raise TooLarge(f"A file of more than {MAX_AT_ONCE_BYTES:,} bytes is a job's: POST it to catalog/imports.")
        _check_role(tenant, asked)
        return await self._imports.run(tenant, body, asked)

    async def begin_import(self, tenant: TenantSession, body: bytes, asked: Asked) -> ImportRun:
        """The file is kept, and read by the job. `NotFound` when there is no model of the id that is named."""
        _check_role(tenant, asked)
        if asked.named is not None and is_uuid(asked.named) and await find_model(tenant, asked.named) is None:
            raise NotFound(NO_SUCH)
        digest = await self._imports.keep(tenant, body)
        how = {"named": asked.named, "mode": asked.mode, "dry_run": asked.dry_run}
        input = {"file": digest, **how, "begun_by": await standing_of(tenant)}
        change = tenant.change()
        job = enqueue(change, tenant, self._queue, IMPORT, input, id=tenant.repeatable_id(IMPORT))
        return await change.commit(_run_of(job))

    async def get_import(self, tenant: TenantSession, id: str) -> ImportRun:
        """One that was a job, or the report of one that was a call."""
        stored = await tenant.store.get(Job.KIND, id)
        if stored is not None and stored.body["type"] == IMPORT:
            return _run_of(Job.model_validate(stored.body))
        report = await self._imports.reports.get(tenant, id)
        return ImportRun(id=id, status="succeeded", progress=Progress(), error=None, report=report)

    async def run_import(self, session: TenantSession, job: Job) -> Done | Continue:
        """A slice; the next reads the file again, and goes on where this one stops."""
        input, before = job.input, job.checkpoint
        if input["mode"] == "mirror" and not input["dry_run"]:
            await check_standing(session, input["begun_by"])
        body = await self._imports.kept(session, input["file"])
        asked = Asked(input["named"], input["mode"], input["dry_run"])
        part = Slice(job.id, SLICE_SECONDS, before, patient=True)
        if asked.dry_run:  # it writes nothing that another slice could go on from
            part = Slice(job.id, WRITE_SECONDS)
        try:
            report = await self._imports.run_part(session, body, asked, part)
        except Paused as paused:
            names = ("created", "updated")  # what is removed is on record of its own
            done: dict[str, dict[str, int]] = {
                kind: {name: getattr(counts, name) + before.get(kind, {}).get(name, 0) for name in names}
                for kind, counts in paused.counts.items()
            }
            if asked.dry_run:
                raise Unavailable(paused.message) from paused
            taken = sum(counts.taken for counts in paused.counts.values())
            return Continue(done, Progress(phase="take", done=taken, total=paused.total))
        return Done(report.model_dump(mode="json"), report.elements.taken + report.relationships.taken)

    async def begin_deletion(self, tenant: TenantSession, model_id: str, if_match: str | None) -> ModelDeletion:
        """Of the model with all that is its own, as it is when the job comes to it."""
        (await load(tenant, Model, model_id)).value.check(if_match)
        change = tenant.change()
        input = {"model_id": model_id, "begun_by": await standing_of(tenant)}
        job = enqueue(change, tenant, self._queue, DELETE, input, id=tenant.repeatable_id(DELETE))
        return await change.commit(ModelDeletion(id=job.id, model_id=model_id, status=job.status))

    async def run_deletion(self, session: TenantSession, job: Job) -> Done | Continue:
        """A slice; a model that has gone is done."""
        await check_standing(session, job.input["begun_by"])
        before = int(job.checkpoint.get("deleted", 0))
        try:
            await delete_model(session, job.input["model_id"], None, cascade=True, seconds=SLICE_SECONDS)
        except NotFound:
            return Done({"deleted": before}, before)
        except OutOfTime as late:
            done = before + late.done
            return Continue({"deleted": done}, Progress(phase="delete", done=done))
        return Done({"model_id": job.input["model_id"]})


def _run_of(job: Job) -> ImportRun:
    report = None if job.result is None else ImportReport.model_validate(job.result)
    return ImportRun(id=job.id, status=job.status, progress=job.progress, error=job.error, report=report)


def _check_role(tenant: TenantSession, asked: Asked) -> None:
    role = tenant.caller.role
    if asked.mode == "mirror" and not asked.dry_run and (role is None or not role.includes(Role.ADMIN)):
        raise RoleNeeded(f"A mirror deletes: this needs the role {Role.ADMIN}; the caller has {role}.")
