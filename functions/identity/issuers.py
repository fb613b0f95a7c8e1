"""A tenant's own issuers: what may be one, how many there may be, and what it takes to set one up or take it out."""

from contextlib import suppress
from typing import Annotated

from pydantic import Field

from shared.database.port import Where
from shared.errors import Conflict, Contended, FieldError, FlowgridError, Invalid, Stale, Taken, Unavailable
from shared.http.pagination import ResourceQuery
from shared.issuers import Issuer
from shared.members.issuers import MAX_TEXT, MOST_OF_A_TENANT, OwnIssuer, OwnIssuers, issuer_ids
from shared.members.names import ISSUER, Names, issuer_held, issuer_holder, pair
from shared.members.standing import still_admin
from shared.outgoing.addresses import Allowed, wrong_with
from shared.tenancy.fence import Fenced, Overtaken
from shared.work.change import Change
from shared.work.resources import Body, Listing, PageRequest, find, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession

ClaimName = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,200}$")]
Domain = Annotated[
    str, Field(max_length=253, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$")
]


class NewIssuer(Body):
    """An OpenID Connect provider of the tenant's own."""

    issuer: str = Field(max_length=MAX_TEXT, description="Its https address, exactly as `iss` has it.")
    audience: str = Field(min_length=1, max_length=MAX_TEXT, description="What its tokens are for, as `aud` has it.")
    jwks_uri: str | None = Field(
        None, max_length=MAX_TEXT, description="Where its keys are; null: where its discovery document says."
    )
    subject_claim: ClaimName = Field("sub", description="The claim that says who somebody is, for good (Entra: oid).")
    email_verified_claim: ClaimName | None = Field(
        "email_verified", description="The claim that says that an address is verified; null: all are."
    )
    roles_claim: ClaimName | None = Field(
        None, description="The claim with the roles; null: the user list alone decides."
    )
    email_domains: list[Domain] = Field(
        min_length=1, max_length=20, description="Of which domains addresses have to be."
    )


class IssuerQuery(ResourceQuery):
    """They have no filters of their own: there are few."""


class IssuerService:
    """`configured`: the platform's issuers, which are nobody's own. `allowed`: private addresses that may be called."""

    def __init__(self, own: OwnIssuers, names: Names, configured: tuple[Issuer, ...], allowed: Allowed) -> None:
        self._own = own
        self._names = names
        self._configured = {_alike(one.issuer) for one in configured}
        self._allowed = allowed

    async def create(self, tenant: TenantSession, new: NewIssuer) -> OwnIssuer:
        """`Taken` where this pair of issuer and audience is set up already, wherever; `Conflict` for one too many.

        The registry is told first, so an item without its reservation never is. What was not written gives back what
        it had reserved; where nobody can tell (a crash, an answer that was lost) that is an orphan after a minute.
        """
        self._check(new)
        name, attempt = pair(new.issuer, new.audience), tenant.services.ids.new()
        for _ in range(TRIES_AT_A_RACE):
            id = await _free(tenant)
            holder = issuer_holder(tenant.id, id, attempt)
            await self._reserve(name, holder)
            try:
                made = await self._make(tenant, id, new)
            except FlowgridError as error:
                if not isinstance(error, Unavailable) or isinstance(error, Fenced | Overtaken):
                    await self._give_back(name, holder)
                if not isinstance(error, Stale | Taken | Overtaken):
                    raise
                continue
            self._own.forget(new.issuer, new.audience)
            return made
        raise Contended("Others keep changing this tenant's issuers; try again.")

    async def _make(self, tenant: TenantSession, id: str, new: NewIssuer) -> OwnIssuer:
        buried = (await tenant.buried(OwnIssuer.KIND, [id])).get(id)
        change = tenant.change(*([buried] if buried else []))
        made = change.create(OwnIssuer, new.model_dump(), id=id, buried=buried)
        await still_admin(change, tenant)
        return await change.commit(made)

    async def list(self, tenant: TenantSession, page: PageRequest) -> Listing[OwnIssuer]:
        return await find(tenant, OwnIssuer, {}, page)

    async def get(self, tenant: TenantSession, id: str) -> OwnIssuer:
        return (await load(tenant, OwnIssuer, id)).value

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None) -> None:
        """Its tokens open nothing from then on: here at once, on other instances after five seconds at most.

        Who holds its pair is read before: afterwards it may be one that is set up again.
        """
        gone, holder = (await load(tenant, OwnIssuer, id)).value, ""

        async def by_an_admin(change: Change, old: OwnIssuer) -> None:
            nonlocal gone, holder
            await still_admin(change, tenant)
            gone, holder = old, await self._holder(old)

        await tenant.remove(OwnIssuer, id, if_match=if_match, also=by_an_admin)
        self._own.forget(gone.issuer, gone.audience)
        await self._give_back(pair(gone.issuer, gone.audience), holder)

    async def _holder(self, own: OwnIssuer) -> str:
        """Who has its pair reserved, if that is this issuer; "" also while the registry is away."""
        held = None
        with suppress(Unavailable):
            held = await self._names.holder(ISSUER, pair(own.issuer, own.audience))
        return held if held and issuer_held(held) == (own.tenant_id, own.id) else ""

    async def _give_back(self, name: str, holder: str) -> None:
        """While the registry is away it stays, for an issuer that is not there: whoever wants it takes it over."""
        with suppress(Unavailable):
            await self._names.release(ISSUER, name, holder=holder)

    async def _reserve(self, name: str, holder: str) -> None:
        try:
            await self._names.reserve(ISSUER, name, holder=holder)
        except Conflict:
            text = "Tokens of this issuer and audience are taken already, or will be in a moment; "
            raise Taken(f"{text}use an audience of your own.") from None

    def _check(self, new: NewIssuer) -> None:
        wrong = [
            FieldError(name, what, url)
            for name, url in (("issuer", new.issuer), ("jwks_uri", new.jwks_uri))
            if url is not None and (what := wrong_with(url, self._allowed))
        ]
        if _alike(new.issuer) in self._configured:
            wrong.append(FieldError("issuer", "is the platform's, whose tokens are taken anyhow", new.issuer))
        if wrong:
            raise Invalid(wrong)


async def _free(tenant: TenantSession) -> str:
    """An id that is not used now."""
    ids = issuer_ids(tenant.id)
    used = await tenant.store.query(OwnIssuer.KIND, [Where("id", "in", ids)], limit=MOST_OF_A_TENANT)
    free = [id for id in ids if id not in {stored.body["id"] for stored in used.items}]
    if not free:
        raise Conflict(f"A tenant has at most {MOST_OF_A_TENANT} issuers; delete one first.")
    return free[0]


def _alike(issuer: str) -> str:
    return issuer.lower().rstrip("/")
