"""The six routes of a resource of the usual shape, as one declaration. What a resource has beyond them it declares."""

from collections.abc import Mapping
from typing import Any, TypeVar

import azure.functions as func

from shared.auth.roles import Role
from shared.auth.scopes import KeyScope
from shared.http.bodies import Merge, MergePatch
from shared.http.endpoint import Endpoint
from shared.http.pagination import ListQuery, Page
from shared.http.routes import Call
from shared.tenancy.plans import Limit
from shared.work.resources import Body, Listing, Resource
from shared.work.service import ResourceService

R = TypeVar("R", bound=Resource)
F = TypeVar("F", bound=Body)
Q = TypeVar("Q", bound=ListQuery)


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

    async def list_page(call: Call[None, Q]) -> Listing[R]:
        return await service.list(call.tenant, call.query.filters(), call.page)

    async def get(call: Call) -> R:
        return await service.get(call.tenant, call.params[id])

    async def replace(call: Call[F]) -> R:
        return await service.replace(call.tenant, call.params[id], call.body, call.if_match)

    async def change(call: Call[MergePatch[F]]) -> R:
        return await service.patch(call.tenant, call.params[id], call.body, call.if_match)

    async def remove(call: Call) -> None:
        await service.delete(call.tenant, call.params[id], call.if_match)

    reads: dict[str, Any] = {"role": Role.VIEWER}
    writes: dict[str, Any] = {"role": writes_by, "limit": limit, "errors": (409,), "answer": model}
    page: Any = Page[model]  # type: ignore[valid-type]  # known when it runs
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
    endpoint(
        routes,
        "GET",
        every,
        name=f"list_{path.replace('-', '_')}",
        summary=f"List {several}",
        query=query,
        answer=page,
        **reads,
    )(list_page)
    endpoint(routes, "GET", one, name=f"get_{kind}", summary=f"Get {noun}", answer=model, **reads)(get)
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
