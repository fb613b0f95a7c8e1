"""How often Python looks for cycles: what serves or moves very much makes few, and what lives is looked at in vain."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

YOUNG: Final = 20_000
"""Objects, some megabytes; more than the rows that are under way at once are made of."""


def collect_seldom() -> None:
    """What the app is made of stays, and a call makes few cycles: the collector looks at the rest, and less often."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """As long as it lasts; for a command that has the process to itself, and handles very many rows.

    A collection looks at all that is young and lives, and of rows under way that is most of it: at the usual threshold
    a quarter of a migration's time went there. Memory stays flat, as what has no cycle goes when nobody holds it.
    """
    before = gc.get_threshold()
    gc.set_threshold(YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
