"""What health says of the platform's own AI: whether it is there and takes our key, by a call that costs no tokens."""

from collections.abc import Awaitable, Callable

from functions.platform.health import Seen
from shared.ai.port import Connection, ModelFailed
from shared.ai.reach import reach
from shared.errors import Unavailable
from shared.outgoing.client import Outgoing


class OwnAi:
    """`connection`: to it; None where there is none."""

    def __init__(self, connection: Callable[[], Awaitable[Connection | None]], outgoing: Outgoing) -> None:
        self._connection = connection
        self._outgoing = outgoing

    async def check(self) -> Seen:
        """`ModelFailed` says what is wrong."""
        try:
            connection = await self._connection()
        except ModelFailed:
            raise
        except Unavailable:
            return Seen("not known while the secrets are away")
        if connection is None:
            return Seen("none is set up; tenants use providers of their own")
        return Seen(await reach(self._outgoing, connection))
