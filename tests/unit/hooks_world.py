"""Hooks of a tenant's user, and deliveries as GitHub, Stripe, Standard Webhooks and plain senders make them."""

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any

from shared.auth.caller import Caller
from shared.auth.roles import Role
from tests.unit.world import Answer, World, admin, person

SECRETS = {
    "standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "github": "It's-a-Secret-to-Everybody",
    "stripe": "whsec_of_an_endpoint_of_stripe",
    "plain": "sixteen-and-more-characters",
}
OTHER = {
    **dict.fromkeys(SECRETS, "another-secret-of-this-style"),
    "standard": f"whsec_{base64.b64encode(b'k' * 32).decode()}",
}
EVENT = {"id": "evt_1", "type": "claim.made", "data": {"roof": "broken"}}
Headers = dict[str, str]


def raw(event: Any) -> bytes:
    return json.dumps(event).encode()


def signed(style: str, secret: str, body: bytes, now: float, id: str = "msg_1", **more: str) -> Headers:
    """The headers that a sender of this style makes."""
    at = str(int(now))
    match style:
        case "standard":
            key = base64.b64decode(secret.removeprefix("whsec_"))
            mac = base64.b64encode(hmac.digest(key, f"{id}.{at}.".encode() + body, "sha256")).decode()
            return {"webhook-id": id, "webhook-timestamp": at, "webhook-signature": f"v1,{mac}", **more}
        case "stripe":
            mac = hmac.digest(secret.encode(), f"{at}.".encode() + body, "sha256").hex()
            return {"stripe-signature": f"t={at},v1={mac},v0={'0' * 64}", **more}
    mac = hmac.digest(secret.encode(), body, "sha256").hex()
    if style == "github":
        return {"x-hub-signature-256": f"sha256={mac}", "x-github-delivery": id, "x-github-event": "issues", **more}
    return {"x-signature": mac, **more}


async def member(world: World, tenant: str, email: str = "grace@acme.example", role: str = "user") -> Caller:
    """A user who has signed in."""
    assert (await world.call("create_user", admin(tenant), {"email": email, "role": role})).status == 201
    caller = person(tenant, Role(f"tenant:{role}"), email)
    assert (await world.call("get_me", caller)).status == 200
    return caller


async def hook_of(world: World, user: Caller, agent: str, style: str = "github", **fields: Any) -> dict[str, Any]:
    body = {"name": f"From {style}", "style": style, "secret": SECRETS[style], **fields}
    answer = await world.call("create_hook", user, body, params={"agent_id": agent})
    assert answer.status == 201, answer.raw
    made: dict[str, Any] = answer.json
    return made


async def sent(world: World, hook: Mapping[str, Any], body: bytes, headers: Headers, **rest: Any) -> Answer:
    """A delivery to the hook's URL."""
    params = {"hook_token": hook["path"].removeprefix("/api/hooks/in/")}
    return await world.call("deliver_to_hook", None, body, params=params, headers=headers, **rest)


async def delivered(
    world: World, hook: Mapping[str, Any], event: Any = EVENT, id: str = "msg_1", secret: str | None = None, **more: str
) -> Answer:
    """A delivery, signed now, with the hook's secret unless another is named."""
    style, body = str(hook["style"]), raw(event)
    headers = signed(style, secret or SECRETS[style], body, world.clock.now().timestamp(), id, **more)
    return await sent(world, hook, body, headers)
