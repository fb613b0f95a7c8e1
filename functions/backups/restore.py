"""Restoring: check everything, keep what is replaced, then write the difference, in batches that may be run again.

check -> keep (in place: a `pre_restore` backup) or target (the new tenant) -> write -> delete -> finish

What to restore is a `Snapshot` made anew for each slice: of a backup, or of the last backup before a point in time and
the journal up to it. A slice compares it with what is there now, so one that was killed is simply run again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel, Field

from functions.backups.archive import Archive, Manifest
from functions.backups.copies import copy_id
from functions.backups.export import SKEW, Export, replay
from functions.backups.models import COUNTED, RESOURCE_KINDS, Backup, NewRestore
from functions.backups.replacing import Replacing, recount
from functions.backups.snapshot import Snapshot
from shared.blobs.port import Blobs
from shared.clock import parse_rfc3339, rfc3339
from shared.context import Caller
from shared.database.names import Names
from shared.database.port import Kind
from shared.errors import Conflict, QuotaReached, Unavailable
from shared.ids import derived_id
from shared.jobs import Continue, Done, Job
from shared.resources import load
from shared.session import TenantSession
from shared.tenancy import Directory, TenantEntry

BATCHES_PER_SLICE = 100
SHOWN_IDS = 5
USERS_STAY = "user: a person belongs to one tenant, so the new one has only its own first admin"


class Onboard(Protocol):
    """Sets up a tenant of this id and of `like`'s plan. Again with the same id is no error."""

    async def __call__(self, *, tenant_id: str, name: str, slug: str, admin_email: str, like: TenantEntry) -> None: ...


class State(BaseModel):
    """A restore's checkpoint."""

    phase: Literal["check", "keep", "target", "write", "delete", "finish"] = "check"
    pre_restore: str | None = None
    export: dict[str, Any] = Field(default_factory=dict)
    kind: int = 0
    after: str = ""
    restored: dict[str, int] = Field(default_factory=dict)
    unchanged: dict[str, int] = Field(default_factory=dict)
    deleted: dict[str, int] = Field(default_factory=dict)
    deleted_in_round: int = 0
    skipped: list[str] = Field(default_factory=list)


class Restoring:
    """Runs restore jobs, a slice at a time."""

    def __init__(
        self,
        blobs: Blobs,
        export: Export,
        directory: Directory,
        names: Names,
        onboard: Onboard,
        *,
        batches_per_slice: int = BATCHES_PER_SLICE,
    ) -> None:
        self._blobs = blobs
        self._export = export
        self._directory = directory
        self._names = names
        self._onboard = onboard
        self._batches_per_slice = batches_per_slice

    async def run_restore(self, session: TenantSession, job: Job) -> Done | Continue:
        """A slice of a job of type `restore`."""
        asked = NewRestore.model_validate(job.input)
        state = State.model_validate(job.checkpoint)
        if state.phase == "keep":
            await self._keep(session, job, state)
        elif state.phase == "target":
            await self._make_target(session, job, asked)
            state.phase = "write"
        elif state.phase == "finish":
            return Done(await self._finish(session, job, asked, state))
        else:
            await self._with_snapshot(session, job, asked, state)
        return Continue(state.model_dump(mode="json"))

    async def _with_snapshot(self, session: TenantSession, job: Job, asked: NewRestore, state: State) -> None:
        with Snapshot() as snapshot:
            await self._fill(session, asked, snapshot)
            if state.phase == "check":
                await _check(session, asked, snapshot)
                state.phase = "keep" if asked.target == "in_place" else "target"
                return
            target = await self._target(session, job, asked)
            own_user = session.user_id if asked.target == "in_place" else None
            replacing = Replacing(target, self._names, snapshot, spared_user=own_user)
            if state.phase == "write":
                await self._write(replacing, asked, state)
            else:
                await self._delete(replacing, state)

    async def _fill(self, session: TenantSession, asked: NewRestore, snapshot: Snapshot) -> None:
        """Everything is read and its hashes compared before anything of it is used."""
        manifest = await self._load(session, asked, snapshot)
        if asked.as_of is not None:
            await self._export.settled(session, asked.as_of)
            since = rfc3339(parse_rfc3339(manifest.as_of) - SKEW)
            await replay(session.store, snapshot, since=since, until=asked.as_of)

    async def _load(self, session: TenantSession, asked: NewRestore, snapshot: Snapshot) -> Manifest:
        backup = (await load(session, Backup, asked.backup_id or "")).value
        if backup.status != "complete":
            raise Conflict(f"This backup is {backup.status}; only a complete one can be restored.")
        archive = Archive(self._blobs, backup)
        manifest = await archive.manifest()
        await snapshot.load(archive, manifest)
        return manifest

    async def _keep(self, session: TenantSession, job: Job, state: State) -> None:
        """What is replaced is backed up first, so that a restore can itself be undone."""
        id = derived_id("pre_restore", job.id)
        if await session.store.get(Kind.BACKUP, id) is None:
            change = session.change()
            await change.commit(Backup.begin(change, session, "pre_restore", id=id, job_id=job.id))
        state.pre_restore = id
        backup = (await load(session, Backup, id)).value
        progress = await self._export.advance(session, backup, state.export)
        state.export = progress or {}
        if progress is None:
            await recount(session)
            state.phase = "write"

    async def _make_target(self, session: TenantSession, job: Job, asked: NewRestore) -> None:
        new = asked.new_tenant
        if new is None:
            raise Conflict("A new tenant needs a name.")
        id = copy_id(job.id)
        await self._onboard(tenant_id=id, name=new.name, slug=new.slug, admin_email=new.admin_email, like=session.entry)
        self._directory.forget(id)
        await recount(await self._target(session, job, asked))

    async def _target(self, session: TenantSession, job: Job, asked: NewRestore) -> TenantSession:
        if asked.target == "in_place":
            return session
        entry = await self._directory.entry(copy_id(job.id))
        if entry is None or entry.status == "provisioning":
            raise Unavailable("The new tenant is still being set up.")
        caller = Caller(session.user_id, None, None, entry.id, None)
        return TenantSession(entry, self._directory.open(entry), caller, session.request, session.services)

    async def _write(self, replacing: Replacing, asked: NewRestore, state: State) -> None:
        kinds = _written_kinds(asked)
        for _ in range(self._batches_per_slice):
            if state.kind == len(kinds):
                in_place = asked.target == "in_place"
                state.phase, state.kind, state.after = ("delete" if in_place else "finish"), 0, ""
                return
            kind = kinds[state.kind]
            outcome = await replacing.write_next(kind, state.after)
            _add(state.restored, kind, outcome.changed)
            _add(state.unchanged, kind, outcome.unchanged)
            state.skipped += outcome.skipped
            state.after = outcome.next or ""
            state.kind += 1 if outcome.next is None else 0

    async def _delete(self, replacing: Replacing, state: State) -> None:
        """Rounds over all kinds, what refers first, until one deletes nothing: then nothing dangles, whoever writes."""
        kinds = RESOURCE_KINDS[::-1]
        for _ in range(self._batches_per_slice):
            if state.kind == len(kinds):
                again = state.deleted_in_round > 0
                state.kind, state.after, state.deleted_in_round = 0, "", 0
                if not again:
                    state.phase = "finish"
                    return
            kind = kinds[state.kind]
            outcome = await replacing.delete_next(kind, state.after)
            _add(state.deleted, kind, outcome.changed)
            state.deleted_in_round += outcome.changed
            state.after = outcome.next or ""
            state.kind += 1 if outcome.next is None else 0

    async def _finish(self, session: TenantSession, job: Job, asked: NewRestore, state: State) -> Mapping[str, Any]:
        backup = (await load(session, Backup, asked.backup_id or "")).value
        target = await self._target(session, job, asked)
        in_place = asked.target == "in_place"
        return {
            "backup_id": backup.id,
            "as_of": asked.as_of or backup.as_of,
            "tenant_id": target.id,
            "pre_restore_backup_id": state.pre_restore,
            "restored": state.restored,
            "unchanged": state.unchanged,
            "deleted": state.deleted,
            "skipped": state.skipped if in_place else [*state.skipped, USERS_STAY],
            "counters": await recount(target),
        }


async def _check(session: TenantSession, asked: NewRestore, snapshot: Snapshot) -> None:
    """What would make the restore stop half-way, or leave a tenant that contradicts itself."""
    plan = session.plan
    limits = {Kind.AGENT: plan.max_agents, Kind.USER: plan.max_users}
    for kind in COUNTED:
        if kind in _written_kinds(asked) and snapshot.count(kind) > limits[kind]:
            raise QuotaReached(kind.value.capitalize(), limit=limits[kind], current=snapshot.count(kind))
    dangling = snapshot.dangling(SHOWN_IDS)
    if dangling:
        raise Conflict(f"Relationships without both ends would come back: {', '.join(dangling)}.", ids=dangling)


def _written_kinds(asked: NewRestore) -> Sequence[Kind]:
    return [kind for kind in RESOURCE_KINDS if asked.target == "in_place" or kind is not Kind.USER]


def _add(tally: dict[str, int], kind: Kind, by: int) -> None:
    if by:
        tally[kind.value] = tally.get(kind.value, 0) + by
