"""What the double saw, and what it was told to do wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field

READ_CONTAINER = "ReadContainer"
WRITES = ("Create", "Replace", "Upsert", "Delete", "Patch", "Batch")


@dataclass(frozen=True)
class Call:
    """One call on documents (metadata calls are kept apart). `keyed`: it named its logical partition."""

    operation: str  # Read, Create, Replace, Upsert, Delete, Patch, Batch, BatchRead, Query, QueryPlan
    database: str
    container: str
    partition_key: str | None
    status: int
    charge: float = 0.0
    session_token: str | None = None
    query: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def keyed(self) -> bool:
        return self.partition_key is not None


@dataclass
class Fault:
    """The next `times` calls of `operation` (`*`: any on documents) go wrong, after `skip` that go well.

    `READ_CONTAINER` is the reading of a container's properties, no call on documents.

    `status` None: the connection is dropped. `applied`: the call is carried out all the same and only its answer lost.
    `hangs`: it takes so many seconds until then.
    `inside`: a batch is answered 207 with the status in it: one of its operations was throttled.
    `partition_key`: only calls on this logical partition.
    """

    operation: str = "*"
    status: int | None = None
    sub_status: int = 0
    retry_after_ms: int | None = None
    applied: bool = False
    inside: bool = False
    hangs: float = 0.0
    times: int = 1
    skip: int = 0
    partition_key: str | None = None

    def strikes(self, operation: str, partition_key: str | None = None) -> bool:
        meant = operation != READ_CONTAINER if self.operation == "*" else operation == self.operation
        if not meant or self.partition_key not in (None, partition_key) or self.times <= 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


def faults() -> dict[str, Fault]:
    """The fault matrix, by name; a fresh one each."""
    return {
        "408": Fault(status=408),
        "408 after the commit": Fault(status=408, applied=True),
        "429": Fault(status=429, retry_after_ms=20),
        "429 inside": Fault(status=429, retry_after_ms=20, inside=True),
        "449": Fault(status=449),
        "410/1002": Fault(status=410, sub_status=1002),
        "503": Fault(status=503),
        "503 after the commit": Fault(status=503, applied=True),  # said by what stands before the service
        "dropped before the commit": Fault(),
        "dropped after the commit": Fault(applied=True),
        "403/5301": Fault(status=403, sub_status=5301),
    }
