"""Reading an uploaded file beside everything else: in a thread that lets others run, within a time, a few at once.

Why a thread and not a process, and what bounds what: docs/decisions/0019.
"""

import asyncio
import ctypes
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Literal

from functions.catalog.exchange import (
    ExchangeError,
    ExchangeTooLarge,
    Found,
    FoundElement,
    FoundPart,
    FoundRelationship,
    FoundView,
    Skipped,
)
from functions.catalog.exchange_xml import xml_id
from functions.catalog.values import MAX_IDENTIFIER, is_nameable, refusal, settled_element, settled_relationship
from functions.catalog.view_values import refusal_of_view, settled_part, settled_view
from shared.errors import Invalid, TooLarge, Unavailable

READ_SECONDS: Final = 30.0
WORK_SECONDS: Final = 0.0005  # then a pause, in which whoever waits for the interpreter has it
PAUSE_SECONDS: Final = 0.0005
AT_ONCE: Final = 4
BYTES_AT_ONCE: Final = 40 * 1024 * 1024
SMALL_BYTES: Final = 1024 * 1024
RETRY_AFTER: Final = 5

Monotonic = Callable[[], float]


class Uploads:
    """The files that this process is taking in."""

    def __init__(self, monotonic: Monotonic = time.monotonic, pause: Callable[[float], None] = time.sleep) -> None:
        self.monotonic = monotonic
        self.pause = pause
        self._running: dict[str, int] = {}
        self._turn = asyncio.Lock()
        self._turn_of_small = asyncio.Lock()

    @contextmanager
    def admit(self, tenant_id: str, size: int) -> Iterator[None]:
        """Room for a file of this size; `Unavailable` while the tenant has one here already, or there is none.

        Small files have room of their own, which large ones do not take.
        """
        if tenant_id in self._running:
            raise Unavailable("Another import of this tenant is running; try again later.", retry_after=RETRY_AFTER)
        alike = [other for other in self._running.values() if _is_small(other) == _is_small(size)]
        if len(alike) >= AT_ONCE or sum(alike) + size > BYTES_AT_ONCE:
            raise Unavailable("Too many imports are running; try again later.", retry_after=RETRY_AFTER)
        self._running[tenant_id] = size
        try:
            yield
        finally:
            del self._running[tenant_id]
            give_back()

    async def read(self, body: bytes) -> list[Found]:
        """What the file holds. `Invalid` for one that is no exchange file; `TooLarge` beyond a limit, or its time.

        One large file after the other, and beside it one small file after the other, which no large one holds up.
        It ends when the caller is cancelled, so when a client is seen to have gone.
        """
        async with self._turn_of_small if _is_small(len(body)) else self._turn:
            stopped = False
            working_since = self.monotonic()
            until = working_since + READ_SECONDS

            def watch() -> None:
                nonlocal working_since
                now = self.monotonic()
                if stopped:
                    raise Unavailable("Nobody waits for this any more.")
                if now > until:
                    raise TooLarge(f"The file takes longer than {READ_SECONDS:.0f} s to read; divide the model.")
                if now - working_since >= WORK_SECONDS:
                    self.pause(PAUSE_SECONDS)
                    working_since = self.monotonic()

            try:
                return await asyncio.to_thread(_read, body, watch)
            except asyncio.CancelledError:
                stopped = True
                raise


def _is_small(size: int) -> bool:
    return size <= SMALL_BYTES


def give_back() -> None:
    """Memory that was taken in many small pieces: glibc keeps it for the process otherwise."""
    with suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL(None).malloc_trim(0)


def _read(body: bytes, watch: Callable[[], None]) -> list[Found]:
    from functions.catalog.exchange_read import read_model  # expat, when the first file comes

    try:
        return list(_settled(read_model(body, watch)))
    except ExchangeError as error:
        message = f"{error.message} (line {error.line})" if error.line else error.message
        if isinstance(error, ExchangeTooLarge):
            raise TooLarge(message) from error
        raise Invalid.of("body", message) from error


def _settled(found: Iterable[Found]) -> Iterator[Found]:
    """Everything as it will be kept; two identifiers may become one by that, and what no client could set is left."""
    seen: set[str] = set()
    for one in found:
        if isinstance(one, FoundPart):
            one = settled_part(one)
        elif isinstance(one, FoundView):
            one = _settled_view(one, seen)
        elif isinstance(one, FoundElement | FoundRelationship):
            if not is_nameable(one):
                yield Skipped(
                    one.identifier, _kind(one), f"as XML names, its identifiers are longer than {MAX_IDENTIFIER}"
                )
                continue
            one = settled_element(one) if isinstance(one, FoundElement) else settled_relationship(one)
            if one.identifier in seen:
                one = Skipped(one.identifier, _kind(one), "as an XML name, its identifier is that of another item")
            elif reason := refusal(one):
                one = Skipped(one.identifier, _kind(one), reason)
            seen.add(one.identifier)
        yield one


def _settled_view(found: FoundView, seen: set[str]) -> FoundView | Skipped:
    if len(xml_id(found.identifier)) > MAX_IDENTIFIER:
        return Skipped(found.identifier, "view", f"as an XML name, its identifier is longer than {MAX_IDENTIFIER}")
    one = settled_view(found)
    reason = refusal_of_view(one)
    if one.identifier in seen:
        reason = "as an XML name, its identifier is that of another item"
    seen.add(one.identifier)
    return one if reason is None else Skipped(one.identifier, "view", reason)


def _kind(one: FoundElement | FoundRelationship) -> Literal["element", "relationship"]:
    return "element" if isinstance(one, FoundElement) else "relationship"
