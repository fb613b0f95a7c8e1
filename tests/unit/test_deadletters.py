"""Messages moved aside: kept once with their reason, listed, sent again; and what is made of an unreadable one."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from shared.clock import rfc3339
from shared.errors import FlowgridError, NotFound, Throttled, TooLarge
from shared.ids import is_uuid
from shared.jobs.deadletters import DeadLetter
from shared.messaging.port import Message
from shared.messaging.queues import MAX_DELIVERIES
from shared.messaging.received import message_from, message_of
from shared.work.resources import PageRequest
from tests.unit.world import STAFF, START, TENANT_ID, World, admin


def message(number: int = 1, **body: Any) -> Message:
    return Message(f"m-{number}", TENANT_ID, {"number": number, **body})


async def letters(world: World) -> list[DeadLetter]:
    return (await world.core.dead_letters.list(PageRequest(200))).items


async def test_a_dead_letter_keeps_the_message_and_the_reason(world: World) -> None:
    await world.core.dead_letters.add("q", message(), "no good")
    (letter,) = await letters(world)
    assert (letter.queue, letter.reason, letter.message_id, letter.tenant, letter.body) == (
        "q",
        "no good",
        "m-1",
        TENANT_ID,
        {"number": 1},
    )


async def test_the_same_message_is_kept_once(world: World) -> None:
    for _ in range(2):
        await world.core.dead_letters.add("q", message(), "no good")
    assert len(await letters(world)) == 1


async def test_the_same_id_in_another_queue_is_another_letter(world: World) -> None:
    for queue in ("q", "another"):
        await world.core.dead_letters.add(queue, message(), "no good")
    assert len(await letters(world)) == 2


async def test_another_body_under_the_same_id_is_another_letter(world: World) -> None:
    for body in ({"a": 1}, {"a": 2}):
        await world.core.dead_letters.add("q", Message("1", TENANT_ID, body), "no good")
    assert len(await letters(world)) == 2


async def test_whatever_is_in_a_message_a_letter_can_be_kept_of_it(world: World) -> None:
    huge = {"x": "\ud800" * 2_000_000}
    await world.core.dead_letters.add("q", Message("\ud800" * 2000, "\ud800" * 2000, huge), "\ud800" * 2000)
    (letter,) = await letters(world)
    assert {letter.reason, letter.message_id, letter.tenant} == {"?" * 1000}
    assert json.dumps(huge).startswith(letter.body["unreadable"])


async def test_a_body_nested_too_deep_to_be_written_is_a_letter_too(world: World) -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    await world.core.dead_letters.add("q", message(x=deep), "no good")
    (letter,) = await letters(world)
    assert "RecursionError" in letter.body["unreadable"]


@pytest.mark.parametrize("value", [float("nan"), 2**60, "\ud800", json.loads("[" * 150 + "]" * 150)])
async def test_a_body_that_the_store_would_not_keep_is_kept_as_text(world: World, value: Any) -> None:
    await world.core.dead_letters.add("q", message(x=value), "no good")
    (letter,) = await letters(world)
    assert letter.body == {"unreadable": json.dumps({"number": 1, "x": value})}


async def test_a_replayed_letter_is_sent_again_and_gone(world: World) -> None:
    await world.core.dead_letters.add("q", message(), "no good")
    (letter,) = await letters(world)
    await world.core.dead_letters.replay(letter.id)
    assert (await world.queued("q"), await letters(world)) == ([{"number": 1}], [])


async def test_a_message_replayed_at_once_is_no_duplicate_of_its_first_delivery(world: World) -> None:
    await world.core.adapters.messaging.send("q", [message()])
    await world.queued("q")
    await world.core.dead_letters.add("q", message(), "no good")
    await world.core.dead_letters.replay((await letters(world))[0].id)
    assert await world.queued("q") == [{"number": 1}]


async def test_a_message_that_fails_again_after_a_replay_is_a_letter_again(world: World) -> None:
    await world.core.dead_letters.add("q", message(), "no good")
    await world.core.dead_letters.replay((await letters(world))[0].id)
    (again, _), *_ = (await world.queue.receive("q")).messages
    await world.core.dead_letters.add("q", again, "still no good")
    assert [letter.reason for letter in await letters(world)] == ["still no good"]


async def test_a_message_that_is_replayed_again_and_again_keeps_an_id_that_service_bus_takes(world: World) -> None:
    current = Message("m" * 128, TENANT_ID, {"number": 1})
    seen = set()
    for _ in range(4):
        await world.core.dead_letters.add("q", current, "no good")
        await world.core.dead_letters.replay((await letters(world))[0].id)
        lease = await world.queue.receive("q")
        await world.queue.complete(lease)
        current = lease.messages[0][0]
        seen.add(current.id)
    assert (len(seen), max(map(len, seen)) <= 128) == (4, True)


async def test_messages_without_an_id_are_told_apart_by_their_bodies(world: World) -> None:
    for text in ("one", "two", "one"):
        await world.core.dead_letters.add("q", message_from(None, TENANT_ID, text.encode()), "no good")
    assert sorted(str(letter.body["unreadable"]) for letter in await letters(world)) == ["one", "two"]


async def test_a_letter_that_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        await world.core.dead_letters.replay("none")


async def test_what_the_queue_has_given_up_on_is_collected(world: World) -> None:
    queue = world.queue
    await queue.send("q", [message()])
    for _ in range(MAX_DELIVERIES + 1):
        await queue.abandon(await queue.receive("q"))
    collected = await world.core.dead_letters.collect("q")
    assert (collected, [letter.reason for letter in await letters(world)], await queue.dead("q")) == (
        1,
        ["MaxDeliveryCountExceeded"],
        [],
    )


async def given_up(world: World, *messages: Message) -> None:
    """Messages that the queue has delivered in vain, however many have the same id."""
    for one in messages:
        await world.queue.send("q", [one])
        for _ in range(MAX_DELIVERIES + 1):
            await world.queue.abandon(await world.queue.receive("q"))
        world.clock.advance(minutes=11)  # so that the next one is no duplicate


async def test_a_dead_message_that_cannot_be_kept_now_stops_no_other_and_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await given_up(world, message(1), message(2), message(1, other=True))
    add = world.core.dead_letters.add

    async def moody(queue: str, message: Message, reason: str) -> None:
        if message.body == {"number": 1}:
            raise Throttled("slow down")
        await add(queue, message, reason)

    with monkeypatch.context() as patch:
        patch.setattr(world.core.dead_letters, "add", moody)
        await world.core.dead_letters.collect("q")
    assert [one.id for one, _ in await world.queue.dead("q")] == ["m-1", "m-1"]
    await world.core.dead_letters.collect("q")
    assert (len(await letters(world)), await world.queue.dead("q")) == (3, [])


async def test_the_sweep_timer_collects_from_every_queue(world: World) -> None:
    queue = world.queue
    for name in ("jobs", "usage-events"):
        await queue.send(name, [message()])
        for _ in range(MAX_DELIVERIES + 1):
            await queue.abandon(await queue.receive(name))
    await world.sweep()
    assert sorted(letter.queue for letter in await letters(world)) == ["jobs", "usage-events"]


async def test_staff_list_dead_letters_newest_first_by_the_page(world: World) -> None:
    for number in range(3):
        await world.core.dead_letters.add("q", message(number), "no good")
        world.clock.advance(seconds=1)
    first = await world.call("list_dead_letters", STAFF, query={"limit": "2"})
    second = await world.call("list_dead_letters", STAFF, query={"limit": "2", "cursor": first.json["next_cursor"]})
    assert [one["body"]["number"] for page in (first, second) for one in page.json["items"]] == [2, 1, 0]


async def test_staff_replay_a_dead_letter(world: World) -> None:
    await world.core.dead_letters.add("q", message(), "no good")
    (letter,) = await letters(world)
    answer = await world.call("replay_dead_letter", STAFF, params={"letter_id": letter.id})
    assert (answer.status, await world.queued("q")) == (202, [{"number": 1}])


async def test_staff_filter_dead_letters_by_queue_tenant_and_reason(world: World) -> None:
    for number, (queue, tenant, reason) in enumerate([("q", "a", "x"), ("q", "b", "x"), ("p", "a", "y")]):
        await world.core.dead_letters.add(queue, Message(str(number), tenant, {"number": number}), reason)
        world.clock.advance(seconds=1)

    async def found(**query: str) -> list[int]:
        answer = await world.call("list_dead_letters", STAFF, query=query)
        return [one["body"]["number"] for one in answer.json["items"]]

    assert [
        await found(queue="q"),
        await found(tenant="a"),
        await found(reason="x", tenant="b"),
        await found(queue="none"),
    ] == [[1, 0], [2, 0], [1], []]


async def replay_all(world: World, **which: str) -> Any:
    answer = await world.call("replay_dead_letters", STAFF, which)
    assert answer.status == 200, answer.raw
    return answer.json


async def test_staff_replay_all_dead_letters_or_those_of_one_queue(world: World) -> None:
    for number, queue in enumerate(["q", "q", "p"]):
        await world.core.dead_letters.add(queue, message(number), "no good")
    of_one = await replay_all(world, queue="q")
    rest = await replay_all(world)
    assert (of_one, rest) == (
        {"replayed": 2, "failed": 0, "next_from": None},
        {"replayed": 1, "failed": 0, "next_from": None},
    )
    queued = [len(await world.queued(queue)) for queue in ("q", "p")]
    assert (queued, await letters(world)) == ([2, 1], [])


async def test_two_hundred_are_replayed_at_a_time_the_oldest_first(world: World) -> None:
    for number in range(203):
        await world.core.dead_letters.add("q", message(number), "no good")
        world.clock.advance(seconds=1)
    first = await replay_all(world)
    assert (first["replayed"], first["next_from"]) == (200, rfc3339(START + timedelta(seconds=200)))
    assert [letter.body["number"] for letter in await letters(world)] == [202, 201, 200]
    assert await replay_all(world) == {"replayed": 3, "failed": 0, "next_from": None}


async def test_behind_a_thousand_that_cannot_be_sent_the_next_ones_are_reached(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.jobs.deadletters.LOOKED_AT", 3)
    for number in range(4):
        await world.core.dead_letters.add("q", message(number), "no good")
        world.clock.advance(seconds=1)
    send = world.core.adapters.messaging.send

    async def picky(queue: str, messages: Sequence[Message], **more: Any) -> None:
        if messages[0].body["number"] < 3:
            raise TooLarge("too large")
        await send(queue, messages, **more)

    monkeypatch.setattr(world.core.adapters.messaging, "send", picky)
    first = await replay_all(world)
    second = await replay_all(world, created_from=first["next_from"])
    assert (first["failed"], second) == (3, {"replayed": 1, "failed": 0, "next_from": None})


@pytest.mark.parametrize(("error", "told"), [(Throttled("slow down"), 503), (TooLarge("too large"), 200)])
async def test_a_letter_that_cannot_be_sent_stops_no_other_but_a_queue_that_takes_nothing_does(
    world: World, monkeypatch: pytest.MonkeyPatch, error: FlowgridError, told: int
) -> None:
    for number in range(3):
        await world.core.dead_letters.add("q", message(number), "no good")
        world.clock.advance(seconds=1)
    send = world.core.adapters.messaging.send

    async def moody(queue: str, messages: Sequence[Message], **more: Any) -> None:
        if messages[0].body == {"number": 0}:
            raise error
        await send(queue, messages, **more)

    monkeypatch.setattr(world.core.adapters.messaging, "send", moody)
    answer = await world.call("replay_dead_letters", STAFF, {})
    assert (answer.status, len(await letters(world))) == (told, 3 if told == 503 else 1)


async def test_a_tenants_admin_sees_no_dead_letters(world: World) -> None:
    tenant = await world.onboard()
    assert (await world.call("list_dead_letters", admin(tenant["id"]))).status == 403


# Received messages


class Received:
    def __init__(self, body: bytes, properties: Mapping[str, Any] | None = None, id: str | None = "m-1") -> None:
        self._body = body
        self.application_properties: Mapping[str, Any] = properties or {}
        self.message_id: Any = id

    def get_body(self) -> bytes:
        return self._body


def test_a_received_message_carries_its_tenant_as_a_property() -> None:
    assert message_of(Received(b'{"n":1}', {"tenant_id": TENANT_ID})) == Message("m-1", TENANT_ID, {"n": 1})


@pytest.mark.parametrize("raw", [b"", b"x", b"[]", b"7", b"\xff\xfe", b"[" * 100_000], ids=lambda raw: repr(raw[:9]))
def test_a_body_that_is_no_json_object_is_kept_as_text(raw: bytes) -> None:
    assert message_of(Received(raw)).body == {"unreadable": raw.decode(errors="replace")}


def test_a_message_without_id_and_tenant_is_still_one_and_the_same_at_each_delivery() -> None:
    first, again = (message_of(Received(b"{}", None, None)) for _ in range(2))
    assert (first, first.tenant_id, first.body, is_uuid(first.id)) == (again, "", {}, True)
