"""The containers that Bicep makes (provisioning, for emulators): partition keys, TTL, and an index of what is queried.

Everything that is written to an index costs request units on each write, so the policy names the fields that queries
filter and sort by; a test finds those that it leaves out.
"""

from typing import Any

FILTERED = (
    "tenant_id",
    "kind",
    "created_at",
    "updated_at",
    "name",
    "status",
    "type",
    "layer",
    "pattern",
    "element_id",
    "source_id",
    "target_id",
    "agent_id",
    "email",
    "role",
    "tier",
    "slug",
    "region",
    "user_id",
    "action",
    "resource_type",
    "resource_id",
    "lease_until",
    "trial_ends_at",
    "as_of",
    "expires_at",
    "metric",
    "period",
    "start",
    "month",
    "placement/mode",
    "unaudited/created_at",
)
SORTED = ("created_at", "updated_at")
INDEXING = {
    "indexingMode": "consistent",
    "automatic": True,
    "includedPaths": [{"path": f"/{field}/?"} for field in FILTERED],
    "excludedPaths": [{"path": "/*"}],
    "compositeIndexes": [
        [{"path": f"/{field}", "order": order}, {"path": "/id", "order": order}]
        for field in SORTED
        for order in ("ascending", "descending")
    ],
}
PARTITION_KEYS = {"items": "/tenant_id", "usage": "/tenant_id", "tenants": "/tenant_id", "reservations": "/id"}
REGISTRY_CONTAINERS = ("tenants", "reservations")
TENANT_CONTAINERS = ("items", "usage")
NEVER_BY_DEFAULT = -1  # TTL is on; only items with a `ttl` of their own expire


def definition(name: str) -> dict[str, Any]:
    """The container as the resource model describes it."""
    return {
        "id": name,
        "partitionKey": {"paths": [PARTITION_KEYS[name]], "kind": "Hash", "version": 2},
        "defaultTtl": NEVER_BY_DEFAULT,
        "indexingPolicy": INDEXING,
    }
