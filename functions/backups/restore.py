"""Restoring: check everything, keep what is replaced, then write the difference, in batches that may be run again.

check -> keep (in place: a `pre_restore` backup) or target (the new tenant) -> write -> delete -> finish

What to restore is a `Snapshot` made anew for each slice: of a backup, or of the last backup before a point in time and
the journal up to it. A slice compares it with what is there now, so one that was killed is simply run again.

From the first write to the end the tenant is fenced (shared/work/fencing.py): only the restore writes, reading goes on.
Each of its batches leaves a tenant that fits together: what is referred to comes first, and goes last.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Protocol

from pydantic import Field

from functions.backups.archive import Archive, Damaged, Manifest
from functions.backups.copies import Copies, copy_id
from functions.backups.export import Export, moment, replay
from functions.backups.index import last_good
from functions.backups.models import Backup, NewRestore
from functions.backups.snapshot import Snapshot
from functions.backups.snapshot_writer import SnapshotWriter, recount
from shared.auth.caller import Caller
from shared.blobs.port import Blobs
from shared.database.port import Where
from shared.errors import Conflict, QuotaReached, Unavailable, WrongState
from shared.ids import derived_id
from shared.jobs.jobs import Continue, Done, Job, Progress
from shared.kinds import Kind, Kinds
from shared.members.users import User
from shared.tenancy.directory import Directory, TenantEntry
from shared.tenancy.fence import AUDIT
from shared.work.fencing import close, reopen, settled_moment
from shared.work.resources import Answer, load
from shared.work.session import TenantSession

BATCHES_PER_SLICE = 100
SHOWN_IDS = 5
DONE = "done"
USERS_STAY = "user: a person belongs to one tenant, so the new one has only its own first admin"


class Onboard(Protocol):
    """Sets up a tenant of this id and of `like`'s plan. Again with the same id is no error."""

    async def __call__(self, *, tenant_id: str, name: str, slug: str, admin_email: str, like: TenantEntry) -> None: ...


class State(Answer):
    """A restore's checkpoint."""

    phase: Literal["check", "keep", "target", "write", "delete", "finish"] = "check"
    pre_restore: str | None = None
    export: dict[str, Any] = Field(default_factory=dict)
    kept: int = 0
    total: int | None = None  # items that it brings back
    kind: str = ""  # the one at hand; empty: the first
    after: str = ""
    restored: dict[str, int] = Field(default_factory=dict)
    unchanged: dict[str, int] = Field(default_factory=dict)
    deleted: dict[str, int] = Field(default_factory=dict)
    skipped: list[str] = Field(default_factory=list)
    backup_id: str | None = None
    replaced_at: str | None = None
    counters: dict[str, int] = Field(default_factory=dict)

    @property
    def written(self) -> int:
        return sum(self.restored.values()) + sum(self.unchanged.values())

    @property
    def progress(self) -> Progress:
        """As it is shown."""
        done = {"keep": self.kept, "write": self.written, "delete": sum(self.deleted.values()), "finish": self.written}
        total = {"write": self.total, "finish": self.written}
        return Progress(phase=self.phase, done=done.get(self.phase, 0), total=total.get(self.phase))


class Restoring:
    """Runs restore jobs, a slice at a time."""

    def __init__(
        self,
        blobs: Blobs,
        export: Export,
        directory: Directory,
        onboard: Onboard,
        copies: Copies,
        *,
        batches_per_slice: int = BATCHES_PER_SLICE,
    ) -> None:
        self._blobs = blobs
        self._export = export
        self._directory = directory
        self._onboard = onboard
        self._copies = copies
        self._batches_per_slice = batches_per_slice

    async def run_restore(self, session: TenantSession, job: Job) -> Done | Continue:
        """A slice of a job of type `restore`."""
        session = session.past_the_fence()
        asked = NewRestore.model_validate(job.input)
        state = State.model_validate(job.checkpoint)
        if state.phase == "keep":
            await self._keep(session, job, state)
        elif state.phase == "target":
            await self._make_target(session, job, asked)
            state.phase = "write"
        elif state.phase == "finish":
            return Done(await self._finish(session, job, asked, state), state.written)
        else:
            await self._with_snapshot(session, job, asked, state)
        return Continue(state.model_dump(mode="json"), state.progress)

    async def give_up(self, session: TenantSession, job: Job) -> None:
        """The tenant's own writes go on, whatever has been restored, and a copy that came to nothing is none.

        Again is no error.
        """
        asked = NewRestore.model_validate(job.input)
        if asked.target == "in_place":
            await reopen(session, job.id)
            await self._export.fail(session.past_the_fence(), derived_id("pre_restore", job.id), "Its restore failed.")
            return
        if await self._directory.latest(copy_id(job.id)) is not None:
            await reopen(await self._target(session, job, asked), job.id)
        await self._copies.give_up(session.past_the_fence(), job)

    async def _with_snapshot(self, session: TenantSession, job: Job, asked: NewRestore, state: State) -> None:
        with Snapshot(session.services.kinds) as snapshot:
            manifest = await self._fill(session, asked, state, snapshot)
            state.total = sum(snapshot.count(kind) for kind in _written(session.services.kinds, asked))
            if state.phase == "check":
                await _check(session, asked, snapshot, manifest)
                state.phase = "keep" if asked.target == "in_place" else "target"
                return
            target = await self._target(session, job, asked)
            state.replaced_at = await close(target, job.id)
            target = replace(target, store=self._directory.held_by(target.entry, job.id, state.replaced_at))
            own_user = session.user_id if asked.target == "in_place" else None
            writer = SnapshotWriter(target, snapshot, spared_user=own_user)
            await self._write(session.services.kinds, writer, asked, state)
            if state.phase == "finish":
                state.counters = await recount(target)

    async def _fill(self, session: TenantSession, asked: NewRestore, state: State, snapshot: Snapshot) -> Manifest:
        """Everything is read and its hashes compared before anything of it is used."""
        manifest = await self._load(session, asked, state, snapshot)
        if asked.as_of is not None:
            if state.phase == "check":
                # whatever is stamped up to the point in time is committed now, though who asked has a clock ahead
                await moment(session, since=asked.as_of)
            until = await settled_moment(session.store, asked.as_of)
            await replay(session, snapshot, since=manifest.as_of, until=until)
        return manifest

    async def _load(self, session: TenantSession, asked: NewRestore, state: State, snapshot: Snapshot) -> Manifest:
        """The backup; one that turns out damaged is marked, and a point in time goes back to the one before it."""
        while True:
            backup = (await load(session, Backup, state.backup_id or asked.backup_id or "")).value
            if backup.status != "succeeded":
                raise WrongState(f"This backup is {backup.status}; only one that succeeded can be restored.")
            archive = Archive(self._blobs, backup, session.services.kinds)
            try:
                manifest = await archive.manifest()
                await snapshot.load(archive, manifest)
                return manifest
            except Damaged as damage:
                await _mark(session, backup, damage)
                before = await last_good(session, asked.as_of) if asked.as_of and state.phase == "check" else None
                if before is None:
                    raise
                state.backup_id = before.id
                snapshot.clear()

    async def _keep(self, session: TenantSession, job: Job, state: State) -> None:
        """What is replaced is backed up first, so that a restore can itself be undone."""
        id = derived_id("pre_restore", job.id)
        if await session.store.get(Backup.KIND, id) is None:
            change = session.change()
            await change.commit(Backup.begin(change, session, "pre_restore", id=id, job_id=job.id))
        state.pre_restore = id
        backup = (await load(session, Backup, id)).value
        progress = await self._export.advance(session, backup, state.export)
        state.export = progress.model_dump(mode="json") if progress else {}
        state.kept = progress.progress.done if progress else 0
        if progress is None:
            state.phase = "write"

    async def _make_target(self, session: TenantSession, job: Job, asked: NewRestore) -> None:
        new = asked.new_tenant
        if new is None:
            raise Conflict("A new tenant needs a name.")
        id = copy_id(job.id)
        await self._onboard(tenant_id=id, name=new.name, slug=new.slug, admin_email=new.admin_email, like=session.entry)
        self._directory.forget(id)

    async def _target(self, session: TenantSession, job: Job, asked: NewRestore) -> TenantSession:
        if asked.target == "in_place":
            return session
        entry = await self._directory.entry(copy_id(job.id))
        if entry is None or entry.status == "provisioning":
            raise Unavailable("The new tenant is still being set up.")
        caller = Caller(session.user_id, None, None, entry.id, None)
        store = self._directory.open(entry).control
        return TenantSession(entry, store, caller, session.request, session.services)

    async def _write(self, kinds: Kinds, writer: SnapshotWriter, asked: NewRestore, state: State) -> None:
        """What is missing or other than it was, what is referred to first; then (in place) what is too much, last."""
        for _ in range(self._batches_per_slice):
            kind = _at_hand(kinds, asked, state)
            if kind is None:
                deleting = asked.target == "in_place" and state.phase == "write"
                state.phase, state.kind, state.after = ("delete" if deleting else "finish"), "", ""
                if not deleting:
                    return
                continue
            if state.phase == "write":
                outcome = await writer.write_next(kind, state.after)
                _add(state.restored, kind, outcome.changed)
                _add(state.unchanged, kind, outcome.unchanged)
                state.skipped += outcome.skipped
            else:
                outcome = await writer.delete_next(kind, state.after)
                _add(state.deleted, kind, outcome.changed)
            state.after = outcome.next or ""
            state.kind = kind.name if outcome.next is not None else _following(kinds, asked, state, kind)

    async def _finish(self, session: TenantSession, job: Job, asked: NewRestore, state: State) -> Mapping[str, Any]:
        backup = (await load(session, Backup, state.backup_id or asked.backup_id or "")).value
        target = await self._target(session, job, asked)
        in_place = asked.target == "in_place"
        await reopen(target, job.id)
        return {
            "backup_id": backup.id,
            "as_of": asked.as_of or backup.as_of,
            "tenant_id": target.id,
            "pre_restore_backup_id": state.pre_restore,
            "replaced_at": state.replaced_at,
            "restored": state.restored,
            "unchanged": state.unchanged,
            "deleted": state.deleted,
            "skipped": state.skipped if in_place else [*state.skipped, USERS_STAY],
            "counters": state.counters,
        }


async def _mark(session: TenantSession, backup: Backup, damage: Damaged) -> None:
    fields = {"error": f"damaged: {damage.message}"[:1000]}
    await session.modify(Backup, backup.id, lambda _: fields, if_match=None)


async def _check_carried(session: TenantSession, manifest: Manifest) -> None:
    """`Conflict` when there was something at the backup's moment that its release did not know and so did not keep."""
    unknown = [kind.name for kind in session.services.kinds.restored if kind not in manifest.counts]
    if not unknown:
        return
    where = [Where("resource_type", "in", unknown), Where("created_at", "<=", manifest.as_of)]
    there = (await session.store.query(AUDIT, where, limit=1)).items
    if there:
        what = there[0].body["resource_type"]
        raise Conflict(f"This backup was made by a release that keeps no {what}s, and there were some; take another.")


async def _check(session: TenantSession, asked: NewRestore, snapshot: Snapshot, manifest: Manifest) -> None:
    """What would make the restore stop half-way, or leave a tenant that contradicts itself."""
    for kind in _written(session.services.kinds, asked):
        if kind.counter and (count := snapshot.count(kind)) > (limit := session.plan.quota(kind.counter)):
            raise QuotaReached(kind.capitalize(), limit=limit, current=count)
    await _check_carried(session, manifest)
    dangling = snapshot.dangling(SHOWN_IDS)
    if dangling:
        raise Conflict(f"What they refer to would not come back with: {', '.join(dangling)}.", items=dangling)


def _written(kinds: Kinds, asked: NewRestore) -> list[Kind]:
    return [kind for kind in kinds.restored if asked.target == "in_place" or kind != User.KIND]


def _deleted(kinds: Kinds) -> list[Kind]:
    """What is too much goes, what refers first; but no user: who is let in is decided by admins, not by a restore."""
    return [kind for kind in reversed(kinds.restored) if kind != User.KIND]


def _at_hand(kinds: Kinds, asked: NewRestore, state: State) -> Kind | None:
    """The kind that the checkpoint names; None when the phase is through with all of them."""
    if state.kind == DONE:
        return None
    in_turn = _written(kinds, asked) if state.phase == "write" else _deleted(kinds)
    if state.kind and state.kind not in in_turn:
        raise Unavailable(f"This restore was begun by another release; it goes on there ({state.kind}).")
    return kinds.named(state.kind) if state.kind else next(iter(in_turn), None)


def _following(kinds: Kinds, asked: NewRestore, state: State, kind: Kind) -> str:
    names = [*(_written(kinds, asked) if state.phase == "write" else _deleted(kinds)), DONE]
    return str(names[names.index(kind) + 1])


def _add(tally: dict[str, int], kind: Kind, by: int) -> None:
    if by:
        tally[kind.name] = tally.get(kind.name, 0) + by
