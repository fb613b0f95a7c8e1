"""A `CosmosDatabase` on an emulator or a double."""

from collections.abc import Callable

from shared.clock import Clock
from shared.database.cosmos import CosmosDatabase

KEY = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=="
REGISTRY = "registry"


def cosmos_database(
    endpoint: str,
    clock: Clock,
    *,
    shards: int = 2,
    deadline: float = 12.0,
    on_charge: Callable[[str, str, float], None] | None = None,
) -> CosmosDatabase:
    """With the emulators' well-known key; registry and shards are made on the way."""
    return CosmosDatabase(
        endpoint=endpoint,
        registry=REGISTRY,
        shards=[f"shard-{number}" for number in range(1, shards + 1)],
        clock=clock,
        emulator_key=KEY,
        deadline=deadline,
        on_charge=on_charge,
    )
