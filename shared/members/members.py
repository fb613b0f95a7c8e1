"""Who may be in a tenant, and as what: its users only. A disabled one is out, a lower role than the token's wins."""

from dataclasses import dataclass, replace
from functools import lru_cache

from shared.auth.caller import Caller
from shared.auth.roles import Role
from shared.clock import Clock
from shared.errors import NotAMember, RoleNeeded
from shared.members.keyuse import KeyUses
from shared.members.signin import DISABLED, KEYS_USER_GONE, SignIn
from shared.members.users import User, UserRole, binding_id
from shared.work.session import TenantSession

LIVES_SECONDS = 5.0
MOST_KNOWN = 10_000


@dataclass(frozen=True)
class _Known:
    at: float
    user: User


class Members:
    """Users by token, cached for seconds. Flowgrid's own staff is in every tenant and in no user list."""

    def __init__(self, clock: Clock, sign_in: SignIn, uses: KeyUses) -> None:
        self._clock = clock
        self._sign_in = sign_in
        self._uses = uses
        self._known: dict[tuple[str, str], _Known] = {}
        self._forgotten = 0

    async def admit(self, session: TenantSession) -> TenantSession:
        """The session with its caller's user, and the role that the user has here; `Forbidden` for everybody else."""
        caller = session.caller
        if caller.role is Role.PLATFORM:
            return session
        if caller.role is None:
            raise RoleNeeded("The token carries none of the roles " + ", ".join(Role) + ".")
        user = await self._user(session)
        if user.status == "disabled":
            raise NotAMember(DISABLED)
        if caller.key is not None and (caller.key.user, caller.key.user_since) != (user.id, user.created_at):
            raise NotAMember(KEYS_USER_GONE)  # removed, and invited again: the next user of this address
        admitted = replace(session, caller=_as_user(caller, user.id, caller.role, user.role))
        self._uses.note(admitted)
        return admitted

    def forget(self, tenant_id: str, user: str) -> None:
        """Read this user anew next time, and do not keep what is being read just now."""
        self._forgotten += 1
        for key in [key for key, known in self._known.items() if key[0] == tenant_id and known.user.id == user]:
            del self._known[key]

    async def _user(self, session: TenantSession) -> User:
        key = (session.id, binding_id(session.caller.issuer, session.caller.subject))
        now, forgotten = self._clock.monotonic(), self._forgotten
        known = self._known.get(key)
        if known is not None and now - known.at < LIVES_SECONDS:
            return known.user
        self._known.pop(key, None)
        found = self._sign_in.user if session.caller.key is None else self._sign_in.keys_user
        user = await _unchanged(session, known) or await found(session)
        if forgotten == self._forgotten:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[key] = _Known(now, user)
        return user


async def _unchanged(session: TenantSession, known: _Known | None) -> User | None:
    """Whom this identity was known as, where not even the revision is another: then it is still bound to that user, as
    a binding goes in the batch of a change of its user. One point read; None where the binding has to be looked at.
    """
    stored = None if known is None else await session.store.get(User.KIND, known.user.id)
    user = None if stored is None else User.model_validate(stored.body)
    return user if known is not None and user == known.user else None


@lru_cache(maxsize=4096)
def _as_user(caller: Caller, user: str, of_token: Role, of_user: UserRole) -> Caller:
    """The caller as this user, with the lower of both roles."""
    lower = min(of_token, Role(f"tenant:{of_user}"), key=list(Role).index)
    return replace(caller, user=user, role=lower)
