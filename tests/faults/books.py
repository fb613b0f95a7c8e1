"""A tenant's partition as it is stored, read in one moment past all of Flowgrid, and what must be true of it."""

import json
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from starlette.requests import Request

from functions.agents.models import Agent
from functions.backups.models import Backup, plain, same_content
from functions.catalog.models import Element, Relationship
from shared.clock import parse_rfc3339, rfc3339
from shared.database.cosmos.packing import unpacked
from shared.database.documents import NAME_KEY
from shared.database.port import Document
from shared.members.users import User
from shared.tenancy.fence import AUDIT, TICK
from shared.work.change import COUNTER
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_documents import Reply

State = dict[tuple[str, str], Document]
LANDSCAPE = (Element.KIND.name, Relationship.KIND.name, Agent.KIND.name)
SHARD = "shard-1"
OF_THE_STORE = ("ttl", "commit_id", "schema", NAME_KEY)


class ReadableDouble(CosmosDouble):
    """The double, whose container another thread may look into between two calls, never in the middle of one."""

    def __init__(self) -> None:
        super().__init__()
        self._answering = threading.Lock()

    def _answer(self, request: Request, parts: list[str], body: Any, size: int) -> Reply | None:
        with self._answering:
            self.calls.clear()  # two minutes of them are not to be kept
            return super()._answer(request, parts, body, size)

    def partition(self, tenant_id: str) -> list[Document]:
        with self._answering:
            return [unpacked(AUDIT, one) for one in self.items(SHARD, "items") if one["tenant_id"] == tenant_id]


def sqlite_partition(data: Path, tenant_id: str) -> list[Document]:
    """The same of the embedded database: one query is one moment."""
    query = "SELECT doc FROM items WHERE tenant_id = ? AND container = 'items'"
    with closing(sqlite3.connect(f"file:{data / 'database' / SHARD}.db?mode=ro", uri=True)) as database:
        return [json.loads(doc) for (doc,) in database.execute(query, (tenant_id,))]


@dataclass(frozen=True)
class Books:
    """`history`: the journal of each item, by revision; `fences`: closed and opened, of each restore."""

    resources: State
    history: dict[tuple[str, str], list[Document]]
    fences: list[tuple[str, str]]
    counters: dict[str, int]
    backups: list[Document]
    users: int

    @classmethod
    def of(cls, documents: Iterable[Document]) -> "Books":
        resources: State = {}
        history: dict[tuple[str, str], list[Document]] = {}
        fences: dict[str, dict[str, str]] = {}
        counters: dict[str, int] = {}
        backups: list[Document] = []
        users = 0
        for document in documents:
            kind = document["kind"]
            body = {name: value for name, value in document.items() if name[0] != "_" and name not in OF_THE_STORE}
            body["id"] = body["id"].removeprefix(f"{kind}:")
            if kind in LANDSCAPE:
                resources[kind, body["id"]] = plain(body)
            elif kind == AUDIT and body["resource_type"] in LANDSCAPE:
                history.setdefault((body["resource_type"], body["resource_id"]), []).append(body)
            elif kind == AUDIT and body["resource_type"] == "fence":
                fences.setdefault(body["resource_id"], {})[body["action"]] = body["created_at"]
            elif kind == COUNTER:
                counters[body["id"]] = body["value"]
            elif kind == Backup.KIND:
                backups.append(plain(body))
            users += kind == User.KIND
        for entries in history.values():
            entries.sort(key=lambda entry: entry["revision"])
        closed = sorted((one["fence.closed"], one.get("fence.opened", "")) for one in fences.values())
        return cls(resources, history, closed, counters, backups, users)

    def check(self) -> None:
        """What must be true at any moment whatever."""
        assert self.dangling() == [], "something refers to what is not there"
        counted = {
            "agents": sum(kind == Agent.KIND for kind, _ in self.resources),
            "users": self.users,
            "backups": sum(one["type"] == "manual" for one in self.backups),
        }
        assert {name: self.counters[name] for name in counted} == counted, "a counter does not tell what is there"
        for key, entries in self.history.items():
            assert [one["revision"] for one in entries] == list(range(1, len(entries) + 1)), f"revisions of {key}"
            for older, newer in pairwise(entries):
                assert older["created_at"] < newer["created_at"], f"{key}: its instants do not grow"
                assert older["new_value"] == newer["old_value"], f"{key}: a change was overwritten unseen"
        last = {key: entries[-1]["new_value"] for key, entries in self.history.items()}
        last = {key: body for key, body in last.items() if body is not None}
        for key in last.keys() | self.resources.keys():
            told, found = last.get(key), self.resources.get(key)
            assert told == found, f"the journal ends otherwise: {told}, and there is {found}"

    def dangling(self) -> list[str]:
        there = set(self.resources)
        missing = []
        for (kind, id), body in self.resources.items():
            if kind == Agent.KIND:
                ends = [[(Element.KIND.name, body["element_id"])]] if body["element_id"] else []
            elif kind == Relationship.KIND:
                ends = [[(end, body[name]) for end in LANDSCAPE[:2]] for name in ("source_id", "target_id")]
            else:
                ends = []
            missing += [f"{kind} {id}" for choice in ends if not there & set(choice)]
        return missing

    def at(self, instant: str) -> State:
        """Of each item the last revision that is stamped up to then."""
        found = {
            key: next((one for one in reversed(entries) if one["created_at"] <= instant), None)
            for key, entries in self.history.items()
        }
        return {key: one["new_value"] for key, one in found.items() if one and one["new_value"] is not None}

    def settled(self, instant: str) -> str:
        """A point in time while a restore wrote is the moment before that; `at` needs only something in between."""
        inside = [closed for closed, opened in self.fences if closed <= instant and (instant < opened or not opened)]
        return before(inside[0]) if inside else instant

    def fence_seconds(self) -> list[float]:
        return sorted(
            (parse_rfc3339(opened) - parse_rfc3339(closed)).total_seconds() for closed, opened in self.fences if opened
        )


def before(instant: str) -> str:
    return rfc3339(parse_rfc3339(instant) - TICK)


def differing(one: State, other: State) -> list[str]:
    """The items that two states do not say the same of, whoever wrote which revision of them."""
    keys = one.keys() | other.keys()
    return sorted(
        " ".join(key) for key in keys if key not in one or key not in other or not same_content(one[key], other[key])
    )


def median(numbers: Sequence[float]) -> float:
    return numbers[len(numbers) // 2] if numbers else 0.0
