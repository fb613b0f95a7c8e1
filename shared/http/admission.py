"""Who is let in: from a call to the session of one of the tenant's users, and what its calls are taken out of."""

import logging
from typing import Protocol

import azure.functions as func

from shared.auth.caller import Caller, RequestInfo
from shared.auth.roles import Role
from shared.errors import (
    FlowgridError,
    Forbidden,
    Invalid,
    RoleNeeded,
    ScopeNeeded,
    TenantSuspended,
    Unauthenticated,
)
from shared.http.answers import Answered
from shared.http.routes import Route
from shared.ids import PLATFORM_TENANT_ID, is_uuid
from shared.limits.port import Window
from shared.members.breakglass import use
from shared.members.members import Members
from shared.telemetry.log import log_fields
from shared.tenancy.directory import Directory
from shared.tenancy.plans import Limit
from shared.work.scope import Services
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.auth")


class Doors(Protocol):
    """What decides."""

    directory: Directory
    members: Members
    services: Services


async def admit(doors: Doors, route: Route, req: func.HttpRequest, answered: Answered, caller: Caller) -> TenantSession:
    """The session of a caller who may call this: `Unauthenticated`, `Forbidden` or `QuotaReached` for who may not.

    Staff who act in a tenant's data have a grant for it, and this use of it is on record.
    """
    session = await _session(doors, route, caller, req, answered)
    log_fields.set({**log_fields.get(), "tenant_id": session.id})  # until admitted, the subject may be a name
    session = await _with_role(doors, route, session)
    if session.caller.role is Role.PLATFORM and session.id != PLATFORM_TENANT_ID:
        await use(session, {"operation": route.name, "path": route.location(req.route_params)})
    key = session.caller.key
    by_key = {} if key is None else {"api_key_id": key.id}
    log_fields.set({**log_fields.get(), "user_id": session.user_id, **by_key})
    return session


def windows_of(route: Route, session: TenantSession) -> list[Window]:
    """What a call of the tenant's is taken out of."""
    plan = session.plan
    most = plan.requests_per_minute
    windows = [Window("tenant", session.id, most, 1, "Too many requests of this tenant in a minute")]
    if route.limit is not None:
        message = f"Too many calls of {route.limit} in a minute"
        windows.append(Window(route.limit, session.id, plan.route_limit(route.limit), 1, message))
    return windows


def limits_told(session: TenantSession) -> str:
    """What the gateway is told of a tenant: its calls per minute, then those of routes in the order of `Limit`."""
    plan = session.plan
    return ",".join(str(most) for most in (plan.requests_per_minute, *map(plan.route_limit, Limit)))


def log_refusal(error: FlowgridError, request: RequestInfo) -> None:
    """One line for each: why, by whose token, from where. Never the token, nor who is in it."""
    told = {"reason": error.code, "address": request.ip_address}
    if isinstance(error, Unauthenticated):
        told |= {"reason": error.reason, "issuer": error.issuer or ""}
    logger.warning("a caller was refused", extra=told)


async def _session(
    doors: Doors, route: Route, caller: Caller, req: func.HttpRequest, answered: Answered
) -> TenantSession:
    tenant_id = _tenant_id(route, caller, req)
    entry = await doors.directory.entry(tenant_id)
    if entry is None:
        raise Forbidden("The token's tenant does not exist (any more).")
    if caller.role is not Role.PLATFORM:
        if entry.status == "suspended":
            raise TenantSuspended("This tenant is suspended; its data is kept. Write to support to resume it.")
        if entry.status not in ("active", "trial"):
            raise Forbidden(f"This tenant is {entry.status}; try again when that is done.")
    store = doors.directory.open(entry)
    return TenantSession(entry, store, caller, answered.request, doors.services, relays=answered.relays)


async def _with_role(doors: Doors, route: Route, session: TenantSession) -> TenantSession:
    """The session of the tenant's user that the caller is, if that is one, and one who (and whose key) may do this."""
    admitted = await doors.members.admit(session)
    role = admitted.caller.role
    if route.role is None or role is None or not role.includes(route.role):
        raise RoleNeeded(f"This needs the role {route.role}; the caller has {role}.")
    if not admitted.caller.may(route.scope):
        raise ScopeNeeded(f"This needs the scope {route.scope}, which the API key lacks.")
    return admitted


def _tenant_id(route: Route, caller: Caller, req: func.HttpRequest) -> str:
    """The token's tenant; only platform staff may name another one, and only in `x-tenant-id`."""
    if route.platform:
        if caller.role is not Role.PLATFORM:
            raise RoleNeeded(f"This needs the role {Role.PLATFORM}.")
        return PLATFORM_TENANT_ID
    named = req.headers.get("x-tenant-id") if caller.role is Role.PLATFORM else None
    if named is not None and not is_uuid(named):
        raise Invalid.of("x-tenant-id", "is not a tenant id", named)
    tenant_id = named or caller.tenant_id
    if tenant_id is None:
        raise Forbidden("The token names no tenant; platform staff name one in x-tenant-id.")
    if tenant_id == PLATFORM_TENANT_ID and caller.role is not Role.PLATFORM:
        raise RoleNeeded(f"This needs the role {Role.PLATFORM}.")
    return tenant_id
