"""A `CosmosDatabase` on an emulator or a double; and, as in Azure, what somebody else makes: databases, tokens."""

import time
from collections.abc import Callable

from azure.core.credentials import AccessToken

from functions.kinds import KINDS
from shared.clock import Clock
from shared.database.cosmos.containers import TENANT_CONTAINERS, definition
from shared.database.cosmos.store import CosmosDatabase
from shared.kinds import Container
from shared.tracing import Tell
from tests.doubles.cosmos import CosmosDouble

KEY = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=="
REGISTRY = "registry"


def cosmos_database(
    endpoint: str,
    clock: Clock,
    *,
    shards: int = 2,
    deadline: float = 12.0,
    on_charge: Callable[[str, str, float], None] | None = None,
    tell: Tell | None = None,
) -> CosmosDatabase:
    """With the emulators' well-known key; registry and shards are made on the way."""
    return CosmosDatabase(
        kinds=KINDS,
        endpoint=endpoint,
        registry=REGISTRY,
        shards=[f"shard-{number}" for number in range(1, shards + 1)],
        clock=clock,
        emulator_key=KEY,
        deadline=deadline,
        on_charge=on_charge,
        tell=tell,
    )


class NumberedIdentity:
    """A credential whose tokens are numbered by the credentials that gave them."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.number = self.made
        self.closed = False

    async def get_token(self, *scopes: str, **options: object) -> AccessToken:
        return AccessToken(f"token-{self.number}", int(time.time()) + 3600)

    async def close(self) -> None:
        self.closed = True

    async def __aenter__(self) -> "NumberedIdentity":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def make_database(double: CosmosDouble, name: str, containers: tuple[Container, ...] = TENANT_CONTAINERS) -> None:
    """As the ARM plane does."""
    double.store.create_database(name)
    for container in containers:
        double.store.create_container(name, definition(container, KINDS))
