"""Closing a tenant's fence for one holder, and opening it again, each with its entry in the audit trail."""

from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import NEWEST_FIRST, Create, Delete, Replace, Stored, TenantStore, Where
from shared.errors import Conflict, Unavailable
from shared.kinds import Kind
from shared.tenancy.fence import AUDIT, FENCE, PERMIT, TICK, Fenced, current, newest, permit
from shared.work.session import TenantSession

LOCK = Kind("lock")
ONCE_SECONDS = 30 * 86400  # far longer than any instance may sleep
OPENED = "The fence was opened while this still wrote; what is done is done, the rest is not."


async def close(session: TenantSession, holder: str) -> str:
    """From now on only `holder` writes (`Directory.held_by`); the instant before which all others have.

    Two batches: the permit goes, then the instant is noted, in the fence and in the audit.
    Again for the same holder answers the same. `Fenced` while it is another's; `Conflict` once it has been opened
    again: a holder closes it once, or one that has slept through the opening would undo what was written since.
    """
    session = session.past_the_fence()
    store = session.store
    await store.catch_up()
    mine = await store.get(FENCE, holder)
    if mine is None:
        await _take_the_permit(session, holder)
        mine = await store.get(FENCE, holder)
    if mine is None:
        raise Conflict(OPENED)
    if "since" in mine.body:
        return str(mine.body["since"])
    # Only now is the newest known: until the permit had gone, somebody ahead could still commit.
    change = session.change(after=await newest(store, mine.body["created_at"]))
    change.write(Replace(FENCE, holder, {"created_at": mine.body["created_at"], "since": change.at}, mine.etag))
    change.audit("closed", FENCE, holder, 1, None, None)
    try:
        await change.commit(None)
    except Conflict as error:  # another runner of the same work has just noted it
        raise Unavailable("Another runner is closing this fence; look again.") from error
    return change.at


async def _take_the_permit(session: TenantSession, holder: str) -> None:
    store = session.store
    if await store.get(LOCK, _once(holder)) is not None:
        raise Conflict(OPENED)
    old = await current(store)
    change = session.change(after=old.body["created_at"])
    change.write(Delete(PERMIT, old.body["id"], old.etag))
    change.write(Create(FENCE, holder, {"created_at": change.at}))
    change.write(Create(LOCK, _once(holder), {"created_at": change.at}, ttl=ONCE_SECONDS))
    try:
        await change.commit(None)
    except Conflict as error:  # somebody else has just rotated the permit, or closed the fence
        raise Fenced from error


async def reopen(session: TenantSession, holder: str) -> None:
    """Everybody writes again, stamped later than all that the holder has written. Again is no error."""
    session = session.past_the_fence()
    await session.store.catch_up()
    mine = await session.store.get(FENCE, holder)
    if mine is None:
        return
    change = session.change(after=await newest(session.store, mine.body["created_at"]))
    change.write(Delete(FENCE, holder, mine.etag))
    change.write(permit(session.services.ids.new(), change.at))
    change.audit("opened", FENCE, holder, 2, None, None)
    try:
        await change.commit(None)
    except Conflict:  # by another runner of the same work
        return


async def closed_since(store: TenantStore, instant: str) -> bool:
    """Whether the fence was closed, so that a restore has written, after the entry of this instant. One query."""
    where = [Where("resource_type", "=", FENCE), Where("created_at", ">", instant)]
    return bool((await store.query(AUDIT, where, limit=1)).items)


async def closed_meanwhile(store: TenantStore, opened: Stored) -> bool:
    """The same, of what came after this permit, which was there: nothing is asked while commits still carry it."""
    return store.permit != opened.body["id"] and await closed_since(store, opened.body["created_at"])


async def settled_moment(store: TenantStore, instant: str) -> str:
    """The instant itself; or, where it lies inside a time in which the fence was closed, the moment before that."""
    where = [Where("resource_type", "=", FENCE), Where("created_at", "<=", instant)]
    last = await store.query(AUDIT, where, order=NEWEST_FIRST, limit=1)
    if not last.items or last.items[0].body["action"] != f"{FENCE}.closed":
        return instant
    return rfc3339(parse_rfc3339(last.items[0].body["created_at"]) - TICK)


def _once(holder: str) -> str:
    return f"closed-by-{holder}"
