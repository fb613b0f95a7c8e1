"""A tenant's own token issuers, for single sign-on with a company's provider: whose word counts in that tenant only.

Which tenant an issuer is of, is known by the issuer and audience of its tokens: the pair is reserved in the registry,
for an item of the tenant, which is what counts. Both are read when a token comes, and known for seconds.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from shared.auth.keys import FETCH_SECONDS, SigningKeys
from shared.auth.published import MAX_DOCUMENT_BYTES
from shared.auth.signed import Trusted
from shared.clock import Clock
from shared.ids import derived_id
from shared.issuers import Issuer
from shared.kinds import Kind
from shared.members.names import ISSUER, Names, issuer_held, pair
from shared.members.users import OWN_ISSUER
from shared.outgoing.client import Outgoing
from shared.tenancy.directory import Directory
from shared.work.resources import Resource

MOST_OF_A_TENANT = 3
MAX_TEXT = 500
MAX_AUDIENCES = 3  # of a token that are looked at
LIVES_SECONDS = 5.0
MOST_KNOWN = 10_000
MOST_KEYS = 500  # issuers whose keys are at hand


class OwnIssuer(Resource):
    """A token issuer of this tenant alone. It is in no backup: a restore lets nobody in."""

    KIND: ClassVar[Kind] = OWN_ISSUER

    issuer: str = Field(description="Its name, as `iss` has it.")
    audience: str = Field(description="What its tokens are for, as `aud` has it.")
    jwks_uri: str | None = Field(description="Where its keys are; null: where its discovery document says.")
    subject_claim: str = Field(description="The claim that says who somebody is, for good.")
    email_verified_claim: str | None = Field(
        description="The claim that says that an address is verified; null: all are."
    )
    roles_claim: str | None = Field(description="The claim with the roles; null: the user list alone decides.")
    email_domains: list[str] = Field(description="Of which domains addresses have to be.")


def issuer_ids(tenant_id: str) -> list[str]:
    """The ids that a tenant's issuers can have: as many as there can be."""
    return [derived_id(OwnIssuer.KIND, tenant_id, str(number)) for number in range(MOST_OF_A_TENANT)]


class OwnIssuers:
    """`trusted`: which tenant's issuer has made a token, if it is one. Keys come through the guarded client."""

    def __init__(self, names: Names, directory: Directory, outgoing: Outgoing, clock: Clock) -> None:
        self._names = names
        self._directory = directory
        self._outgoing = outgoing
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, Trusted | None]] = {}
        self._at_hand: OrderedDict[str, Trusted] = OrderedDict()

    async def trusted(self, issuer: str, claims: Mapping[str, Any]) -> Trusted | None:
        """By the issuer and audience that a token names; nothing of it is proved by that."""
        named = claims.get("aud")
        audiences = [one for one in (named if isinstance(named, list) else [named]) if isinstance(one, str)]
        for audience in audiences[:MAX_AUDIENCES]:
            if max(len(issuer), len(audience)) <= MAX_TEXT:
                found = await self._found(issuer, audience)
                if found is not None:
                    return found
        return None

    def forget(self, issuer: str, audience: str) -> None:
        """Look anew next time."""
        self._known.pop((issuer, audience), None)

    async def close(self) -> None:
        """Give up what is being fetched."""
        for one in self._at_hand.values():
            await one.keys.close()

    async def _found(self, issuer: str, audience: str) -> Trusted | None:
        now = self._clock.monotonic()
        known = self._known.get((issuer, audience))
        if known is not None and now - known[0] < LIVES_SECONDS:
            return known[1]
        found = await self._read(issuer, audience)
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[issuer, audience] = (now, found)
        return found

    async def _read(self, issuer: str, audience: str) -> Trusted | None:
        tenant_id, id = issuer_held(await self._names.holder(ISSUER, pair(issuer, audience)))
        store = await self._directory.store(tenant_id) if id else None
        stored = await store.get(OwnIssuer.KIND, id) if store else None
        if stored is None:
            return None
        own = OwnIssuer.model_validate(stored.body)
        if (own.issuer, own.audience, own.tenant_id) != (issuer, audience, tenant_id):
            return None
        return await self._with_keys(own)

    async def _with_keys(self, own: OwnIssuer) -> Trusted:
        """The same object as long as nothing of it has changed, so that its keys are fetched once."""
        config = Issuer.model_validate(own.model_dump(include={*Issuer.model_fields}))
        known, domains = self._at_hand.pop(own.id, None), frozenset(own.email_domains)
        same = known is not None and (known.issuer, known.email_domains) == (config, domains)
        found = (
            known if known and same else Trusted(config, SigningKeys(config, fetch=self._fetch), own.tenant_id, domains)
        )
        self._at_hand[own.id] = found
        over = [] if known is None or same else [known]
        if len(self._at_hand) > MOST_KEYS:
            over.append(self._at_hand.popitem(last=False)[1])
        for one in over:
            await one.keys.close()
        return found

    async def _fetch(self, url: str) -> dict[str, Any]:
        """A JSON object of a public address. Whatever goes wrong is the issuer's affair (`SigningKeys`)."""
        answer = await self._outgoing.client(max_bytes=MAX_DOCUMENT_BYTES, seconds=FETCH_SECONDS).get(url)
        document = answer.json()
        if answer.status_code != 200 or not isinstance(document, dict):
            raise ValueError(f"{url} is no page of an issuer")
        return document
