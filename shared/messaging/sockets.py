"""No socket outlives its link.

azure-servicebus 7.15 forgets the socket of an open that ran out of time or was cancelled, and of a close whose last
frames failed (azure-sdk-for-python#46830). The event loop keeps it: one for each attempt, as long as nothing answers.
"""

from typing import Any, TypeVar

Link = TypeVar("Link", bound=Any)


def without_leftovers(link: Link) -> Link:
    """A sender or receiver (aio) that cuts what an earlier attempt has left when it opens anew, and when it closes."""
    made: Any = None
    create, close = link._create_handler, link.close

    def create_handler(auth: Any) -> None:
        nonlocal made
        _cut(made)
        create(auth)
        made = link._handler

    async def close_all() -> None:
        try:
            await close()
        finally:
            _cut(made)

    link._create_handler, link.close = create_handler, close_all
    return link


def _cut(handler: Any) -> None:
    """The socket of a handler; of one that was closed in order there is none any more."""
    writer = getattr(getattr(getattr(handler, "_connection", None), "_transport", None), "writer", None)
    if writer is not None:
        writer.transport.abort()
