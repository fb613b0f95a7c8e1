"""How it is delivered: workflows by GitHub's schema and by our own rules, identities without secrets, azd's file."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.bicep import VERSION
from shared.version import COMMIT_FILE
from tests.infra.snapshot import ENVIRONMENTS, ROOT, Snapshot, snapshot

INFRA = ROOT / "infra"
WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
ASSIGNMENT = "Microsoft.Authorization/roleAssignments"
DEFINITION = "Microsoft.Authorization/roleDefinitions"
CONTAINER = "Microsoft.Storage/storageAccounts/blobServices/containers"
SITE = "Microsoft.Web/sites"
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
    assert "--src last-good.zip" in back["run"] and "cli smoke" in back["run"]


def test_whatever_comes_between_a_deployment_and_its_being_good_rolls_it_back() -> None:
    """A step that fails, a job that is out of time, a person who stops it: none leaves what nobody has tried."""
    release = workflow("deploy")["jobs"]["release"]["steps"]
    (deploy,) = [step for step in release if step.get("id") == "deploy"]
    (good,) = [step for step in release if step.get("id") == "good"]
    assert "--src flowgrid.zip" in deploy["run"] and "--name last-good.zip" in good["run"]
    back = "(failure() || cancelled()) && steps.deploy.outcome != 'skipped' && steps.good.outcome != 'success'"
    assert release[-1]["if"] == f"${{{{ {back} }}}}"


def test_nothing_is_released_to_a_stamp_whose_change_was_not_finished() -> None:
    """A job that was out of time is cancelled, and has not failed."""
    release = workflow("deploy")["jobs"]["release"]
    stamp = """contains(fromJSON('["success", "skipped"]'), needs.infrastructure.result)"""
    assert release["if"] == f"${{{{ !cancelled() && needs.plan.result == 'success' && {stamp} }}}}"


def test_every_smoke_test_of_a_delivery_is_of_the_commit_that_was_brought() -> None:
    runs = [step.get("run", "") for step in steps("deploy")] + [(ROOT / "azure.yaml").read_text("utf-8")]
    smokes = [line for run in runs for line in run.splitlines() if "cli smoke" in line]
    brought = ['"$GITHUB_SHA"', f'"$(unzip -p last-good.zip {COMMIT_FILE})"', '"$(git rev-parse HEAD)"']
    assert [line.partition("--expect ")[2].removesuffix(" --wait 600") for line in smokes] == brought


def test_the_compiler_is_the_one_that_has_written_the_snapshots() -> None:
    """Another may write them otherwise, and a release would wait for that."""
    (install,) = [step["run"] for step in steps("ci") if "az bicep install" in step.get("run", "")]
    assert install.splitlines()[0] == f"az bicep install --version v{VERSION}"


def test_one_deployment_of_an_environment_at_a_time_and_none_is_cut_off() -> None:
    assert workflow("deploy")["concurrency"] == {
        "group": "deploy-${{ inputs.environment }}",
        "cancel-in-progress": "false",
    }


def test_who_changes_the_stamp_is_another_one_than_who_releases_and_is_approved() -> None:
    jobs = workflow("deploy")["jobs"]
    assert jobs["infrastructure"]["environment"] == "${{ inputs.environment }}-infra"
    assert jobs["release"]["environment"] == jobs["plan"]["environment"] == "${{ inputs.environment }}"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_github_signs_in_by_federation_from_main_and_the_environment_of_that_name(environment: str) -> None:
    credentials = snapshot(environment).all(f"{IDENTITY}/federatedIdentityCredentials")
    assert {one["name"]: one["properties"] for one in credentials} == {
        f"flowgrid-{environment}-{who}/github": {
            "issuer": "https://token.actions.githubusercontent.com",
            "subject": f"repo:flowgrid/flowgrid:environment:{environment}{ending}:ref:refs/heads/main",
            "audiences": ["api://AzureADTokenExchange"],
        }
        for who, ending in (("release", ""), ("build", "-infra"))
    }


def test_the_guide_makes_both_environments_for_main_alone_and_for_people_who_approve() -> None:
    """GitHub makes an environment that a run names, open to every branch, where there is none."""
    guide = (ROOT / "docs/operations.md").read_text("utf-8")
    for name in ("prod", "prod-infra"):
        environment = f'"repos/$REPOSITORY/environments/{name}'
        (made,) = re.findall(rf"^gh api --method PUT {re.escape(environment)}\".*<<< '(.+)'$", guide, re.MULTILINE)
        rules = json.loads(made.replace("'\"$PEOPLE\"'", "1"))
        assert rules["deployment_branch_policy"] == {"protected_branches": False, "custom_branch_policies": True}
        assert rules["reviewers"] == [{"type": "Team", "id": 1}]
        assert rules["prevent_self_review"] is (name == "prod-infra")
        branches = re.findall(
            rf"^gh api {re.escape(environment)}/deployment-branch-policies\" (.+)$", guide, re.MULTILINE
        )
        assert branches == ["--field name=main --field type=branch"]
    (subjects,) = re.findall(r"^gh api .*/actions/oidc/customization/sub\" .*<<< '(.+)'$", guide, re.MULTILINE)
    assert json.loads(subjects) == {"use_default": False, "include_claim_keys": ["repo", "context", "ref"]}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_who_releases_brings_packages_keeps_them_reads_and_asks_and_no_more(environment: str) -> None:
    found = snapshot(environment)
    given = roles_of(found, f"flowgrid-{environment}-release")
    (plans,) = [one for one in found.all(DEFINITION) if one["properties"]["roleName"].startswith("Flowgrid plans ")]
    assert {role: scope for role, scope in given.items() if role != plans["name"]} == {
        "acdd72a7-3385-48ef-bd42-f606fba81ae7": f"/resourceGroups/flowgrid-{environment}-westeurope",  # Reader
        "de139f84-1756-47ae-9be6-808fbbe84772": found.one(SITE)["id"],  # Website Contributor
        "ba92f5b4-2d11-453d-a403-e96b0029c9fe": found.one(CONTAINER, "/releases")[
            "id"
        ],  # Storage Blob Data Contributor
    }
    assert plans["name"] in given
    actions = plans["properties"]["permissions"][0]["actions"]
    assert "Microsoft.Resources/deployments/whatIf/action" in actions
    assert [one for one in actions if one.endswith(("/write", "/delete", "*"))] == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_who_builds_may_do_it_in_the_subscription_which_is_why_people_approve(environment: str) -> None:
    assert roles_of(snapshot(environment), f"flowgrid-{environment}-build") == {
        "b24988ac-6180-42a0-ab88-20f7382dd24c": "",  # Contributor
        "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9": "",  # User Access Administrator
    }


def roles_of(found: Snapshot, identity: str) -> dict[str, str]:
    """Role -> where it is given: below the subscription, or all of what has an id of its own."""
    own = [one for one in found.all(ASSIGNMENT) if f"/{identity}'" in one["properties"]["principalId"]]
    subscription = "/subscriptions/00000000-0000-0000-0000-000000000000"
    scopes = [one["id"].partition("/providers/Microsoft.Authorization/")[0] for one in own]
    below = [scope if "/providers/" in scope else scope.removeprefix(subscription) for scope in scopes]
    roles = [one["properties"]["roleDefinitionId"].rpartition("/")[2] for one in own]
    return dict(zip(roles, below, strict=True))


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
