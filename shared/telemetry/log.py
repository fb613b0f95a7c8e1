"""Structured logs: one JSON object a line, with the request's and the tenant's ids on every line.

Who people are, and what they could sign in with, stays out: people are told by ids, exceptions by type and place (what
they say may quote anything), and what looks like an e-mail address or a credential all the same is struck out.
"""

import json
import logging
import re
import sqlite3
import sys
import traceback
from contextvars import ContextVar

from shared.clock import SystemClock, rfc3339
from shared.errors import FlowgridError, Unavailable
from shared.tracing import current

log_fields: ContextVar[dict[str, str]] = ContextVar("log_fields")  # of the call at hand: on each of its lines

OTHERS = ("azure", "asyncio", "aiohttp")  # libraries whose warnings are written the same way
TALKATIVE = ("httpx2", "httpcore2")  # below a warning they tell whole addresses and headers, which may be secrets
LOGGERS = ("flowgrid", *OTHERS)
SYSTEM = "azure.functions"  # the worker's SDK: its lines are the platform's, not ours
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName", "asctime"}
_STRUCK = (
    (re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), "[e-mail]"),
    (re.compile(r"\beyJ[\w-]+(?:\.[\w-]*)+"), "[token]"),
    (re.compile(r"(?i)(\bbearer )[\w.~+/=-]{1,}"), r"\1[token]"),
    (re.compile(r"(?i)(\b(?:SharedAccessKey|SharedAccessSignature|AccountKey|sig)=)[^;&\s\"\\]+"), r"\1[key]"),
)


def tenant_at_hand() -> str:
    """The id of the tenant whose work this is; empty: of none, or of nobody knows whom."""
    return log_fields.get({}).get("tenant_id", "")


class JsonLines(logging.Formatter):
    """The record, the bound context and whatever was passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": rfc3339(SystemClock().now()),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **log_fields.get({}),
            **_trace_id(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info and record.exc_info[1]:
            line["exception"] = trace(record.exc_info[1])
        return struck(json.dumps(line, default=_named, ensure_ascii=False))


class ForWorker(logging.Formatter):
    """What is ours as JSON lines, through the worker's own handler; what is the worker's as it was."""

    def __init__(self, before: logging.Formatter | None) -> None:
        super().__init__()
        self._ours = JsonLines()
        self._before = before or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        ours = record.name.partition(".")[0] in LOGGERS and not record.name.startswith(SYSTEM)
        return (self._ours if ours else self._before).format(record)


def handler() -> logging.Handler:
    """Writes JSON lines to standard error."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(JsonLines())
    return lines


def configure(level: str) -> None:
    """Write `flowgrid.*` from this level on, and the warnings of the libraries below it, as JSON lines.

    To standard error; in a Functions worker through its handler, which tells the host of each line's level and
    invocation (`AsyncLoggingHandler` in dispatcher.py of azure-functions-python-worker, on the root logger before the
    app is loaded). Of a line on standard error the host knows no invocation, and guesses the level by words in it
    (`WorkerProcess.ParseErrorMessageAndLog` of azure-functions-host).
    """
    worker = _worker_handler()
    if worker is not None and not isinstance(worker.formatter, ForWorker):
        worker.setFormatter(ForWorker(worker.formatter))
    for name in TALKATIVE:  # a worker's root logger takes lines of information
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(level if name == "flowgrid" else logging.WARNING)
        own = [one for one in logger.handlers if isinstance(one.formatter, JsonLines)]
        if worker is None and not own:
            logger.addHandler(handler())
        for one in own if worker is not None else []:
            logger.removeHandler(one)
        logger.propagate = worker is not None


def _worker_handler() -> logging.Handler | None:
    """By its name: the worker's modules have others from one Python to the next."""
    return next((one for one in logging.getLogger().handlers if type(one).__name__ == "AsyncLoggingHandler"), None)


def _trace_id() -> dict[str, str]:
    span = current.get()
    return {} if span is None else {"trace_id": span.trace_id}


def trace(error: BaseException) -> str:
    """Where the exception, and what led to it, was raised; of what it says only what the system said."""
    parts: list[str] = []
    told: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in told:
        told.add(id(following))
        lines = "".join(traceback.format_tb(following.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{lines}{said(following)}")
        if isinstance(following, BaseExceptionGroup):
            parts += [trace(one) for one in following.exceptions]
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return "\n\nbecause of\n\n".join(parts)


def said(error: BaseException) -> str:
    """The type, and what the system says of itself; nothing that may quote."""
    name = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: [Errno {error.errno}] {error.strerror}"
    if isinstance(error, Unavailable | sqlite3.OperationalError):
        return f"{name}: {error}"
    return name


def reason_of(error: BaseException) -> str:
    """Why, for a log, a dead letter, a summary: an error of ours by its words, any other as `said`."""
    return error.message if isinstance(error, FlowgridError) else said(error)


def _named(value: object) -> str:
    """Of what has no JSON, the type; an exception as in a trace."""
    return said(value) if isinstance(value, BaseException) else f"<{type(value).__name__}>"


def struck(line: str) -> str:
    """Without what looks like an address or a credential."""
    for pattern, instead in _STRUCK:
        line = pattern.sub(instead, line)
    return line
