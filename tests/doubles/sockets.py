"""Free ports, and sockets that SDKs leave behind."""

import gc
import socket
import warnings


def forget_cut_connections() -> None:
    """An SDK leaves the closing of a cut-off connection to the garbage collector, which warns: here, and not later."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def free_port() -> int:
    """One of 127.0.0.1; another process may take it before it is used."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
