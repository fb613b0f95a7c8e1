"""The contract of the messaging port on the embedded adapter."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.messaging.sqlite import LEASE_SECONDS, SqliteMessaging
from tests.contract.messaging import Broker, MessagingContract
from tests.doubles.clock import FakeClock


class Embedded(Broker):
    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self._folder = folder
        self._clock = clock
        self.messaging = self.receiving = SqliteMessaging(folder, clock)

    async def lose_locks(self) -> None:
        self._clock.forward(seconds=LEASE_SECONDS + 1)

    async def pass_time(self, seconds: float) -> None:
        self._clock.forward(seconds=seconds)

    def go_away(self) -> None:
        self._folder.write_text("no folder")


@pytest.fixture
async def broker(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Broker]:
    embedded = Embedded(tmp_path / "queues", clock)
    yield embedded
    await embedded.messaging.close()


class TestMessaging(MessagingContract):
    pass
