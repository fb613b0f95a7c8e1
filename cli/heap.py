"""A command that handles very many rows lets Python look for cycles seldom: rows come and go, and hold none.

A collection looks at all that is young and lives, and of rows under way that is most of it: at the usual threshold a
quarter of a migration's time went there. Memory stays flat, as what has no cycle goes when nobody holds it.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

YOUNG: Final = 20_000
"""Objects, some megabytes; more than the rows that are under way at once are made of."""


@contextmanager
def seldom_collected() -> Iterator[None]:
    """As long as it lasts; for a command that has the process to itself."""
    before = gc.get_threshold()
    gc.set_threshold(YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
