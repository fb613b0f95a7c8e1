"""What checkov says of a deployment is believed only if it has read all of it."""

import json
import shutil
from typing import Any

import pytest

from cli.scan import REASONS, scan, template, wrong
from tests.infra.snapshot import ROOT

CHECKOV = shutil.which("checkov", path=str(ROOT / ".venv-infra" / "bin"))
REASON = {"CKV_1": "it is so"}


def report(*failed: str, resources: int = 5, errors: int = 0) -> dict[str, Any]:
    checks = [{"check_id": id, "resource": "Microsoft.Web/sites.app", "check_name": "a name"} for id in failed]
    return {
        "results": {"failed_checks": checks},
        "summary": {"resource_count": resources, "parsing_errors": errors},
    }


def test_what_fails_for_a_reason_is_no_matter() -> None:
    assert wrong(report("CKV_1"), 5, REASON) == []


def test_what_fails_without_a_reason_is_told() -> None:
    assert wrong(report("CKV_1", "CKV_2"), 5, REASON) == ["CKV_2 Microsoft.Web/sites.app: a name"]


def test_a_reason_that_nothing_needs_is_told() -> None:
    assert wrong(report(), 5, REASON) == ["CKV_1: a reason that nothing needs"]


@pytest.mark.parametrize(("resources", "errors"), [(4, 0), (5, 1)])
def test_what_it_has_not_read_is_told(resources: int, errors: int) -> None:
    told = wrong(report("CKV_1", resources=resources, errors=errors), 5, REASON)
    assert told == [f"{resources} of 5 resources read, {errors} errors"]


@pytest.mark.parametrize("environment", REASONS)
def test_it_is_given_every_resource_of_the_snapshot(environment: str) -> None:
    path = ROOT / "infra" / "environments" / f"{environment}.snapshot.json"
    snapshot = json.loads(path.read_text("utf-8"))
    assert template(snapshot)["resources"] == snapshot["predictedResources"]
    assert len(snapshot["predictedResources"]) > (5 if environment == "tenants" else 40)


@pytest.mark.skipif(CHECKOV is None, reason="`make infra-scan` installs it")
@pytest.mark.parametrize("environment", REASONS)
def test_nothing_that_would_be_deployed_fails_without_a_reason(environment: str) -> None:
    assert CHECKOV is not None
    assert scan(CHECKOV, environment) == []
