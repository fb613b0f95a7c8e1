"""Undoing a run: what it made goes, batch by batch, what names others first; what was changed since stays, and is told.

The run's permit goes first, so nothing is made any more while it is undone. Each batch deletes items and the record
that names them together, so whoever begins again goes on there.
"""

from collections.abc import Sequence
from typing import Any, Final

from functions.migration.models import BATCH, KEPT_TOLD, MODELS, OPEN, KeptItem, Migration, Table
from shared.database.port import NEWEST_FIRST, Delete, Replace, Stored, Where
from shared.errors import Conflict, Contended, Stale
from shared.kinds import Kind
from shared.tenancy.fence import Overtaken
from shared.work.change import Change
from shared.work.resources import Versioned, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession

SECONDS: Final = 20.0
"""Of one call; the next goes on."""
IN_ORDER: Final[tuple[Table, ...]] = ("agents", "relationships", "elements")
CHANGED: Final = "it was changed since it was migrated"
NAMED: Final = "something that this migration did not make, or that was changed since, refers to it"


async def undo(tenant: TenantSession, id: str) -> Migration:
    """The run as it then is: `ended` at the end, when only what was kept is told of it; before that `deleting`."""
    clock = tenant.services.clock
    until = clock.monotonic() + SECONDS
    await tenant.store.catch_up()
    run = await _begin(tenant, id)
    for table in IN_ORDER:
        while (batch := await _next(tenant, id, table)) is not None:
            run = await _undo_batch(tenant, run.value.id, table, batch)
            if clock.monotonic() > until:
                return run.value
    return await _end(tenant, run)


async def _begin(tenant: TenantSession, id: str) -> Versioned[Migration]:
    held = await load(tenant, Migration, id)
    if held.value.status in ("deleting", "ended"):
        return held
    change = tenant.change(held)
    write_run(change, held, {"status": "deleting"}, tenant.user_id)
    change.write(Delete(OPEN, id))
    await change.commit(None)
    return await load(tenant, Migration, id)


async def _next(tenant: TenantSession, id: str, table: Table) -> Stored | None:
    """The last batch of those left: what ends at others was made after them."""
    where = [Where("resource_id", "=", id), Where("resource_type", "=", table)]
    page = await tenant.store.query(BATCH, where, order=NEWEST_FIRST, limit=1)
    return page.items[0] if page.items else None


async def _undo_batch(tenant: TenantSession, id: str, table: Table, batch: Stored) -> Versioned[Migration]:
    kind = MODELS[table].KIND
    revisions = dict(batch.body["items"])
    for _ in range(TRIES_AT_A_RACE):
        run = await load(tenant, Migration, id)
        page = await tenant.store.query(kind, [Where("id", "in", list(revisions))])
        held: list[Versioned[Any]] = [Versioned.of(MODELS[table], stored) for stored in page.items]
        reasons = {one.value.id: CHANGED for one in held if one.value.revision != revisions[one.value.id]}
        free = [one.value.id for one in held if one.value.id not in reasons]
        reasons |= dict.fromkeys(await _named(tenant, kind, free), NAMED)
        going = [one for one in held if one.value.id not in reasons]
        change = tenant.change(run, *held)
        for one in going:
            change.delete(one)
        if going and kind.counter:
            change.count(kind.counter, -len(going))
        change.write(Delete(BATCH, batch.body["id"], batch.etag))
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
            if await tenant.store.get(BATCH, batch.body["id"]) is None:
                return await load(tenant, Migration, id)  # another undo has done this one
            continue
        return await load(tenant, Migration, id)
    raise Contended("Others keep changing what this has made; undo again: it goes on there.")


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


async def _end(tenant: TenantSession, run: Versioned[Migration]) -> Migration:
    """Nothing is left of a run whose items all went; of another, what was kept."""
    if run.value.status == "ended":
        return run.value
    change = tenant.change(run)
    undone = run.value.model_copy(update={"status": "ended"})
    if run.value.kept:
        undone = write_run(change, run, {"status": "ended"}, tenant.user_id)
    else:
        change.write(Delete(Migration.KIND, run.value.id, run.etag))
    change.audit("undone", Migration.KIND, run.value.id, undone.revision, run.value.model_dump(mode="json"), None)
    return await change.commit(undone)


def write_run(change: Change, held: Versioned[Migration], fields: dict[str, Any], user_id: str) -> Migration:
    """The run with these fields, in the change; `Stale` at commit if it has changed."""
    stamped = {"revision": held.value.revision + 1, "updated_at": change.at, "updated_by": user_id}
    new = Migration.model_validate({**held.value.model_dump(), **fields, **stamped})
    stale = Stale("The migration was changed by somebody else meanwhile; read it again.")
    change.write(Replace(Migration.KIND, new.id, new.model_dump(mode="json"), held.etag), lambda _: stale)
    return new


def _kept(table: Table, item: Any, reason: str) -> KeptItem:
    return KeptItem(table=table, id=item.id, legacy_id=item.legacy_id or "", reason=reason)
