"""API keys of a tenant: who may make, see, rotate and revoke which."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

from pydantic import Field

from shared.auth.apikeys import issue, parsed
from shared.auth.caller import Caller
from shared.auth.roles import Role
from shared.auth.scopes import MEANING, KeyScope
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Create, Delete, Replace, Stored
from shared.errors import Conflict, Contended, FieldError, Forbidden, Invalid, NotFound, Stale
from shared.http.pagination import NamedQuery
from shared.http.times import Time
from shared.members.apikeys import COUNTER, MOST_SECRETS, PROOF, ApiKey, ApiKeys
from shared.members.users import User, UserRole
from shared.tenancy.fence import Overtaken
from shared.work.change import Change
from shared.work.counting import begin_to_count
from shared.work.resources import WHOLE, Body, Listing, Name, PageRequest, ToldOnce, Versioned, find, load
from shared.work.service import Patch
from shared.work.session import TRIES_AT_A_RACE, TenantSession

MOST_DAYS = 366
USUAL_DAYS = 90
MOST_OVERLAP_HOURS = 7 * 24
KEPT_DAYS = 30  # a key that is over can still be looked at
PAGE_ITEMS = 100


class KeyFields(Body):
    """What may be changed of an API key: all else is for ever."""

    name: Name = Field(description="What it is called.")


class NewKey(KeyFields):
    """An API key for programs of whoever makes it."""

    role: UserRole = Field("viewer", description="The most that it may do; not more than you may.")
    scopes: Annotated[list[KeyScope], Field(min_length=1, max_length=len(KeyScope))] = Field(
        description=f"What it is for: {'; '.join(f'`{one}`: {what}' for one, what in MEANING.items())}."
    )
    expires_at: Time | None = Field(
        None, description=f"When it is over, in {MOST_DAYS} days at the latest; null: in {USUAL_DAYS}."
    )


class Rotation(Body):
    """How a key's secret is changed."""

    overlap_hours: Annotated[int, Field(ge=0, le=MOST_OVERLAP_HOURS), WHOLE] = Field(
        24, description="How long the old secret is good beside the new one; 0: it ends now, and any before it."
    )


class IssuedKey(ApiKey, ToldOnce):
    """An API key with its text, which is told this once."""

    SECRETS: ClassVar[tuple[str, ...]] = ("key",)

    key: str | None = Field(
        description="The key: `Authorization: Bearer <key>`. Null where a request is repeated under its "
        "`Idempotency-Key`, as nobody has it any more."
    )


class KeyQuery(NamedQuery):
    user_id: str | None = Field(None, max_length=200)


class ApiKeyService:
    """Everybody has keys of their own; admins see and revoke all of them, but get the secret of none.

    By a key others are made only if it has the scope `members`: with no more than it may itself, until it ends at the
    latest, and one generation deep. So whoever takes a key away takes all that it has made.
    """

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys

    async def create(self, tenant: TenantSession, new: NewKey) -> IssuedKey:
        """`QuotaReached` beyond the plan's number."""
        user, expires_at = await _owner(tenant), await _checked(tenant, new)
        await begin_to_count(tenant, COUNTER)
        id = tenant.services.ids.new()
        text = issue(self._keys.environment, tenant.id, id)
        change, by = tenant.change(), tenant.caller.key
        fields = {**new.model_dump(), "user_id": user.id, "expires_at": rfc3339(expires_at)}
        fields |= {"prefix": parsed(text).prefix, "made_with": by.id if by else None}
        key = change.create(ApiKey, fields, id=id)
        change.write(Create(PROOF, id, _proof(tenant.caller, user, text, change.at)))
        change.count(COUNTER, +1, limit=tenant.plan.max_api_keys, called="API key")
        return await change.commit(_issued(key, text))

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[ApiKey]:
        if not _sees_all(tenant.caller):
            if filters.get("user_id") not in (None, tenant.user_id):
                return Listing([], None)
            filters = {**filters, "user_id": tenant.user_id}
        return await find(tenant, ApiKey, filters, page)

    async def get(self, tenant: TenantSession, id: str) -> ApiKey:
        return _seen(tenant, (await load(tenant, ApiKey, id)).value)

    async def patch(self, tenant: TenantSession, id: str, patch: Patch[KeyFields], if_match: str | None) -> ApiKey:
        await self.get(tenant, id)
        return await tenant.modify(ApiKey, id, lambda key: patch.onto(key).model_dump(), if_match=if_match)

    async def rotate(self, tenant: TenantSession, id: str, asked: Rotation) -> IssuedKey:
        """A new secret. The old one is good as well for a while: never longer than the key."""
        for _ in range(TRIES_AT_A_RACE):
            held = await load(tenant, ApiKey, id)
            _own(tenant, _seen(tenant, held.value))
            proof = await tenant.store.get(PROOF, id)
            if proof is None:  # revoked since
                raise NotFound(f"There is no such {ApiKey.KIND}.")
            text = issue(self._keys.environment, tenant.id, id)
            change = tenant.change(held)
            now = tenant.services.clock.now()
            until = min(now + timedelta(hours=asked.overlap_hours), parse_rfc3339(held.value.expires_at))
            secrets = _rotated(proof, text, now, until)
            old_secret = rfc3339(until) if until > now else None
            fields = {"prefix": parsed(text).prefix, "old_secret_until": old_secret}
            key = change.update(held, fields, action="rotated")
            body = {**proof.body, "secrets": secrets}
            change.write(Replace(PROOF, id, body, proof.etag), lambda _: Stale("It is being rotated already."))
            try:
                issued = await change.commit(_issued(key, text))
            except (Stale, Overtaken):
                continue
            self._keys.forget(tenant.id, id)
            return issued
        raise Contended("Others keep changing this at the same time; try again.")

    async def revoke(self, tenant: TenantSession, id: str, if_match: str | None) -> None:
        """Over: here at once, on other instances within five seconds. It goes on while the tenant is restored."""

        async def last(change: Change, _: ApiKey) -> None:
            _ended(change, id)

        await self.get(tenant, id)
        await tenant.past_the_fence().remove(ApiKey, id, if_match=if_match, also=last)
        self._keys.forget(tenant.id, id)

    async def purge(self, session: TenantSession) -> int:
        """The daily round: what is over for long, or has lost its user or the key that it was made with, goes.

        Returns how many went. None of them had let anybody in any more.
        """
        over, gone = session.services.clock.now() - timedelta(days=KEPT_DAYS), 0
        after: tuple[str, str] | None = None
        await session.store.catch_up()
        while True:
            page = await session.store.query(ApiKey.KIND, limit=PAGE_ITEMS, after=after)
            for stored in page.items:
                key = ApiKey.model_validate(stored.body)
                if parse_rfc3339(key.expires_at) <= over or await _is_orphan(session, key):
                    gone += await self._gone(session, Versioned(key, stored.etag))
            after = page.next
            if after is None:
                return gone

    async def _gone(self, session: TenantSession, held: Versioned[ApiKey]) -> bool:
        change = session.change(held)
        change.delete(held)
        _ended(change, held.value.id)
        try:
            await change.commit(None)
        except (Stale, Conflict, Overtaken):  # it has just been revoked, or used: the next round looks again
            return False
        self._keys.forget(session.id, held.value.id)
        return True


async def _owner(tenant: TenantSession) -> User:
    """The user whose key it will be; `Forbidden` for Flowgrid's staff, who are none."""
    stored = None if tenant.caller.role is Role.PLATFORM else await tenant.store.get(User.KIND, tenant.user_id)
    if stored is None:
        raise Forbidden("Only a user of the tenant can have API keys.")
    return User.model_validate(stored.body)


async def _checked(tenant: TenantSession, new: NewKey) -> datetime:
    """When it ends. `Invalid` with all that is more than the caller's to give."""
    caller, now, wrong = tenant.caller, tenant.services.clock.now(), list[FieldError]()
    latest = now + timedelta(days=MOST_DAYS)
    if caller.key is not None:
        latest = min(latest, await _end_of_maker(tenant, caller.key.id))
    usual = min(latest, now + timedelta(days=USUAL_DAYS))
    expires_at = usual if new.expires_at is None else parse_rfc3339(new.expires_at)
    if caller.role is None or not caller.role.includes(Role(f"tenant:{new.role}")):
        wrong.append(FieldError("role", f"is more than you may: {caller.role}", new.role))
    if len({*new.scopes}) < len(new.scopes):
        wrong.append(FieldError("scopes", "names one twice", new.scopes))
    if missing := [scope for scope in new.scopes if not caller.may(scope)]:
        wrong.append(FieldError("scopes", "are more than your key has", missing))
    if not now < expires_at <= latest:
        text = f"should be later than now, and {rfc3339(latest)} at the latest"
        wrong.append(FieldError("expires_at", text, new.expires_at))
    if wrong:
        raise Invalid(wrong)
    return expires_at


async def _end_of_maker(tenant: TenantSession, id: str) -> datetime:
    """When the key ends that makes another; `Forbidden` for one that was itself made with one."""
    maker = (await load(tenant, ApiKey, id)).value
    if maker.made_with is not None:
        raise Forbidden("A key that was made with a key makes none itself.")
    return parse_rfc3339(maker.expires_at)


async def _is_orphan(session: TenantSession, key: ApiKey) -> bool:
    user, proof = await session.store.get(User.KIND, key.user_id), await session.store.get(PROOF, key.id)
    parent = key.made_with is None or await session.store.get(ApiKey.KIND, key.made_with) is not None
    return user is None or not parent or (proof is not None and proof.body["user_since"] != user.body["created_at"])


def _ended(change: Change, id: str) -> None:
    change.write(Delete(PROOF, id))
    change.count(COUNTER, -1)


def _proof(caller: Caller, user: User, text: str, at: str) -> dict[str, Any]:
    who = {"user_since": user.created_at, "issuer": caller.issuer, "subject": caller.subject}
    made_with = caller.key.id if caller.key else None
    return {"created_at": at, **who, "made_with": made_with, "secrets": [_secret(text)]}


def _secret(text: str) -> dict[str, Any]:
    """What is kept of a secret: `until` null, it is good for as long as its key is."""
    return {"digest": parsed(text).digest, "until": None}


def _rotated(proof: Stored, text: str, now: datetime, until: datetime) -> list[dict[str, Any]]:
    """The secrets from now on; `Conflict` when they would be more than two."""
    if until <= now:
        return [_secret(text)]
    good = [one for one in proof.body["secrets"] if one["until"] is None or parse_rfc3339(one["until"]) > now]
    if len(good) >= MOST_SECRETS:
        ends = min(one["until"] for one in good if one["until"] is not None)
        raise Conflict(
            f"Two secrets of this key are good until {ends}. Wait, or end both now with overlap_hours 0; "
            "if the last answer was lost, make another key."
        )
    return [_secret(text), *({**one, "until": rfc3339(until)} for one in good)]


def _issued(key: ApiKey, text: str) -> IssuedKey:
    return IssuedKey(**key.model_dump(), key=text)


def _sees_all(caller: Caller) -> bool:
    return caller.role is not None and caller.role.includes(Role.ADMIN)


def _seen(tenant: TenantSession, key: ApiKey) -> ApiKey:
    """The key, for whom it is there: whoever made it, and admins."""
    if key.user_id != tenant.user_id and not _sees_all(tenant.caller):
        raise NotFound(f"There is no such {ApiKey.KIND}.")
    return key


def _own(tenant: TenantSession, key: ApiKey) -> None:
    """`Forbidden` for who would get a secret with which to act as somebody else, or as more than the key they use."""
    if tenant.caller.role is Role.PLATFORM or key.user_id != tenant.user_id:
        raise Forbidden("Only the user who made a key gets a new secret of it.")
    by = tenant.caller.key
    if by is not None and by.id not in (key.id, key.made_with):
        raise Forbidden("By a key, only its own secret is changed, and those of keys that were made with it.")
