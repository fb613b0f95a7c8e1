"""What every adapter adds to a document when it is written, and takes away when it is read; old versions are upcast."""

from shared.database.port import Document
from shared.errors import Unavailable
from shared.kinds import Kind


def envelope(kind: Kind, stored_id: str, tenant_id: str) -> Document:
    """The fields that are the store's own; `stored_id` is `<kind>:<id>`."""
    return {"id": stored_id, "kind": kind.name, "tenant_id": tenant_id, "schema": kind.schema}


def opened(kind: Kind, document: Document) -> Document:
    """The body under its own id, in the kind's current schema version; items without a version are of the first.

    `Unavailable` for a later version: a newer release has written it, and this one would lose what it does not know.
    """
    body = dict(document)
    version = body.pop("schema", 1)
    body["id"] = body["id"][len(kind) + 1 :]
    if body["kind"] == kind and version != kind.schema:
        if version > kind.schema:
            raise Unavailable(f"This {kind} was written by a newer release (schema {version}, here {kind.schema}).")
        body = kind.upcast(body, version)
    return body
