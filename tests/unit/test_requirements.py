"""What is required (pyproject.toml) and what is installed (its locks): one cannot be changed without the other."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PYTHONS = ("3.11", "3.12", "3.13")
# What each lock is of: the app's own dependencies or not, and a group, with those that it includes.
LOCKS = {
    "requirements.txt": (True, None),
    "requirements/run.txt": (False, "run"),
    "requirements/dev.txt": (True, "dev"),
    "requirements/postgres.txt": (False, "postgres"),
    "requirements/servicebus.txt": (False, "servicebus"),
    "requirements/client.txt": (False, "client"),
    "requirements/audit.txt": (False, "audit"),
    "requirements/infra.txt": (False, "infra"),
}


def required(lock: str) -> list[Requirement]:
    of_the_app, group = LOCKS[lock]
    own = PROJECT["project"]["dependencies"] if of_the_app else []
    every = [Requirement(one) for one in [*own, *(_group(group) if group else [])]]
    pinned = {one.name for one in every if one.specifier}
    return [one for one in every if one.specifier or one.name not in pinned]


def _group(name: str) -> list[str]:
    entries: list[Any] = PROJECT["dependency-groups"][name]
    return [
        text for entry in entries for text in (_group(entry["include-group"]) if isinstance(entry, dict) else [entry])
    ]


def locked(lock: str) -> list[tuple[Requirement, str]]:
    """Each package of a lock, and what the lock says below it: its hashes, and who wants it."""
    text = re.sub(r" \\\n", "\n", (ROOT / lock).read_text("utf-8"))
    found = re.findall(r"^([a-z0-9].*)\n((?: +.*\n)+)", text, re.MULTILINE)
    return [(Requirement(first), rest) for first, rest in found]


def pins(requirements: list[Requirement], python: str) -> dict[str, str]:
    """Package -> version, for a Python on Linux."""
    here = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    wanted = [one for one in requirements if one.marker is None or one.marker.evaluate(here)]
    found: dict[str, str] = {canonicalize_name(one.name): str(one.specifier) for one in wanted}
    assert len(found) == len(wanted), f"two versions of one package for Python {python}"
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_what_is_required_in_that_version_and_no_direct_requirement_more(lock: str, python: str) -> None:
    wanted = pins(required(lock), python)
    direct = pins([requirement for requirement, rest in locked(lock) if "flowgrid (pyproject.toml" in rest], python)
    assert {name: direct.get(name) for name in wanted} == {
        name: pin or direct.get(name, "?") for name, pin in wanted.items()
    }
    assert direct.keys() == wanted.keys(), "run `make lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_is_one_version_known_by_its_hashes(lock: str) -> None:
    entries = locked(lock)
    text = (ROOT / lock).read_text("utf-8")
    assert len(entries) == len(re.findall(r"^[^ #\n]", text, re.MULTILINE)) > 0
    assert [str(one) for one, rest in entries if not re.match(r"==[^=*]+$", str(one.specifier))] == []
    assert [str(one) for one, rest in entries if "--hash=sha256:" not in rest] == []


@pytest.mark.parametrize("python", PYTHONS)
def test_what_is_tested_is_what_ships_and_what_is_served_here(python: str) -> None:
    ships, runs, develops = (
        pins([requirement for requirement, _ in locked(lock)], python)
        for lock in ("requirements.txt", "requirements/run.txt", "requirements/dev.txt")
    )
    assert ships.items() <= develops.items()
    assert runs.items() <= develops.items()


def test_serving_here_installs_no_sdk_of_azures_services() -> None:
    installed = {requirement.name for requirement, _ in locked("requirements/run.txt")}
    assert {name for name in installed if name.startswith(("azure-", "msal"))} == {"azure-functions"}
    assert len(installed) < 50, "each costs whoever sees Flowgrid for the first time a part of a second"


def test_what_only_develops_does_not_ship() -> None:
    shipped = {canonicalize_name(requirement.name) for requirement, _ in locked("requirements.txt")}
    beside = {canonicalize_name(one.name) for one in required("requirements/dev.txt")} - {
        canonicalize_name(one.name) for one in required("requirements.txt")
    }
    assert len(beside) > 10
    assert shipped & beside == set()


@pytest.mark.parametrize(("python", "major"), [("3.11", "1"), ("3.12", "1"), ("3.13", "2")])
def test_each_python_gets_the_library_that_its_functions_runtime_brings(python: str, major: str) -> None:
    shipped = pins([requirement for requirement, _ in locked("requirements.txt")], python)
    assert shipped["azure-functions"].removeprefix("==").split(".")[0] == major


@pytest.mark.long
def test_the_bill_of_materials_names_what_ships_with_its_hashes(tmp_path: Path) -> None:
    made = subprocess.run(["make", "sbom", f"SBOM={tmp_path / 'sbom.json'}"], cwd=ROOT, capture_output=True, text=True)
    if made.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"what makes it cannot be installed: {made.stderr[-500:]}")
    assert made.returncode == 0, made.stderr
    bill = json.loads((tmp_path / "sbom.json").read_text("utf-8"))
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "flowgrid")
    told = {(one["name"], one["version"]): one["externalReferences"][0]["hashes"] for one in bill["components"]}
    assert told.keys() == {(one.name, str(one.specifier).removeprefix("==")) for one, _ in locked("requirements.txt")}
    assert all(told.values())
