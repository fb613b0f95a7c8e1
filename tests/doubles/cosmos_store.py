"""What the double keeps: containers with logical partitions, and the service's rules for changing documents in them."""

import itertools
import json
import secrets
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from tests.doubles import cosmos_charges as charges
from tests.doubles.cosmos_sql import SqlError, parse_predicate
from tests.doubles.cosmos_values import UNDEFINED, value_at

Document = dict[str, Any]
Partition = dict[str, Document]

MAX_ITEM_BYTES = 2 * 1024 * 1024
MAX_PATCHES = 10
STALE_READS = 2
SYSTEM = ("_rid", "_self", "_etag", "_ts", "_attachments")


class Refused(Exception):
    """The service's answer to something that it does not do."""

    def __init__(self, status: int, message: str, sub_status: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.sub_status = sub_status


@dataclass
class Container:
    """One container of one database, with a replica that lags behind.

    At session consistency a read that brings no token, or an old one, is answered by any replica, "with eventual
    consistency" (learn.microsoft.com/azure/cosmos-db/consistency-levels); one with a token by a replica that has got so
    far. Batches go to the primary. The replica here has not heard of the last writes for `STALE_READS` reads.
    """

    database: str
    properties: Document
    partitions: dict[str, Partition] = field(default_factory=dict)
    lsn: int = 1
    _replica: dict[str, Partition] = field(default_factory=dict)
    _replica_lsn: int = 1
    _read_behind: int = 0

    @property
    def rid(self) -> str:
        return str(self.properties["_rid"])

    @property
    def path(self) -> str:
        return f"dbs/{self.database}/colls/{self.properties['id']}"

    def seen_by(self, token: int, stale_reads: int) -> tuple[dict[str, Partition], int]:
        """What a read with this token (0: none) sees, and how far that is."""
        if token > self._replica_lsn or self._replica_lsn == self.lsn or self._read_behind >= stale_reads:
            self._replica, self._replica_lsn, self._read_behind = dict(self.partitions), self.lsn, 0
        else:
            self._read_behind += 1
        return self._replica, self._replica_lsn

    def documents(self, key: str | None, now: float, partitions: dict[str, Partition] | None = None) -> list[Document]:
        """The documents of one partition, or of all, without the expired ones."""
        seen = self.partitions if partitions is None else partitions
        chosen = seen.values() if key is None else [seen.get(key, {})]
        return [document for partition in chosen for document in partition.values() if not self.expired(document, now)]

    def expired(self, document: Document, now: float) -> bool:
        default = self.properties.get("defaultTtl")
        ttl = document.get("ttl", default)
        return default is not None and ttl is not None and ttl > 0 and document["_ts"] + ttl <= now

    def partition_key_path(self) -> list[str]:
        [path] = self.properties["partitionKey"]["paths"]
        return str(path).strip("/").split("/")


class Store:
    """All databases of the account; times come from `now`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.stale_reads = STALE_READS
        self.databases: dict[str, dict[str, Container]] = {}
        self._numbers = itertools.count(1)

    def catch_up(self) -> None:
        """Every replica hears of everything."""
        for containers in self.databases.values():
            for container in containers.values():
                container.seen_by(container.lsn, 0)

    def drop(self, key: str) -> None:
        """What has this partition key is nowhere any more."""
        written = json.dumps([key])  # as the header has it
        for containers in self.databases.values():
            for container in containers.values():
                container.partitions.pop(written, None)
                container._replica.pop(written, None)

    def create_database(self, name: str) -> Document:
        if name in self.databases:
            raise Refused(409, "the database exists")
        self.databases[name] = {}
        return self.database(name)

    def database(self, name: str) -> Document:
        if name not in self.databases:
            raise Refused(404, "there is no such database", 1003)
        return {"id": name, "_rid": f"{name}=", "_self": f"dbs/{name}=/", "_etag": '"0"', "_ts": 0}

    def create_container(self, database: str, properties: Document) -> Document:
        self.database(database)
        if properties["id"] in self.databases[database]:
            raise Refused(409, "the container exists")
        rid = f"rid{next(self._numbers)}="
        own = {"_rid": rid, "_self": f"dbs/{database}=/colls/{rid}/", "_etag": '"0"', "_ts": int(self.now())}
        self.databases[database][properties["id"]] = Container(database, {**properties, **own})
        return self.container(database, properties["id"]).properties

    def container(self, database: str, name: str) -> Container:
        found = self.databases.get(database, {}).get(name)
        if found is None:
            raise Refused(404, "Owner resource does not exist", 1003)
        return found

    def batch(self, container: Container, key: str, operations: list[Document]) -> tuple[bool, list[Document]]:
        """All of them or none; one result each, 424 for those that failed because of another."""
        partition = dict(container.partitions.get(key, {}))
        results: list[Document] = []
        for index, operation in enumerate(operations):
            try:
                status, document, charge = self.apply(container, partition, key, operation)
            except Refused as refused:
                failed: list[Document] = [{"statusCode": 424, "requestCharge": 0} for _ in operations]
                failed[index] = {
                    "statusCode": refused.status,
                    "subStatusCode": refused.sub_status,
                    "requestCharge": charges.REFUSED,
                }
                return False, failed
            result: Document = {"statusCode": status, "requestCharge": charge}
            if document is not None:
                result |= {"eTag": document["_etag"], "resourceBody": document}
            results.append(result)
        container.partitions[key] = partition
        container.lsn += 1
        return True, results

    def apply(
        self, container: Container, partition: Partition, key: str, operation: Document
    ) -> tuple[int, Document | None, float]:
        """One operation on (a copy of) a partition, and its charge; Refused with the service's status otherwise."""
        sort, body = operation["operationType"], operation.get("resourceBody")
        named = sort in ("Read", "Delete", "Replace", "Patch")
        id = _checked(operation.get("id") if named else (body or {}).get("id"))
        current = partition.get(id)
        if current is not None and sort != "Create" and container.expired(current, self.now()):
            current = None  # hidden at once, deleted some time later; a create meanwhile is undocumented: refused here
        if sort == "Create" and current is not None:
            raise Refused(409, "Resource with specified id or name already exists")
        if sort not in ("Create", "Upsert") and current is None:
            raise Refused(404, "Resource Not Found")
        if_match = operation.get("ifMatch")
        if if_match is not None and current is not None and if_match not in ("*", current["_etag"]):
            raise Refused(412, "One of the specified pre-condition is not met")
        policy = container.properties.get("indexingPolicy")
        if sort == "Read":
            assert current is not None
            return 200, current, charges.read(current)
        if sort == "Delete":
            assert current is not None
            del partition[id]
            return 204, None, charges.written(policy, current)
        if sort == "Patch":
            assert current is not None
            body = _patched(current, body or {})
        assert isinstance(body, dict)
        self._check_body(container, key, id, body)
        partition[id] = new = self._stamped(container, body, current)
        if current is None:
            return 201, new, charges.written(policy, new)
        return 200, new, charges.replaced(policy, new)

    def _check_body(self, container: Container, key: str, id: Any, body: Document) -> None:
        if body.get("id") != id:
            raise Refused(400, "the id of the body is another one")
        value = value_at(body, container.partition_key_path())
        if json.dumps([value if value is not UNDEFINED else {}]) != json.dumps(json.loads(key)):
            raise Refused(400, "PartitionKey extracted from document doesn't match the one specified", 1001)
        ttl = body.get("ttl", -1)
        if not isinstance(ttl, int) or isinstance(ttl, bool) or (ttl <= 0 and ttl != -1):
            raise Refused(400, f"The input ttl '{ttl}' is invalid")
        if len(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()) > MAX_ITEM_BYTES:
            raise Refused(413, "Request size is too large")

    def _stamped(self, container: Container, body: Document, current: Document | None) -> Document:
        rid = current["_rid"] if current else f"{container.rid}{next(self._numbers)}"
        own = {name: value for name, value in body.items() if name not in SYSTEM}
        return {
            **deepcopy(own),
            "_rid": rid,
            "_self": f"{container.properties['_self']}docs/{rid}/",
            "_etag": f'"{secrets.token_hex(8)}"',
            "_attachments": "attachments/",
            "_ts": int(self.now()),
        }


def _checked(id: Any) -> str:
    if not isinstance(id, str) or not id or len(id.encode()) > 1023 or any(character in "/\\?#" for character in id):
        raise Refused(400, f"the id {id!r} is invalid")
    return id


def _patched(current: Document, patch: Mapping[str, Any]) -> Document:
    operations = patch.get("operations", [])
    if not 1 <= len(operations) <= MAX_PATCHES:
        raise Refused(400, f"a patch has 1 to {MAX_PATCHES} operations")
    if patch.get("condition"):
        try:
            condition = parse_predicate(patch["condition"])
        except SqlError as error:
            raise Refused(400, str(error)) from error
        if not condition.matches(current, {}):
            raise Refused(412, "One of the specified pre-condition is not met")
    document = deepcopy(current)
    for operation in operations:
        _patch(document, operation)
    return document


def _patch(document: Document, operation: Mapping[str, Any]) -> None:
    *parents, name = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    target = value_at(document, parents)
    if not isinstance(target, dict):
        raise Refused(400, f"the parent of {operation['path']} does not exist")
    if not parents and name in (*SYSTEM, "id", "tenant_id"):
        raise Refused(400, f"{name} cannot be patched")
    match operation["op"]:
        case "set" | "add":
            target[name] = operation["value"]
        case "replace" | "remove" if name not in target:
            raise Refused(400, f"{operation['path']} does not exist")
        case "replace":
            target[name] = operation["value"]
        case "remove":
            del target[name]
        case "incr":
            numbers = (target.get(name, 0), operation["value"])
            if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
                raise Refused(400, f"{operation['path']} is not a number")
            target[name] = sum(numbers)
        case other:
            raise Refused(400, f"there is no patch operation {other!r}")
