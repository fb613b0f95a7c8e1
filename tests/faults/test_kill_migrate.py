"""kill -9 at a batch of a migration: whoever runs it again comes to the end state of one that was never killed."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.legacy_world import dump, none, old_file, run, settled

ROOT = Path(__file__).parents[2]
COMMITS = 9  # the tenant's first, the run's, two of elements, two of relationships, the nested one, agents, the end
SOME = [(3, "after"), (6, "before"), (8, "after")]


async def _as_after_one_that_was_not_killed(tmp_path: Path, number: int, when: str) -> None:
    old, data = old_file(tmp_path / "old.db"), tmp_path / "killed" / "data"
    data.parent.mkdir()
    command = [sys.executable, "-m", "tests.faults.killed_migration", str(old), str(data), str(none(data))]
    ended = await asyncio.to_thread(
        subprocess.run, [*command, str(number), when], cwd=ROOT, capture_output=True, timeout=100, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    again = await run(old, data)
    assert again.complete
    whole = tmp_path / "whole" / "data"
    whole.parent.mkdir()
    await run(old, whole)
    assert settled(await dump(data)) == settled(await dump(whole))


@pytest.mark.parametrize(("number", "when"), SOME)
async def test_a_migration_that_was_killed_goes_on_to_the_same_end(tmp_path: Path, number: int, when: str) -> None:
    await _as_after_one_that_was_not_killed(tmp_path, number, when)


@pytest.mark.long
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, COMMITS + 1))
async def test_a_migration_that_was_killed_anywhere_goes_on_to_the_same_end(
    tmp_path: Path, number: int, when: str
) -> None:
    await _as_after_one_that_was_not_killed(tmp_path, number, when)
