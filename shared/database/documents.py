"""What every adapter adds to a document when it is written, and takes away when it is read; old versions are upcast."""

import unicodedata
from typing import Any

from shared.database.port import Document, Order
from shared.kinds import Kind

NAME_KEY = "name_key"
NAME_KEY_CHARACTERS = 100


def envelope(kind: Kind, stored_id: str, tenant_id: str, body: Document) -> Document:
    """The fields that are the store's own; `stored_id` is `<kind>:<id>`."""
    own = {"id": stored_id, "kind": kind.name, "tenant_id": tenant_id, "schema": kind.schema}
    return {**own, NAME_KEY: name_key(body.get("name"))} if "name" in kind.sorted else own


def opened(kind: Kind, document: Document) -> Document:
    """The body under its own id, in the kind's current schema version; items without a version are of the first.

    `Unavailable` for a later version (`Kind.upcast`).
    """
    body = dict(document)
    version = body.pop("schema", 1)
    body.pop(NAME_KEY, None)
    body["id"] = body["id"][len(kind) + 1 :]
    return kind.upcast(body, version) if body["kind"] == kind else body


def name_key(name: Any) -> str:
    """By what names are sorted and searched: without case, in one form of each character, the first hundred of them.

    Never empty, so that an item that was written before there were keys is not taken for one without a name.
    """
    text = name if isinstance(name, str) else ""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).replace("\0", "")
    return f" {folded[:NAME_KEY_CHARACTERS]}"


def sort_field(order: Order) -> str:
    """The stored field that an order goes by."""
    return NAME_KEY if order.field == "name" else order.field


def position(kind: Kind, order: Order, document: Document) -> str:
    """A stored document's value in this order; empty where it has none."""
    value = document.get(sort_field(order), "")
    return str(value[len(kind) + 1 :] if order.field == "id" else value)
