"""What a tenant's own user list makes of a token: a disabled user is out, a lower role than the token's wins."""

from shared.auth.roles import Role
from shared.clock import Clock
from shared.context import Caller, user_id
from shared.database.port import Kind, TenantStore
from shared.errors import Forbidden

LIVES_SECONDS = 5.0
DISABLED = "This user is disabled; a tenant admin can enable it again."


class Members:
    """Users by token, one point read each, cached for seconds. A caller that is no user keeps the token's role."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, str | None, Role | None]] = {}

    async def role(self, store: TenantStore, caller: Caller) -> Role:
        """The role that the caller has in this tenant; `Forbidden` without one."""
        if caller.role is Role.PLATFORM:
            return Role.PLATFORM
        status, stored = await self._read(store, caller.email) if caller.email else (None, None)
        if status == "disabled":
            raise Forbidden(DISABLED)
        roles = [role for role in (caller.role, stored) if role is not None]
        if caller.role is None or not roles:
            raise Forbidden("The token carries none of the roles " + ", ".join(Role) + ".")
        return min(roles, key=list(Role).index)

    def forget(self, tenant_id: str, user: str) -> None:
        """Read this user anew next time."""
        self._known.pop((tenant_id, user), None)

    async def _read(self, store: TenantStore, email: str) -> tuple[str | None, Role | None]:
        key = (store.tenant_id, user_id(store.tenant_id, email))
        now = self._clock.monotonic()
        if key not in self._known or now - self._known[key][0] >= LIVES_SECONDS:
            stored = await store.get(Kind.USER, key[1])
            role = Role(f"tenant:{stored.body['role']}") if stored else None
            self._known[key] = (now, stored.body["status"] if stored else None, role)
        return self._known[key][1:]
