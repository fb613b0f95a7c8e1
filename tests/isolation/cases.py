"""The cases: every route of the app, by every method, as everybody, with one's own ids and with the victim's."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from pydantic import BaseModel

from shared.http.bodies import Json, Merge
from shared.http.routes import Route
from shared.ids import is_uuid
from tests.isolation.asking import questions
from tests.isolation.credentials import Credential
from tests.isolation.elsewhere import MCP_HOST
from tests.isolation.expected import BODIES, EXPECTED, TRACES, Expected, refusal
from tests.isolation.naming import NEVER, message, named
from tests.isolation.people import MODEL, XML, Tenant
from tests.isolation.site import Site

WORDS = ("month", "step", "code", "issuer", "hook", "token", "config")  # parameters of paths that take no id
STALE, WHATEVER = {"if-match": '"never-was"'}, {"if-match": "*"}
TAKES_AN_ID = re.compile(r"(^|_)(ids?|tenant|slug|email|reference)\Z|^(tools|issuer)\Z")
OPENAPI = {
    "openapi": "3.1.0",
    "info": {"title": "Claims", "version": "1"},
    "servers": [{"url": "https://api.acme.example/v1"}],
    "paths": {"/claims": {"get": {"operationId": "listClaims", "responses": {"200": {"description": "All."}}}}},
}
A2A = "v1/a2a/agents/{agent_id}"
SPOKEN = {"a2a-version": "1.0"}
KEY = "a-key-that-the-victim-has-used"
KEYED = (  # with which route; a key is one caller's, so each has its own
    *("POST v1/agents", "POST v1/elements", "POST v1/users"),
    *("POST v1/teams/import", "POST v1/design/sessions", "POST v1/backups"),
)
OF_SPARE = ("PATCH v1/platform/tenants/{tenant_id}", "POST v1/platform/tenants/{tenant_id}/staff-access")
ELEMENT = {"name": "Incident management", "type": "BusinessProcess"}
ROWS = {
    "elements": [{"legacy_id": "e-1", "fields": ELEMENT}],
    "relationships": [{"legacy_id": "r-1", "fields": {"type": "Association", "source_id": "e-1", "target_id": "e-1"}}],
    "agents": [{"legacy_id": "a-1", "fields": {"name": "Claims intake", "pattern": "Orchestrator"}}],
}


@dataclass(frozen=True)
class Stage:
    """Who is against whom. `spare`: a tenant that staff may do anything with. `cursors` of the victim, by route."""

    site: Site
    victim: Tenant
    home: Tenant
    spare: Tenant
    credentials: Mapping[str, Credential]
    cursors: Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """One call and what may come of it. `sent`: the id that is tried; `alike`: all cases that share it are answered
    the same, but for what was sent; `empty`: a list that is shown has nothing in it; `seen`: it may show the victim's;
    `answer`: all that it may say.
    """

    route: str
    method: str
    credential: str
    where: str
    sent: str
    statuses: frozenset[int]
    params: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    alike: str | None = None
    empty: bool = False
    seen: bool = False
    answer: Any = None
    leaves: bool = False  # what was sent is the caller's own from then on, and is shown in the caller's own lists

    def __str__(self) -> str:
        return f"{self.method} {self.route.partition(' ')[2]} as {self.credential}, {self.where}"


def batch(stage: Stage, route: Route, name: str) -> Iterator[Case]:
    """All cases of one route and one credential."""
    key = f"{route.method} {route.path}"
    expected = EXPECTED[key]
    refused = refusal(expected, name)
    for method in route.methods:
        if method == "OPTIONS":
            yield Case(key, method, name, "asked what it takes", "", frozenset({204}), _own(stage, key))
        elif expected.least == "provider":
            yield from _asked(stage, key, name)
        elif refused is not None:
            yield from _turned_away(stage, route, name, method, refused)
        else:
            yield from _let_in(stage, route, name, method, expected)


def _turned_away(stage: Stage, route: Route, name: str, method: str, status: int) -> Iterator[Case]:
    """The same answer whatever is asked for."""
    key, body = f"{route.method} {route.path}", own_body(stage, route)
    tried = {"own ids": _own(stage, key)}
    if names := names_in(route):
        never = {**_own(stage, key), **dict.fromkeys(names, NEVER)}
        tried |= {"an id that never was": never, "the victim's ids": _of(stage, key)}
    for where, params in tried.items():
        sent = "|".join(params[name] for name in names)
        headers = {**_type(route), **WHATEVER, "idempotency-key": key_of(key)}
        yield Case(key, method, name, where, sent, frozenset({status}), params, {}, body, headers, alike="refused")


def _asked(stage: Stage, key: str, name: str) -> Iterator[Case]:
    """Who is told where somebody belongs is told that and nothing else; who may not ask, the same whatever is asked."""
    for one in questions(stage, name):
        status = frozenset({401 if one.answer is None else 200})
        alike = "refused" if one.answer is None and one.source != "entra" and not one.headers else None
        params, seen = {"issuer": one.source}, one.answer is not None
        case = Case(key, "POST", name, one.where, one.source, status, params, {}, one.body, one.headers)
        yield replace(case, alike=alike, seen=seen, answer=one.answer)


def _let_in(stage: Stage, route: Route, name: str, method: str, expected: Expected) -> Iterator[Case]:
    key, own = f"{route.method} {route.path}", _own(stage, f"{route.method} {route.path}")
    if name in TRACES:
        if route.method == "GET":  # what is changed there by who may is the victim's own matter
            params = _of(stage, key)
            open_or_other = expected.least == "open" or 200 not in expected.own
            shown = expected.own if open_or_other else frozenset({200})
            yield Case(key, method, name, "the victim's ids", "", shown, params, headers=_type(route), seen=True)
        return
    body, headers = own_body(stage, route), _type(route)
    yield Case(key, method, name, "own ids", "", expected.own, own, {}, body, {**headers, **STALE}, seen=_of_all(key))
    if expected.foreign is not None:
        yield from _foreign_ids(stage, route, name, method, expected.foreign, body)
    for one in named(stage, key, all_of_them=name == "admin"):
        params = {**own, **one.params}
        case = Case(key, method, name, one.where, one.sent, frozenset({one.status}), params, {}, one.body, headers)
        yield replace(case, alike=one.alike, leaves=one.leaves)
    if name != "admin" or expected.least == "open" or method == "HEAD":
        return
    yield from _queries(stage, route, own)
    if route.paged:
        for where, cursor in (("a made-up cursor", "bm9uc2Vuc2U"), ("the victim's cursor", stage.cursors[key])):
            wrong = frozenset({400})
            yield Case(key, method, name, where, cursor, wrong, own, {"cursor": cursor}, alike="cursor")
    if key in KEYED:
        again, where = {**headers, "idempotency-key": key_of(key)}, "the victim's idempotency key"
        yield Case(key, method, name, where, key_of(key), expected.own, own, {}, body, again)
    if isinstance(route.body, Json | Merge):
        yield from _bodies(stage, route, own, body)


def _foreign_ids(stage: Stage, route: Route, name: str, method: str, status: int, body: Any) -> Iterator[Case]:
    """An id of the victim's in the path is answered as one that never was: the one meant, or all for who may most."""
    key, all_of_them = f"{route.method} {route.path}", name == "admin" and method != "HEAD"
    for parameter in names_in(route):
        meant = stage.victim.ids if all_of_them else {parameter: _named(key, stage.victim.ids)[parameter]}
        tried = {"an id that never was": NEVER, **{f"the victim's {what}": id for what, id in meant.items()}}
        for where, id in tried.items():
            params = {**_own(stage, key), parameter: _acting(key, parameter, id)}
            headers = {**_type(route), **WHATEVER}
            case = Case(key, method, name, where, id, frozenset({status}), params, {}, body, headers, alike="path")
            yield replace(case, leaves=name == "staff, own tenant")  # the trail has the path that staff have called


def _queries(stage: Stage, route: Route, own: Mapping[str, str]) -> Iterator[Case]:
    """Each parameter with each id of the victim's, and a tenant's id where none is taken."""
    key, body, headers = f"{route.method} {route.path}", own_body(stage, route), {**_type(route), **STALE}
    wrong = frozenset({400})
    if "tenant_id" not in route.query.model_fields:
        asked = {"tenant_id": stage.victim.id}
        where = "query tenant_id"
        yield Case(key, route.method, "admin", where, stage.victim.id, wrong, own, asked, body, headers)
    for name, declared in route.query.model_fields.items():
        if name in ("limit", "cursor", "cascade", "dry_run", "depth", "after", "wait", "version"):
            continue  # numbers and switches
        given = declared.alias or name
        texts = {
            what: stage.victim.words[what] for what in ("element", "agent", "model", "provider", "tool", "MCP server")
        }
        ids = {what: id for what, id in stage.victim.ids.items() if is_uuid(id)}
        values = ids if TAKES_AN_ID.search(name) or name == "model" else texts
        for what, value in {"id that never was": NEVER, **values}.items():
            where = f"query {given}: the {what}"
            statuses = frozenset({200, 400, 404})
            case = Case(key, route.method, "admin", where, value, statuses, own, {given: value}, body, headers)
            yield replace(case, alike=f"query {given}", empty=True)


def _bodies(stage: Stage, route: Route, own: Mapping[str, str], body: Any) -> Iterator[Case]:
    """Each field that takes an id, with each of the victim's; and a tenant's id, which no body has."""
    key = f"{route.method} {route.path}"
    sent = {**(body or {}), "tenant_id": stage.victim.id}
    yield Case(key, route.method, "admin", "body tenant_id", stage.victim.id, frozenset({400}), own, {}, sent, WHATEVER)
    for dotted in id_fields(route):
        status = BODIES.get((key, dotted))
        if status is None:
            continue  # the table lacks it: a test of its own says so
        for what, value in _values(stage, dotted).items():
            base = body if isinstance(route.body, Json) else {"status": "draft"} if "agents" in key else {}
            given = [f"agent:{value}"] if dotted.endswith("tools") else [value] if dotted.endswith("_ids") else value
            alike = f"body {dotted}" if status >= 400 else None
            where = f"body {dotted}: the {what}"
            changed = _set(base, dotted, given)
            case = Case(key, route.method, "admin", where, value, frozenset({status}), own, {}, changed, WHATEVER)
            yield replace(case, alike=alike, leaves=status < 400)


def _values(stage: Stage, dotted: str) -> dict[str, str]:
    victim = stage.victim
    if dotted.endswith("slug"):
        return {"slug": victim.slug}
    if dotted.endswith("issuer"):
        return {"issuer": victim.words["issuer"]}
    if dotted.endswith("tools"):
        return {"agent": victim.ids["agent_id"]}
    if dotted.endswith("email"):
        return {"invited": victim.words["invited"], "admin e-mail": victim.admin_email}
    return {"id that never was": NEVER, **victim.ids}


def key_of(key: str) -> str:
    return f"{KEY}:{key.replace(' ', ':')}"


def names_in(route: Route) -> list[str]:
    """The path parameters that take an id."""
    return [name for name in re.findall(r"{(\w+)}", route.path) if name not in WORDS]


def id_fields(route: Route) -> list[str]:
    """The fields of the declared body, dotted, that take an id or a name which all tenants share."""
    return list(dict.fromkeys(_fields(route.body.model))) if isinstance(route.body, Json | Merge) else []


def _fields(model: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, declared in model.model_fields.items():
        inner = list(_models(declared.annotation))
        for one in inner:
            yield from _fields(one, f"{above}{name}.")
        if not inner and TAKES_AN_ID.search(name):
            yield f"{above}{name}"


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for one in get_args(annotation):
        yield from _models(one)


def _set(body: Mapping[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """A copy with this in its place; of a list, in its first item."""
    name, _, rest = dotted.partition(".")
    if not rest:
        return {**body, name: value}
    held = body.get(name) or {}
    changed = [_set(held[0], rest, value), *held[1:]] if isinstance(held, list) else _set(held, rest, value)
    return {**body, name: changed}


def own_body(stage: Stage, route: Route) -> Any:
    """A body that the route takes, about the caller's own."""
    home, key = stage.home.ids, f"{route.method} {route.path}"
    ends = {"source_id": home["element_id"], "target_id": home["other element"]}
    twin = {"name": "Twin", "slug": f"twin-of-{stage.home.slug}"[:63], "admin_email": "admin@twin.example"}
    event = {"id": home["event"], "time": stage.home.event_time}
    bodies: dict[str, Any] = {
        "PUT v1/agents/{agent_id}": {"name": "Claims intake", "pattern": "Orchestrator", "status": "draft"},
        "POST v1/agents": {"name": "Claims intake", "pattern": "Orchestrator"},
        "POST v1/cases": {**route.example, "agent_id": home["agent_id"]},
        "PUT v1/cases/{case_id}": {**route.example, "agent_id": home["agent_id"]},
        "POST v1/executions/{execution_id}/decisions": {"step": 1, "decision": "approve"},
        "PUT v1/tools/{tool_id}": {"name": stage.home.words["tool"], "url": "https://api.acme.example/"},
        "PUT v1/mcp-servers/{mcp_server_id}": {
            "name": stage.home.words["MCP server"],
            "url": f"https://{MCP_HOST}/mcp",
        },
        "PUT v1/providers/{provider_id}": {**route.example, "name": stage.home.words["provider"]},
        "POST v1/elements": ELEMENT,
        "POST v1/relationships": {"type": "Association", **ends},
        "PUT v1/relationships/{relationship_id}": {"type": "Association", **ends},
        "POST v1/billing/downgrade": {"tier": "professional"},
        "POST v1/restores": {"backup_id": home["backup_id"], "target": "new_tenant", "new_tenant": twin},
        "POST v1/catalog/import": MODEL,
        "POST v1/catalog/imports": MODEL,
        "POST v1/openapi/import": OPENAPI,
        "POST v1/mcp": {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        f"POST {A2A}/message:send": message("the-same"),
        "POST v1/migrations/{migration_id}/rows": ROWS,
        "POST v1/platform/dead-letter-replays": {"tenant": stage.home.id},
        "POST v1/platform/tenants/{tenant_id}/usage-adjustments": {"reason": "a trial call", "event": event},
    }
    if key in bodies:
        return bodies[key]
    return dict(route.example) if isinstance(route.body, Json | Merge) else None


def _type(route: Route) -> dict[str, str]:
    if route.path.startswith(A2A):
        return SPOKEN
    return XML if route.path in ("v1/catalog/import", "v1/catalog/imports") else {}


def _own(stage: Stage, key: str) -> dict[str, str]:
    spare = key.endswith(("/suspend", "/resume")) or key in OF_SPARE
    ids = {**stage.home.ids, **({"tenant_id": stage.spare.id} if spare else {})}
    undone = {"migration_id": ids["migration to undo"]} if key.endswith("/undo") else {}  # it takes no rows any more
    return path_params(stage, key, {**ids, **undone})


def _of(stage: Stage, key: str) -> dict[str, str]:
    return path_params(stage, key, stage.victim.ids)


def path_params(stage: Stage, key: str, ids: Mapping[str, str]) -> dict[str, str]:
    """What the route's path takes, out of these ids."""
    known = {**_named(key, ids), "month": stage.site.month, "step": "1", "code": "not_found", "issuer": "b2c"}
    known |= {"hook": f"{ids['tenant_id']}.{ids['webhook_id']}", "token": "e30.e30"}  # signed by nobody
    known["config"] = "1"
    return {name: _acting(key, name, known[name]) for name in re.findall(r"{(\w+)}", key)}


def _named(key: str, ids: Mapping[str, str]) -> Mapping[str, str]:
    """What these ids are by the route's names: by A2A only agents are called that are in use."""
    return {**ids, "agent_id": ids["published agent"], "execution_id": ids["task of it"]} if A2A in key else ids


def _acting(key: str, parameter: str, id: str) -> str:
    """With what is to be done with it, where that is said behind it."""
    return f"{id}:cancel" if (key, parameter) == (f"POST {A2A}/tasks/{{execution_id}}", "execution_id") else id


def _of_all(key: str) -> bool:
    """Whether it shows, to Flowgrid's staff alone, what all tenants have."""
    return EXPECTED[key].least == "staff"
