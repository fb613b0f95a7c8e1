"""Everybody who may come: a header for each, made of the site's own keys, or of what a forger has."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from shared.auth.roles import Role
from shared.ids import PLATFORM_TENANT_ID
from tests.doubles.providers import EVENTS_APP, EXTENSION_APP
from tests.isolation.api_keys import furnish as with_key
from tests.isolation.api_keys import keys
from tests.isolation.asking import AUTH0_SECRET, B2C_SECRET
from tests.isolation.expected import BELIEVED_SECONDS
from tests.isolation.people import Tenant, be, grant, of_company, onboard, own_issuer, staff, token
from tests.isolation.site import Site

HOURS = 3600
TO_THE_VICTIM = (
    "staff, another tenant's grant",
    "staff without a grant, the victim",
    "staff, a grant that is over",
    "staff, a grant that was ended",
    "staff, the victim",
)


@dataclass(frozen=True)
class Credential:
    name: str
    token: str | None
    headers: Mapping[str, str]


@dataclass
class Outcasts:
    """Tenants and users that were let in once: each has called before it was taken out."""

    suspended: Tenant
    suspended_elsewhere: Tenant
    provisioning: Tenant
    deleting: Tenant


async def outcasts(site: Site) -> Outcasts:
    made = Outcasts(await onboard(site), await onboard(site), await onboard(site), await onboard(site))
    await with_key(site, made.suspended)
    await suspend(site, made.suspended)
    await be(site, made.provisioning, "provisioning")
    await be(site, made.deleting, "deleting")
    return made


async def suspend(site: Site, tenant: Tenant) -> None:
    path = "POST v1/platform/tenants/{tenant_id}/suspend"
    await site.ok(path, staff(site), params={"tenant_id": tenant.id})


async def grants(site: Site, home: Tenant, victim: Tenant) -> None:
    """Of staff, each of whom has another: but for `unasked`, who has none. That of `late` is over in a minute."""
    await grant(site, home, "staff")
    await grant(site, victim, "guest")
    await grant(site, victim, "late", minutes=1)
    ended = {"tenant_id": victim.id, "access_id": await grant(site, victim, "ended")}
    await site.ok("POST v1/platform/tenants/{tenant_id}/staff-access/{access_id}/end", staff(site), params=ended)


async def credentials(site: Site, home: Tenant, victim: Tenant, out: Outcasts) -> list[Credential]:
    """All of them, from the attacker's point of view."""
    admin = token(site, home, Role.ADMIN)
    assert site.elsewhere is not None
    removed, disabled = await taken_out(site, home), await taken_out(site, home, {"status": "disabled"})
    removed_elsewhere = await taken_out(site, home, by=site.elsewhere)
    viewer_by_list = token(site, home, Role.VIEWER)
    narrowed = site.token(Role.ADMIN, home.id, home.email(Role.VIEWER))
    widened = site.token(Role.VIEWER, home.id, home.admin_email)
    forged = _forged(site, home)
    boss = staff(site)
    tokens: dict[str, str | None] = {
        "no token": None,
        "garbage": "garbage",
        **forged,
        "no role": site.token(None, home.id, home.admin_email),
        "no tenant": site.token(Role.ADMIN, None, home.admin_email),
        "unknown tenant": site.token(Role.ADMIN, str(uuid4()), home.admin_email),
        "admin of a suspended tenant": token(site, out.suspended, Role.ADMIN),
        "admin of a tenant that was suspended elsewhere": await suspended_elsewhere(site, out.suspended_elsewhere),
        "admin of a provisioning tenant": token(site, out.provisioning, Role.ADMIN),
        "admin of a deleting tenant": token(site, out.deleting, Role.ADMIN),
        "admin of the platform's tenant": site.token(Role.ADMIN, PLATFORM_TENANT_ID, home.admin_email),
        "stranger": site.token(Role.ADMIN, home.id, f"{uuid4().hex}@example.com"),
        "address not verified": _signed(site, home, {"email_verified": False, "sub": uuid4().hex}),
        "the victim's tenant, oneself": site.token(
            Role.ADMIN, victim.id, home.admin_email, subject=f"{home.admin_email} in {home.id}"
        ),
        "oneself, the victim's address": site.token(
            Role.ADMIN, victim.id, victim.admin_email, subject=f"{home.admin_email} in {home.id}"
        ),
        **await _of_companies(site, home, victim),
        **await keys(site, home, victim, out.suspended),
        "removed user": removed,
        "disabled user": disabled,
        "user who was removed elsewhere": removed_elsewhere,
        "viewer": viewer_by_list,
        "admin by token, viewer by list": narrowed,
        "viewer by token, admin by list": widened,
        "user": token(site, home, Role.USER),
        "admin": admin,
        "admin who names the victim": admin,
        "staff": boss,
        "staff, an unknown tenant": boss,
        "staff, no tenant id": boss,
        "staff, own tenant": boss,
        "staff, another tenant's grant": boss,
        "staff without a grant, the victim": staff(site, "unasked"),
        "staff, a grant that is over": staff(site, "late"),
        "staff, a grant that was ended": staff(site, "ended"),
        "staff, the victim": staff(site, "guest"),
        "provider, wrong secret": None,
        "provider b2c": None,
        "provider auth0": AUTH0_SECRET,
        "provider entra": _signed(site, home, {"aud": EXTENSION_APP, "azp": EVENTS_APP}),
    }
    named = {"x-tenant-id": victim.id, "tenant-id": victim.id, "x-ms-client-principal-id": victim.id}
    headers: dict[str, dict[str, str]] = {
        "admin who names the victim": named,
        "key that names the victim": named,
        "staff, an unknown tenant": {"x-tenant-id": str(uuid4())},
        "staff, no tenant id": {"x-tenant-id": "acme"},
        "staff, own tenant": {"x-tenant-id": home.id},
        "provider, wrong secret": _basic(f"{B2C_SECRET}, nearly"),
        "provider b2c": _basic(B2C_SECRET),
    }
    headers |= {name: {"x-tenant-id": victim.id} for name in TO_THE_VICTIM}
    return [Credential(name, one, headers.get(name, {})) for name, one in tokens.items()]


async def _of_companies(site: Site, home: Tenant, victim: Tenant) -> dict[str, str]:
    """What own issuers sign: what theirs is to say, and what it is not."""
    settings = site.core.settings
    tenant, roles = settings.flowgrid_tenant_claim, settings.flowgrid_roles_claim
    as_platforms = {"iss": site.issuer.issuer, **_claims(site, home)}
    return {
        "the victim's own issuer": of_company(site, victim),
        "the victim's own issuer, naming another tenant": of_company(site, victim, **{tenant: home.id}),
        "admin by an own issuer": of_company(site, home),
        "own issuer, naming the victim": of_company(site, home, **{tenant: victim.id}),
        "own issuer, the victim's address": of_company(site, home, sub=uuid4().hex, email=victim.admin_email),
        "own issuer, the platform's role": of_company(site, home, **{roles: [Role.PLATFORM]}),
        "own issuer, as the platform's by its key id": of_company(site, home, **as_platforms),
        "own issuer that was removed": await of_removed_issuer(site, home),
        "own issuer that was removed elsewhere": await of_removed_issuer(site, home, by=site.elsewhere),
    }


async def suspended_elsewhere(site: Site, tenant: Tenant) -> str:
    """The token of an admin who was in until another instance suspended the tenant, as long ago as is promised."""
    assert site.elsewhere is not None
    theirs = token(site, tenant, Role.ADMIN)
    await site.ok("GET v1/users", theirs)
    await suspend(site.elsewhere, tenant)
    site.clock.advance(seconds=BELIEVED_SECONDS)
    return theirs


async def of_removed_issuer(site: Site, home: Tenant, by: Site | None = None) -> str:
    """A token that let an admin in a moment ago, by an issuer that was removed since; `by` another instance: as long
    ago as is promised.
    """
    admin, audience = token(site, home, Role.ADMIN), uuid4().hex
    theirs = of_company(site, home, aud=audience)
    issuer = own_issuer(home.words["issuer"], f"{home.slug}.example", audience)
    made = await site.ok("POST v1/issuers", admin, issuer)
    await site.ok("GET v1/users", theirs)
    await (by or site).ok("DELETE v1/issuers/{issuer_id}", admin, params={"issuer_id": made["id"]})
    if by is not None:
        site.clock.advance(seconds=BELIEVED_SECONDS)
    return theirs


def _basic(credentials: str) -> dict[str, str]:
    return {"authorization": f"Basic {b64encode(credentials.encode()).decode()}"}


async def taken_out(
    site: Site, home: Tenant, change: Mapping[str, Any] | None = None, *, by: Site | None = None
) -> str:
    """The token of an admin who was in a moment ago, and was removed, or changed so, by another; `by` another
    instance: as long ago as is promised.
    """
    email = f"{uuid4().hex}@example.com"
    admin, theirs = token(site, home, Role.ADMIN), site.token(Role.ADMIN, home.id, email)
    made = await site.ok("POST v1/users", admin, {"email": email, "role": "admin"})
    await site.ok("GET v1/users", theirs)
    params = {"user_id": made["id"]}
    if change is None:
        await (by or site).ok("DELETE v1/users/{user_id}", admin, params=params)
    else:
        await (by or site).ok("PATCH v1/users/{user_id}", admin, dict(change), params=params)
    if by is not None:
        site.clock.advance(seconds=BELIEVED_SECONDS)
    return theirs


def _forged(site: Site, home: Tenant) -> dict[str, str]:
    """What is no token of ours, though all that it says would do."""
    import jwt
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = site.issuer.public_keys()[-1]
    claims = _claims(site, home)
    other = rsa.generate_private_key(65537, 2048)
    now = int(site.clock.now().timestamp())
    public = jwt.PyJWK(key).key.public_numbers()
    secret = f"{public.n:x}{public.e:x}"
    return {
        "expired": _signed(site, home, {"exp": now - HOURS}),
        "not yet valid": _signed(site, home, {"nbf": now + 5 * HOURS}),
        "wrong issuer": _signed(site, home, {"iss": "https://login.example/v2.0"}),
        "wrong audience": _signed(site, home, {"aud": "another"}),
        "wrong algorithm: none": jwt.encode(claims, "", "none", headers={"kid": key["kid"]}),
        "wrong algorithm: HS256 with the public key": jwt.encode(claims, secret, "HS256", headers={"kid": key["kid"]}),
        "signed by another": jwt.encode(claims, other, "RS256", headers={"kid": key["kid"]}),
        "tenant is no id": _signed(site, home, {site.core.settings.flowgrid_tenant_claim: home.slug}),
    }


def _claims(site: Site, home: Tenant) -> dict[str, Any]:
    """Those of the home's own admin."""
    import jwt

    good = token(site, home, Role.ADMIN)
    return dict(jwt.decode(good, options={"verify_signature": False}))


def _signed(site: Site, home: Tenant, changes: Mapping[str, Any]) -> str:
    """Signed by the issuer itself."""
    import jwt

    claims = {**_claims(site, home), **changes}
    return jwt.encode(claims, site.signing_key, "RS256", headers={"kid": site.companies.kid})
