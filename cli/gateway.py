"""What API Management is given: `python -m cli.gateway` (`make pages`) writes infra/gateway/ anew, from the routes.

OpenAPI 3.0.3 for its importer, which takes no schema that refers to itself: operations and their path parameters. The
whole description (3.1) is the app's own, at `api/openapi.json`.
"""

import json
import pkgutil
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import function_app
import functions
from cli import policies
from cli.policies import Operations
from functions.kinds import KINDS
from shared.core import core
from shared.http.bodies import MAX_JSON_BYTES
from shared.http.routes import Route
from shared.settings import Settings
from shared.tenancy.plans import Limit
from shared.version import VERSION

GATEWAY = Path(__file__).parents[1] / "infra" / "gateway"
V1 = "v1"
Key = TypeVar("Key", bound=Hashable)
SERVICES = sorted(one.name for one in pkgutil.iter_modules(functions.__path__) if one.ispkg)


def operation(route: Route) -> str:
    """Its id at the gateway: what the importer makes of a name, and says in `context.Operation.Id`."""
    return route.name.replace("_", "-")


@cache
def by_service() -> Mapping[str, list[Route]]:
    """The routes of each service that has some, as an app of it alone registers them."""
    found = {}
    for service in SERVICES:
        own = core(Settings(flowgrid_services=service, flowgrid_log_level="ERROR"), KINDS)
        app = function_app.compose(own)
        app.functions_bindings = None  # the SDK remembers names over calls
        names = {str(one.get_function_name()) for one in app.get_functions()}
        if routes := [route for route in own.endpoint.routes if route.name in names]:
            found[service] = routes
    return found


def parts(version: str | None) -> Operations:
    """The operations of a version, or of none; of both when it is empty."""
    services = {name: [one for one in routes if _is_of(one, version)] for name, routes in by_service().items()}
    services = {name: routes for name, routes in services.items() if routes}
    every = [route for routes in services.values() for route in routes]
    few = [*services.get("claims", ()), *services.get("hooks", ())]
    return Operations(
        {name: [operation(one) for one in routes] for name, routes in services.items()},
        {limit: [operation(one) for one in every if one.limit is limit] for limit in Limit},
        {operation(one): one.body.max_bytes for one in every if one.body and one.body.max_bytes > MAX_JSON_BYTES},
        # a probe must not be locked out; who delivers or asks for claims comes from few addresses, and shows itself
        [operation(one) for one in every if one.free or (one in few and one.role is None)],
        _grouped((one.metadata, one) for one in every),
        _grouped((one.retold, one) for one in every),
    )


def openapi(version: str | None) -> str:
    routes = [route for routes in by_service().values() for route in routes if _is_of(route, version)]
    title = "Flowgrid" if version is None else f"Flowgrid {version}"
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = paths.setdefault(f"/{route.path.removeprefix(f'{version}/')}", {})
        for method in [one for one in route.methods if one != "OPTIONS"]:
            name = operation(route) if method == route.method else f"head-{operation(route)}"
            path[method.lower()] = _operation(route, name)
    document = {"openapi": "3.0.3", "info": {"title": title, "version": VERSION}, "paths": paths}
    return json.dumps(document, indent=1, ensure_ascii=False)


def backends() -> str:
    """Each way to an app: the service whose routes go there, and the path below which they are."""
    ways = [(f"{V1}-{name}", name, f"api/{V1}") for name in parts(V1).services]
    ways += [(f"open-{name}", name, "api") for name in parts(None).services]
    return json.dumps([{"name": name, "service": service, "path": path} for name, service, path in ways], indent=1)


def methods() -> list[str]:
    return sorted({one for routes in by_service().values() for route in routes for one in route.methods} - {"OPTIONS"})


FILES: Mapping[Path, Callable[[], str]] = {
    GATEWAY / "openapi.v1.json": lambda: openapi(V1),
    GATEWAY / "openapi.json": lambda: openapi(None),
    GATEWAY / "backends.json": backends,
    GATEWAY / "global.xml": lambda: policies.everywhere(parts("")),
    GATEWAY / "v1.xml": lambda: policies.versioned(parts(V1), V1),
    GATEWAY / "open.xml": lambda: policies.unversioned(parts(None), "open"),
    GATEWAY / "issuer.xml": policies.issuer,
    GATEWAY / "cors.xml": lambda: policies.cors(methods()),
}


def _grouped(every: Iterable[tuple[Key | None, Route]]) -> dict[Key, list[str]]:
    """Operations by what they have, if they have one."""
    found: dict[Key, list[str]] = {}
    for key, route in every:
        if key is not None:
            found.setdefault(key, []).append(operation(route))
    return found


def _is_of(route: Route, version: str | None) -> bool:
    return version == "" or (V1 if route.path.startswith(f"{V1}/") else None) == version


def _operation(route: Route, name: str) -> dict[str, Any]:
    parameters = [
        {"name": one, "in": "path", "required": True, "schema": {"type": "string"}} for one in _parameters(route.path)
    ]
    answers = {str(route.status): {"description": route.summary}}
    return {"operationId": name, "summary": route.summary, "parameters": parameters, "responses": answers}


def _parameters(path: str) -> Iterable[str]:
    return re.findall(r"{(\w+)}", path)


if __name__ == "__main__":
    for path, made in FILES.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{made()}\n", "utf-8")
