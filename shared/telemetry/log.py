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
from shared.errors import Unavailable

log_fields: ContextVar[dict[str, str]] = ContextVar("log_fields")  # of the call at hand: on each of its lines

OTHERS = ("azure", "asyncio", "aiohttp")  # libraries whose warnings are written the same way
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName", "asctime"}
_STRUCK = (
    (re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), "[e-mail]"),
    (re.compile(r"\beyJ[\w-]+(?:\.[\w-]*)+"), "[token]"),
    (re.compile(r"(?i)(\bbearer )[\w.~+/=-]{1,}"), r"\1[token]"),
    (re.compile(r"(?i)(\b(?:SharedAccessKey|SharedAccessSignature|AccountKey|sig)=)[^;&\s\"\\]+"), r"\1[key]"),
)


class JsonLines(logging.Formatter):
    """The record, the bound context and whatever was passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": rfc3339(SystemClock().now()),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **log_fields.get({}),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info and record.exc_info[1]:
            line["exception"] = trace(record.exc_info[1])
        return _struck(json.dumps(line, default=_named, ensure_ascii=False))


def handler() -> logging.Handler:
    """Writes JSON lines to standard error; a Functions worker forwards them to Application Insights."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(JsonLines())
    return lines


def configure(level: str) -> None:
    """Write `flowgrid.*` from this level on, and the warnings of the libraries below it, as JSON lines."""
    for name in ("flowgrid", *OTHERS):
        logger = logging.getLogger(name)
        logger.setLevel(level if name == "flowgrid" else logging.WARNING)
        if not logger.handlers:
            logger.addHandler(handler())
            logger.propagate = False


def trace(error: BaseException) -> str:
    """Where the exception, and what led to it, was raised; of what it says only what the system said."""
    parts: list[str] = []
    told: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in told:
        told.add(id(following))
        lines = "".join(traceback.format_tb(following.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{lines}{_said(following)}")
        if isinstance(following, BaseExceptionGroup):
            parts += [trace(one) for one in following.exceptions]
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return "\n\nbecause of\n\n".join(parts)


def _said(error: BaseException) -> str:
    name = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: [Errno {error.errno}] {error.strerror}"
    if isinstance(error, Unavailable | sqlite3.OperationalError):
        return f"{name}: {error}"
    return name


def _named(value: object) -> str:
    """Of what has no JSON, the type; an exception as in a trace."""
    return _said(value) if isinstance(value, BaseException) else f"<{type(value).__name__}>"


def _struck(line: str) -> str:
    for pattern, instead in _STRUCK:
        line = pattern.sub(instead, line)
    return line
