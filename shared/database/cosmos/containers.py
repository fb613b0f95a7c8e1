"""The containers that Bicep makes (provisioning, for emulators): partition keys, TTL, and an index of what is queried.

Each item pays for every included path, whether it has the field or not (cosmos-db/index-policy), so each container
names the fields that its own queries filter by; a test finds those that it leaves out. Lists are sorted by a composite
index that begins with what every query filters by, and each one serves both directions.
"""

from typing import Any

FILTERED: dict[str, tuple[str, ...]] = {
    "items": (
        "tenant_id",
        "kind",
        "created_at",
        "name",
        "status",
        "type",
        "layer",
        "pattern",
        "element_id",
        "source_id",
        "target_id",
        "model_id",
        "role",
        "user_id",
        "action",
        "resource_type",
        "resource_id",
        "lease_until",
        "as_of",
    ),
    "usage": ("tenant_id", "kind", "created_at", "metric", "period"),
    "tenants": (
        "kind",
        "created_at",
        "status",
        "tier",
        "slug",
        "trial_ends_at",
        "placement/mode",
        "unaudited/created_at",
    ),
    "reservations": (),
}
OF_A_TENANT = (("tenant_id", "kind", "created_at", "id"), ("tenant_id", "kind", "id"))
SORTED: dict[str, tuple[tuple[str, ...], ...]] = {
    "items": OF_A_TENANT,
    "usage": OF_A_TENANT,
    "tenants": (("kind", "created_at", "id"), ("kind", "id")),
    "reservations": (),
}
PARTITION_KEYS = {"items": "/tenant_id", "usage": "/tenant_id", "tenants": "/tenant_id", "reservations": "/id"}
REGISTRY_CONTAINERS = ("tenants", "reservations")
TENANT_CONTAINERS = ("items", "usage")
NEVER_BY_DEFAULT = -1  # TTL is on; only items with a `ttl` of their own expire


def indexing(name: str) -> dict[str, Any]:
    """The container's indexing policy."""
    return {
        "indexingMode": "consistent",
        "automatic": True,
        "includedPaths": [{"path": f"/{field}/?"} for field in FILTERED[name]],
        "excludedPaths": [{"path": "/*"}],
        "compositeIndexes": [
            [{"path": f"/{field}", "order": "ascending"} for field in fields] for fields in SORTED[name]
        ],
    }


def definition(name: str) -> dict[str, Any]:
    """The container as the resource model describes it."""
    return {
        "id": name,
        "partitionKey": {"paths": [PARTITION_KEYS[name]], "kind": "Hash", "version": 2},
        "defaultTtl": NEVER_BY_DEFAULT,
        "indexingPolicy": indexing(name),
    }
