"""Sections of an exchange file that are kept as rows, each with its depth, and written again from these.

- `organizations`: `{"depth", "identifier"?, "ref"?, "label"?, "documentation"?}`; depth 0 is an `<organizations>`.
- `metadata`, `viewpoints`: any XML, `{"depth", "tag", "attributes"?, "text"?, "tail"?}`; a tag is `namespace}name`.

Texts are `{"language", "text"}`, as many as there are. What a row does not have is not in it.
"""

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any, Final
from xml.etree.ElementTree import Element

from functions.catalog.exchange import NAMESPACE, Rows
from functions.catalog.exchange_parse import LANG, NS

XML_PREFIXES: Final = {
    NAMESPACE: "",
    "http://www.w3.org/XML/1998/namespace": "xml",
    "http://www.w3.org/2001/XMLSchema-instance": "xsi",
    "http://purl.org/dc/elements/1.1/": "dc",
}
OF_EVERY_FILE: Final = ("", "xml", "xsi")
"""The prefixes that need no declaration of their own."""


def texts_of(node: Element, name: str, language: str) -> Rows:
    """The node's texts of this name, each with its language ("" where none is said)."""
    language = node.get(LANG, language)
    return [
        {"language": one.get(LANG, language).strip(), "text": "".join(one.itertext())}
        for one in node
        if one.tag == f"{NS}{name}"
    ]


def folder_rows(node: Element, language: str) -> Rows:
    """An `<organizations>` with all items in it, in the file's order."""
    rows: Rows = []
    waiting = [(0, node)]
    while waiting:
        depth, item = waiting.pop()
        row = {
            "depth": depth,
            "identifier": item.get("identifier", "").strip(),
            "ref": item.get("identifierRef", "").strip(),
            "label": texts_of(item, "label", language),
            "documentation": texts_of(item, "documentation", language),
        }
        rows.append({name: value for name, value in row.items() if value or name == "depth"})
        waiting += reversed([(depth + 1, inner) for inner in item if inner.tag == f"{NS}item"])
    return rows


def xml_rows(node: Element) -> Rows:
    """Any XML, without the white space that only sets it out."""
    rows: Rows = []
    waiting = [(0, node)]
    while waiting:
        depth, one = waiting.pop()
        blank = len(one) and not (one.text or "").strip()
        row: dict[str, Any] = {
            "tag": one.tag,
            "attributes": dict(one.attrib),
            "text": "" if blank else one.text,
            "tail": one.tail if depth and (one.tail or "").strip() else "",
        }
        rows.append({"depth": depth, **{name: value for name, value in row.items() if value}})
        waiting += reversed([(depth + 1, inner) for inner in one])
    return rows


def nested(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], int]]:
    """Each row, with how many nodes end between it and the next: -1 where the next is in it."""
    last: dict[str, Any] | None = None
    for row in rows:
        if last is not None:
            yield last, last["depth"] - row["depth"]
        last = row
    if last is not None:
        yield last, last["depth"]


def prefixes(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """A prefix for each namespace that these rows name, beside the usual ones."""
    number = count(1)
    made = dict(XML_PREFIXES)
    for row in rows:
        for name in (row["tag"], *row.get("attributes", {})):
            space = name.rpartition("}")[0]
            if space and space not in made:
                made[space] = f"ns{next(number)}"
    return made


def qualified(name: str, known: dict[str, str]) -> str:
    space, _, local = name.rpartition("}")
    prefix = known[space] if space else ""
    return f"{prefix}:{local}" if prefix else local
