"""A disk that is full, broken or read-only is an outage like any other, not a fault of the program."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import Unavailable

_OUTAGES = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
}


@contextmanager
def outage(what: str) -> Iterator[None]:
    """Raise `Unavailable`, saying `what` cannot be used, for the operating system's errors that are nobody's wish.

    A file that is there already, or is not, is for the caller to judge.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _OUTAGES:
            raise Unavailable(f"{what} cannot be used: {error.strerror}.") from error
        raise
