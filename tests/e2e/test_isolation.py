"""The prover: nothing of another tenant can be reached, seen, changed or told from what is not there.

It reads the app's own routes, so a new route is under proof from its first day; one with a path parameter that
`Victim.ids` does not know fails `test_each_path_parameter_has_an_id_of_the_victim` until its author adds one.
"""

import ast
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import azure.functions as func
import httpx
import pytest
import pytest_asyncio

import function_app
from function_app import platform
from functions.usage.archiving import ARCHIVED
from functions.usage.blocks import BLOCK
from functions.usage.hours import HOUR, OPEN
from shared.clock import rfc3339
from shared.database.port import Document
from shared.http.bodies import Json, Merge, Raw
from shared.http.routes import Route
from shared.ids import Uuid7Ids
from shared.work.events import Metric
from shared.work.outbox import OUTBOX
from tests.doubles.usage import events_in
from tests.e2e.api import AGENT, Api, Flowgrid, Tenant
from tests.e2e.host import ROOT, eventually

ROUTES = platform.endpoint.routes
TENANT_ROUTES = [route for route in ROUTES if route.role is not None and not route.platform]
STAFF_ROUTES = [route for route in ROUTES if route.platform]
LISTS = [route for route in TENANT_ROUTES if route.paged and "{" not in route.path]
OF_THE_MOMENT = {"date", "server-timing", "ratelimit-remaining", "ratelimit-reset"}
ELEMENT = {"name": "Incident management", "type": "BusinessProcess"}
PROVIDER = {"name": "ours", "wire": "openai", "models": ["gpt-5"], "key": "key-of-the-victim"}
XML = {"content-type": "application/xml"}
CALENDAR = {"month": f"{platform.services.clock.now():%Y-%m}"}  # path parameters that are no ids: everybody has them
NUMBERS = {"step": "1"}  # and those that say which part is meant of what an id names


@dataclass(frozen=True)
class Victim:
    """A tenant with something of everything; `ids` by the name of the path parameter that takes them."""

    tenant: Tenant
    ids: dict[str, str]
    email: str

    @property
    def secrets(self) -> list[str]:
        return [self.tenant.id, *self.ids.values()]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def victim(flowgrid: Flowgrid) -> Victim:
    """Everything that the POST routes can make, made; and all of it at rest."""
    tenant = await flowgrid.onboard(max_agents=10, max_users=10, trial_days=3)
    admin, ids, email = tenant.admin, {"tenant_id": tenant.id}, f"{uuid4().hex}@example.com"
    target = await admin.ok("POST", "elements", {**ELEMENT, "name": "Desk", "type": "BusinessActor"})
    ids["element_id"] = (await admin.ok("POST", "elements", ELEMENT))["id"]
    ends = {"source_id": ids["element_id"], "target_id": target["id"]}
    ids["relationship_id"] = (await admin.ok("POST", "relationships", {"type": "Association", **ends}))["id"]
    ids["agent_id"] = (await admin.ok("POST", "agents", {**AGENT, "element_id": ids["element_id"]}))["id"]
    ids["provider_id"] = (await admin.ok("POST", "providers", PROVIDER))["id"]
    run = await admin.ok("POST", f"agents/{ids['agent_id']}/executions", {"input": "Who owns incidents?"})
    ids["execution_id"] = run["id"]
    tool = {"name": f"t-{uuid4().hex}", "url": "https://api.acme.example/", "secret": uuid4().hex}
    ids["tool_id"] = (await admin.ok("POST", "tools", tool))["id"]
    file = (ROOT / "cli" / "samples" / "it4it.xml").read_bytes()
    ids["model_id"] = (await admin.ok("POST", "catalog/import", content=file, headers=XML))["model_id"]
    created = await admin.every("audit", action="agent.created")
    ids["entry_id"] = created[0]["id"]
    ids["user_id"] = (await admin.ok("POST", "users", {"email": email}))["id"]
    backup = await admin.ok("POST", "backups", {"note": "mine"})
    ids["backup_id"], ids["job_id"] = backup["id"], backup["job_id"]

    async def backed_up() -> bool:
        """the backup is complete"""
        return bool((await admin.ok("GET", f"backups/{backup['id']}"))["status"] == "succeeded")

    async def over() -> bool:
        """the run is over"""
        shown = await admin.ok("GET", f"executions/{run['id']}")
        return shown["status"] not in ("queued", "running", "waiting")

    await eventually(backed_up)
    await eventually(over)
    expected = [{"op": "contains", "value": "photo"}]
    case = {"agent_id": ids["agent_id"], "name": "Roof", "input": "My roof is broken.", "expected": expected}
    ids["case_id"] = (await admin.ok("POST", "cases", case))["id"]
    design = await admin.ok("POST", "design/sessions", {"brief": "Triage new claims and answer them."})
    ids["design_id"] = design["id"]

    async def designed() -> bool:
        """the wizard has asked"""
        return not (await admin.ok("GET", f"design/sessions/{design['id']}"))["working"]

    await eventually(designed)
    tried = await admin.ok("POST", f"agents/{ids['agent_id']}/publish")
    ids["publication_id"] = tried["id"]

    async def tried_out() -> bool:
        """the publication is over"""
        return bool((await admin.ok("GET", f"publications/{tried['id']}"))["status"] == "succeeded")

    await eventually(tried_out)
    slug = f"t-{uuid4().hex[:20]}"
    twin = {"name": slug, "slug": slug, "admin_email": f"admin@{slug}.example"}
    asked = {"backup_id": backup["id"], "target": "new_tenant", "new_tenant": twin}
    ids["restore_id"] = (await admin.ok("POST", "restores", asked))["id"]
    await flowgrid.run("store_usage", {"tenant_id": tenant.id, "nonsense": uuid4().hex})
    ids["letter_id"] = (await flowgrid.staff.every("platform/dead-letters"))[0]["id"]

    await flowgrid.run("sweep")  # which tells of the end of the trial
    ids["notification_id"] = (await admin.every("notifications"))[0]["id"]

    async def restored() -> bool:
        """the restore has succeeded"""
        return bool((await admin.ok("GET", f"restores/{ids['restore_id']}"))["status"] == "succeeded")

    await eventually(restored)
    await _counted(flowgrid, tenant)
    event = (await admin.every("usage/events", name="get_me"))[-1]
    void = {"reason": "a trial call", "event": {"id": event["id"], "time": event["time"]}}
    adjusted = await flowgrid.staff.ok("POST", f"platform/tenants/{tenant.id}/usage-adjustments", void)
    ids["adjustment_id"] = adjusted["id"]

    async def voided() -> bool:
        """the event is taken out"""
        return bool(await admin.every("usage/events", standing="voided"))

    await eventually(voided)
    await _counted(flowgrid, tenant)
    return Victim(tenant, ids, email)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def attacker(flowgrid: Flowgrid) -> Tenant:
    """Another tenant; its admin may do there whatever a customer can."""
    return await flowgrid.onboard()


@pytest_asyncio.fixture(loop_scope="session")
async def untouched(flowgrid: Flowgrid, victim: Victim) -> AsyncIterator[None]:
    """Every item that the victim has in the store, usage and bookkeeping included, is the same before and after."""
    before = await _at_rest(flowgrid, victim.tenant)
    yield
    assert await _at_rest(flowgrid, victim.tenant) == before


# --- ids -------------------------------------------------------------------------------------------------------------


def test_each_path_parameter_has_an_id_of_the_victim(victim: Victim) -> None:
    tenants = [route for route in ROUTES if route.role is not None]  # what is open names nothing of anybody
    assert {name for route in tenants for name in _parameters(route)} == {*victim.ids, *CALENDAR}


async def test_the_victim_itself_reaches_all_of_it(flowgrid: Flowgrid, victim: Victim) -> None:
    """Else the proof below would prove nothing."""
    for route in TENANT_ROUTES:
        if route.method == "GET" and "{" in route.path:
            answer = await _call(victim.tenant.admin, route, victim.ids)
            assert answer.status_code == 200, f"{route.name}: {answer.text}"
    await _counted(flowgrid, victim.tenant)


@pytest.mark.parametrize("route", [route for route in TENANT_ROUTES if "{" in route.path], ids=lambda route: route.name)
@pytest.mark.usefixtures("untouched")
async def test_anothers_id_is_answered_like_an_id_that_never_was(
    victim: Victim, attacker: Tenant, route: Route
) -> None:
    (parameter,) = _parameters(route)
    never = Uuid7Ids().new()
    reference = _comparable(await _call(attacker.admin, route, {parameter: never}), never)
    assert reference[0] == 404
    for name, id in victim.ids.items():
        answer = await _call(attacker.admin, route, {parameter: id})
        assert _comparable(answer, id) == reference, f"{route.method} {route.path} with the victim's {name}"


@pytest.mark.parametrize("route", [route for route in STAFF_ROUTES if "{" in route.path], ids=lambda route: route.name)
@pytest.mark.usefixtures("untouched")
async def test_the_staffs_routes_refuse_a_customer_alike_whatever_the_id(
    victim: Victim, attacker: Tenant, route: Route
) -> None:
    async def asked(id: str) -> tuple[int, bytes, dict[str, str]]:
        return _comparable(await _call(attacker.admin, route, dict.fromkeys(_parameters(route), id)), id)

    reference = await asked(Uuid7Ids().new())
    assert reference[0] == 403
    for id in [*victim.ids.values(), attacker.id]:
        assert await asked(id) == reference


@pytest.mark.parametrize(
    "route", [route for route in TENANT_ROUTES if any(f"{{{name}}}" in route.path for name in CALENDAR)]
)
async def test_what_everybody_has_of_a_month_is_ones_own(victim: Victim, attacker: Tenant, route: Route) -> None:
    answer = await _call(attacker.admin, route, {})
    assert answer.status_code == 200 and attacker.id in answer.text
    assert not [secret for secret in victim.secrets if secret in answer.text]


# --- queries and bodies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", LISTS, ids=lambda route: route.name)
@pytest.mark.usefixtures("untouched")
async def test_a_list_shows_nothing_of_another_tenant_whatever_it_is_filtered_by(
    victim: Victim, attacker: Tenant, route: Route
) -> None:
    path = route.path.removeprefix("v1/")
    whole = await attacker.admin.get(path, params={"limit": 200})
    assert whole.status_code == 200
    assert not [secret for secret in victim.secrets if secret in whole.text]
    for name, field in route.query.model_fields.items():
        if name in ("limit", "cursor"):
            continue
        for value in [*victim.secrets, victim.email, "Incident management"]:
            answer = await attacker.admin.get(path, params={field.alias or name: value})
            nothing = answer.status_code == 400 or not answer.text or answer.json()["items"] == []
            assert nothing, f"{route.path}?{name}={value}"


@pytest.mark.usefixtures("untouched")
async def test_a_body_that_names_anothers_element_is_refused_like_one_that_names_nothing(
    victim: Victim, attacker: Tenant
) -> None:
    own = await attacker.admin.ok("POST", "elements", ELEMENT)
    other = await attacker.admin.ok("POST", "elements", {**ELEMENT, "name": "Other"})
    agent = await attacker.admin.ok("POST", "agents", AGENT)
    ends = {"source_id": own["id"], "target_id": other["id"]}
    link = {"type": "Association", **ends}
    relationship = await attacker.admin.ok("POST", "relationships", link)
    attempts: list[tuple[str, str, dict[str, Any], str]] = [
        ("POST", "agents", AGENT, "element_id"),
        ("PUT", f"agents/{agent['id']}", AGENT, "element_id"),
        ("PATCH", f"agents/{agent['id']}", {}, "element_id"),
    ]
    for end in ends:
        attempts += [
            ("POST", "relationships", link, end),
            ("PUT", f"relationships/{relationship['id']}", link, end),
            ("PATCH", f"relationships/{relationship['id']}", {}, end),
        ]
    for method, path, body, field in attempts:
        never = Uuid7Ids().new()

        async def answer(id: str, method: str = method, path: str = path, body: Any = body, field: str = field) -> Any:
            headers = {"if-match": "*", "x-request-id": "same"}
            return await attacker.admin.call(method, path, json={**body, field: id}, headers=headers)

        reference = _comparable(await answer(never), never)
        assert reference[0] == 400, reference
        for name, id in victim.ids.items():
            assert _comparable(await answer(id), id) == reference, f"{method} {path} with the victim's {name}"


@pytest.mark.usefixtures("untouched")
async def test_a_restore_of_anothers_backup_finds_nothing(victim: Victim, attacker: Tenant) -> None:
    async def answer(id: str) -> httpx.Response:
        asked = {"backup_id": id, "target": "in_place", "confirm": attacker.document["slug"]}
        return await attacker.admin.post("restores", asked, headers={"x-request-id": "same"})

    never = Uuid7Ids().new()
    reference = _comparable(await answer(never), never)
    assert reference[0] == 404
    assert _comparable(await answer(victim.ids["backup_id"]), victim.ids["backup_id"]) == reference
    now = rfc3339(platform.services.clock.now())
    slug = attacker.document["slug"]
    as_of = await attacker.admin.post("restores", {"as_of": now, "target": "in_place", "confirm": slug})
    assert as_of.status_code == 409, "the attacker has no backup of its own"


@pytest.mark.usefixtures("untouched")
async def test_an_invitation_says_nothing_of_the_address_in_other_tenants(victim: Victim, attacker: Tenant) -> None:
    answer = await attacker.admin.post("users", {"email": victim.email})
    assert answer.status_code == 201
    assert not [secret for secret in victim.secrets if secret in answer.text]
    await attacker.admin.delete(f"users/{answer.json()['id']}")


async def test_the_same_idempotency_key_means_nothing_in_another_tenant(
    flowgrid: Flowgrid, victim: Victim, attacker: Tenant
) -> None:
    key = {"idempotency-key": uuid4().hex}
    one = await victim.tenant.admin.ok("POST", "elements", ELEMENT, headers=key)
    two = await attacker.admin.post("elements", ELEMENT, headers=key)
    assert two.status_code == 201 and two.json()["id"] != one["id"] and two.json()["tenant_id"] == attacker.id
    await _counted(flowgrid, victim.tenant)


# --- the token alone says which tenant it is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "route", [route for route in TENANT_ROUTES if route.method == "GET"], ids=lambda route: route.name
)
async def test_a_header_that_names_a_tenant_changes_nothing(victim: Victim, attacker: Tenant, route: Route) -> None:
    named = {"x-tenant-id": victim.tenant.id, "tenant-id": victim.tenant.id, "x-ms-tenant-id": victim.tenant.id}
    answer = await _call(attacker.admin, route, dict.fromkeys(_parameters(route), Uuid7Ids().new()), headers=named)
    assert answer.status_code == (404 if "{" in route.path else 200)
    assert not [secret for secret in victim.secrets if secret in answer.text]


@pytest.mark.parametrize(
    "route", [route for route in TENANT_ROUTES if not isinstance(route.body, Raw)], ids=lambda route: route.name
)
async def test_a_tenant_id_in_the_query_is_an_unknown_parameter(victim: Victim, attacker: Tenant, route: Route) -> None:
    answer = await _call(attacker.admin, route, victim.ids, params={"tenant_id": victim.tenant.id})
    assert answer.status_code == 400, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == ["tenant_id"]


@pytest.mark.parametrize(
    "route",
    [route for route in TENANT_ROUTES if isinstance(route.body, Json | Merge)],
    ids=lambda route: route.name,
)
@pytest.mark.usefixtures("untouched")
async def test_a_tenant_id_in_a_body_is_an_unknown_field(victim: Victim, attacker: Tenant, route: Route) -> None:
    body = {**route.example, "tenant_id": victim.tenant.id}
    answer = await _call(attacker.admin, route, victim.ids, json=body)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["tenant_id"]


async def test_staff_reach_a_tenant_only_by_naming_it(flowgrid: Flowgrid, victim: Victim) -> None:
    assert (await flowgrid.staff.get("agents")).status_code == 403
    assert (await flowgrid.staff.get("agents", headers={"x-tenant-id": "acme"})).status_code == 400
    assert (await flowgrid.staff.get("agents", headers={"x-tenant-id": str(uuid4())})).status_code == 403
    shown = await victim.tenant.staff.every("agents")
    assert [agent["id"] for agent in shown] == [victim.ids["agent_id"]]


# --- how it is built -------------------------------------------------------------------------------------------------


def test_each_http_function_is_declared_through_the_one_pipeline() -> None:
    http = {name: trigger for name, trigger in _functions() if trigger["type"] == "httpTrigger"}
    declared = {route.name: (route.path, *route.methods) for route in ROUTES}
    found = {name: (trigger["route"], *map(str, trigger["methods"])) for name, trigger in http.items()}
    assert found == declared
    anonymous = [name for name, trigger in http.items() if trigger["authLevel"] != func.AuthLevel.ANONYMOUS]
    assert anonymous == [], "the pipeline authenticates; a function key would be a second, weaker way"


def test_function_names_are_unique() -> None:
    names = [name for name, _ in _functions()]
    assert len(names) == len(set(names))
    operations = [(route.method, re.sub(r"{\w+}", "{}", route.path)) for route in ROUTES]
    assert len(operations) == len(set(operations))


def test_only_health_and_the_apis_description_are_open() -> None:
    assert {route.path for route in ROUTES if route.role is None} == {
        *("health", "openapi.json", "docs", "problems/{code}"),
        *("docs/swagger-ui-bundle.js", "docs/swagger-ui.css", "docs/start.js"),
    }


def test_the_composition_root_imports_services_and_shared_only() -> None:
    allowed = re.compile(r"(os|azure\.functions|(functions|shared)(\.\w+)*)\Z")
    assert [name for name in _imports(ROOT / "function_app.py") if not allowed.match(name)] == []


def test_only_trigger_files_and_hosts_know_azure_functions() -> None:
    """Services and adapters stay free of it (the linter's contract covers packages; this one covers every file)."""
    triggers = ("functions/*/http.py", "functions/*/bus.py", "functions/*/timer.py")
    allowed = {ROOT / "function_app.py"}
    for pattern in (*triggers, "shared/http/*.py", "local/*.py", "cli/*.py"):
        allowed |= set(ROOT.glob(pattern))
    code = {path for folder in ("functions", "shared", "local", "cli") for path in (ROOT / folder).rglob("*.py")}
    knowing = [path for path in code if any(name.startswith("azure.functions") for name in _imports(path))]
    assert sorted(str(path) for path in set(knowing) - allowed) == []


# --- helpers ---------------------------------------------------------------------------------------------------------


def _parameters(route: Route) -> list[str]:
    return [name for name in re.findall(r"{(\w+)}", route.path) if name not in NUMBERS]


async def _call(api: Api, route: Route, ids: dict[str, str], **rest: Any) -> httpx.Response:
    """The route with these ids, a body that it takes, and whatever version is there."""
    path = route.path
    known = {**CALENDAR, **NUMBERS, **ids}
    for name in re.findall(r"{(\w+)}", route.path):
        path = path.replace(f"{{{name}}}", known[name])
    headers = {"if-match": "*", "x-request-id": "same", **rest.pop("headers", {})}
    if isinstance(route.body, Json | Merge):
        rest.setdefault("json", dict(route.example))
    return await api.call(route.method, f"/api/{path}", headers=headers, **rest)


def _comparable(answer: httpx.Response, id: str) -> tuple[int, bytes, dict[str, str]]:
    """All of an answer but the id asked for (in `instance`, and where input is echoed) and what any moment changes."""
    headers = {name: value for name, value in answer.headers.items() if name not in OF_THE_MOMENT}
    return answer.status_code, answer.content.replace(id.encode(), b"<id>"), headers


async def _counted(flowgrid: Flowgrid, tenant: Tenant) -> None:
    """Wait until every call of the tenant so far is counted: one more call, and those before it, are."""

    async def calls() -> int:
        events = events_in(await flowgrid.host.items(tenant.id, BLOCK))
        return sum(event.dimension == "get_me" for event in events)

    before = await calls()
    await tenant.admin.ok("GET", "me")

    async def counted() -> bool:
        """the last call is counted"""
        return await calls() > before

    await eventually(counted)


async def _at_rest(flowgrid: Flowgrid, tenant: Tenant) -> list[Document]:
    """All items of a tenant, once nothing moves any more."""
    last: list[list[Document]] = [[]]

    async def still() -> bool:
        """the tenant's items are at rest"""
        items = await flowgrid.host.items(tenant.id)
        last.append([item for item in items if not _of_request_units(item)])
        return last[-1] == last[-2] and not [item for item in last[-1] if item["kind"] == OUTBOX]

    await eventually(still)
    return last[-1]


def _of_request_units(item: Document) -> bool:
    """What the tenant's own earlier calls have cost is told by the host every some minutes, whatever others do."""
    if item["kind"] == BLOCK:
        return set(item["sums"]) == {Metric.REQUEST_UNITS}
    return item["kind"] in (OPEN, HOUR, ARCHIVED)  # of the hour that such a block may have opened; of a daily round


def _functions() -> Iterator[tuple[str, dict[str, Any]]]:
    function_app.app.functions_bindings = None  # the SDK remembers names over calls
    for function in function_app.app.get_functions():
        trigger = function.get_trigger()
        assert trigger is not None
        yield str(function.get_function_name()), trigger.get_dict_repr()


def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = str(node.module)
            names += [f"{module}.{alias.name}" for alias in node.names] if module == "azure" else [module]
    return names
