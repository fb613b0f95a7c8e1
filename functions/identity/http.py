"""HTTP routes of the identity service."""

import azure.functions as func

from functions.identity.models import Me, NewUser, UserFields, UserQuery
from functions.identity.service import IdentityService
from shared.auth.roles import Role
from shared.http.bodies import Merge, MergePatch
from shared.http.endpoint import Endpoint
from shared.http.pagination import Page
from shared.http.routes import Call
from shared.members.users import User
from shared.work.resources import Listing


def blueprint(endpoint: Endpoint, identity: IdentityService) -> func.Blueprint:
    routes = func.Blueprint()

    @endpoint(routes, "GET", "v1/me", role=Role.VIEWER, answer=Me, summary="Who am I?")
    async def get_me(call: Call) -> Me:
        return await identity.me(call.tenant)

    @endpoint(
        routes,
        "GET",
        "v1/users",
        role=Role.ADMIN,
        query=UserQuery,
        answer=Page[User],
        summary="List users",
    )
    async def list_users(call: Call[None, UserQuery]) -> Listing[User]:
        return await identity.list(call.tenant, call.query.filters(), call.page)

    @endpoint(
        routes,
        "POST",
        "v1/users",
        role=Role.ADMIN,
        body=NewUser,
        answer=User,
        status=201,
        summary="Invite a user",
        errors=(409,),
        example={"email": "grace@example.com", "name": "Grace", "role": "user"},
    )
    async def create_user(call: Call[NewUser]) -> User:
        return await identity.create(call.tenant, call.body)

    @endpoint(routes, "GET", "v1/users/{user_id}", role=Role.ADMIN, answer=User, summary="Get a user")
    async def get_user(call: Call) -> User:
        return await identity.get(call.tenant, call.params["user_id"])

    @endpoint(
        routes,
        "PATCH",
        "v1/users/{user_id}",
        role=Role.ADMIN,
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
        answer=User,
        summary="Let a user sign in with another identity: the next one that brings the verified address",
    )
    async def unbind_user(call: Call) -> User:
        return await identity.unbind(call.tenant, call.params["user_id"])

    return routes
