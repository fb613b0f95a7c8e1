"""The tests' doubles of Cosmos DB and Service Bus in a process of their own: `python -m bench.doubles`.

Prints the settings of a host that lives on them, as one line of JSON, and serves until its standard input ends.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


@contextmanager
def doubles() -> Iterator[dict[str, str]]:
    """The settings, while the process runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.doubles"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        settings: dict[str, str] = json.loads(process.stdout.readline())
        yield settings
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


def serve() -> None:
    from tests.doubles.cosmos import CosmosDouble
    from tests.doubles.cosmos_setup import KEY
    from tests.doubles.servicebus import service_bus

    with CosmosDouble() as cosmos, service_bus() as bus:
        cosmos.store.stale_reads = 0  # a bare SDK beside ours has no session to read in
        settings = {
            "FLOWGRID_DATABASE": "cosmos",
            "FLOWGRID_COSMOS_ENDPOINT": cosmos.endpoint,
            "FLOWGRID_COSMOS_EMULATOR_KEY": KEY,
            "FLOWGRID_MESSAGING": "servicebus",
            "FLOWGRID_SERVICEBUS_EMULATOR": bus.connection,
        }
        print(json.dumps(settings), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    serve()
