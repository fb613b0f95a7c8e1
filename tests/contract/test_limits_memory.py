import pytest

from shared.limits.memory import MemoryLimiter
from shared.limits.port import RateLimiter
from tests.contract.limits import Advance, LimitsContract
from tests.doubles.clock import FakeClock


class TestMemoryLimiter(LimitsContract):
    @pytest.fixture
    def limiter(self, clock: FakeClock) -> RateLimiter:
        return MemoryLimiter(clock)

    @pytest.fixture
    def advance(self, clock: FakeClock) -> Advance:
        async def advance(seconds: float) -> None:
            clock.forward(seconds=seconds)

        return advance
