"""A tenant in a Flowgrid of this machine's settings: its services, called as its routes call them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from cli.errors import CliError
from cli.invitations.tenant import LATER, PAGE, FullError, Guests, RefusedError
from cli.patience import patiently
from functions.audit.models import AuditEntry
from functions.composition import Parts
from functions.identity.models import NewUser
from functions.kinds import KINDS
from functions.usage.quotas import Quota
from shared.auth.caller import Caller, RequestInfo
from shared.auth.roles import Role
from shared.core import Core, core
from shared.errors import Conflict, Contended, FlowgridError, QuotaReached
from shared.ids import is_uuid
from shared.members.users import User
from shared.settings import Settings
from shared.work.resources import Listing, PageRequest
from shared.work.session import TenantSession

T = TypeVar("T")
Shown = TypeVar("Shown", bound=BaseModel)
OPERATOR: Final = Caller("invitation", None, "Invitations", None, Role.PLATFORM)
"""Who writes, in the audit."""
REQUEST: Final = RequestInfo("", "", "flowgrid invite")


class HereGuests(Guests):
    """`opened` makes one; a tenant that does not work is told in one line."""

    def __init__(self, own: Core, parts: Parts, session: TenantSession) -> None:
        self.tenant_id = session.id
        self._core = own
        self._parts = parts
        self._session = session

    @classmethod
    async def opened(cls, settings: Settings, tenant: str) -> "HereGuests":
        own = core(settings, KINDS)
        try:
            parts = Parts(own)
            entry = await own.directory.latest(await _id_of(parts, tenant))
            if entry is None or entry.status not in ("active", "trial"):
                raise CliError(f"The tenant {tenant!r} is {entry.status if entry else 'not there'}; nobody is invited.")
            session = TenantSession(entry, own.directory.open(entry), OPERATOR, REQUEST, own.services)
            return cls(own, parts, session)
        except BaseException:
            await own.close()
            raise

    async def users(self) -> AsyncIterator[User]:
        async for user in _all(lambda page: self._parts.identity.users.list(self._session, {}, page)):
            yield user

    async def removals(self) -> AsyncIterator[AuditEntry]:
        asked = {"action": "user.deleted"}
        async for entry in _all(lambda page: self._parts.trail.entries.list(self._session, asked, page)):
            yield entry

    async def quota(self) -> Quota:
        found = await _patiently(lambda: self._parts.quotas.quotas(self._session))
        return next(one for one in found.items if one.resource == "users")

    async def invite(self, new: NewUser) -> bool:
        try:
            await _patiently(lambda: self._parts.identity.users.create(self._session, new))
        except QuotaReached as error:
            raise FullError(f"{error.message}: {error.members['current']} of {error.members['limit']}") from error
        except Contended as error:
            raise RefusedError(error.message) from error
        except Conflict:
            return False
        except FlowgridError as error:
            raise RefusedError(error.message) from error
        return True

    async def close(self) -> None:
        await self._core.close()


async def _id_of(parts: Parts, tenant: str) -> str:
    if is_uuid(tenant):
        return tenant
    found = await _patiently(lambda: parts.tenants.list({"slug": tenant}, PageRequest(1)))
    if not found.items:
        raise CliError(f"There is no tenant with the slug {tenant!r}.")
    return found.items[0].id


async def _all(asked: Callable[[PageRequest], Awaitable[Listing[Shown]]]) -> AsyncIterator[Shown]:
    after: Any = None
    while True:
        page = PageRequest(PAGE, after)
        found = await _patiently(lambda page=page: asked(page))  # type: ignore[misc]
        for one in found.items:
            yield one
        after = found.next
        if after is None:
            return


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    return await patiently(call, later=LATER)
