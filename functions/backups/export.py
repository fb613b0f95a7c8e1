"""Writing a backup: one moment, although writes go on.

1. Take a moment (the permit is rotated: shared/tenancy/fence.py), then scan the resources, kind by kind. This takes
   a while, and shows each item as it was when it was read.
2. Take another moment: the end, `as_of`. Whatever is stamped up to it has been committed. Replay the journal from the
   one to the other: every entry holds the whole new value, so of all lines each item's last revision is the state at
   the end, whatever the scan has or has not seen.
3. Undo what the scan may have seen of changes stamped after the end (by a writer whose clock is ahead).
4. Add the history, and the manifest last of all: without it there is no backup.

No clock is relied upon: the order of one item's changes is its revision.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from functions.backups.archive import FORMAT, Archive, Damaged, Line, Manifest, Part, Section, read_back
from functions.backups.models import WRITTEN, Backup, finished, plain
from functions.backups.settling import settle
from functions.backups.snapshot import Snapshot
from shared.blobs.port import Blobs
from shared.clock import parse_rfc3339
from shared.database.port import NEWEST_FIRST, OLDEST_FIRST, Order, Stored, Where
from shared.errors import Conflict, FlowgridError, NotFound, Unavailable, WrongState
from shared.jobs.jobs import Continue, Done, Job, Progress, Wait
from shared.jobs.locks import Locked, take
from shared.kinds import Kind, Kinds
from shared.tenancy.fence import AUDIT, Fenced, rotate
from shared.work.resources import load
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.backups")
PAGE_ITEMS = 100
PARTS_PER_SLICE = 8
BETWEEN_LOOKS_SECONDS = 5
MAKING = "backup"  # the lock of whoever makes one
SHOWN_DANGLING = 5
Step = Literal["scan", "journal", "undo", "history"]
END = "end"


def steps(kinds: Kinds) -> dict[str, tuple[Step, Kind]]:
    """What an export goes through, by name and in order; a deployment in the midst of one may add to it."""
    found: list[tuple[Step, Kind]] = [("scan", kind) for kind in kinds.restored]
    found += [("journal", AUDIT), ("undo", AUDIT), *(("history", kind) for kind in kinds.history)]
    return {f"{step}:{kind}": (step, kind) for step, kind in found}


class ExportState(BaseModel):
    """Where an export stands: the name of its next step, the key to continue that after, and what is written."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    began_at: str
    as_of: str | None = None
    step: str
    after: tuple[str, str] | None = None
    parts: tuple[Part, ...] = ()

    @property
    def written(self) -> bool:
        return self.step == END

    @property
    def progress(self) -> Progress:
        """As it is shown: how many lines are written, of nobody knows how many."""
        lines = sum(sum(part.lines.values()) for part in self.parts)
        return Progress(phase="finish" if self.written else self.step.partition(":")[0], done=lines)

    @property
    def section(self) -> Section:
        return "history" if self.written or self.step.startswith("history:") else "resources"


@dataclass(frozen=True)
class Contents:
    """What a backup holds, read back: items and bytes (as JSON) by kind, and what refers to nothing."""

    counts: dict[str, int]
    dangling: list[str]
    bytes: dict[str, int]


class Export:
    """Writes backups, a slice at a time."""

    def __init__(self, blobs: Blobs, *, parts_per_slice: int = PARTS_PER_SLICE) -> None:
        self._blobs = blobs
        self._parts_per_slice = parts_per_slice

    async def run_backup(self, session: TenantSession, job: Job) -> Done | Continue | Wait:
        """A slice of a job of type `backup`. One of a tenant's is made at a time, and none while a restore writes."""
        session = session.past_the_fence()
        try:
            await self._alone(session, job)
        except Locked as locked:
            return Wait(locked.message, BETWEEN_LOOKS_SECONDS)
        backup = (await load(session, Backup, job.input["backup_id"])).value
        try:
            progress = await self.advance(session, backup, job.checkpoint)
        except Fenced as fenced:
            return Wait(fenced.message, BETWEEN_LOOKS_SECONDS)
        if progress is not None:
            return Continue(progress.model_dump(mode="json"), progress.progress)
        made = (await load(session, Backup, backup.id)).value
        return Done({"backup_id": made.id}, sum(made.counts.values()))

    async def _alone(self, session: TenantSession, job: Job) -> None:
        change = session.change()
        await take(change, session.store, MAKING, job.id, "Another backup is being made; this one is next.")
        if change.empty:
            return
        try:
            await change.commit(None)
        except Conflict as error:
            raise Locked("Another backup is being made; this one is next.", job.id) from error

    async def advance(
        self, session: TenantSession, backup: Backup, checkpoint: Mapping[str, Any]
    ) -> ExportState | None:
        """Write some parts and say where to go on; None when the backup is written. A final error fails the backup."""
        if backup.status in WRITTEN:
            return None
        if backup.status != "running":
            raise WrongState(f"This backup is {backup.status}; make a new one.")
        try:
            return await self._advance(session, backup, checkpoint)
        except Unavailable:
            raise
        except NotFound:  # deleted while a stalled runner still wrote: what it has written since goes too
            await Archive(self._blobs, backup, session.services.kinds).remove()
            raise
        except Exception as error:
            reason = error.message if isinstance(error, FlowgridError) else "Something went wrong on our side."
            fields = {"status": "failed", "error": reason}
            await settle(session, backup, fields)
            raise

    async def give_up(self, session: TenantSession, job: Job) -> None:
        """A backup that nobody goes on with has failed; again is no error."""
        await self.fail(session.past_the_fence(), job.input["backup_id"], job.error or "It was tried too often.")

    async def fail(self, session: TenantSession, backup_id: str, reason: str) -> None:
        """Say so of a backup that is not written yet, if there is one."""
        stored = await session.store.get(Backup.KIND, backup_id)
        if stored is not None and stored.body["status"] == "running":
            await settle(session, Backup.model_validate(stored.body), {"status": "failed", "error": reason})
            logger.error("a backup has failed", extra={"tenant_id": session.id, "backup_id": backup_id})

    async def _advance(
        self, session: TenantSession, backup: Backup, checkpoint: Mapping[str, Any]
    ) -> ExportState | None:
        progress = ExportState.model_validate(checkpoint) if checkpoint else await _begun(session)
        archive = Archive(self._blobs, backup, session.services.kinds)
        for _ in range(self._parts_per_slice):
            if progress.written:
                await self._finish(session, backup, archive, progress)
                return None
            progress = await self._write_part(session, archive, progress)
        return progress

    async def _write_part(self, session: TenantSession, archive: Archive, progress: ExportState) -> ExportState:
        section = progress.section
        lines, progress = await self._next_lines(session, progress)
        if not lines:
            return progress

        async def pages() -> AsyncIterator[list[Line]]:
            nonlocal lines, progress
            while lines:
                yield lines
                if progress.section != section:
                    return
                lines, progress = await self._next_lines(session, progress)

        part = await archive.write_part(len(progress.parts) + 1, section, pages())
        return progress.model_copy(update={"parts": (*progress.parts, part)})

    async def _next_lines(self, session: TenantSession, progress: ExportState) -> tuple[list[Line], ExportState]:
        """The next lines there are, and where to go on after them; none at the end of a section."""
        section = progress.section
        while not progress.written and progress.section == section:
            lines, progress = await self._page(session, progress)
            if lines:
                return lines, progress
        return [], progress

    async def _page(self, session: TenantSession, progress: ExportState) -> tuple[list[Line], ExportState]:
        order_of_steps = steps(session.services.kinds)
        if progress.step not in order_of_steps:
            raise Unavailable(f"This backup was begun by another release; it goes on there ({progress.step}).")
        step, kind = order_of_steps[progress.step]
        if step != "scan" and progress.as_of is None:
            progress = progress.model_copy(update={"as_of": await moment(session)})
        as_of = progress.as_of or ""
        where: list[Where] = []
        order = Order("id")
        if step == "journal":
            where, order = journal(session, progress.began_at, as_of), OLDEST_FIRST
        elif step == "undo":
            where, order = [*_of_resources(session), Where("created_at", ">", as_of)], NEWEST_FIRST
        elif kind == AUDIT:
            where = [Where("created_at", "<=", as_of)]
        page = await session.store.query(kind, where, order=order, limit=PAGE_ITEMS, after=progress.after)
        line = {"journal": replayed, "undo": _undone}.get(step) or (lambda stored: _put(kind, stored.body))
        lines = [one for one in map(line, page.items) if one is not None]
        names = [*order_of_steps, END]
        next_step = names[names.index(progress.step) + 1] if page.next is None else progress.step
        return lines, progress.model_copy(update={"after": page.next, "step": next_step})

    async def _finish(self, session: TenantSession, backup: Backup, archive: Archive, progress: ExportState) -> None:
        """Read everything back, count what it makes, publish the manifest, and say so in the resource."""
        manifest = Manifest(
            format=FORMAT,
            backup_id=backup.id,
            tenant_id=session.id,
            type=backup.type,
            began_at=progress.began_at,
            as_of=progress.as_of or progress.began_at,
            counts={},
            bytes=sum(part.bytes for part in progress.parts),
            parts=list(progress.parts),
        )
        held = await _held(session, archive, manifest)
        manifest = manifest.model_copy(update={"counts": held.counts})
        published, sha256 = await archive.write_manifest(manifest)
        if published != manifest:
            manifest, held = published, await _held(session, archive, published)
        fields = {
            "status": "inconsistent" if held.dangling else "succeeded",
            "error": unfit(held.dangling),
            "as_of": manifest.as_of,
            "counts": manifest.counts,
            "progress": finished(manifest.counts),
            "bytes": manifest.bytes,
            "sha256": sha256,
            "parts": len(manifest.parts),
        }
        await settle(session, backup, fields, held.bytes)
        if held.dangling:
            logger.error("a backup does not fit together", extra={"tenant_id": session.id, "backup_id": backup.id})


def journal(session: TenantSession, since: str, until: str) -> list[Where]:
    """The entries that tell what happened to resources in a time, both ends included."""
    return [*_of_resources(session), Where("created_at", ">=", since), Where("created_at", "<=", until)]


def replayed(entry: Stored) -> Line | None:
    """What a journal entry did, as a line; None for one that changed no resource."""
    return _line(entry, entry.body["new_value"], entry.body["old_value"])


def _undone(entry: Stored) -> Line | None:
    line = _line(entry, entry.body["old_value"], entry.body["new_value"])
    return None if line is None else {**line, "undo": True}


def _line(entry: Stored, value: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> Line | None:
    if value == {}:  # of no resource: what stands for it where the entry cannot be read (`Kind.packed`)
        raise Conflict(f"The audit entry {entry.body['id']} is damaged, and what it says is needed for this.")
    what = {"kind": entry.body["resource_type"], "id": entry.body["resource_id"], "revision": entry.body["revision"]}
    if value is not None:
        return {"op": "put", **what, "schema": entry.body.get("value_schema", 1), "item": plain(value)}
    return None if other is None else {"op": "delete", **what}


def _put(kind: Kind, body: Mapping[str, Any]) -> Line:
    return {"op": "put", "kind": kind.name, "id": body["id"], "schema": kind.schema, "item": plain(body)}


def _of_resources(session: TenantSession) -> list[Where]:
    return [Where("resource_type", "in", [kind.name for kind in session.services.kinds.restored])]


async def _begun(session: TenantSession) -> ExportState:
    return ExportState(began_at=await moment(session), step=next(iter(steps(session.services.kinds))))


async def moment(session: TenantSession, *, since: str | None = None) -> str:
    """An instant, no earlier than `since`, up to which everything is committed and after which all will be stamped."""
    now = session.services.clock.now()
    return await rotate(session.store, session.services.ids.new(), max(now, parse_rfc3339(since) if since else now))


async def replay(session: TenantSession, snapshot: Snapshot, *, since: str, until: str) -> None:
    """Bring a snapshot from `since` to `until` by the journal, in whatever order its entries are stamped."""
    after: tuple[str, str] | None = None
    while True:
        page = await session.store.query(AUDIT, journal(session, since, until), limit=PAGE_ITEMS, after=after)
        await snapshot.apply([line for line in map(replayed, page.items) if line is not None])
        after = page.next
        if after is None:
            return


def unfit(dangling: list[str]) -> str | None:
    """What is wrong with a backup whose items do not fit together: it cannot be restored, and says so at once."""
    return f"does not fit together: {', '.join(dangling)} without what they refer to" if dangling else None


async def _held(session: TenantSession, archive: Archive, manifest: Manifest) -> Contents:
    kinds = session.services.kinds
    with Snapshot(kinds) as snapshot:
        await snapshot.load(archive, manifest)
        counts = {kind.name: snapshot.count(kind) for kind in kinds.restored}
        dangling = snapshot.dangling(SHOWN_DANGLING)
        sizes = await snapshot.sizes()
    history = [part for part in manifest.parts if part.section == "history"]
    problems = await read_back(archive, history)
    if problems:
        raise Damaged(problems[0])
    for kind in kinds.history:
        counts[kind.name] = sum(part.lines.get(kind, 0) for part in history)
        sizes[kind.name] = sum(part.kind_bytes.get(kind, 0) for part in history)
    return Contents(counts, dangling, sizes)
