"""What two processes of one command tell each other: pickles, each behind its length."""

import pickle
from asyncio import StreamReader, StreamWriter
from typing import Any, Final

LENGTH: Final = 4


def send(writer: StreamWriter, value: Any) -> None:
    """One pickle; `drain` is the caller's."""
    told = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    writer.write(len(told).to_bytes(LENGTH) + told)


async def receive(reader: StreamReader) -> Any:
    """The next one; IncompleteReadError, or another OSError, when the other side is gone."""
    length = int.from_bytes(await reader.readexactly(LENGTH))
    return pickle.loads(await reader.readexactly(length))  # noqa: S301 - from our own process, over its own socket
