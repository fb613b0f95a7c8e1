"""The way in that takes no token: deliveries to hooks, by who may, by who may no more, and by who never could."""

import base64
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from functions.executions.models import Execution
from shared.auth.roles import Role
from tests.isolation.cases import Stage
from tests.isolation.people import Tenant, token
from tests.isolation.prover import Leak
from tests.isolation.site import Site
from tests.isolation.watch import Watch, changed
from tests.unit.hooks_world import OTHER, SECRETS, raw, signed
from tests.unit.world import Answer

IN, HOOKS, USER = "POST hooks/in/{hook_token}", "POST v1/agents/{agent_id}/hooks", "PATCH v1/users/{user_id}"
REVOKE, ROTATE, STYLE = "DELETE v1/hooks/{hook_id}", "POST v1/hooks/{hook_id}/rotate", "standard"


@dataclass(frozen=True)
class Own:
    """A hook of a user of its own, with the token that this user comes with."""

    tenant: Tenant
    id: str
    token: str
    user: str
    login: str
    secret: str = SECRETS[STYLE]


@dataclass(frozen=True)
class Sent:
    """One delivery. `status`: what must come of it; `starts`: how many runs."""

    where: str
    hook: Own
    status: int
    starts: int = 0
    delivery: str = ""
    secret: str | None = None
    ago: float = 0.0
    token: str | None = None
    headers: Mapping[str, str] | None = None
    by: Site | None = None


async def through_hooks(stage: Stage, watch: Watch) -> AsyncIterator[Leak | None]:
    """Each delivery; what has come of it that must not, or None."""
    site = stage.site
    assert site.elsewhere is not None
    own, theirs = await _hook(site, stage.home), await _hook(site, stage.victim, OTHER[STYLE])
    caught = uuid4().hex
    yield await _tried(stage, watch, Sent("what is signed as it should", own, 202, 1, caught))
    yield await _tried(stage, watch, Sent("the same delivery again", own, 202, 0, caught))
    yield await _tried(
        stage, watch, Sent("the same delivery, at another instance", own, 202, 0, caught, by=site.elsewhere)
    )
    yield await _tried(stage, watch, Sent("what is signed five minutes ago", own, 202, 1, ago=299))
    for name, headers in _unsigned().items():
        yield await _tried(stage, watch, Sent(f"{name}, to the victim", theirs, 401, headers=headers))
    yield await _tried(stage, watch, Sent("what is signed six minutes ago", own, 401, ago=360))
    yield await _tried(stage, watch, Sent("what is signed six minutes ahead", own, 401, ago=-360))
    yield await _tried(stage, watch, Sent("one's own secret, to the victim", theirs, 401, secret=own.secret))
    yield await _tried(stage, watch, Sent("the victim's secret, to oneself", own, 401, secret=theirs.secret))
    for name, text in _tokens(own, theirs).items():
        yield await _tried(stage, watch, Sent(name, own, 401, token=text))
        yield await _tried(
            stage, watch, Sent(f"{name}, the victim's secret", own, 401, token=text, secret=theirs.secret)
        )
    named = {"x-tenant-id": stage.victim.id}
    yield await _tried(stage, watch, Sent("one that names the victim", own, 202, 1, headers=named))
    async for one in _taken_out(stage):
        yield await _tried(stage, watch, one)
    await site.settle()


async def _taken_out(stage: Stage) -> AsyncIterator[Sent]:
    """Hooks that were good a moment ago, at both instances, and are over."""
    site, admin = stage.site, token(stage.site, stage.home, Role.ADMIN)

    async def good() -> Own:
        made = await _hook(site, stage.home)
        for at in (site, site.elsewhere):
            answer = await _deliver(Sent("", made, 202, by=at), site)
            assert answer.status == 202, (answer.raw, at is site)
        return made

    gone = await good()
    await site.ok("DELETE v1/users/{user_id}", admin, params={"user_id": gone.user})
    yield Sent("the hook of a removed user", gone, 403)
    yield Sent("the hook of a removed user, at another instance", gone, 403, by=site.elsewhere)
    for what, change in (("disabled user", {"status": "disabled"}), ("user who is a viewer now", {"role": "viewer"})):
        other = await good()
        await site.ok(USER, admin, change, params={"user_id": other.user})
        yield Sent(f"the hook of a {what}", other, 403)
    revoked = await good()
    await site.ok(REVOKE, admin, params={"hook_id": revoked.id})
    yield Sent("a revoked hook", revoked, 401)
    yield Sent("a revoked hook, at another instance", revoked, 401, by=site.elsewhere)
    turned = await good()
    ended = {"secret": OTHER[STYLE], "overlap_hours": 0}
    await site.ok(ROTATE, turned.login, ended, params={"hook_id": turned.id})
    yield Sent("a secret that was ended", turned, 401)
    yield Sent("the secret after it", turned, 202, 1, secret=OTHER[STYLE])


async def _hook(site: Site, tenant: Tenant, secret: str = SECRETS[STYLE]) -> Own:
    admin, email = token(site, tenant, Role.ADMIN), f"{uuid4().hex}@example.com"
    user = await site.ok("POST v1/users", admin, {"email": email, "role": "user"})
    login = site.token(Role.USER, tenant.id, email)
    await site.ok("GET v1/me", login)
    agent = {"agent_id": tenant.ids["agent_id"]}
    made = await site.ok(HOOKS, login, {"name": "Tried", "style": STYLE, "secret": secret}, params=agent)
    return Own(tenant, made["id"], made["path"].rpartition("/")[2], user["id"], login, secret)


def _unsigned() -> dict[str, dict[str, str]]:
    now = {"webhook-id": "msg", "webhook-timestamp": "", "webhook-signature": "v1,"}
    return {"what is not signed": {name: "" for name in now}, "an empty signature": now}


def _tokens(own: Own, theirs: Own) -> dict[str, str]:
    """Made up of ids that are no secrets, with a tag of one's own."""
    tag = base64.urlsafe_b64decode(own.token)[-16:]

    def made(tenant: str, hook: str, tag: bytes = tag) -> str:
        return base64.urlsafe_b64encode(UUID(tenant).bytes + UUID(hook).bytes + tag).decode()

    return {
        "a made-up token of one's own hook": made(own.tenant.id, own.id, bytes(16)),
        "a made-up token of the victim's hook": made(theirs.tenant.id, theirs.id),
        "a made-up token of one's own hook in the victim": made(theirs.tenant.id, own.id),
        "a made-up token of the victim's hook in one's own tenant": made(own.tenant.id, theirs.id),
    }


async def _tried(stage: Stage, watch: Watch, sent: Sent) -> Leak | None:
    where, before = f"{IN}, {sent.where}", watch.dump()
    runs = await _runs(stage, stage.home), await _runs(stage, stage.victim)
    answer = await _deliver(sent, stage.site)
    after = await _runs(stage, stage.home), await _runs(stage, stage.victim)
    if answer.status != sent.status:
        return Leak(where, f"{answer.status} where {sent.status} must be")
    if (found := after[0] - runs[0]) != sent.starts:
        return Leak(where, f"starts {found} runs where {sent.starts} must be")
    if after[1] != runs[1] or (strange := changed(before, watch.dump())):
        return Leak(where, f"the victim's {strange if after[1] == runs[1] else 'runs'} changed")
    return None


async def _deliver(sent: Sent, site: Site) -> Answer:
    delivery = sent.delivery or uuid4().hex
    body: Any = raw({"delivery": delivery})
    at = site.clock.now().timestamp() - sent.ago
    headers = {**signed(STYLE, sent.secret or sent.hook.secret, body, at, delivery), **(sent.headers or {})}
    params = {"hook_token": sent.token or sent.hook.token}
    return await (sent.by or site).call(IN, None, body, params=params, headers=headers)


async def _runs(stage: Stage, tenant: Tenant) -> int:
    core = stage.site.core
    entry = await core.directory.entry(tenant.id)
    assert entry is not None
    count, after, store = 0, None, core.directory.open(entry)
    while True:
        page = await store.query(Execution.KIND, after=after)
        count, after = count + len(page.items), page.next
        if after is None:
            return count
