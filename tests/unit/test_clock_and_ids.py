"""Time and identifiers: text order is time order, new ids sort after old ones, derived ids never meet."""

import threading
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import SystemClock, parse_rfc3339, rfc3339
from shared.ids import Uuid7Ids, derived_id, is_uuid
from shared.members.users import user_id

ZONES = st.timedeltas(timedelta(hours=-14), timedelta(hours=14)).map(
    lambda delta: timezone(timedelta(minutes=delta // timedelta(minutes=1)))
)
INSTANTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=ZONES)
TEXTS = st.text(st.characters(codec="utf-8"))


# Time


def test_the_system_clock_is_aware_and_in_utc() -> None:
    assert SystemClock().now().tzinfo is UTC


@given(INSTANTS, INSTANTS)
def test_text_order_is_time_order(one: datetime, other: datetime) -> None:
    assert (rfc3339(one) < rfc3339(other)) == (one < other)


@given(INSTANTS)
def test_an_instant_survives_its_text(instant: datetime) -> None:
    assert parse_rfc3339(rfc3339(instant)) == instant


@given(INSTANTS)
def test_an_instant_is_always_written_at_the_same_length(instant: datetime) -> None:
    assert len(rfc3339(instant)) == len("2026-11-24T08:15:00.000000Z")


@pytest.mark.parametrize(
    "text", ["2026-11-24T08:15:00Z", "2026-11-24T09:15:00+01:00", "2026-11-24T08:15:00.000000+00:00"]
)
def test_any_offset_is_understood(text: str) -> None:
    assert parse_rfc3339(text) == datetime(2026, 11, 24, 8, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "today", "2026-11-24T08:15:00", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+14:00"]
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)


# New ids


def test_new_ids_are_strictly_increasing() -> None:
    ids = Uuid7Ids()
    made = [ids.new() for _ in range(5000)]
    assert made == sorted(set(made))


def test_new_ids_increase_though_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([2_000_000_000_000_000_000, 1_000_000_000_000_000_000, 1_500_000_000_000_000_000])
    monkeypatch.setattr("shared.ids.time.time_ns", lambda: next(times))
    ids = Uuid7Ids()
    made = [ids.new() for _ in range(3)]
    assert made == sorted(set(made))


def test_new_ids_of_many_threads_are_all_different() -> None:
    ids, made = Uuid7Ids(), list[str]()
    threads = [threading.Thread(target=lambda: made.extend([ids.new() for _ in range(500)])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 4000


def test_a_new_id_has_the_layout_of_rfc_9562() -> None:
    made = uuid.UUID(Uuid7Ids().new())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)


def test_a_new_id_begins_with_the_milliseconds_of_its_making(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9562 §5.7: 48 bits of Unix milliseconds; §6.2 method 3: then the fraction of the millisecond."""
    monkeypatch.setattr("shared.ids.time.time_ns", lambda: 1_764_000_000_123_500_000)
    made = uuid.UUID(Uuid7Ids().new())
    assert (made.int >> 80, made.int >> 64 & 0xFFF) == (1_764_000_000_123, 2048)


def test_a_new_id_is_in_the_form_that_ids_have_here() -> None:
    assert is_uuid(Uuid7Ids().new())


# Derived ids


@given(st.lists(TEXTS, max_size=4), st.lists(TEXTS, max_size=4))
def test_derived_ids_are_equal_only_for_equal_parts(one: list[str], other: list[str]) -> None:
    assert (derived_id(*one) == derived_id(*other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"), [(["ab", "c"], ["a", "bc"]), (["a", ""], ["a"]), (["1:a"], ["a"]), (["1:a1:b"], ["a", "b"])]
)
def test_parts_do_not_run_together(one: list[str], other: list[str]) -> None:
    assert derived_id(*one) != derived_id(*other)


def test_a_derived_id_never_changes_between_releases() -> None:
    assert derived_id("user", "t", "ada@acme.example") == "c117a952-44b3-57d9-b4df-fec4df993365"


def test_a_users_id_does_not_depend_on_the_case_of_the_address() -> None:
    assert user_id("t", "Ada@ACME.example") == user_id("t", "ada@acme.example")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0190C2A8-7E10-7ABC-8DEF-000000000001",
        "0190c2a87e107abc8def000000000001",
        "{0190c2a8-7e10-7abc-8def-000000000001}",
        "urn:uuid:0190c2a8-7e10-7abc-8def-000000000001",
        "0190c2a8-7e10-7abc-8def-000000000001 ",
    ],
)
def test_only_the_canonical_form_is_a_uuid_here(text: Any) -> None:
    assert not is_uuid(text)


@given(st.lists(TEXTS, max_size=3))
def test_a_derived_id_is_the_uuid5_of_its_parts(parts: list[str]) -> None:
    named = "".join(f"{len(part)}:{part}" for part in parts)
    assert derived_id(*parts) == str(uuid.uuid5(uuid.UUID("6b1f4f9e-52a5-5c0e-9d1c-0d6c1f0a7e11"), named))
