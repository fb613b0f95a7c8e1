"""Fixtures of the unit tests; what they are made of is in `world.py`."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.unit.world import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One process of the service, over an empty folder."""
    own = World.over(tmp_path / "data")
    yield own
    await own.close()


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
