"""API keys that come: good ones, narrowed ones, those that are over, and what is put together out of several."""

from datetime import timedelta
from typing import Any
from zlib import crc32

from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.clock import rfc3339
from tests.isolation.expected import BELIEVED_SECONDS
from tests.isolation.people import Tenant, token
from tests.isolation.site import Site

MADE, ONE = "POST v1/api-keys", "v1/api-keys/{api_key_id}"


async def make(site: Site, token: str, **fields: Any) -> dict[str, Any]:
    """A key of whoever the token is of; with everything, where nothing else is said."""
    made: dict[str, Any] = await site.ok(
        MADE, token, {"name": "A key", "role": "admin", "scopes": [*KeyScope], **fields}
    )
    return made


async def let_in(site: Site, key: str) -> str:
    """The same key, which has been let in a moment ago; that it was used is noted."""
    await site.ok("GET v1/me", key)
    await site.core.key_uses.flush()
    return key


async def furnish(site: Site, tenant: Tenant) -> None:
    """One of the tenant's admin's, which is in use."""
    made = await make(site, token(site, tenant, Role.ADMIN), name=f"key-of-{tenant.slug}")
    tenant.ids["api_key_id"], tenant.words["api key"] = made["id"], await let_in(site, made["key"])


async def keys(site: Site, home: Tenant, victim: Tenant, suspended: Tenant) -> dict[str, str]:
    """By the name of the credential."""
    admin = token(site, home, Role.ADMIN)
    good = await make(site, admin)
    return {
        "the victim's key": victim.words["api key"],
        "key": await let_in(site, good["key"]),
        "key that names the victim": good["key"],
        "key that only reads": (await make(site, admin, scopes=["read"]))["key"],
        "key of an admin who is a viewer now": await _of_another(site, home, {"role": "viewer"}),
        "key of a removed user": await _of_another(site, home),
        "key of a user who was removed elsewhere": await _of_another(site, home, by=site.elsewhere),
        "key of a disabled user": await _of_another(site, home, {"status": "disabled"}),
        "key of a suspended tenant": suspended.words["api key"],
        "key that was revoked": await _revoked(site, admin),
        "key that was revoked elsewhere": await _revoked(site, admin, by=site.elsewhere),
        "key that was made with a revoked one": await _child(site, admin),
        "key that is over": await _over(site, admin),
        "key whose secret was changed": await _rotated(site, admin),
        "key with a wrong character": good["key"][:-1] + ("0" if good["key"][-1] != "0" else "1"),
        "the victim's key, another secret": _mixed(victim.words["api key"], good["key"]),
    }


async def _of_another(site: Site, home: Tenant, change: dict[str, Any] | None = None, *, by: Site | None = None) -> str:
    """Of an admin who was changed so since, or removed; `by` another instance: as long ago as is promised."""
    admin, email = token(site, home, Role.ADMIN), f"{rfc3339(site.clock.now())[20:26]}.{len(home.words)}@keys.example"
    home.words[f"key's user {len(home.words)}"] = email
    user = await site.ok("POST v1/users", admin, {"email": email, "role": "admin"})
    made = await make(site, site.token(Role.ADMIN, home.id, email))
    await let_in(site, made["key"])
    params = {"user_id": user["id"]}
    if change is None:
        await (by or site).ok("DELETE v1/users/{user_id}", admin, params=params)
    else:
        await (by or site).ok("PATCH v1/users/{user_id}", admin, change, params=params)
    if by is not None:
        site.clock.advance(seconds=BELIEVED_SECONDS)
    return str(made["key"])


async def _revoked(site: Site, admin: str, *, by: Site | None = None) -> str:
    made = await make(site, admin)
    await let_in(site, made["key"])
    await (by or site).ok(f"DELETE {ONE}", admin, params={"api_key_id": made["id"]})
    if by is not None:
        site.clock.advance(seconds=BELIEVED_SECONDS)
    return str(made["key"])


async def _child(site: Site, admin: str) -> str:
    maker = await make(site, admin)
    made = await make(site, maker["key"])
    await let_in(site, made["key"])
    await site.ok(f"DELETE {ONE}", admin, params={"api_key_id": maker["id"]})
    site.clock.advance(seconds=BELIEVED_SECONDS)
    return str(made["key"])


async def _over(site: Site, admin: str) -> str:
    made = await make(site, admin, expires_at=rfc3339(site.clock.now() + timedelta(seconds=2)))
    await let_in(site, made["key"])
    site.clock.advance(seconds=2)
    return str(made["key"])


async def _rotated(site: Site, admin: str) -> str:
    made = await make(site, admin)
    await let_in(site, made["key"])
    await site.ok(f"POST {ONE}/rotate", admin, {"overlap_hours": 0}, params={"api_key_id": made["id"]})
    return str(made["key"])


def _mixed(key: str, other: str) -> str:
    """The first, with the secret of the second: its checksum is right."""
    text = "_".join([*key.split("_")[:4], other[:-8].split("_")[4]])
    return f"{text}{crc32(text.encode()):08x}"
