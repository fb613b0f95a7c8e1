"""Rows of a large file are taken in processes beside, and all is as if they had been taken in this one."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.child import ROOT
from cli.errors import CliError
from cli.legacy import beside
from cli.legacy.beside import Beside
from cli.legacy.here import HereTarget
from cli.legacy.pickles import send
from cli.legacy.target import LATER, Target
from cli.migrate import DEFAULT_ADMIN, Options
from functions.migration import taking
from functions.migration.models import NewMigration, Rows
from shared.settings import Settings
from tests.unit.legacy_world import SAMPLE, dump, migrated, none, old_file, run, settled

MANY = {
    **SAMPLE,
    "elements": [{**SAMPLE["elements"][0], "id": f"e{number}", "name": f"Element {number}"} for number in range(400)],
    "relationships": [
        {"id": f"r{number}", "type": "Flow", "source_id": "e0", "target_id": f"e{number + 1}", "name": None}
        for number in range(200)
    ],
}


class Ours(Options):
    """Into a target whose processes are there before the first row."""

    def __init__(self, target: Target, data: Path) -> None:
        super().__init__(tenant="default", data=data, settings_file=none(data))
        self._ours = target

    def _real(self) -> Target:
        return self._ours


async def _begun(data: Path, processes: int = 2) -> HereTarget:
    target = HereTarget(Settings.model_validate({"flowgrid_data_dir": data}), DEFAULT_ADMIN, processes=processes)
    await target.beside.begin()
    return target


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def test_what_is_there_and_what_is_told_is_as_without_them(data: Path, tmp_path: Path) -> None:
    rows = {**MANY, "elements": [*MANY["elements"], {"id": "bad", "name": "", "type": "BusinessProcess"}]}
    old = old_file(tmp_path / "old.db", rows)
    target = await _begun(data)
    report = await migrated(old, Ours(target, data), tmp_path / "q.jsonl")
    alone = await run(old, tmp_path / "alone" / "data", quarantine=tmp_path / "alone.jsonl", processes=0)
    told: list[Any] = [{**one.as_json(), "runs": {}, "quarantine": ""} for one in (report, alone)]
    assert told[0] == told[1]
    assert (tmp_path / "q.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()
    assert _items(settled(await dump(data))) == _items(settled(await dump(tmp_path / "alone" / "data")))


async def test_they_take_rows_and_end_with_the_command(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody_here(*_: object) -> None:
        raise AssertionError("a row was taken in this process")

    monkeypatch.setattr(taking.Taking, "take", nobody_here)
    target = await _begun(data)
    processes = [one.process for one in target.beside.begin().result()]
    report = await migrated(old_file(tmp_path / "old.db", MANY), Ours(target, data), tmp_path / "q.jsonl")
    assert report.complete
    assert [one.returncode for one in processes] == [0, 0]


async def test_where_one_dies_the_command_says_so_and_goes_on_when_it_is_run_again(data: Path, tmp_path: Path) -> None:
    old = old_file(tmp_path / "old.db", MANY)
    target = await _begun(data)
    victim = target.beside.begin().result()[0]
    calls = 0

    def kill(what: str, done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2 and victim.process.returncode is None:
            os.kill(victim.process.pid, signal.SIGKILL)

    with pytest.raises(CliError) as raised:
        await migrated(old, Ours(target, data), tmp_path / "q.jsonl", advance=kill)
    assert str(raised.value) == f"A process beside has ended. {LATER}"
    report = await run(old, data)
    assert report.complete and report.tables["elements"].migrated == 400
    whole = tmp_path / "alone" / "data"
    await run(old, whole, processes=0)
    assert _items(settled(await dump(data))) == _items(settled(await dump(whole)))


async def test_one_whose_command_has_died_ends_too(data: Path) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli.legacy.worker", str(theirs.fileno())), pass_fds=[theirs.fileno()], cwd=ROOT
        )
    _, writer = await asyncio.open_unix_connection(sock=ours)
    send(writer, Settings.model_validate({"flowgrid_data_dir": data}))
    await writer.drain()
    writer.close()
    assert await process.wait() == 0


async def test_what_a_service_refuses_there_is_told_here(data: Path) -> None:
    target = await _begun(data, processes=1)
    try:
        place = await target.place("default")
        run = await place.begin(NewMigration(source_sha256="0" * 64, source_name="old.db"))
        await place.undo(run.id)
        with pytest.raises(CliError) as raised:
            await place.take(run.id, Rows())
        assert str(raised.value) == "There is no such migration."
    finally:
        await target.close()


async def test_few_calls_begin_none(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    monkeypatch.setattr(Beside, "begin", lambda self: begun.append(self._calls))
    few = Beside(Settings.model_validate({"flowgrid_data_dir": data}), 2)
    for _ in range(beside.CALLS_ALONE + 1):
        assert few.process() is None
    assert begun == [beside.CALLS_ALONE + 1]


async def test_into_azure_it_is_answers_that_are_waited_for_so_nobody_is_beside(data: Path) -> None:
    azure = {"flowgrid_data_dir": data, "flowgrid_cosmos_endpoint": "https://localhost:8081/"}
    away = Beside(Settings.model_validate(azure), 2)
    assert [away.process() for _ in range(beside.CALLS_ALONE * 2)] == [None] * beside.CALLS_ALONE * 2


def _items(state: dict[str, Any]) -> dict[str, Any]:
    """Without the records of batches, which may be others."""
    return {name: body for name, body in state.items() if not name.startswith("batch ")}
