"""An import leaves the event loop to others: what is long is in a thread, and what is many stops on its way."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from functions.catalog import importing, parts
from functions.catalog.looking import CHEAP_BETWEEN_OTHERS
from functions.catalog.taking import Progress
from tests.unit.catalog_world import Catalog, arrow, file_of, hand_written, process
from tests.unit.exchange_samples import EVERYTHING
from tests.unit.world import World

MANY = 1_000


@pytest.fixture
async def catalog(world: World) -> Catalog:
    return await Catalog.of(world)


@pytest.mark.parametrize(
    "file",
    [
        hand_written("".join(f'<element identifier="q{n}" xsi:type="Q"/>' for n in range(MANY))),
        file_of(process("a"), *[arrow(f"r{n}", "a", f"nowhere{n}") for n in range(MANY)]),
        file_of(process("a"), process("b"), *[arrow(f"r{n}", "a", "b", "Access") for n in range(MANY)]),
    ],
    ids=["of no known type", "without an end", "that ArchiMate does not allow"],
)
async def test_however_many_are_skipped_others_go_on_between(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, file: bytes
) -> None:
    turns = 0
    skipped: Counter[int] = Counter()
    skip = Progress.skip

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def counted(progress: Progress, *told: Any) -> None:
        skipped[turns] += 1
        skip(progress, *told)

    monkeypatch.setattr(Progress, "skip", counted)
    task = asyncio.create_task(others())
    report = await catalog.read(file)
    task.cancel()
    assert (report.skipped, sum(skipped.values())) == (MANY, MANY)
    assert max(skipped.values()) <= CHEAP_BETWEEN_OTHERS


async def test_what_a_model_is_beside_its_items_is_measured_and_divided_in_a_thread(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("_size", "parts_of_file", "resolved_folders", "mixed")
    where: dict[str, set[int]] = {name: set() for name in names}

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            where[name].add(threading.get_ident())
            return function(*args)

        return call

    monkeypatch.setattr(parts, "_size", watched("_size", parts._size))
    for name, module in (("parts_of_file", importing), ("resolved_folders", parts), ("mixed", importing)):
        monkeypatch.setattr(module, name, watched(name, getattr(module, name)))
    await catalog.read(EVERYTHING)
    assert all(where.values()), "each of them ran"
    assert threading.get_ident() not in set().union(*where.values())


async def test_what_a_file_does_not_have_is_not_divided_again(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small file is no more work for the folders that a large one brought."""
    whole = await catalog.read(EVERYTHING)
    divided: list[int] = []
    stretches = parts._stretches

    def counted(rows: list[dict[str, Any]]) -> Any:
        divided.append(len(rows))
        return stretches(rows)

    monkeypatch.setattr(parts, "_stretches", counted)
    report = await catalog.read(file_of(process("new")), whole.model_id)
    assert (divided, report.parts.unchanged, report.parts.changed) == ([], whole.parts.created, 0)
