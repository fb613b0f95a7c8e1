"""What is done for many, one after the other: one's failure, whatever it is, is logged and stops no other."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shared.errors import FlowgridError


@contextmanager
def apart(logger: logging.Logger, message: str, **extra: Any) -> Iterator[None]:
    """The block may fail: with an error of ours as a warning, with any other exception as an error with its trace.

    `extra` says whose work it was. What is no `Exception` (the end of the process, a cancelled call) goes through.
    """
    try:
        yield
    except FlowgridError as error:
        logger.warning(message, extra={**extra, "reason": error.message})
    except Exception as error:
        logger.error(message, exc_info=error, extra={**extra, "reason": type(error).__name__})
