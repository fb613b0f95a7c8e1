"""Users of a tenant with API keys, and calls by those."""

from typing import Any

from shared.auth.caller import Caller
from shared.auth.roles import Role
from tests.unit.world import Answer, World, admin, person

ALL = ["read", "write", "execute", "admin", "members"]


async def member(world: World, tenant: str, email: str = "grace@acme.example", role: str = "admin") -> Caller:
    """A user who has signed in."""
    assert (await world.call("create_user", admin(tenant), {"email": email, "role": role})).status == 201
    caller = person(tenant, Role(f"tenant:{role}"), email)
    assert (await world.call("get_me", caller)).status == 200
    return caller


async def key_of(world: World, user: Caller, **fields: Any) -> dict[str, Any]:
    """A key of theirs: with all scopes and their role, where nothing else is said."""
    role = str(user.role).removeprefix("tenant:")
    answer = await world.call("create_api_key", user, {"name": "Nightly", "role": role, "scopes": ALL, **fields})
    assert answer.status == 201, answer.raw
    made: dict[str, Any] = answer.json
    return made


async def by_key(world: World, key: str, name: str = "get_me", body: Any = None, **rest: Any) -> Answer:
    """A call by this key."""
    headers = {"authorization": f"Bearer {key}", **rest.pop("headers", {})}
    return await world.call(name, None, body, headers=headers, **rest)


async def why_not(world: World, key: str, name: str = "get_me", body: Any = None, **rest: Any) -> tuple[int, str]:
    """Status and code of a refusal."""
    answer = await by_key(world, key, name, body, **rest)
    return answer.status, str(answer.json.get("code"))
