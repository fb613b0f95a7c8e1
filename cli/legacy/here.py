"""A Flowgrid of this machine's settings as a target: its services, called as its routes call them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from cli.errors import CliError
from cli.legacy.beside import Beside
from cli.legacy.target import LATER, Place, Target
from cli.patience import patiently
from functions.composition import Parts
from functions.kinds import KINDS
from functions.migration.models import Digests, Finished, Look, Migration, NewMigration, Outcomes, Rows, Table
from functions.migration.service import MigrationService
from functions.migration.taking import AT_ONCE
from functions.tenants.default import SLUG, DefaultAdmin, make_default
from functions.tenants.models import NewTenant
from shared.auth.caller import Caller, RequestInfo
from shared.auth.roles import Role
from shared.core import Core, core
from shared.errors import FlowgridError, NotFound
from shared.ids import DEFAULT_TENANT_ID, is_uuid
from shared.settings import Settings
from shared.tenancy.plans import Tier
from shared.work.resources import PageRequest
from shared.work.session import TenantSession

T = TypeVar("T")
CALLS: Final = 4
"""Side by side, in each process."""
BATCHES: Final = 2
"""Of a call: fewer rows under way at once than the API takes, so that less is held."""
MIGRATION: Final = Caller("migration", None, "Migration", None, Role.PLATFORM)
"""Who writes, in the audit."""
REQUEST: Final = RequestInfo("", "", "flowgrid migrate")


@dataclass
class Here(Place):
    """A tenant's session, and the service; `beside`: who else takes rows and looks at them."""

    tenant_id: str
    session: TenantSession
    migrations: MigrationService
    beside: Beside | None = None

    async def begin(self, new: NewMigration) -> Migration:
        return await _patiently(lambda: self.migrations.begin(self.session, new))

    async def take(self, run: str, rows: Rows) -> Outcomes:
        if self.beside is not None and (process := self.beside.process()):
            outcomes: Outcomes = await process.call("take", self.tenant_id, run, rows)
            return outcomes
        return await _patiently(lambda: self.migrations.take(self.session, run, rows))

    async def look(self, run: str, asked: Look) -> Digests:
        if self.beside is not None and (process := self.beside.process()):
            digests: Digests = await process.call("look", self.tenant_id, run, asked)
            return digests
        return await _patiently(lambda: self.migrations.look(self.session, run, asked))

    async def finish(self, run: str, ended: Finished) -> Migration:
        return await _patiently(lambda: self.migrations.finish(self.session, run, ended))

    async def undo(self, run: str) -> Migration:
        return await _patiently(lambda: self.migrations.undo(self.session, run))


class HereTarget(Target):
    """`made_up`: a folder that is thrown away, in which every tenant that is asked for is made (a dry run).

    `processes`: as many beside that take rows, once there are many.
    """

    def rows_of_a_call(self, table: Table) -> int:
        """Whole batches: a call of any other number would end in a small one."""
        return BATCHES * AT_ONCE[table]

    def __init__(self, settings: Settings, admin_email: str, *, made_up: bool = False, processes: int = 0) -> None:
        self.at_once = CALLS * max(1, processes)
        self._core: Core = core(settings, KINDS)
        self._parts = Parts(self._core)
        self._admin = DefaultAdmin(admin_email=admin_email)
        self._made_up = made_up
        self.beside = Beside(settings, processes)

    async def place(self, tenant: str, *, make: bool = True) -> Place:
        try:
            id = await self._find(tenant, make=make)
        except FlowgridError as error:
            raise CliError(f"The tenant {tenant!r} cannot be opened: {error.message}") from error
        place = await opened(self._core, self._parts, id)
        place.beside = self.beside
        return place

    async def close(self) -> None:
        await self.beside.close()
        await self._core.close()

    async def _find(self, tenant: str, *, make: bool) -> str:
        if is_uuid(tenant) and not self._made_up and not (make and tenant == DEFAULT_TENANT_ID):
            return tenant
        found = await self._parts.tenants.list({"slug": tenant}, PageRequest(1))
        if found.items and not (make and found.items[0].id == DEFAULT_TENANT_ID):
            return found.items[0].id
        if make and tenant in (SLUG, DEFAULT_TENANT_ID):
            return (await make_default(self._parts.onboarding, self._staff(), self._admin)).id
        if not self._made_up:
            raise NotFound("There is no tenant of this slug.")
        new = NewTenant(
            name=tenant[:255],
            slug=f"dry-{self._core.services.ids.new()}",
            tier=Tier.ENTERPRISE,
            dedicated=False,
            admin_email=self._admin.admin_email,
        )
        return (await self._parts.onboarding.onboard(self._staff(), new)).id

    def _staff(self) -> TenantSession:
        flowgrid = self._core.directory.flowgrid
        store = self._core.directory.open(flowgrid)
        return TenantSession(flowgrid, store, MIGRATION, REQUEST, self._core.services)


async def opened(own: Core, parts: Parts, tenant_id: str) -> Here:
    """A tenant of this id, as rows come into it; CliError when it is not in use."""
    try:
        entry = await own.directory.latest(tenant_id)
    except FlowgridError as error:
        raise CliError(f"The tenant {tenant_id!r} cannot be opened: {error.message}") from error
    if entry is None or entry.status not in ("active", "trial"):
        raise CliError(f"The tenant {tenant_id!r} is {entry.status if entry else 'not there'}; nothing is migrated.")
    session = TenantSession(entry, own.directory.open(entry), MIGRATION, REQUEST, own.services)
    return Here(tenant_id, session, parts.migrations)


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """The call, again while something is away; CliError for what does not pass."""
    try:
        return await patiently(call, later=LATER)
    except FlowgridError as error:
        raise CliError(error.message) from error
