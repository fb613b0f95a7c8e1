"""Which trace the work at hand is part of (W3C Trace Context, https://www.w3.org/TR/trace-context/), and its calls.

Only `traceparent` is taken and handed on. `tracestate` and `baggage` are words of others, about anybody; they end here.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import getrandbits
from typing import NamedTuple

LONGEST = 256  # of a later version, which may have more behind what is known
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")


class Span(NamedTuple):
    """One piece of work in a trace; ids in lower-case hexadecimal, `parent` empty where the trace begins."""

    trace_id: str
    id: str
    parent: str = ""
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.id}-{'01' if self.sampled else '00'}"

    def child(self) -> "Span":
        return Span(self.trace_id, _new_id(), self.id, self.sampled)


@dataclass(slots=True)
class Call:
    """One call to something else. `target`: a host, queue or area, never a whole address; `started` in epoch seconds.

    `result`: a status or the name of an error; `measured`: figures by name, such as request units.
    """

    span: Span
    kind: str
    target: str
    name: str
    tenant_id: str = ""
    started: float = field(default_factory=time.time)
    seconds: float = 0.0
    ok: bool = True
    result: str = ""
    measured: dict[str, float] = field(default_factory=dict)


Tell = Callable[[Call], None]
Fine = type[BaseException] | tuple[type[BaseException], ...]
current: ContextVar[Span | None] = ContextVar("current", default=None)
_NOWHERE = Span("", "")
_call: ContextVar[Call | None] = ContextVar("call", default=None)


def _new_id() -> str:
    return f"{getrandbits(64) or 1:016x}"


def parsed(traceparent: object) -> Span | None:
    """The span that a `traceparent` names; None when it is none (then a trace of its own begins, §3.2.2.5)."""
    if not isinstance(traceparent, str) or len(traceparent) > LONGEST:
        return None
    found = _TRACEPARENT.match(traceparent)
    if found is None or (found[1] == "00" and found[5]):
        return None
    return Span(found[2], found[3], "", bool(int(found[4], 16) & 1))


def begun(traceparent: object = None) -> Span:
    """A piece of work that the named one has caused, or a new trace."""
    caused_by = parsed(traceparent)
    return Span(f"{getrandbits(128) or 1:032x}", _new_id()) if caused_by is None else caused_by.child()


def traceparent() -> str:
    """Of the work at hand, for what it causes; empty outside of any."""
    span = current.get()
    return "" if span is None else span.traceparent


def measure(name: str, value: float) -> None:
    """Add a figure to the call under way, if somebody is told of it."""
    call = _call.get()
    if call is not None:
        call.measured[name] = call.measured.get(name, 0.0) + value


@contextmanager
def within(span: Span) -> Iterator[Span]:
    """The block is that piece of work."""
    before = current.set(span)
    try:
        yield span
    finally:
        current.reset(before)


class timed:
    """The block is the call, which is told of when it is over. `fine`: errors that are answers, and no failures."""

    __slots__ = ("_call", "_fine", "_since", "_tell")

    def __init__(self, tell: Tell, call: Call, fine: Fine = ()) -> None:
        self._tell, self._call, self._fine = tell, call, fine

    def __enter__(self) -> Call:
        self._since = time.perf_counter()
        return self._call

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        call = self._call
        call.seconds = time.perf_counter() - self._since
        if error is not None:
            call.ok, call.result = isinstance(error, self._fine), type(error).__name__
        self._tell(call)


class calling:
    """`timed`, and a span of its own, so that what it sends carries its id. Nobody to tell: nothing of that."""

    __slots__ = ("_around", "_before", "_call", "_timed")

    def __init__(
        self, tell: Tell | None, kind: str, target: str, name: str, tenant_id: str = "", *, fine: Fine = ()
    ) -> None:
        self._timed: timed | None = None
        if tell is None:
            self._call = Call(_NOWHERE, kind, target, name)
        else:
            self._call = call_of(kind, target, name, tenant_id)
            self._timed = timed(tell, self._call, fine)

    def __enter__(self) -> Call:
        if self._timed is not None:
            self._around = current.set(self._call.span)
            self._before = _call.set(self._call)
            self._timed.__enter__()
        return self._call

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._timed is not None:
            _call.reset(self._before)
            current.reset(self._around)
            self._timed.__exit__(kind, error, trace)


def call_of(kind: str, target: str, name: str, tenant_id: str = "") -> Call:
    """A call that the work at hand makes."""
    around = current.get()
    return Call(begun() if around is None else around.child(), kind, target, name, tenant_id)
