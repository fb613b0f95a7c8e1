"""How it is delivered: workflows by GitHub's schema and by our own rules, identities without secrets, azd's file."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.snapshot import ROOT

INFRA = ROOT / "infra"
WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
DELIVERY = (INFRA / "modules/delivery.bicep").read_text("utf-8")
IN_SUBSCRIPTION = (INFRA / "modules/delivery-roles.bicep").read_text("utf-8")
MAKERS = {"actions", "azure"}  # GitHub's own actions, and Microsoft's


def workflow(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(WORKFLOWS[name].read_text("utf-8"), yaml.BaseLoader)
    return found


def steps(name: str) -> list[dict[str, str]]:
    return [step for job in workflow(name)["jobs"].values() for step in job.get("steps", [])]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_is_as_github_takes_it(name: str) -> None:
    if find_spec("check_jsonschema") is None and os.environ.get("CI") != "true":
        pytest.skip("check-jsonschema is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*command, str(WORKFLOWS[name])], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", WORKFLOWS)
def test_an_action_is_of_github_or_microsoft_in_a_version_that_is_named(name: str) -> None:
    used = [step["uses"] for step in steps(name) if "uses" in step]
    assert used
    assert [
        one for one in used if not re.fullmatch(rf"({'|'.join(MAKERS)})/[\w-]+@(v\d+(\.\d+)*|[0-9a-f]{{40}})", one)
    ] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_reads_unless_a_job_says_more_and_ends_in_time(name: str) -> None:
    assert workflow(name)["permissions"] == {"contents": "read"}
    for job in workflow(name)["jobs"].values():
        assert "uses" in job or int(job["timeout-minutes"]) <= 60
        assert job.get("permissions", {}).keys() <= {"contents", "id-token"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_script_has_a_text_from_outside_put_into_it(name: str) -> None:
    """https://docs.github.com/actions/security-guides/security-hardening-for-github-actions: through `env` only."""
    assert [step["run"] for step in steps(name) if "${{" in step.get("run", "")] == []
    assert "secrets." not in WORKFLOWS[name].read_text("utf-8"), "who signs in by federation needs none"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_a_workflow_calls_of_ours_is_there(name: str) -> None:
    runs = "\n".join(step.get("run", "") for step in steps(name))
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) | {".venv/.run"}
    assert set(re.findall(r"\bmake ([\w./-]+)", runs)) <= targets
    parameters = set(re.findall(r"infra/environments/\S+\.bicepparam", runs))
    environments = workflow("deploy")["on"]["workflow_dispatch"]["inputs"]["environment"]["options"]
    named = {one.replace("$ENVIRONMENT", environment) for one in parameters for environment in environments}
    assert [one for one in named if not (ROOT / one.strip('"')).exists()] == []


def test_a_deployment_is_checked_shown_released_tried_out_and_rolled_back() -> None:
    jobs = workflow("deploy")["jobs"]
    assert (jobs["plan"]["needs"], jobs["infrastructure"]["needs"]) == ("checks", "plan")
    assert jobs["release"]["needs"] == ["plan", "infrastructure"]
    done = [step.get("run", "") for step in jobs["release"]["steps"]]
    order = ["$GITHUB_SHA.zip", "--src flowgrid.zip", "cli smoke", "--name last-good.zip --file flowgrid.zip"]
    places = [next(place for place, run in enumerate(done) if wanted in run) for wanted in order]
    assert places == sorted(places)
    back = jobs["release"]["steps"][-1]
    assert back["if"] == "${{ failure() && steps.smoke.conclusion == 'failure' }}"
    assert "--src last-good.zip" in back["run"] and "cli smoke" in back["run"]


def test_one_deployment_of_an_environment_at_a_time_and_none_is_cut_off() -> None:
    assert workflow("deploy")["concurrency"] == {
        "group": "deploy-${{ inputs.environment }}",
        "cancel-in-progress": "false",
    }


def test_who_changes_the_stamp_is_another_one_than_who_releases_and_is_approved() -> None:
    jobs = workflow("deploy")["jobs"]
    assert jobs["infrastructure"]["environment"] == "${{ inputs.environment }}-infra"
    assert jobs["release"]["environment"] == jobs["plan"]["environment"] == "${{ inputs.environment }}"
    subjects = re.findall(r"subject: '(.+)'", DELIVERY)
    assert subjects == [
        "repo:${repository}:environment:${environmentName}",
        "repo:${repository}:environment:${environmentName}-infra",
    ]


def test_github_signs_in_by_federation_only() -> None:
    assert "var issuer = 'https://token.actions.githubusercontent.com'" in DELIVERY
    assert "var audience = 'api://AzureADTokenExchange'" in DELIVERY
    assert DELIVERY.count("issuer: issuer") == DELIVERY.count("audiences: [audience]") == 2
    assert [
        word for word in ("secret", "password", "listKeys", "key:") if word in DELIVERY.replace("no secret", "")
    ] == []


def test_who_releases_has_three_narrow_roles_and_asks_what_would_change() -> None:
    own = re.findall(r"guid\(([\w.()]+), release\.id, roles\.(\w+)\)", DELIVERY)
    assert own == [
        ("resourceGroup().id", "reader"),
        ("app.id", "websiteContributor"),
        ("releases.id", "blobDataContributor"),
    ]
    actions = re.findall(r"'(Microsoft\.Resources/\S+)'", IN_SUBSCRIPTION)
    assert [one for one in actions if one.endswith(("/write", "/delete", "*"))] == []
    assert "Microsoft.Resources/deployments/whatIf/action" in actions
    assert IN_SUBSCRIPTION.count("principalId: releasePrincipalId") == 1


def test_azd_makes_the_stamp_and_brings_the_same_package() -> None:
    found = yaml.load((ROOT / "azure.yaml").read_text("utf-8"), yaml.BaseLoader)
    assert found["infra"] == {"provider": "bicep", "path": "infra", "module": "main"}
    outputs = set(re.findall(r"^output (\w+) ", (INFRA / "main.bicep").read_text("utf-8"), re.MULTILINE))
    run = found["hooks"]["postprovision"]["run"]
    assert set(re.findall(r'"\$(\w+)"', run)) == {"resourceGroupName", "appName", "apiUrl"} <= outputs
    assert "make package" in run and "cli smoke" in run and "--build-remote false" in run


def test_the_package_is_where_everybody_looks_for_it() -> None:
    texts = [Path(ROOT / name).read_text("utf-8") for name in ("azure.yaml", "cli/app.py", ".github/workflows/ci.yml")]
    assert all(".data/flowgrid.zip" in text for text in texts)
