"""OpenAPI 3.0 and 3.1 documents, read within bounds: what is small to send must not become large to hold.

References are followed within the document only; what they make of a schema is counted while it is made.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from functions.tools.schemas import APPLIED, BY_NAME, LISTS, MAX_BYTES, MAX_DEPTH, MAX_SCHEMAS, PLAIN
from shared.errors import Invalid

MAX_DOCUMENT_BYTES: Final = 1024 * 1024
MAX_OPERATIONS: Final = 1000
MAX_REFERENCES: Final = 30  # one behind another
MAX_WORK: Final = 10_000_000  # characters of references that are followed, and names that are looked at in schemas
MAX_DESCRIPTION: Final = 300
_ENCODER = json.JSONEncoder()
METHODS: Final = ("get", "put", "post", "patch", "delete")


class NotTaken(Exception):
    """Why an operation cannot become a tool."""


@dataclass(frozen=True)
class Operation:
    """`item`: the path's own part, which all its operations share."""

    method: str
    path: str
    item: Mapping[str, Any]
    own: Mapping[str, Any]

    @property
    def title(self) -> str:
        return f"{self.method.upper()} {self.path[:200]}"

    @property
    def id(self) -> str | None:
        return text_in(self.own, "operationId") or None


class Document:
    """`root`: as it was sent."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self._work = 0

    @classmethod
    def read(cls, raw: bytes) -> "Document":
        """`Invalid` for what is no OpenAPI document of these versions."""
        from pydantic_core import from_json

        try:
            root = from_json(raw, allow_inf_nan=False)
        except ValueError:
            raise Invalid.of("body", "should be an OpenAPI document as JSON; write YAML as JSON first") from None
        version = root.get("openapi") if isinstance(root, dict) else None
        if not isinstance(version, str) or not version.startswith(("3.0.", "3.1.")):
            raise Invalid.of("body", 'should be an OpenAPI document of version 3.0 or 3.1 ("openapi": "3.1.0")')
        return cls(root)

    def operations(self) -> list[Operation]:
        """`Invalid` for none, and for more than anybody would choose from."""
        found = []
        for path, item in mapping_in(self.root, "paths").items():
            try:
                item = self.follow(item)
            except NotTaken:
                continue
            if not isinstance(item, dict):
                continue
            found += [Operation(method, path, item, item[method]) for method in METHODS if _is_object(item, method)]
            if len(found) > MAX_OPERATIONS:
                raise Invalid.of(
                    "body", f"has more than {MAX_OPERATIONS} operations; take those out that are not meant"
                )
        if not found:
            raise Invalid.of("body", "has no operations (`paths`)")
        return found

    def follow(self, node: Any) -> Any:
        """What a node stands for: itself, or what its `$ref` leads to in the end."""
        for _ in range(MAX_REFERENCES):
            if not isinstance(node, dict) or not isinstance(node.get("$ref"), str):
                return node
            node = self.at(node["$ref"])
        raise NotTaken("its references lead in a circle, or too far")

    def at(self, reference: str) -> Any:
        """What a JSON pointer within the document points to."""
        if not reference.startswith("#/"):
            raise NotTaken(f"it refers to another document ({reference[:100]})")
        self.spend(len(reference))
        node: Any = self.root
        for part in unquote(reference[2:]).split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and name in node:
                node = node[name]
            elif isinstance(node, list) and name.isascii() and name.isdecimal() and int(name[:6]) < len(node):
                node = node[int(name[:6])]
            else:
                raise NotTaken(f"it refers to what is not there ({reference[:100]})")
        return node

    def spend(self, work: int) -> None:
        """`Invalid` when a document wants far more work than its size says: what is shared is read each time."""
        self._work += work
        if self._work > MAX_WORK:
            what = f"takes more than {MAX_WORK} steps to read, with what it refers to; take operations out of it"
            raise Invalid.of("body", what)


@dataclass
class Schemas:
    """Schemas of one operation, each with what it refers to in place; together they are no larger than one may be."""

    document: Document
    _schemas: int = 0
    _bytes: int = 0
    _open: list[str] = field(default_factory=list)

    def whole(self, node: Any, depth: int = 1) -> dict[str, Any]:
        """The schema in our part of draft 2020-12; `NotTaken` where it is too large, or refers to itself."""
        if isinstance(node, bool):
            return {} if node else {"not": {}}
        if not isinstance(node, dict):
            raise NotTaken("it has a schema that is none")
        if isinstance(reference := node.get("$ref"), str):
            return {**self._referred(reference, depth), **described(node)}
        self._schemas += 1
        if self._schemas > MAX_SCHEMAS or depth > MAX_DEPTH:
            raise NotTaken(f"its schema is too large: more than {MAX_SCHEMAS} parts, or {MAX_DEPTH} levels")
        self.document.spend(len(node))
        found: dict[str, Any] = {}
        for keyword, value in _current(node).items():
            if keyword in PLAIN and keyword not in ("description", "title", "default", "examples"):
                self._weigh(keyword, value)
                found[keyword] = value
            elif keyword in APPLIED:
                self._weigh(keyword, "")
                found[keyword] = self._applied(keyword, value, depth)
        default = node.get("default")
        if isinstance(default, bool | int | float) or (isinstance(default, str) and len(default) <= MAX_DESCRIPTION):
            found["default"] = default
        return found | described(node)

    def _referred(self, reference: str, depth: int) -> dict[str, Any]:
        if reference in self._open:
            raise NotTaken(f"its schema refers to itself ({reference[:100]})")
        if len(self._open) == MAX_REFERENCES:
            raise NotTaken("its references lead too far")
        self._open.append(reference)
        try:
            return self.whole(self.document.at(reference), depth)
        finally:
            self._open.pop()

    def _applied(self, keyword: str, value: Any, depth: int) -> Any:
        """What a keyword holds that holds schemas: one, a list of them, or each by a name."""
        if keyword in LISTS and isinstance(value, list):
            return [self.whole(one, depth + 1) for one in value]
        if keyword in BY_NAME and isinstance(value, dict):
            for name in value:
                self._weigh(name, "")
            return {name: self.whole(one, depth + 1) for name, one in value.items()}
        if keyword in LISTS | BY_NAME:
            raise NotTaken(f"its schema has {keyword} that are none")
        return value if isinstance(value, bool) else self.whole(value, depth + 1)

    def _weigh(self, keyword: str, value: Any) -> None:
        self._bytes += len(keyword) + _size(value, MAX_BYTES)
        if self._bytes > MAX_BYTES:
            raise NotTaken(f"its schema is too large: more than {MAX_BYTES} bytes with all that it refers to")


def mapping_in(node: Any, name: str) -> Mapping[str, Any]:
    """The object of this name in an object; an empty one where there is none."""
    found = node.get(name) if isinstance(node, dict) else None
    return found if isinstance(found, dict) else {}


def list_in(node: Any, name: str) -> list[Any]:
    found = node.get(name) if isinstance(node, dict) else None
    return found if isinstance(found, list) else []


def text_in(node: Any, name: str) -> str:
    found = node.get(name) if isinstance(node, dict) else None
    return found if isinstance(found, str) else ""


def described(node: Mapping[str, Any]) -> dict[str, str]:
    """What is said of it, on one line, as far as a model needs to know."""
    said = " ".join(text_in(node, "description")[:MAX_DESCRIPTION].split())
    return {"description": said} if said else {}


def _current(node: Mapping[str, Any]) -> dict[str, Any]:
    """What version 3.0 says in its own way, as the draft has it: `nullable`, and bounds that are exclusive."""
    found = dict(node)
    if found.get("nullable") is True and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
        if isinstance(found.get("enum"), list) and None not in found["enum"]:
            found["enum"] = [*found["enum"], None]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(found.get(exclusive), bool):
            holds = found.pop(exclusive)
            if holds and bound in found:
                found[exclusive] = found.pop(bound)
    return found


def _size(value: Any, most: int) -> int:
    """Bytes of JSON, counted no further than beyond `most`."""
    size = 0
    for piece in _ENCODER.iterencode(value):
        size += len(piece)
        if size > most:
            break
    return size


def _is_object(item: Mapping[str, Any], name: str) -> bool:
    return isinstance(item.get(name), dict)
