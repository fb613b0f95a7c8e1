"""Identity providers that ask where somebody belongs: how each shows itself, what it asks, and all that it is told."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from shared.auth.roles import Role
from shared.ids import PLATFORM_TENANT_ID
from shared.issuers import ClaimsAsker, Issuer
from tests.doubles.providers import B2C, EXTENSION_APP, Auth0, Entra, Human

if TYPE_CHECKING:
    from tests.isolation.cases import Stage
    from tests.isolation.people import Tenant
    from tests.isolation.site import Site

SOURCES = ("b2c", "auth0", "entra")
NOBODYS = "okta"  # a source that is not set up
RIGHT = {f"provider {source}": source for source in SOURCES}
B2C_SECRET, AUTH0_SECRET = "flowgrid:a-password-of-the-provider", "a-secret-of-the-action"


@dataclass(frozen=True)
class Question:
    """To which source; `answer`: the whole of what must be told, None where nothing may be."""

    where: str
    source: str
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: Any = None


def sources(issuer: str) -> tuple[ClaimsAsker, ...]:
    """One of each form, for tokens of the platform's issuer."""
    of = {"issuer": issuer, "verifies_email": True}
    named = {source: {"name": source, "provider": source, **of} for source in SOURCES}
    named["b2c"]["secrets"], named["auth0"]["secrets"] = ("claims-b2c",), ("claims-auth0",)
    named["entra"]["caller"] = Issuer(issuer=issuer, audience=EXTENSION_APP)
    return tuple(ClaimsAsker.model_validate(one) for one in named.values())


async def set_up(site: "Site") -> None:
    """The secrets that the providers show themselves by."""
    secrets = site.core.adapters.secrets.space(PLATFORM_TENANT_ID)
    await secrets.put("claims-b2c", B2C_SECRET)
    await secrets.put("claims-auth0", AUTH0_SECRET)


def questions(stage: "Stage", name: str) -> Iterator[Question]:
    """What this caller asks: of its own source, if it is one, what it may; of all others the victim's people."""
    victim = stage.victim
    invited = Human(victim.words["may come"])
    for source in (*SOURCES, NOBODYS):
        if source != RIGHT.get(name):
            yield Question(f"the victim's people, of {source}", source, _asked(source, invited))
    source = RIGHT.get(name, "")
    if not source:
        return
    bound = Human(victim.admin_email, subject=_subject(victim))
    tried = {
        "who is invited": (invited, None, _told(source, victim, "tenant:user")),
        "who is bound": (bound, None, _told(source, victim, "tenant:admin")),
        "who brings a bound address": (Human(victim.admin_email), None, _told(source)),
        "a stranger": (Human(f"{uuid4().hex}@example.com"), None, _told(source)),
        "a stranger who names the victim": (Human(f"{uuid4().hex}@example.com"), victim.slug, _told(source)),
        "the attacker who names the victim": (
            Human(stage.home.admin_email, subject=_subject(stage.home)),
            victim.slug,
            _told(source, stage.home, "tenant:admin"),
        ),
    }
    if source == "auth0":
        tried["who brings an address that is not verified"] = (
            Human(invited.email, verified=False),
            None,
            _told(source),
        )
    for where, (human, tenant, answer) in tried.items():
        body = _asked(source, human, tenant)
        yield Question(where, source, body, _signed(stage, body) if source == "auth0" else {}, answer)
    if source == "auth0":
        body, other = _asked(source, invited), _asked(source, bound)
        yield Question("signed two minutes ago", source, body, _signed(stage, body, 120))
        yield Question("signed for another question", source, body, _signed(stage, other))


def _told(source: str, tenant: "Tenant | None" = None, role: str = "") -> Any:
    """By hand, what each form says of who is in this tenant as that, or in none."""
    id = tenant.id if tenant else ""
    if source == "b2c":
        return {"version": "1.0.0", "action": "Continue", "extension_TenantId": id, "roles": role}
    claims = {"extension_TenantId": id, "roles": [role]} if tenant else {}
    if source == "auth0":
        return {"claims": claims, "refused": None}
    action = {"@odata.type": "microsoft.graph.tokenIssuanceStart.provideClaimsForToken", "claims": claims}
    return {"data": {"@odata.type": "microsoft.graph.onTokenIssuanceStartResponseData", "actions": [action]}}


def _subject(tenant: "Tenant") -> str:
    """Who the tenant's admin is, as `Site.token` has it."""
    return f"{tenant.email(Role.ADMIN)} in {tenant.id}"


def _asked(source: str, human: Human, tenant: str | None = None) -> dict[str, Any]:
    if source == "auth0":
        asked = _auth0().question(human, tenant)
        return {**asked, "user": {**asked["user"], "user_id": human.subject}}
    if source == "entra":
        return _entra().question(human)
    return {**_b2c().question(human), **({"tenant": tenant} if tenant else {})}


def _signed(stage: "Stage", body: Mapping[str, Any], ago: float = 0.0) -> dict[str, str]:
    auth0 = _auth0()
    auth0.now = lambda: stage.site.clock.now().timestamp() - ago
    return auth0.shown(json.dumps(body).encode())


@cache
def _auth0() -> Auth0:
    return Auth0()


@cache
def _b2c() -> B2C:
    return B2C()


@cache
def _entra() -> Entra:
    return Entra()
