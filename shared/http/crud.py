"""The six routes of a resource of the usual shape, as one declaration. What a resource has beyond them it declares.

What is only read in that shape declares the two of them.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import azure.functions as func
from pydantic import BaseModel

from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.http.bodies import Merge, MergePatch
from shared.http.endpoint import Endpoint
from shared.http.pagination import ListQuery, Page
from shared.http.routes import Call
from shared.tenancy.plans import Limit
from shared.work.resources import Body, Listing, PageRequest, Resource
from shared.work.service import ResourceService
from shared.work.session import TenantSession

R = TypeVar("R", bound=Resource)
F = TypeVar("F", bound=Body)
Q = TypeVar("Q", bound=ListQuery)
Read = TypeVar("Read", bound=BaseModel)


class Readable(Protocol[Read]):
    """What reads things of a tenant: a page of those that pass the filters, or one; `NotFound`."""

    async def get(self, tenant: TenantSession, id: str) -> Read: ...
    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[Read]: ...


def reads(
    endpoint: Endpoint,
    routes: func.Blueprint,
    service: Readable[Read],
    *,
    one: str,
    model: type[Read],
    query: type[Q],
    names: tuple[str, str],
    summaries: tuple[str, str],
    role: Role = Role.VIEWER,
    scope: KeyScope | None = None,
) -> None:
    """GET of the list and of `one` (`v1/agents/{agent_id}`). `names` and `summaries`: of the list, of the one."""
    every, _, id = one.removesuffix("}").rpartition("/{")
    page: Any = Page[model]  # type: ignore[valid-type]  # known when it runs

    async def list_page(call: Call[None, Q]) -> Listing[Read]:
        return await service.list(call.tenant, call.query.filters(), call.page)

    async def get(call: Call) -> Read:
        return await service.get(call.tenant, call.params[id])

    usual: dict[str, Any] = {"role": role, "scope": scope}
    endpoint(routes, "GET", every, name=names[0], summary=summaries[0], query=query, answer=page, **usual)(list_page)
    endpoint(routes, "GET", one, name=names[1], summary=summaries[1], answer=model, **usual)(get)


def crud(
    endpoint: Endpoint,
    routes: func.Blueprint,
    service: ResourceService[R, F],
    *,
    path: str,
    noun: str | None = None,
    fields: type[F],
    query: type[Q],
    example: Mapping[str, Any],
    patch: Mapping[str, Any],
    limit: Limit | None = None,
    delete: bool = True,
    writes_by: Role = Role.USER,
) -> None:
    """`v1/<path>` and `v1/<path>/{<kind>_id}`: viewers read, users (`writes_by`) write, admins delete.

    `example`: a body that POST and PUT take; `patch`: one for PATCH. `delete` False: its route is declared elsewhere.
    `noun`: one of them, with its article; None: as its kind is called.
    """
    model, kind = service.model, service.model.KIND.name
    id = f"{kind}_id"
    every, one = f"v1/{path}", f"v1/{path}/{{{id}}}"
    several = path if noun is None else f"{noun.partition(' ')[2]}s"
    noun = noun or f"{'an' if kind[0] in 'aeiou' else 'a'} {kind.replace('_', ' ')}"

    async def create(call: Call[F]) -> R:
        return await service.create(call.tenant, call.body)

    async def replace(call: Call[F]) -> R:
        return await service.replace(call.tenant, call.params[id], call.body, call.if_match)

    async def change(call: Call[MergePatch[F]]) -> R:
        return await service.patch(call.tenant, call.params[id], call.body, call.if_match)

    async def remove(call: Call) -> None:
        await service.delete(call.tenant, call.params[id], call.if_match)

    writes: dict[str, Any] = {"role": writes_by, "limit": limit, "errors": (409,), "answer": model}
    endpoint(
        routes,
        "POST",
        every,
        name=f"create_{kind}",
        summary=f"Create {noun}",
        body=fields,
        status=201,
        example=example,
        **writes,
    )(create)
    names = (f"list_{path.replace('-', '_')}", f"get_{kind}")
    summaries = (f"List {several}", f"Get {noun}")
    reads(endpoint, routes, service, one=one, model=model, query=query, names=names, summaries=summaries)
    endpoint(
        routes, "PUT", one, name=f"replace_{kind}", summary=f"Replace {noun}", body=fields, example=example, **writes
    )(replace)
    endpoint(
        routes,
        "PATCH",
        one,
        name=f"patch_{kind}",
        summary=f"Change some fields of {noun}",
        body=Merge(fields),
        example=patch,
        **writes,
    )(change)
    if delete:
        endpoint(
            routes,
            "DELETE",
            one,
            name=f"delete_{kind}",
            summary=f"Delete {noun}",
            status=204,
            **{**writes, "role": Role.ADMIN, "answer": None},
            scope=KeyScope.WRITE if writes_by is Role.USER else None,
        )(remove)
