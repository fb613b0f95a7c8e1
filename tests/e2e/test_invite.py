"""`python -m cli invite --api`: the people of a file come into a tenant of a running Flowgrid."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.auth.roles import Role
from tests.e2e.api import Flowgrid, Tenant

FILE = "email;name;role\ngrace@acme.example;Grace;user\nno address;X;user\nada@acme.example;Ada;admin\n"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "users.csv"
    path.write_text(FILE)
    return path


async def invited(file: Path, url: str, token: str, tenant: str, *options: str) -> tuple[int, Any, str]:
    """Exit code, report and what is on standard error."""
    command = [sys.executable, "-m", "cli", "invite", str(file), "--tenant", tenant, "--api", url, "--json", *options]
    env = {**os.environ, "FLOWGRID_TOKEN": token}
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, env=env, capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


@pytest.mark.parametrize("who", ["admin", "staff"])
async def test_an_admin_or_staff_invite_and_again_is_no_error(flowgrid: Flowgrid, file: Path, who: str) -> None:
    acme = await flowgrid.onboard()
    token = (
        flowgrid.token(Role.ADMIN, acme.id, acme.document["admin_email"])
        if who == "admin"
        else flowgrid.token(Role.PLATFORM)
    )
    slug = acme.document["slug"]
    results = []
    for options in (["--dry-run"], [], []):
        code, report, said = await invited(file, flowgrid.host.url, token, slug, *options)
        assert code == 1, said
        results.append([line["result"] for line in report["lines"]])
    assert results == [
        ["invited", "refused", "invited"],
        ["invited", "refused", "invited"],
        ["already there", "refused", "already there"],
    ]
    roles = {user["email"]: user["role"] for user in await acme.admin.every("users")}
    assert (roles["grace@acme.example"], roles["ada@acme.example"]) == ("user", "admin")


async def test_the_plan_holds_over_the_api_too(flowgrid: Flowgrid, file: Path) -> None:
    acme = await flowgrid.onboard(max_users=2)
    token = flowgrid.token(Role.ADMIN, acme.id, acme.document["admin_email"])
    code, report, _ = await invited(file, flowgrid.host.url, token, acme.document["slug"])
    assert (code, report["lines"][2]["result"]) == (1, "refused")
    assert report["lines"][2]["reason"].startswith("User quota exceeded")


async def test_a_token_of_another_tenant_invites_nobody(flowgrid: Flowgrid, acme: Tenant, file: Path) -> None:
    globex = await flowgrid.onboard()
    code, report, said = await invited(file, flowgrid.host.url, flowgrid.token(Role.ADMIN, globex.id), acme.id)
    assert (code, report) == (2, None)
    assert said.startswith("flowgrid: The token is of the tenant")
    viewer = flowgrid.token(Role.VIEWER, acme.id)
    code, report, said = await invited(file, flowgrid.host.url, viewer, acme.id)
    assert (code, report, "403" in said) == (2, None, True)
