"""What a month costs, from prices, plans and usage: exact to the micro-unit, however the month is cut."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.billing.models import Line, Segment, Statement
from functions.billing.prices import PRICES, Metered, Price, Prices, PriceVersion, Tranche
from functions.billing.rating import charge, corrections, month_name, rated, segments, share
from shared.clock import rfc3339
from shared.tenancy.history import PlanChange, Standing, month_after
from shared.tenancy.plans import Tier
from shared.work.events import Metric

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
LEAP = datetime(2028, 2, 1, tzinfo=UTC)
MONTHS = [NOVEMBER, LEAP, datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)]
VERSION = PRICES.of(NOVEMBER)
CALLS = Metric.API_CALLS


def whole(month: datetime, tier: Tier = Tier.STANDARD, status: Standing = "active") -> Segment:
    return Segment(start=month, end=month_after(month), tier=tier, status=status)


def change(at: datetime, tier: Tier, status: Standing = "active") -> PlanChange:
    return PlanChange(at=rfc3339(at), tier=tier, status=status)


def statement(month: datetime, lines: Sequence[Line]) -> Statement:
    return Statement.model_validate(
        {
            "month": month_name(month),
            "tenant_id": "t",
            "tenant_name": "Acme",
            "status": "final",
            "created_at": rfc3339(month_after(month)),
            "from": rfc3339(month),
            "to": rfc3339(month_after(month)),
            "currency": "USD",
            "price_version": VERSION.version,
            "lines": lines,
            "total": sum(line.amount for line in lines),
        }
    )


@st.composite
def months(draw: st.DrawFn) -> tuple[datetime, list[Segment]]:
    """A month, cut at any hours, with any plans."""
    month = draw(st.sampled_from(MONTHS))
    hours = int((month_after(month) - month).total_seconds()) // 3600
    cuts = sorted(draw(st.sets(st.integers(1, hours - 1), max_size=8)))
    bounds = [month + timedelta(hours=hour) for hour in (0, *cuts, hours)]
    plans = st.tuples(st.sampled_from(Tier), st.sampled_from(["active", "trial", "suspended"]))
    made = []
    for start, end in pairwise(bounds):
        tier, status = draw(plans)
        made.append(Segment(start=start, end=end, tier=tier, status=status))
    return month, made


USED = st.dictionaries(st.sampled_from(Metric), st.integers(0, 50_000_000))


# Plans


def test_a_month_of_one_plan_costs_its_price() -> None:
    (line,) = rated([(whole(NOVEMBER), {})], NOVEMBER, VERSION)
    assert (line.kind, line.amount, line.tier, line.metric) == ("base", 49_000_000, Tier.STANDARD, None)


def test_a_plan_that_changes_within_the_month_costs_its_part_of_it() -> None:
    """Ten of thirty days of 49 dollars, twenty of 249."""
    tenth = NOVEMBER + timedelta(days=10)
    history = [change(NOVEMBER - timedelta(days=90), Tier.STANDARD), change(tenth, Tier.PROFESSIONAL)]
    lines = rated([(one, {}) for one in segments(history, NOVEMBER)], NOVEMBER, VERSION)
    assert [(line.start, line.amount) for line in lines] == [
        (rfc3339(NOVEMBER), 16_333_333),
        (rfc3339(tenth), 166_000_000),
    ]


@pytest.mark.parametrize(("status", "why"), [("trial", "in the trial"), ("suspended", "suspended")])
def test_who_does_not_pay_has_no_price_and_the_line_says_why(status: Standing, why: str) -> None:
    lines = rated([(whole(NOVEMBER, status=status), {CALLS: 5_000_000})], NOVEMBER, VERSION)
    assert [(line.amount, line.billed, why in line.description) for line in lines] == [(0, None, True), (0, 0, True)]


@given(months())
def test_the_parts_of_a_plans_price_add_up_to_it_however_the_month_is_cut(cut: tuple[datetime, list[Segment]]) -> None:
    month, parts = cut
    for price in (49_000_000, 999_999_999, 1, 7):
        assert sum(share(price, part, month) for part in parts) == price


@given(months(), st.integers(0, 10**12))
def test_no_part_is_further_from_its_exact_share_than_a_micro_unit(
    cut: tuple[datetime, list[Segment]], price: int
) -> None:
    month, parts = cut
    length = (month_after(month) - month).total_seconds()
    for part in parts:
        exact = price * int((part.end - part.start).total_seconds())
        assert abs(share(price, part, month) * length - exact) <= length


@given(months())
def test_a_month_is_cut_where_its_plans_change(cut: tuple[datetime, list[Segment]]) -> None:
    month, parts = cut
    history = [change(part.start, part.tier, part.status) for part in parts]
    outside = [change(month - timedelta(days=40), Tier.ENTERPRISE), change(month_after(month), Tier.ENTERPRISE)]
    assert segments([outside[0], *history, outside[1]], month) == parts


def test_what_was_before_the_first_plan_is_nobodys() -> None:
    tenth = NOVEMBER + timedelta(days=10)
    (part,) = segments([change(tenth, Tier.STANDARD)], NOVEMBER)
    assert (part.start, segments([change(tenth, Tier.STANDARD)], datetime(2026, 10, 1, tzinfo=UTC))) == (tenth, [])


# Usage

TABLE = Metered(100, 10, (Tranche(50, 30), Tranche(None, 7)))


@pytest.mark.parametrize(
    ("quantity", "billed", "amount"),
    [(0, 0, 0), (100, 0, 0), (101, 1, 3), (150, 50, 150), (151, 51, 151), (160, 60, 157), (155, 55, 154)],
)
def test_what_is_beyond_the_included_amount_is_billed_by_graduated_prices(
    quantity: int, billed: int, amount: int
) -> None:
    """30 per 10 of the first 50, then 7 per 10; a half is rounded up (151: 150.7; 155: 153.5)."""
    assert charge(TABLE, quantity, whole(NOVEMBER), NOVEMBER) == (100, billed, amount)


def test_included_amounts_and_tranches_are_shared_by_time_too() -> None:
    """Half a month: 50 included, 25 in the first tranche."""
    half = Segment(start=NOVEMBER, end=NOVEMBER + timedelta(days=15), tier=Tier.STANDARD, status="active")
    assert charge(TABLE, 85, half, NOVEMBER) == (50, 35, 82)


@given(months(), st.integers(0, 10**9), st.integers(0, 10**6))
def test_who_uses_more_never_pays_less(cut: tuple[datetime, list[Segment]], used: int, more: int) -> None:
    month, parts = cut
    for part in parts:
        for metered in VERSION.plans[part.tier].metered.values():
            less, greater = (charge(metered, quantity, part, month)[2] for quantity in (used, used + more))
            assert 0 <= less <= greater


def test_a_line_leads_to_what_was_counted() -> None:
    line = rated([(whole(NOVEMBER), {CALLS: 150_000})], NOVEMBER, VERSION)[1]
    assert (line.quantity, line.included, line.billed, line.amount) == (150_000, 100_000, 50_000, 20_000_000)
    assert line.events == (
        "/api/v1/usage/events?metric=api_calls&from=2026-11-01T00:00:00.000000Z&to=2026-12-01T00:00:00.000000Z"
    )


def test_what_was_not_used_and_what_has_no_price_is_on_no_line() -> None:
    lines = rated([(whole(NOVEMBER), {CALLS: 0, Metric.STORAGE_BYTES: 9})], NOVEMBER, VERSION)
    assert [line.kind for line in lines] == ["base"]


# Corrections


@given(months(), st.lists(USED, min_size=9, max_size=9))
def test_a_month_that_has_not_changed_is_not_corrected(
    cut: tuple[datetime, list[Segment]], used: list[Mapping[Metric, int]]
) -> None:
    month, parts = cut
    lines = rated(list(zip(parts, used, strict=False)), month, VERSION)
    assert corrections(lines, [statement(month, lines)], month, VERSION) == []


@given(months(), st.lists(st.lists(USED, min_size=9, max_size=9), min_size=2, max_size=4))
def test_after_any_changes_what_was_billed_is_what_is_due_and_each_change_is_on_one_statement(
    cut: tuple[datetime, list[Segment]], seen: list[list[Mapping[Metric, int]]]
) -> None:
    """The month as its own statement saw it, and as the next ones did: together they bill what the last one saw."""
    month, parts = cut
    looks = [rated(list(zip(parts, used, strict=False)), month, VERSION) for used in seen]
    made = [statement(month, looks[0])]
    following = month_after(month)
    for due in looks[1:]:
        made.append(statement(following, corrections(due, made, month, VERSION)))
        assert corrections(due, made, month, VERSION) == []
        following = month_after(following)
    assert sum(one.total for one in made) == sum(line.amount for line in looks[-1])
    for metric in Metric:
        billed = sum(line.quantity or 0 for one in made for line in one.lines if line.metric == metric)
        assert billed == sum(line.quantity or 0 for line in looks[-1] if line.metric == metric)


def test_a_correction_says_of_which_month_it_is_and_how_much() -> None:
    before, after = (rated([(whole(NOVEMBER), {CALLS: calls})], NOVEMBER, VERSION) for calls in (99_000, 110_000))
    (line,) = corrections(after, [statement(NOVEMBER, before)], NOVEMBER, VERSION)
    assert (line.kind, line.month, line.metric, line.quantity, line.billed, line.amount) == (
        *("correction", "2026-11", CALLS),
        *(11_000, 10_000, 4_000_000),
    )


def test_what_was_voided_is_a_credit() -> None:
    before, after = (rated([(whole(NOVEMBER), {CALLS: calls})], NOVEMBER, VERSION) for calls in (150_000, 100_000))
    (line,) = corrections(after, [statement(NOVEMBER, before)], NOVEMBER, VERSION)
    assert (line.quantity, line.amount) == (-50_000, -20_000_000)


def test_another_months_lines_are_not_counted() -> None:
    lines = rated([(whole(NOVEMBER), {CALLS: 150_000})], NOVEMBER, VERSION)
    december = month_after(NOVEMBER)
    other = statement(december, rated([(whole(december), {CALLS: 900_000})], december, VERSION))
    assert corrections(lines, [statement(NOVEMBER, lines), other], NOVEMBER, VERSION) == []


# Prices


def version(name: str, start: datetime, metered: Metered = TABLE, **more: object) -> PriceVersion:
    plans = {tier: Price(1, {CALLS: metered}) for tier in Tier}
    return PriceVersion(**{"version": name, "valid_from": start, "currency": "USD", "plans": plans, **more})  # type: ignore[arg-type]


def test_a_month_is_billed_by_the_version_that_was_valid_when_it_began() -> None:
    prices = Prices([version("1", NOVEMBER), version("2", LEAP)])
    asked = [datetime(2020, 1, 1, tzinfo=UTC), NOVEMBER, datetime(2028, 1, 1, tzinfo=UTC), LEAP, month_after(LEAP)]
    assert [prices.of(month).version for month in asked] == ["1", "1", "1", "2", "2"]


@pytest.mark.parametrize(
    "versions",
    [
        [],
        [version("1", LEAP), version("2", NOVEMBER)],
        [version("1", NOVEMBER), version("1", LEAP)],
        [version("1", NOVEMBER + timedelta(days=1))],
        [version("1", NOVEMBER), version("2", LEAP, currency="EUR")],
        [version("1", NOVEMBER, plans={})],
        [version("1", NOVEMBER, Metered(1, 1, ()))],
        [version("1", NOVEMBER, Metered(1, 1, (Tranche(5, 1),)))],
        [version("1", NOVEMBER, Metered(1, 1, (Tranche(5, 1), Tranche(4, 1), Tranche(None, 1))))],
        [version("1", NOVEMBER, Metered(1, 0, (Tranche(None, 1),)))],
        [version("1", NOVEMBER, Metered(1, 1, (Tranche(None, -1),)))],
    ],
)
def test_a_table_by_which_nobody_could_be_billed_is_refused(versions: list[PriceVersion]) -> None:
    with pytest.raises(ValueError, match="version"):
        Prices(versions)


def test_a_higher_plan_costs_more_and_includes_more() -> None:
    for lower, higher in pairwise(VERSION.plans[tier] for tier in Tier):
        assert lower.base < higher.base
        assert all(lower.metered[metric].included < higher.metered[metric].included for metric in lower.metered)
