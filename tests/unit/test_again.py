"""Messages that are sent again: each time under an id of its own, which counts, after growing pauses."""

import pytest

from shared.messaging.again import again, attempts, pause
from shared.messaging.port import Message


def ids(first: str, count: int) -> list[str]:
    message, found = Message(first, "tenant-1", {"n": 1}), list[str]()
    for number in range(count):
        message = again(message)
        assert (attempts(message), message.tenant_id, message.body) == (number + 1, "tenant-1", {"n": 1})
        found.append(message.id)
    return found


def ids_after(first: str, count: int) -> list[str]:
    message, found = Message(first, "tenant-1", {}), list[str]()
    for _ in range(count):
        message = again(message)
        found.append(message.id)
    return found


def test_each_time_has_an_id_of_its_own_and_the_same_time_the_same() -> None:
    assert ids("m-1", 3) == ids("m-1", 3) == ["m-1:resent:1", "m-1:resent:2", "m-1:resent:3"]


def test_an_id_stays_within_the_128_characters_that_service_bus_takes() -> None:
    assert {len(id) <= 128 for length in (1, 100, 101, 128, 500) for id in ids("m" * length, 200)} == {True}
    assert ids("m" * 128, 1) != ids("n" * 128, 1)


@pytest.mark.parametrize(
    "id", ["x:resent:" + "9" * 119, "y" * 100 + ":resent:" + "9" * 20, "z" * 100 + ":resent:999999999"]
)
def test_an_id_of_somebody_elses_that_counts_as_ours_do_is_no_exception(id: str) -> None:
    assert max(len(next_id) for next_id in ids_after(id, 3)) <= 128


def test_who_has_not_been_sent_again_has_no_attempt() -> None:
    assert [attempts(Message(id, "", {})) for id in ("m-1", ":resent:1x", "", "m:resent:", "a\nb:resent:7")] == [
        0,
        0,
        0,
        0,
        7,
    ]


def test_pauses_double_from_five_seconds_to_a_quarter_of_an_hour() -> None:
    assert [pause(count).total_seconds() for count in (0, 1, 2, 7, 8, 10**9)] == [5, 10, 20, 640, 900, 900]
    assert [pause(0, at_least=seconds).total_seconds() for seconds in (1, 30, 86_400)] == [5, 30, 900]
