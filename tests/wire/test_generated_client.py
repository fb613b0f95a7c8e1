"""A client that a public generator makes of our OpenAPI: it imports, and calls the running host."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.auth.roles import Role
from tests.e2e.api import Flowgrid, new_http
from tests.e2e.host import Host

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements/client.txt"
# What the generator cannot do, of our 50 operations and more: XML, in and out.
LEFT_OUT = {"Unsupported content type application/xml", "Unsupported content type text/xml"}
PROGRAM = """
import importlib, json, pkgutil, sys
import flowgrid
from flowgrid import AuthenticatedClient
from flowgrid.api.agents import create_agent, get_agent, list_agents, patch_agent
from flowgrid.models import Agent, AgentFields, AgentPage, AgentPatch, AgentPattern, AgentStatus, Problem

for module in pkgutil.walk_packages(flowgrid.__path__, "flowgrid."):
    importlib.import_module(module.name)
client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
made = create_agent.sync(client=client, body=AgentFields(name="Claims intake", pattern=AgentPattern.ORCHESTRATOR))
assert isinstance(made, Agent), made
patch = AgentPatch(status=AgentStatus.ACTIVE)
changed = patch_agent.sync(made.id, client=client, body=patch, if_match=f'"{made.revision}-{made.updated_at}"')
assert isinstance(changed, Problem) and changed.code == "precondition_failed", changed
changed = patch_agent.sync(made.id, client=client, body=patch)
assert isinstance(changed, Agent) and changed.status is AgentStatus.ACTIVE and changed.revision == 2, changed
page = list_agents.sync(client=client, status=AgentStatus.ACTIVE)
assert isinstance(page, AgentPage) and [one.id for one in page.items] == [made.id] and page.next_cursor is None, page
gone = get_agent.sync("019e5a3c-7d2e-7b1a-9c55-0d6c1f0a7e11", client=client)
assert isinstance(gone, Problem) and gone.code == "not_found", gone
names = [module.name for module in pkgutil.walk_packages(flowgrid.__path__, "flowgrid.")]
print(json.dumps([name for name in names if name.startswith("flowgrid.api.")]))
"""


@pytest.fixture(scope="module")
def generator() -> Path:
    """The generator's own environment, as it is locked; kept between runs."""
    folder = Path(os.environ.get("FLOWGRID_CLIENT_CACHE", "~/.cache/flowgrid-client")).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    python, wanted = folder / "venv/bin/python", f"{sys.version}\n{LOCK.read_text('utf-8')}"
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        installed = folder / ".installed"
        if not installed.exists() or installed.read_text("utf-8") != wanted:
            pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes"]
            make = [sys.executable, "-m", "venv", "--clear", str(folder / "venv")]
            for command in (make, [*pip, "--no-deps", "-r", str(LOCK)]):
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode and os.environ.get("CI") != "true":
                    pytest.skip(f"the generator cannot be installed: {done.stderr[-500:]}")
                assert done.returncode == 0, done.stderr
            installed.write_text(wanted, "utf-8")
    return python


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("host"))
    host.start()
    yield host
    host.stop()


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_generated_client_imports_and_creates_changes_and_lists_agents(
    generator: Path, served: Host, tmp_path: Path
) -> None:
    async with new_http() as http:
        flowgrid = Flowgrid(served, http)
        document = tmp_path / "openapi.json"
        document.write_text((await flowgrid.anonymous.get("/api/openapi.json")).text, "utf-8")
        tenant = await flowgrid.onboard()
        token = flowgrid.token(Role.ADMIN, tenant.id, tenant.document["admin_email"])
    environment = {
        **os.environ,
        "PATH": f"{generator.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path),
    }
    command = [str(generator.with_name("openapi-python-client")), "generate", "--path", str(document), "--meta", "none"]
    made = subprocess.run(  # noqa: ASYNC221
        [*command, "--output-path", str(tmp_path / "flowgrid")], env=environment, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stdout + made.stderr
    said = {line.strip() for line in (made.stdout + made.stderr).splitlines()}
    assert {line for line in said if line.startswith(("Unsupported", "Unable", "Could not"))} <= LEFT_OUT
    used = subprocess.run(  # noqa: ASYNC221
        [str(generator), "-W", "error", "-c", PROGRAM, served.url, token],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert used.returncode == 0, used.stderr
    functions = {name.rpartition(".")[2] for name in json.loads(used.stdout)}
    operations = {
        operation["operationId"]
        for methods in json.loads(document.read_text("utf-8"))["paths"].values()
        for operation in methods.values()
    }
    xml = {"import_catalog", "begin_import"}
    assert operations - functions == xml, "a client has a function for each operation, but for XML in"
