"""HTTP routes of the identity service."""

import azure.functions as func

from functions.identity.access import AccessQuery, AccessService, NewAccess
from functions.identity.apikeys import ApiKeyService, IssuedKey, KeyFields, KeyQuery, NewKey, Rotation
from functions.identity.assembly import Identity
from functions.identity.issuers import IssuerQuery, IssuerService, NewIssuer
from functions.identity.models import Me, NewUser, UserFields, UserQuery
from functions.identity.service import IdentityService
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.http.bodies import Json, Merge, MergePatch
from shared.http.crud import reads
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Call
from shared.members.apikeys import ApiKey
from shared.members.breakglass import StaffAccess
from shared.members.issuers import OwnIssuer
from shared.members.users import User
from shared.work.resources import Listing


def blueprint(endpoint: Endpoint, parts: Identity) -> func.Blueprint:
    routes = func.Blueprint()
    _users(endpoint, routes, parts.users)
    _issuers(endpoint, routes, parts.issuers)
    _api_keys(endpoint, routes, parts.api_keys)
    _staff_access(endpoint, routes, parts.access)
    return routes


def _users(endpoint: Endpoint, routes: func.Blueprint, identity: IdentityService) -> None:
    @endpoint(routes, "GET", "v1/me", role=Role.VIEWER, answer=Me, summary="Who am I?")
    async def get_me(call: Call) -> Me:
        return await identity.me(call.tenant)

    reads(
        endpoint,
        routes,
        identity,
        one="v1/users/{user_id}",
        model=User,
        query=UserQuery,
        names=("list_users", "get_user"),
        summaries=("List users", "Get a user"),
        role=Role.ADMIN,
        scope=KeyScope.MEMBERS,
    )

    @endpoint(
        routes,
        "POST",
        "v1/users",
        role=Role.ADMIN,
        scope=KeyScope.MEMBERS,
        body=NewUser,
        answer=User,
        status=201,
        summary="Invite a user",
        errors=(409,),
        example={"email": "grace@example.com", "name": "Grace", "role": "user"},
    )
    async def create_user(call: Call[NewUser]) -> User:
        return await identity.create(call.tenant, call.body)

    @endpoint(
        routes,
        "PATCH",
        "v1/users/{user_id}",
        role=Role.ADMIN,
        scope=KeyScope.MEMBERS,
        body=Merge(UserFields),
        answer=User,
        summary="Change a user's name, role or status",
        errors=(409,),
        example={"role": "admin"},
    )
    async def patch_user(call: Call[MergePatch[UserFields]]) -> User:
        return await identity.patch(call.tenant, call.params["user_id"], call.body, call.if_match)

    @endpoint(
        routes,
        "DELETE",
        "v1/users/{user_id}",
        role=Role.ADMIN,
        scope=KeyScope.MEMBERS,
        answer=None,
        status=204,
        summary="Remove a user",
        errors=(409,),
    )
    async def delete_user(call: Call) -> None:
        await identity.delete(call.tenant, call.params["user_id"], call.if_match)

    @endpoint(
        routes,
        "POST",
        "v1/users/{user_id}/unbind",
        role=Role.ADMIN,
        scope=KeyScope.MEMBERS,
        answer=User,
        summary="Let a user sign in with another identity: the next one that brings the verified address",
    )
    async def unbind_user(call: Call) -> User:
        return await identity.unbind(call.tenant, call.params["user_id"])


def _issuers(endpoint: Endpoint, routes: func.Blueprint, issuers: IssuerService) -> None:
    @endpoint(
        routes,
        "POST",
        "v1/issuers",
        role=Role.ADMIN,
        scope=KeyScope.MEMBERS,
        body=NewIssuer,
        answer=OwnIssuer,
        status=201,
        summary="Take the tokens of an identity provider of your own, in this tenant only",
        errors=(409,),
        example={"issuer": "https://login.acme.example", "audience": "flowgrid", "email_domains": ["acme.example"]},
    )
    async def create_issuer(call: Call[NewIssuer]) -> OwnIssuer:
        return await issuers.create(call.tenant, call.body)

    @endpoint(
        routes,
        "GET",
        "v1/issuers",
        role=Role.ADMIN,
        scope=KeyScope.MEMBERS,
        query=IssuerQuery,
        answer=Page[OwnIssuer],
        summary="List the tenant's own issuers",
    )
    async def list_issuers(call: Call[None, IssuerQuery]) -> Listing[OwnIssuer]:
        return await issuers.list(call.tenant, call.page)

    @endpoint(
        routes,
        "GET",
        "v1/issuers/{issuer_id}",
        role=Role.ADMIN,
        scope=KeyScope.MEMBERS,
        answer=OwnIssuer,
        summary="Get an issuer of the tenant",
    )
    async def get_issuer(call: Call) -> OwnIssuer:
        return await issuers.get(call.tenant, call.params["issuer_id"])

    @endpoint(
        routes,
        "DELETE",
        "v1/issuers/{issuer_id}",
        role=Role.ADMIN,
        scope=KeyScope.MEMBERS,
        answer=None,
        status=204,
        summary="Take the tokens of an issuer no longer",
        errors=(409,),
    )
    async def delete_issuer(call: Call) -> None:
        await issuers.delete(call.tenant, call.params["issuer_id"], call.if_match)


def _api_keys(endpoint: Endpoint, routes: func.Blueprint, keys: ApiKeyService) -> None:
    @endpoint(
        routes,
        "POST",
        "v1/api-keys",
        role=Role.VIEWER,
        scope=KeyScope.MEMBERS,
        body=NewKey,
        answer=IssuedKey,
        status=201,
        summary="Make an API key, which is told this once",
        example={"name": "Nightly report", "role": "viewer", "scopes": ["read"]},
    )
    async def create_api_key(call: Call[NewKey]) -> IssuedKey:
        return await keys.create(call.tenant, call.body)

    reads(
        endpoint,
        routes,
        keys,
        one="v1/api-keys/{api_key_id}",
        model=ApiKey,
        query=KeyQuery,
        names=("list_api_keys", "get_api_key"),
        summaries=("List one's own API keys; admins: all of the tenant's", "Get an API key"),
        scope=KeyScope.MEMBERS,
    )

    @endpoint(
        routes,
        "PATCH",
        "v1/api-keys/{api_key_id}",
        role=Role.VIEWER,
        scope=KeyScope.MEMBERS,
        body=Merge(KeyFields),
        answer=ApiKey,
        summary="Rename an API key",
        errors=(409,),
        example={"name": "Weekly report"},
    )
    async def patch_api_key(call: Call[MergePatch[KeyFields]]) -> ApiKey:
        return await keys.patch(call.tenant, call.params["api_key_id"], call.body, call.if_match)

    @endpoint(
        routes,
        "POST",
        "v1/api-keys/{api_key_id}/rotate",
        role=Role.VIEWER,
        scope=KeyScope.MEMBERS,
        body=Json(Rotation, optional=True),
        answer=IssuedKey,
        summary="Give an API key a new secret, which is told this once; the old one ends later",
        errors=(409,),
        example={"overlap_hours": 24},
    )
    async def rotate_api_key(call: Call[Rotation]) -> IssuedKey:
        return await keys.rotate(call.tenant, call.params["api_key_id"], call.body)

    @endpoint(
        routes,
        "DELETE",
        "v1/api-keys/{api_key_id}",
        role=Role.VIEWER,
        scope=KeyScope.MEMBERS,
        answer=None,
        status=204,
        summary="Revoke an API key: it is over everywhere within five seconds",
        errors=(409,),
    )
    async def delete_api_key(call: Call) -> None:
        await keys.revoke(call.tenant, call.params["api_key_id"], call.if_match)


def _staff_access(endpoint: Endpoint, routes: func.Blueprint, access: AccessService) -> None:
    """Of staff about a tenant, and of the tenant's admins about staff."""

    @endpoint(
        routes,
        "POST",
        "v1/platform/tenants/{tenant_id}/staff-access",
        role=Role.PLATFORM,
        body=NewAccess,
        answer=StaffAccess,
        summary="Break the glass: act in a tenant's data for a while, with a reason that the tenant is told",
        errors=(409,),
        example={"reason": "Case 4711: an import of theirs fails.", "minutes": 60},
    )
    async def open_staff_access(call: Call[NewAccess]) -> StaffAccess:
        return await access.open(call.tenant, call.params["tenant_id"], call.body)

    @endpoint(
        routes,
        "GET",
        "v1/platform/tenants/{tenant_id}/staff-access",
        role=Role.PLATFORM,
        query=AccessQuery,
        answer=Page[StaffAccess],
        summary="List who of the staff may, or might, act in a tenant's data",
    )
    async def list_staff_access_of_tenant(call: Call[None, AccessQuery]) -> Listing[StaffAccess]:
        return await access.list_of(call.tenant, call.params["tenant_id"], call.page)

    @endpoint(
        routes,
        "POST",
        "v1/platform/tenants/{tenant_id}/staff-access/{access_id}/end",
        role=Role.PLATFORM,
        answer=StaffAccess,
        summary="End it before its time",
        errors=(409,),
    )
    async def end_staff_access_of_tenant(call: Call) -> StaffAccess:
        return await access.end_of(call.tenant, call.params["tenant_id"], call.params["access_id"])

    @endpoint(
        routes,
        "GET",
        "v1/staff-access",
        role=Role.ADMIN,
        query=AccessQuery,
        answer=Page[StaffAccess],
        summary="List who of Flowgrid's staff may, or might, act in this tenant's data",
    )
    async def list_staff_access(call: Call[None, AccessQuery]) -> Listing[StaffAccess]:
        return await access.list(call.tenant, call.page)

    @endpoint(
        routes,
        "GET",
        "v1/staff-access/{access_id}",
        role=Role.ADMIN,
        answer=StaffAccess,
        summary="Get a grant of Flowgrid's staff",
    )
    async def get_staff_access(call: Call) -> StaffAccess:
        return await access.get(call.tenant, call.params["access_id"])

    @endpoint(
        routes,
        "POST",
        "v1/staff-access/{access_id}/end",
        role=Role.ADMIN,
        answer=StaffAccess,
        summary="Show staff out before their time",
        errors=(409,),
    )
    async def end_staff_access(call: Call) -> StaffAccess:
        return await access.end(call.tenant, call.params["access_id"])
