"""A commit as a transactional batch, with what it takes to find out afterwards whether it happened.

Every document that a batch writes carries the batch's own mark (`commit_id`), never shown to anybody. When an answer
is lost, the mark in the store is the proof. A batch whose first application would make a second one fail (it creates
something, or replaces or deletes a version that it names) is simply sent again and cannot happen twice.
"""

import json
import secrets
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal

from shared.database.cosmos.packing import packed, unpacked
from shared.database.cosmos.query import path
from shared.database.documents import envelope, opened, position
from shared.database.limits import MAX_PATCHES, check_id
from shared.database.port import (
    OLDEST_FIRST,
    TOMBSTONE,
    Bury,
    Create,
    Delete,
    Document,
    Increment,
    Operation,
    Order,
    Read,
    Rejected,
    Replace,
    Stored,
    Upsert,
)
from shared.kinds import Kind

MARK = "commit_id"
_OURS = (MARK, "ttl", "_rid", "_self", "_etag", "_ts", "_attachments")
_Written = Create | Replace | Upsert | Bury
Wire = tuple[str, tuple[Any, ...], dict[str, Any]]


def stored(kind: Kind, document: Document, order: Order = OLDEST_FIRST) -> Stored:
    """A document of Cosmos DB as the port shows it, found in this order."""
    body = {name: value for name, value in document.items() if name not in _OURS}
    return Stored(opened(kind, unpacked(kind, body)), document["_etag"], position(kind, order, document))


class Batch:
    """The operations of one commit on one logical partition."""

    def __init__(self, operations: Sequence[Operation], tenant_id: str) -> None:
        self.operations = operations
        self.ids = [check_id(operation.kind, operation.id) for operation in operations]
        self.container = operations[0].kind.container
        self.mark = secrets.token_hex(8)
        self._tenant_id = tenant_id
        self._writes = any(isinstance(operation, _Written) for operation in operations)
        written = zip(self.operations, self.ids, strict=True)
        self._bodies = [self._body(one, id) if isinstance(one, _Written) else {} for one, id in written]
        self._owners = [index for index, _ in self._wire()]

    def wire(self) -> list[Wire]:
        """The SDK's form, made anew for each sending: the SDK takes the conditions out of what it is given."""
        return [one for _, one in self._wire()]

    @property
    def guarded(self) -> bool:
        """Whether it fails when it has happened already."""
        return any(
            isinstance(operation, Create)
            or (isinstance(operation, Replace | Delete | Bury) and operation.etag is not None)
            for operation in self.operations
        )

    @property
    def repeatable(self) -> bool:
        """Whether a second time leaves the same as once."""
        return not any(isinstance(operation, Increment) for operation in self.operations)

    @property
    def deleted(self) -> list[str] | None:
        """The ids that are gone when this has happened; None when it does more than delete."""
        if not all(isinstance(operation, Delete | Read) for operation in self.operations):
            return None
        return [id for operation, id in zip(self.operations, self.ids, strict=True) if isinstance(operation, Delete)]

    def witness(self) -> str | None:
        """The id of the document whose mark tells whether this batch happened: one that stays as it is, if possible."""
        marked = [
            (_preference(operation), self.ids[index])
            for index, operation in enumerate(self.operations)
            if isinstance(operation, _Written if self._writes else Increment)
        ]
        return min(marked)[1] if marked else None

    def superseded(self, found: Document) -> bool:
        """Whether the witness, found with another's mark, is a version that may have come after ours."""
        return any(
            isinstance(operation, Replace | Bury) and operation.etag not in (None, found["_etag"]) and id == found["id"]
            for operation, id in zip(self.operations, self.ids, strict=True)
        )

    def rejection(self, status: int, position: int) -> Rejected | None:
        """What the failing operation's status means; None when it is nothing that the port knows."""
        index = self._owners[position]
        operation = self.operations[index]
        reasons: dict[int, Literal["exists", "missing", "stale", "condition"]] = {
            409: "exists",
            404: "missing",
            412: "condition" if isinstance(operation, Increment) else "stale",
        }
        return Rejected(reasons[status], index) if status in reasons else None

    def _wire(self) -> Iterator[tuple[int, Wire]]:
        for index, (operation, id) in enumerate(zip(self.operations, self.ids, strict=True)):
            match operation:
                case Create():
                    yield index, ("create", (dict(self._bodies[index]),), {})
                case Upsert():
                    yield index, ("upsert", (dict(self._bodies[index]),), {})
                case Read():
                    yield index, ("read", (id,), {})
                case Replace() | Bury():
                    yield index, ("replace", (id, dict(self._bodies[index])), _if_match(operation.etag))
                case Delete():
                    yield index, ("delete", (id,), _if_match(operation.etag))
                case Increment():
                    for patches, options in self._patches(operation):
                        yield index, ("patch", (id, patches), options)

    def _body(self, operation: Create | Replace | Upsert | Bury, id: str) -> Document:
        kind = TOMBSTONE if isinstance(operation, Bury) else operation.kind
        own: Document = {**envelope(kind, id, self._tenant_id, operation.body), MARK: self.mark}
        if not isinstance(operation, Bury) and operation.ttl is not None:
            own["ttl"] = operation.ttl
        return packed(kind, {**operation.body, **own})

    def _patches(self, operation: Increment) -> Iterator[tuple[list[Document], dict[str, Any]]]:
        """Patches of at most ten steps each; the first one sets the mark where no document of the batch carries it."""
        marks = [] if self._writes else [{"op": "set", "path": f"/{MARK}", "value": self.mark}]
        amounts = iter(operation.amounts.items())
        while chunk := list(islice(amounts, MAX_PATCHES - len(marks))):
            patches = [{"op": "incr", "path": _pointer(field), "value": amount} for field, amount in chunk]
            conditions = [
                f"{path('kind')} = {json.dumps(operation.kind)}",  # not a tombstone
                *(
                    _at_most(field, amount, operation.at_most[field])
                    for field, amount in chunk
                    if field in operation.at_most
                ),
            ]
            yield marks + patches, {"filter_predicate": f"from c where {' AND '.join(conditions)}"}
            marks = []


def _preference(operation: Operation) -> int:
    if not isinstance(operation, Create):
        return 3
    return 0 if operation.kind.append_only else 2 if operation.kind.transient else 1


def _if_match(etag: str | None) -> dict[str, Any]:
    return {} if etag is None else {"if_match_etag": etag}


def _pointer(field: str) -> str:
    """`a.b/c` as the JSON pointer `/a/b~1c`."""
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in field.split("."))


def _at_most(field: str, amount: int, limit: int) -> str:
    """The field is at most `limit` after the addition; what is not there counts as 0."""
    fits = f"{path(field)} <= {json.dumps(limit - amount)}"
    if amount <= limit:
        return f"(NOT IS_DEFINED({path(field)}) OR {fits})"
    return fits
