"""Names that nobody answers for: who asks for them waits, and nobody else does."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.outgoing.resolving import MAX_OF_ONE, Resolver
from shared.telemetry.log import tenant_at_hand
from shared.telemetry.port import OFF, invocation
from tests.unit.world import World


class Names:
    """`slow.example` and all below it are not answered before `answer` is set; `asked`: of each lookup."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.begun = threading.Semaphore(0)
        self.answer = threading.Event()

    def lookup(self, host: str, port: int, *, type: int) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        if host.endswith("slow.example"):
            self.begun.release()
            self.answer.wait(30)
        return [(0, 0, 0, "", ("192.0.2.1", port))]

    async def hanging(self, resolver: Resolver) -> list[asyncio.Task[list[str]]]:
        """As many lookups as one has."""
        tasks = [asyncio.ensure_future(resolver(f"{n}.slow.example", 443)) for n in range(MAX_OF_ONE)]
        for _ in tasks:
            await asyncio.to_thread(self.begun.acquire, timeout=30)
        return tasks


@pytest.fixture
def names() -> Iterator[Names]:
    made = Names()
    yield made
    made.answer.set()


async def test_names_that_hang_take_some_threads_of_one_tenant_and_none_of_others(names: Names) -> None:
    at_hand = "eve"
    resolver = Resolver(lambda: at_hand, names.lookup)
    tasks = await names.hanging(resolver)
    more = asyncio.ensure_future(resolver("quick.example", 443))
    await asyncio.sleep(0)
    at_hand = "ann"
    assert await resolver("quick.example", 443) == ["192.0.2.1"]
    assert (names.asked.count("quick.example"), more.done()) == (1, False)
    names.answer.set()
    assert await more == ["192.0.2.1"] and len(await asyncio.gather(*tasks)) == MAX_OF_ONE


async def test_a_lookup_that_nobody_waits_for_any_more_keeps_its_place(names: Names) -> None:
    resolver = Resolver(lambda: "eve", names.lookup)
    tasks = await names.hanging(resolver)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await resolver("quick.example", 443)
    assert "quick.example" not in names.asked
    names.answer.set()
    assert await resolver("quick.example", 443) == ["192.0.2.1"]


async def test_where_no_tenant_is_at_hand_the_names_of_a_site_are_one(names: Names) -> None:
    resolver = Resolver(str, names.lookup)
    tasks = await names.hanging(resolver)
    more = asyncio.ensure_future(resolver("other.slow.example", 443))
    assert await resolver("quick.test", 443) == ["192.0.2.1"]
    assert "other.slow.example" not in names.asked
    names.answer.set()
    await asyncio.gather(more, *tasks)


async def test_the_tenant_at_hand_is_who_a_request_or_a_message_is_of(tmp_path: Path) -> None:
    assert tenant_at_hand() == ""
    with invocation(OFF, "executions", tenant_id="eve"):
        assert tenant_at_hand() == "eve"
    world = World.over(tmp_path)
    resolver = world.core.adapters.outgoing._resolve
    assert isinstance(resolver, Resolver) and resolver._whose is tenant_at_hand
    await world.close()
