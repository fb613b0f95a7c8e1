"""API keys: whoever brings one calls as the user who made it, with at most the role and the scopes that it has.

A key is two items of its tenant, written together: what is shown of it, and its proof (digests of its secrets, the
identity of its user), which nothing shows, keeps or brings elsewhere. A made-up key costs a look for the proof.

A key ends by itself with whatever it rests on: its time, the user (that one, not the next of this address), the
identity that the user had then, the issuer by which that signs in, the key that it was made with. All of it is read
when a key comes, and known for seconds; of the user it is `Members` that does so, as for a token.
"""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field

from shared.auth.apikeys import KeyText
from shared.auth.caller import ByKey, Caller
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.clock import Clock, parse_rfc3339
from shared.database.port import TenantStore
from shared.errors import KeyEnded, Unauthenticated
from shared.kinds import Kind
from shared.members.issuers import MOST_OF_A_TENANT
from shared.members.users import OWN_ISSUER, UserRole
from shared.tenancy.directory import Directory
from shared.work.resources import Id, Resource, Timestamp

LIVES_SECONDS = 5.0
MOST_KNOWN = 4096
MOST_SECRETS = 2  # that are good at a time
COUNTER = "api_keys"
PROOF = Kind("api_key_proof")


class ApiKey(Resource):
    """An API key, without its secret. It is in no backup and no export: a restore lets nobody in."""

    KIND: ClassVar[Kind] = Kind("api_key", filtered=("user_id",), sorted=("updated_at", "name"), counter=COUNTER)

    name: str = Field(description="What it is called.")
    role: UserRole = Field(description="The most that it may do; the user's role, if that is lower by now.")
    scopes: list[KeyScope] = Field(description="What it is for. None of them includes another.")
    user_id: Id = Field(description="Who made it: it acts for them, and ends with them.")
    expires_at: Timestamp = Field(description="When it is over.")
    prefix: str = Field(description="How its text begins: a part that is no secret, and the first six digits of that.")
    old_secret_until: Timestamp | None = Field(None, description="Until when the secret before is good as well.")
    last_used_at: Timestamp | None = Field(None, description="When it was last used, to the hour.")
    made_with: Id | None = Field(None, description="The key with which it was made, and with which it ends.")


@dataclass(frozen=True)
class _Known:
    at: float
    until: datetime
    caller: Caller


class ApiKeys:
    """`caller`: whose a key is. `issuers`: the platform's, by name."""

    def __init__(self, directory: Directory, clock: Clock, environment: str, issuers: Collection[str]) -> None:
        self.environment = environment
        self._directory = directory
        self._clock = clock
        self._issuers = issuers
        self._known: OrderedDict[tuple[str, str, str], _Known] = OrderedDict()
        self._forgotten = 0

    async def caller(self, text: KeyText) -> Caller:
        """At most seconds old. `Unauthenticated` for what is no key of ours, `KeyEnded` for one that was."""
        at, named = self._clock.monotonic(), (text.tenant_id, text.id, text.digest)
        known, forgotten = self._known.get(named), self._forgotten
        if known is None or at - known.at >= LIVES_SECONDS:
            self._known.pop(named, None)
            known = await self._read(text, at)
            if forgotten == self._forgotten:
                self._known[named] = known
                if len(self._known) > MOST_KNOWN:
                    self._known.popitem(last=False)
        else:
            self._known.move_to_end(named)
        if known.until <= self._clock.now():
            raise KeyEnded("This API key, or this secret of it, has expired.", reason="key_expired")
        return known.caller

    def forget(self, tenant_id: str, id: str) -> None:
        """Read this key anew next time, and do not keep what is being read just now."""
        self._forgotten += 1
        for named in [one for one in self._known if one[:2] == (tenant_id, id)]:
            del self._known[named]

    async def _read(self, text: KeyText, at: float) -> _Known:
        store = await self._directory.store(text.tenant_id)
        stored = await store.get(PROOF, text.id) if store else None
        secret = _secret(stored.body, text.digest) if stored else None
        if store is None or stored is None or secret is None:
            raise self._unknown(text)
        proof = stored.body
        found, has_maker, taken = await asyncio.gather(
            store.get(ApiKey.KIND, text.id),
            _has_maker(store, proof["made_with"]),
            self.is_taken(store, proof["issuer"]),
        )
        if found is None:
            raise self._unknown(text)
        if not has_maker:
            raise KeyEnded("The API key with which this one was made is gone, and so is this.", reason="key_parent")
        if not taken:
            raise KeyEnded("The issuer by which its user signs in is taken no longer.", reason="key_issuer")
        key = ApiKey.model_validate(found.body)
        until = min(parse_rfc3339(one) for one in (key.expires_at, secret["until"]) if one is not None)
        return _Known(at, until, _caller(key, proof))

    async def is_taken(self, store: TenantStore, issuer: str) -> bool:
        """Whether tokens of this issuer would be taken now. Not as `OwnIssuers` knows it, for seconds of its own."""
        if issuer in self._issuers:
            return True
        own = await store.query(OWN_ISSUER, limit=MOST_OF_A_TENANT)
        return any(stored.body["issuer"] == issuer for stored in own.items)

    def _unknown(self, text: KeyText) -> Unauthenticated:
        """The same for a tenant, a key and a secret that are not there: who guesses learns nothing."""
        if text.environment != self.environment:
            return Unauthenticated(f"This API key is of {text.environment}, not of here.", reason="key_environment")
        return Unauthenticated("There is no such API key, or it was revoked.", reason="key_unknown")


async def _has_maker(store: TenantStore, id: str | None) -> bool:
    """Whether the key with which this one was made is there, if it was made with one."""
    return id is None or await store.get(ApiKey.KIND, id) is not None


async def living(store: TenantStore, id: str, now: datetime) -> ApiKey | None:
    """The key of this id; None where it, or the key with which it was made, is gone or over."""
    stored = await store.get(ApiKey.KIND, id)
    key = None if stored is None else ApiKey.model_validate(stored.body)
    if key is None or parse_rfc3339(key.expires_at) <= now or not await _has_maker(store, key.made_with):
        return None
    return key


def _secret(proof: Mapping[str, Any], digest: str) -> Mapping[str, Any] | None:
    """The secret of this digest, if it is one of the key's."""
    matching = [one for one in proof["secrets"] if hmac.compare_digest(one["digest"], digest)]
    return matching[0] if matching else None


def _caller(key: ApiKey, proof: Mapping[str, Any]) -> Caller:
    by = ByKey(key.id, key.user_id, proof["user_since"], frozenset(key.scopes), key.last_used_at)
    return Caller(
        subject=proof["subject"],
        email=None,
        name=key.name,
        tenant_id=key.tenant_id,
        role=Role(f"tenant:{key.role}"),
        issuer=proof["issuer"],
        key=by,
    )
