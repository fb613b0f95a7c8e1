"""Schemathesis against the running host: the API does what its own OpenAPI says, for each role, all checks on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from function_app import own_core
from shared.auth.roles import Role
from shared.http.openapi_answers import statuses
from tests.e2e.api import Api, Flowgrid

HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
SEED = "20261124"
EXAMPLES = "15"
ALL = "examples,coverage,fuzzing"
SLOWLY = ("--rate-limit", "550/m")  # of the 600 that staff have

# Every check is on. Three of them judge by status alone, so they are told which of our statuses say what they ask for:
# - a PUT without If-Match is a 428, which RFC 6585 made for it;
# - a request that is wrong may be refused for its size (413), or for the version that it is meant for (412);
# - a request that is right by its schema may still contradict an earlier one under its Idempotency-Key (422).
# A tenant has few MCP servers (429), and none of those that are made up is there to be asked (502).
# A restore that the run itself has begun fences the tenant while it runs: a 503 is expected, no other 5xx.
# What ArchiMate allows between which elements, which backup there is, how long ago is too long, which of two times is
# later, which address is public, which agent is the tenant's, which keys of a team are there once, what a question was
# called, which arguments the URL of a tool has, how much of one's own a key may be given, which secret a sender signs
# with, what is in an old row, what a server outside says of its tools: no schema can say that, so a 400 is expected
# there and only there.
CONFIG = f"""
hooks = "{HOOKS}"

[checks]
missing_required_header.expected-statuses = ["400", "401", "403", "415", "428"]
negative_data_rejection.expected-statuses = [
  "400", "401", "403", "404", "405", "409", "412", "413", "415", "422", "428"
]
positive_data_acceptance.expected-statuses = ["2xx", "304", "401", "403", "404", "409", "422", "503"]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]

[[operations]]
include-path-regex = "/v1/(elements|relationships|cases|tools|providers|issuers|restores|usage$|[a-z]+/import)"
checks.positive_data_acceptance.expected-statuses = ["2xx", "304", "400", "401", "403", "404", "409", "422", "503"]

[[operations]]
include-path-regex = "/v1/(api-keys|hooks|agents/.*/hooks|webhook|migrations|mcp$|models/.*/)"
checks.positive_data_acceptance.expected-statuses = ["2xx", "304", "400", "401", "403", "404", "409", "422", "503"]

[[operations]]
include-path-regex = "/v1/mcp-servers(/[^/]*)?$"
checks.positive_data_acceptance.expected-statuses = [
  "2xx", "304", "400", "401", "403", "404", "409", "422", "429", "503"
]

[[operations]]
include-path-regex = "/v1/mcp-servers/[^/]*/refresh$"
checks.positive_data_acceptance.expected-statuses = [
  "2xx", "304", "400", "401", "403", "404", "409", "412", "422", "429", "502", "503"
]
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "502", "503"]

[[operations]]
include-path-regex = "analytics$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "304", "400", "401", "403", "404", "409", "422", "503"]

[[operations]]
include-path-regex = "/v1/(platform/.*/usage-adjustments|design/sessions/.*/answers)"
checks.positive_data_acceptance.expected-statuses = ["2xx", "304", "400", "401", "403", "404", "409", "422", "503"]
"""


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """The same, in which `default`, that allows every status, is those that the operation's route declares."""
    routes = {(f"/api/{route.path}", route.method.lower()): route for route in own_core.endpoint.routes}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            any_other = operation["responses"].pop("default")
            declared = dict.fromkeys(map(str, sorted(statuses(routes[path, method]))), any_other)
            operation["responses"] = {**declared, **operation["responses"]}
    return document


async def test_no_status_is_allowed_that_its_route_does_not_declare(flowgrid: Flowgrid) -> None:
    document = strict((await flowgrid.anonymous.get("/api/openapi.json")).json())
    agents = document["paths"]["/api/v1/agents"]["get"]["responses"]
    assert sorted(agents) == ["200", "400", "401", "403", "429", "500", "503"]
    assert "default" not in {
        status for methods in document["paths"].values() for one in methods.values() for status in one["responses"]
    }


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("role", "selection"),
    [
        ("viewer", ["--phases", "examples,fuzzing"]),
        ("user", ["--phases", ALL]),
        ("admin", ["--phases", f"{ALL},stateful"]),
        ("staff", ["--phases", ALL, "--include-path", "/api/v1/platform/tenants"]),
        ("staff", ["--phases", ALL, "--include-path-regex", "/platform/tenants/[^/]+($|/[a-z]+$)", *SLOWLY]),
        ("staff", ["--phases", ALL, "--include-path-regex", "/usage-adjustments"]),
        ("staff", ["--phases", ALL, "--include-path-regex", "/platform/.*/staff-access"]),
        ("staff", ["--phases", ALL, "--include-path-regex", "/platform/dead-letter"]),
        ("staff", ["--phases", ALL, "--exclude-path-regex", "/platform/(tenants|dead-letter)"]),
    ],
    ids=[
        *("viewer", "user", "admin", "staff on tenants", "staff on one tenant", "staff on its usage"),
        *("staff on their access", "staff on dead letters", "staff on all else"),
    ],
)
async def test_the_api_does_what_its_description_says(
    flowgrid: Flowgrid, tmp_path: Path, role: str, selection: list[str]
) -> None:
    if role == "staff":
        flowgrid.host.restart()  # the staff's own rate limit is fixed; it begins anew
    tenant = await flowgrid.onboard("enterprise", max_agents=1_000_000, max_users=1_000_000)
    api: Api = getattr(tenant, role)
    (tmp_path / "schemathesis.toml").write_text(CONFIG, encoding="utf-8")
    document = strict((await flowgrid.anonymous.get("/api/openapi.json")).json())
    (tmp_path / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run", "openapi.json"]
    command += ["--url", flowgrid.host.url, "--checks", "all", "--continue-on-failure", "--no-color"]
    command += ["--max-examples", EXAMPLES, "--seed", SEED, "-H", f"Authorization: Bearer {api.token}"]
    command += ["-H", f"x-tenant-id: {api.tenant_id}"] if api.tenant_id else []
    run = subprocess.run([*command, *selection], cwd=tmp_path, capture_output=True, text=True)  # noqa: ASYNC221
    assert run.returncode == 0, run.stdout + run.stderr
    late = Api(flowgrid.http, flowgrid.host.url, flowgrid.token(Role.VIEWER, tenant.id, f"late@{tenant.id}.example"))
    assert (await late.get("quotas")).status_code == 200, "the limits were spent, so not all of it was tested"
