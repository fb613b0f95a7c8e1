"""Fixtures of the unit tests; what they are made of is in `world.py`."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from shared.telemetry import log as lines
from shared.telemetry.log import JsonLines
from tests.unit.runs_world import RunsWorld
from tests.unit.world import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One process of the service, over an empty folder."""
    own = World.over(tmp_path / "data")
    yield own
    await own.close()


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[RunsWorld]:
    """The same with agents at work, whose models a test scripts."""
    made = await RunsWorld.over(tmp_path)
    yield made
    await made.world.close()


@pytest.fixture
async def twin(world: World) -> AsyncIterator[World]:
    """A second process of the same service: same files, same clock, nothing else in common."""
    other = World.over(world.core.settings.flowgrid_data_dir, clock=world.clock, process=1)
    yield other
    await other.close()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.LogCaptureFixture]:
    """What `flowgrid.*` logs (the service's own handler takes it from the root, where caplog listens)."""
    logger = logging.getLogger("flowgrid")
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def written() -> Iterator[Callable[[], str]]:
    """All that any logger of the process would write, at every level."""
    kept: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(self.format(record))

    keeping = Keeping()
    keeping.setFormatter(JsonLines())
    loggers = [logging.getLogger(name) for name in ("", "flowgrid", *lines.OTHERS)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(keeping)
        logger.setLevel(logging.DEBUG)
    yield lambda: "\n".join(kept)
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(keeping)
        logger.setLevel(level)
