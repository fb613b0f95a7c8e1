"""The containers that Bicep makes (provisioning, for emulators): partition keys, TTL, and an index of what is queried.

Each item pays for every included path, whether it has the field or not (cosmos-db/index-policy), so each container
has those that its own kinds declare. Lists are sorted by a composite index that begins with what every query filters
by, and each one serves both directions.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from shared.database.documents import NAME_KEY
from shared.kinds import Container, Kinds

ALWAYS: dict[Container, tuple[str, ...]] = {  # by what every query filters
    "items": ("tenant_id", "kind", "created_at"),
    "usage": ("tenant_id", "kind", "created_at"),
    "tenants": ("kind", "created_at"),
    "reservations": (),
}
FILTERED_FIRST: dict[Container, tuple[str, ...]] = {  # what an order begins with
    "items": ("tenant_id", "kind"),
    "usage": ("tenant_id", "kind"),
    "tenants": ("kind",),
    "reservations": (),
}
PARTITION_KEYS: dict[Container, str] = {
    "items": "/tenant_id",
    "usage": "/tenant_id",
    "tenants": "/tenant_id",
    "reservations": "/id",
}
REGISTRY_CONTAINERS: tuple[Container, ...] = ("tenants", "reservations")
TENANT_CONTAINERS: tuple[Container, ...] = ("items", "usage")
NEVER_BY_DEFAULT = -1  # TTL is on; only items with a `ttl` of their own expire


def indexing(name: Container, kinds: Kinds) -> dict[str, Any]:
    """The container's indexing policy: a path for each field that the kinds in it are filtered by."""
    by = [NAME_KEY if field == "name" else field for field in kinds.sorted(name)]
    fields = dict.fromkeys((*ALWAYS[name], *by, *kinds.filtered(name)))
    return {
        "indexingMode": "consistent",
        "automatic": True,
        "includedPaths": [{"path": f"/{field.replace('.', '/')}/?"} for field in fields],
        "excludedPaths": [{"path": "/*"}],
        "compositeIndexes": [
            [{"path": f"/{field}", "order": "ascending"} for field in fields] for fields in _orders(name, by)
        ],
    }


def _orders(name: Container, by: Sequence[str]) -> list[tuple[str, ...]]:
    """Of the composite indexes: by time, by id (scans), and by what the kinds in it are sorted by."""
    first = FILTERED_FIRST[name]
    return [(*first, "created_at", "id"), (*first, "id"), *((*first, field, "id") for field in by)] if first else []


def definition(name: Container, kinds: Kinds) -> dict[str, Any]:
    """The container as the resource model describes it."""
    return {
        "id": name,
        "partitionKey": {"paths": [PARTITION_KEYS[name]], "kind": "Hash", "version": 2},
        "defaultTtl": NEVER_BY_DEFAULT,
        "indexingPolicy": indexing(name, kinds),
    }


def definitions(names: Iterable[Container], kinds: Kinds) -> list[dict[str, Any]]:
    return [definition(name, kinds) for name in names]
