"""Statements: of a month that is open, as it stands; of one that is final, as it was stored. And the plan itself."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from functions.billing.models import (
    STATEMENT,
    Account,
    Line,
    MetricPrice,
    Segment,
    Statement,
    Subscription,
    TranchePrice,
)
from functions.billing.prices import PRICES, Prices
from functions.billing.rating import corrections, month_name, rated, segments
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import NEWEST_FIRST, Create, Database, TenantStore
from shared.errors import Conflict, Contended, NotFound
from shared.tenancy.directory import TENANT
from shared.tenancy.fence import Overtaken
from shared.tenancy.history import month_after, month_of
from shared.tenancy.plans import GRACE_DAYS
from shared.work.events import Metric
from shared.work.notices import notify
from shared.work.resources import Listing, PageRequest, bounded_page
from shared.work.session import TRIES_AT_A_RACE, TenantSession

Totals = Callable[[TenantStore, datetime, datetime], Awaitable[Mapping[Metric, int]]]
LOOKS_BACK = 3  # months that a statement corrects, and as many that may still be made late
FINAL_AFTER = timedelta(days=2)  # on the third day


class BillingService:
    """`totals`: what was used between two whole hours, by metric (exact, whether they are closed or not)."""

    def __init__(self, database: Database, totals: Totals, prices: Prices = PRICES) -> None:
        self._platform = database.platform
        self._totals = totals
        self._prices = prices

    async def subscription(self, session: TenantSession) -> Subscription:
        """The plan as it is, with the prices of this month, in micro-units (a millionth) of the currency."""
        account = await self._account(session)
        month = month_of(session.services.clock.now())
        version = self._prices.of(month)
        price = version.plans[account.tier]
        ends = account.trial_ends_at if account.status == "trial" else None
        return Subscription(
            tier=account.tier,
            status=account.status,
            trial_ends_at=ends,
            suspended_at=rfc3339(parse_rfc3339(ends) + timedelta(days=GRACE_DAYS)) if ends else None,
            next_tier=account.next_tier,
            next_tier_at=account.next_tier_at,
            month=month_name(month),
            currency=version.currency,
            price_version=version.version,
            base=price.base,
            metered=[
                MetricPrice(
                    metric=metric,
                    included=one.included,
                    per=one.per,
                    tranches=[TranchePrice(up_to=tranche.up_to, price=tranche.price) for tranche in one.tranches],
                )
                for metric, one in price.metered.items()
            ],
        )

    async def finals(self, session: TenantSession, page: PageRequest) -> Listing[Statement]:
        """The final ones."""
        found = await bounded_page(session.store, STATEMENT, {}, page)
        return Listing([Statement.model_validate(stored.body) for stored in found.items], found.next)

    async def get(self, session: TenantSession, name: str) -> Statement:
        """A month's statement: final, or as it stands. `NotFound` for a month that has none (yet, or any more)."""
        month, current = _month(name), month_of(session.services.clock.now())
        stored = await self._stored(session, name)
        if stored is not None:
            return stored
        open_ones = [*before(current, LOOKS_BACK), current]
        if month not in open_ones:
            raise NotFound(f"There is no statement of {name}.")
        account = await self._account(session)
        if not segments(account.plan_changes, month):
            raise NotFound(f"There is no statement of {name}.")
        (last,) = before(month, 1)
        waits = last in open_ones and segments(account.plan_changes, last)
        earlier = await self._earlier(session, month)
        if waits and month_name(last) not in [one.month for one in earlier]:
            earlier = []  # what is to be corrected stands on that one
        return await self.made(session, account, month, earlier)

    async def close(self, session: TenantSession) -> int:
        """Make the statements final that are due, the oldest first; returns how many. One point read where none is."""
        now = session.services.clock.now()
        current = month_of(now)
        due = [month for month in before(current, LOOKS_BACK) if month_after(month) + FINAL_AFTER <= now]
        if not due or await self._stored(session, month_name(due[-1])) is not None:
            return 0
        await session.store.catch_up()  # what has been billed is decided by what is there
        await session.store.catch_up("usage")
        account = await self._account(session)
        made = 0
        for month in due:
            if segments(account.plan_changes, month) and await self._stored(session, month_name(month)) is None:
                made += await self._close(session, account, month)
        return made

    async def made(
        self, session: TenantSession, account: Account, month: datetime, earlier: Sequence[Statement]
    ) -> Statement:
        """The statement of a month, with the corrections of `earlier` ones; nothing is stored."""
        corrected = [_month(one.month) for one in earlier]
        parts, *others = await asyncio.gather(*(self._used(session, account, one) for one in (month, *corrected)))
        version = self._prices.of(month)
        lines = rated(parts, month, version)
        for one, used in zip(corrected, others, strict=True):
            by = self._prices.of(one)
            lines += corrections(rated(used, one, by), earlier, one, by)
        return Statement.model_validate(
            {
                "month": month_name(month),
                "tenant_id": session.id,
                "tenant_name": account.name,
                "status": "open",
                "created_at": rfc3339(session.services.clock.now()),
                "from": rfc3339(month),
                "to": rfc3339(month_after(month)),
                "currency": version.currency,
                "price_version": version.version,
                "lines": lines,
                "total": sum(line.amount for line in lines),
            }
        )

    async def check(self, session: TenantSession) -> list[str]:
        """What is wrong with the last final statements, each of which is what its quantities cost, and adds up."""
        account = await self._account(session)
        page = await session.store.query(STATEMENT, order=NEWEST_FIRST, limit=LOOKS_BACK)
        found = []
        for one in (Statement.model_validate(stored.body) for stored in page.items):
            month = _month(one.month)
            own = [line for line in one.lines if line.kind != "correction"]
            parts = [
                (part, {line.metric: line.quantity or 0 for line in own if line.metric and _of(line, part)})
                for part in segments(account.plan_changes, month)
            ]
            if rated(parts, month, self._prices.of(month)) != own:
                found.append(f"The lines of the statement of {one.month} are not what its quantities cost.")
            if one.total != sum(line.amount for line in one.lines):
                found.append(f"The statement of {one.month} does not add up.")
        return found

    async def _close(self, session: TenantSession, account: Account, month: datetime) -> int:
        statement = await self.made(session, account, month, await self._earlier(session, month))
        for _ in range(TRIES_AT_A_RACE):
            change = session.change()
            final = statement.model_copy(update={"status": "final", "created_at": change.at})
            body = final.model_dump(mode="json", by_alias=True)
            change.write(Create(STATEMENT, final.month, body))
            said = {name: body[name] for name in ("month", "total", "currency", "price_version")}
            change.audit("created", STATEMENT, final.month, 1, None, said)
            text = f"It is at GET /api/v1/billing/statements/{final.month}, as JSON, CSV or a page."
            notify(
                change,
                f"statement:{final.month}",
                "statement_final",
                f"The statement of {final.month}",
                text,
                {"month": final.month},
            )
            try:
                await change.commit(None)
                return 1
            except Overtaken:
                continue
            except Conflict:  # another instance has made it
                return 0
        raise Contended(f"The statement of {month_name(month)} keeps meeting backups' moments.")

    async def _earlier(self, session: TenantSession, month: datetime) -> Sequence[Statement]:
        """The final statements of the months that this one corrects, oldest first."""
        found = await asyncio.gather(*(self._stored(session, month_name(one)) for one in before(month, LOOKS_BACK)))
        return [one for one in found if one is not None]

    async def _used(
        self, session: TenantSession, account: Account, month: datetime
    ) -> Sequence[tuple[Segment, Mapping[Metric, int]]]:
        """The month's segments with what was used in each, up to now."""
        now = session.services.clock.now()
        until = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        found = []
        for segment in segments(account.plan_changes, month):
            end = min(segment.end, until)
            used = await self._totals(session.store, segment.start, end) if segment.start < end else {}
            found.append((segment, used))
        return found

    async def _stored(self, session: TenantSession, name: str) -> Statement | None:
        stored = await session.store.get(STATEMENT, name)
        return None if stored is None else Statement.model_validate(stored.body)

    async def _account(self, session: TenantSession) -> Account:
        held = await self._platform.latest(TENANT, session.id, session.id)
        if held is None:
            raise NotFound("There is no such tenant.")
        return Account.model_validate(held.body)


def _of(line: Line, part: Segment) -> bool:
    return line.start == rfc3339(part.start)


def before(month: datetime, count: int) -> Sequence[datetime]:
    """So many months before this one, oldest first."""
    found = [month]
    for _ in range(count):
        found.insert(0, month_of(found[0] - timedelta(days=1)))
    return found[:-1]


def _month(name: str) -> datetime:
    with suppress(ValueError):
        month = datetime.strptime(name, "%Y-%m").replace(tzinfo=UTC)
        if month_name(month) == name:
            return month
    raise NotFound(f"There is no statement of {name}.")
