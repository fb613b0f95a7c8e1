"""Sockets that SDKs leave behind."""

import gc
import warnings


def forget_cut_connections() -> None:
    """An SDK leaves the closing of a cut-off connection to the garbage collector, which warns: here, and not later."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
