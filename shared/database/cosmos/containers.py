"""The containers that Bicep makes (provisioning, for emulators): partition keys, TTL, and an index of what is queried.

Each item pays for every included path, whether it has the field or not (cosmos-db/index-policy), so each container
has those that its own kinds declare. Lists are sorted by a composite
index that begins with what every query filters by, and each one serves both directions.
"""

from collections.abc import Iterable
from typing import Any

from shared.kinds import Container, Kinds

ALWAYS: dict[Container, tuple[str, ...]] = {  # by what every query filters
    "items": ("tenant_id", "kind", "created_at"),
    "usage": ("tenant_id", "kind", "created_at"),
    "tenants": ("kind", "created_at"),
    "reservations": (),
}
OF_A_TENANT = (("tenant_id", "kind", "created_at", "id"), ("tenant_id", "kind", "id"))
SORTED: dict[Container, tuple[tuple[str, ...], ...]] = {
    "items": OF_A_TENANT,
    "usage": OF_A_TENANT,
    "tenants": (("kind", "created_at", "id"), ("kind", "id")),
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
    fields = dict.fromkeys((*ALWAYS[name], *kinds.filtered(name)))
    return {
        "indexingMode": "consistent",
        "automatic": True,
        "includedPaths": [{"path": f"/{field.replace('.', '/')}/?"} for field in fields],
        "excludedPaths": [{"path": "/*"}],
        "compositeIndexes": [
            [{"path": f"/{field}", "order": "ascending"} for field in fields] for fields in SORTED[name]
        ],
    }


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
