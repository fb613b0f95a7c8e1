"""Undoing a run: what it made goes, batch by batch, what names others first; what was changed since stays, and is told.

The run's permit goes first, so nothing is made any more while it is undone. Each batch deletes items and the record
that names them together, so whoever begins again goes on there.
"""

from collections.abc import Container, Sequence
from typing import Any, Final

from functions.migration.models import BATCH, KEPT_TOLD, MODELS, OPEN, KeptItem, Migration, Table
from functions.migration.records import revisions
from shared.database.port import NEWEST_FIRST, OLDEST_FIRST, Delete, Replace, Stored, Where
from shared.errors import Conflict, Contended, Stale, WrongState
from shared.kinds import Kind
from shared.tenancy.fence import Overtaken
from shared.work.change import Change
from shared.work.resources import Versioned, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession

SECONDS: Final = 20.0
"""Of one call; the next goes on."""
IN_ORDER: Final[tuple[Table, ...]] = ("agents", "relationships", "elements")
CHANGED: Final = "it was changed since it was migrated"
LEFT: Final = "left"
NAMED: Final = "something that this migration did not make, or that was changed since, refers to it"


async def undo(tenant: TenantSession, id: str) -> Migration:
    """The run as it then is: `ended` at the end, when only what was kept is told of it; before that `deleting`.

    What is begun again meanwhile is none of this undo's business: `WrongState`.
    """
    clock = tenant.services.clock
    until = clock.monotonic() + SECONDS
    await tenant.store.catch_up()
    run = await _begin(tenant, id)
    generation = run.value.generation
    while run.value.status != "ended":
        batch = await _next(tenant, generation)
        run = await _end(tenant, run) if batch is None else await _undo_batch(tenant, run.value, batch)
        if run.value.generation != generation:
            raise WrongState("This migration was undone, and has been begun again since.")
        if clock.monotonic() > until:
            break
    return run.value


async def _begin(tenant: TenantSession, id: str) -> Versioned[Migration]:
    held = await load(tenant, Migration, id)
    if held.value.status in ("deleting", "ended"):
        return held
    change = tenant.change(held)
    write_run(change, held, {"status": "deleting"}, tenant.user_id)
    change.write(Delete(OPEN, held.value.generation))
    await change.commit(None)
    return await load(tenant, Migration, id)


async def _next(tenant: TenantSession, generation: str) -> Stored | None:
    """The last batch of those left: what ends at others was mostly made after them. Then what is `left`, in turn."""
    for type in (*IN_ORDER, LEFT):
        where = [Where("resource_id", "=", generation), Where("resource_type", "=", type)]
        order = OLDEST_FIRST if type == LEFT else NEWEST_FIRST
        page = await tenant.store.query(BATCH, where, order=order, limit=1)
        if page.items:
            return page.items[0]
    return None


async def _undo_batch(tenant: TenantSession, begun: Migration, batch: Stored) -> Versioned[Migration]:
    """What others refer to is left for later: clocks differ, so those may be of a batch that seems to be older.

    Once nothing has gone since it was last looked at, it stays for good.
    """
    table: Table = batch.body["table"]
    kind, made = MODELS[table].KIND, revisions(batch)
    for _ in range(TRIES_AT_A_RACE):
        run = await load(tenant, Migration, begun.id)
        if (run.value.generation, run.value.status) != (begun.generation, "deleting"):
            return run
        page = await tenant.store.query(kind, [Where("id", "in", list(made))])
        held: list[Versioned[Any]] = [Versioned.of(MODELS[table], stored) for stored in page.items]
        reasons = {one.value.id: CHANGED for one in held if one.value.revision != made[one.value.id]}
        free = [one.value.id for one in held if one.value.id not in reasons]
        named = await _named(tenant, kind, free)
        if batch.body.get("seen") == run.value.removed:
            reasons |= dict.fromkeys(named, NAMED)
            named = set()
        going = [one for one in held if one.value.id not in reasons and one.value.id not in named]
        change = tenant.change(run, *held)
        for one in going:
            change.delete(one)
        if going and kind.counter:
            change.count(kind.counter, -len(going))
        change.write(_rest(batch, named, seen=run.value.removed, at=change.at))
        kept = [_kept(table, one.value, reasons[one.value.id]) for one in held if one.value.id in reasons]
        told = {
            "removed": run.value.removed + len(going),
            "kept": run.value.kept + len(kept),
            "kept_items": [*run.value.kept_items, *kept][:KEPT_TOLD],
        }
        write_run(change, run, told, tenant.user_id)
        try:
            await change.commit(None)
        except (Stale, Conflict, Overtaken):
            now = await tenant.store.get(BATCH, batch.body["id"])
            if now is None or now.etag != batch.etag:
                return await load(tenant, Migration, begun.id)  # another undo has done this one
            continue
        return await load(tenant, Migration, begun.id)
    raise Contended("Others keep changing what this has made; undo again: it goes on there.")


def _rest(batch: Stored, named: Container[str], *, seen: int, at: str) -> Delete | Replace:
    """The batch's record without what has gone or stays; what is left comes after all others, as it has now an `at`."""
    id, items = batch.body["id"], [item for item in batch.body["items"] if item[0] in named]
    if not items:
        return Delete(BATCH, id, batch.etag)
    body = {**batch.body, "created_at": at, "resource_type": LEFT, "items": items, "seen": seen}
    return Replace(BATCH, id, body, batch.etag)


async def _named(tenant: TenantSession, kind: Kind, ids: Sequence[str]) -> set[str]:
    """Those that something refers to. A page may be full of what refers to one, so it is asked until nothing is new."""
    named: set[str] = set()
    for referring, field in tenant.services.kinds.referring(kind):
        left = [id for id in ids if id not in named]
        while left:
            page = await tenant.store.query(referring, [Where(field, "in", left)])
            found = {stored.body[field] for stored in page.items}
            named |= found
            left = [id for id in left if id not in found] if found else []
    return named


async def _end(tenant: TenantSession, run: Versioned[Migration]) -> Versioned[Migration]:
    """Nothing is left of a run whose items all went; of another, what was kept. As it is when others were faster."""
    change = tenant.change(run)
    undone = run.value.model_copy(update={"status": "ended"})
    if run.value.kept:
        undone = write_run(change, run, {"status": "ended"}, tenant.user_id)
    else:
        change.write(Delete(Migration.KIND, run.value.id, run.etag))
    change.audit("undone", Migration.KIND, run.value.id, undone.revision, run.value.model_dump(mode="json"), None)
    try:
        await change.commit(None)
    except (Stale, Conflict, Overtaken):
        return await load(tenant, Migration, run.value.id)
    return Versioned(undone, run.etag)


def write_run(change: Change, held: Versioned[Migration], fields: dict[str, Any], user_id: str) -> Migration:
    """The run with these fields, in the change; `Stale` at commit if it has changed."""
    stamped = {"revision": held.value.revision + 1, "updated_at": change.at, "updated_by": user_id}
    new = Migration.model_validate({**held.value.model_dump(), **fields, **stamped})
    stale = Stale("The migration was changed by somebody else meanwhile; read it again.")
    change.write(Replace(Migration.KIND, new.id, new.model_dump(mode="json"), held.etag), lambda _: stale)
    return new


def _kept(table: Table, item: Any, reason: str) -> KeptItem:
    return KeptItem(table=table, id=item.id, legacy_id=item.legacy_id or "", reason=reason)
