"""`python -m tests.emulators`: wait until the emulators that the TEST_ variables name take connections.

TEST_COSMOS_ENDPOINT, TEST_SERVICEBUS_CONNECTION and TEST_BLOB_CONNECTION are what the contract suites use in place of
their doubles.
"""

import os
import re
import socket
import sys
import time

SECONDS = 180.0
DEFAULT_PORTS = {"TEST_COSMOS_ENDPOINT": 8081, "TEST_SERVICEBUS_CONNECTION": 5672, "TEST_BLOB_CONNECTION": 10000}


def address(name: str, value: str) -> tuple[str, int]:
    """The first host of an endpoint or a connection string, and its port or the emulator's usual one."""
    found = re.search(r"(?:https?|sb)://([\w.-]+)(?::(\d+))?", value)
    if found is None:
        raise SystemExit(f"{name} names no address: {value!r}")
    return found[1], int(found[2] or DEFAULT_PORTS[name])


def main() -> None:
    until = time.monotonic() + SECONDS
    for name in DEFAULT_PORTS:
        if name not in os.environ:
            continue
        where = address(name, os.environ[name])
        while not _listens(where):
            if time.monotonic() > until:
                raise SystemExit(f"{name}: nobody listens on {where[0]}:{where[1]} after {SECONDS:g} s")
            time.sleep(0.5)
        sys.stdout.write(f"{name}: {where[0]}:{where[1]} is up\n")


def _listens(where: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(where) == 0


if __name__ == "__main__":
    main()
