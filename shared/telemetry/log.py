"""Structured logs: one JSON object a line, with the request's and the tenant's ids on every line."""

import json
import logging
import sys

from shared.clock import SystemClock, rfc3339
from shared.context import log_fields

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName", "asctime"}


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
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(level: str) -> None:
    """Send `flowgrid.*` to standard error as JSON lines; a Functions worker forwards them to Application Insights."""
    logger = logging.getLogger("flowgrid")
    logger.setLevel(level)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)
        logger.propagate = False
