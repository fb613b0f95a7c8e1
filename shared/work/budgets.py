"""Budgets: what a tenant may use in a month is reserved before it is used, and settled when it is known.

Each budget and month has a counter: what is used and what is reserved, together. Reserving is bounded by the plan, in
the batch that reserves; settling puts what was used in place of what was reserved, whatever that comes to. What a crash
leaves is released after a while; whoever settles it later still counts. Each reservation is an item that is replaced by
its ETag, so each of these happens once, whoever repeats it, and two at once are one.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.clock import rfc3339
from shared.database.port import Create, Rejected, Replace, Where
from shared.errors import Conflict, Contended, NotFound
from shared.kinds import Kind
from shared.tenancy.plans import Budget
from shared.work.change import COUNTER, Change
from shared.work.resources import Versioned
from shared.work.session import TRIES_AT_A_RACE, TenantSession

RESERVED = Kind("budget_reservation", filtered=("status",))
HELD = timedelta(hours=1)  # longer than what is reserved for takes, and clocks differ
KEPT_SECONDS = 35 * 86400  # once it is over, for whoever settles late, or again
MAX_AMOUNT = 10**12
PAGE_ITEMS = 100
CALLED = {Budget.AI_TOKENS: "AI token", Budget.AI_SPEND: "AI spend"}


class Reservation(BaseModel):
    """`amounts` by budget of the `month` (`2026-11`); of one that is settled, what was used."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    id: str
    created_at: str
    month: str
    status: Literal["held", "released", "settled"]
    amounts: dict[Budget, int]

    @property
    def counted(self) -> Mapping[Budget, int]:
        """What the counters have of it."""
        return dict.fromkeys(self.amounts, 0) if self.status == "released" else self.amounts


def counter_of(budget: Budget, month: str) -> str:
    return f"{budget}:{month}"


async def reserve(
    change: Change,
    session: TenantSession,
    id: str,
    amounts: Mapping[Budget, int],
    again: Versioned[Reservation] | None = None,
) -> Reservation:
    """Reserve these amounts of this month's budgets, as part of the change; one read for each budget.

    At commit `QuotaReached` where a budget has no room for it, `Conflict` where there is such a reservation already.
    `again`: the reservation of this id that was released, and is made anew.
    """
    now = session.services.clock.now()
    made = Reservation(id=id, created_at=rfc3339(now), month=f"{now:%Y-%m}", status="held", amounts=_checked(amounts))
    await asyncio.gather(*(_open(session, counter_of(budget, made.month)) for budget in amounts))
    body = made.model_dump(mode="json")
    change.write(Create(RESERVED, id, body) if again is None else Replace(RESERVED, id, body, again.etag))
    for budget, amount in amounts.items():
        limit = session.plan.budget(budget)
        change.count(counter_of(budget, made.month), amount, limit=limit, called=CALLED[budget])
    return made


def settle(change: Change, held: Versioned[Reservation], used: Mapping[Budget, int]) -> bool:
    """What was used, in place of what was reserved, as part of the change; False, and nothing, where it is settled.

    At commit `Conflict` where the reservation has changed meanwhile. ValueError for other budgets than are reserved.
    """
    if used.keys() != held.value.amounts.keys():
        raise ValueError(f"reserved {sorted(held.value.amounts)}, used {sorted(used)}")
    if held.value.status == "settled":
        return False
    _end(change, held, held.value.model_copy(update={"status": "settled", "amounts": _checked(used)}))
    return True


async def reserve_once(session: TenantSession, id: str, amounts: Mapping[Budget, int]) -> Reservation:
    """`reserve`, in a change of its own: the same id again is the same reservation, held or settled.

    Raises `QuotaReached`.
    """
    for _ in range(TRIES_AT_A_RACE):
        known = await _find(session, id)
        if known is not None and known.value.status != "released":
            return known.value
        change = _own(session)
        made = await reserve(change, session, id, amounts, known)
        try:
            await change.commit(None)
        except Conflict:
            continue
        return made
    raise Contended("Others keep reserving the same; try again.")


async def settle_once(session: TenantSession, id: str, used: Mapping[Budget, int]) -> None:
    """`settle`, in a change of its own; again changes nothing. `NotFound` without a reservation of the last 35 days.

    What was used was used: it is settled while the tenant is fenced, too.
    """
    session = session.past_the_fence()
    for _ in range(TRIES_AT_A_RACE):
        held = await _find(session, id)
        if held is None:
            raise NotFound("There is no such reservation.")
        change = _own(session)
        if not settle(change, held, used):
            return
        try:
            await change.commit(None)
        except Conflict:
            continue
        return
    raise Contended("Others keep settling the same; try again.")


async def release_abandoned(session: TenantSession) -> int:
    """Give back what has been reserved for too long; returns how many reservations there were.

    One that is settled meanwhile stays so.
    """
    session = session.past_the_fence()
    before = rfc3339(session.services.clock.now() - HELD)
    where = [Where("status", "=", "held"), Where("created_at", "<", before)]
    released = 0
    after: tuple[str, str] | None = None
    while True:
        page = await session.store.query(RESERVED, where, limit=PAGE_ITEMS, after=after)
        for stored in page.items:
            released += await _release(session, Versioned.of(Reservation, stored))
        after = page.next
        if after is None:
            return released


async def _release(session: TenantSession, held: Versioned[Reservation]) -> int:
    change = _own(session)
    _end(change, held, held.value.model_copy(update={"status": "released"}))
    try:
        await change.commit(None)
    except Conflict:
        return 0
    return 1


def _end(change: Change, held: Versioned[Reservation], over: Reservation) -> None:
    body = over.model_dump(mode="json")
    change.write(Replace(RESERVED, over.id, body, held.etag, ttl=KEPT_SECONDS))
    for budget, amount in over.counted.items():
        moved = amount - held.value.counted[budget]
        if moved:
            change.count(counter_of(budget, over.month), moved)


async def _open(session: TenantSession, counter: str) -> None:
    """The month's counter, at 0, where nobody has used anything of it yet."""
    if await session.store.get(COUNTER, counter) is None:
        zero = {"created_at": rfc3339(session.services.clock.now()), "value": 0}
        try:
            await session.store.commit([Create(COUNTER, counter, zero)])
        except Rejected:  # another has just opened it
            return


async def _find(session: TenantSession, id: str) -> Versioned[Reservation] | None:
    stored = await session.store.get(RESERVED, id)
    return None if stored is None else Versioned.of(Reservation, stored)


def _own(session: TenantSession) -> Change:
    return session.without_key().change()  # its answer is not the request's


def _checked(amounts: Mapping[Budget, int]) -> dict[Budget, int]:
    """ValueError for nothing, and for what is no amount."""
    if not amounts or not all(0 <= amount <= MAX_AMOUNT for amount in amounts.values()):
        raise ValueError(f"an amount is a whole number from 0 to {MAX_AMOUNT}, not {dict(amounts)}")
    return dict(amounts)
