"""Services deploy apart or together: which of them an app registers is a setting."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import function_app
from cli.serve import _welcome
from functions.composition import chosen
from functions.kinds import KINDS
from shared.core import core
from shared.settings import Settings, SettingsError
from tests.unit.world import SETTINGS

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.name for path in (ROOT / "functions").iterdir() if (path / "http.py").exists())


def composed(folder: Path, *services: str, **settings: Any) -> dict[str, Any]:
    """The functions of an app of these services, by name, and their triggers."""
    values = {**SETTINGS, "flowgrid_data_dir": folder, "flowgrid_services": ", ".join(services), **settings}
    app = function_app.compose(core(Settings.model_validate(values), KINDS))
    app.functions_bindings = None  # the SDK remembers names over calls
    found = {}
    for function in app.get_functions():
        trigger = function.get_trigger()
        assert trigger is not None
        found[str(function.get_function_name())] = trigger.get_dict_repr()
    return found


def test_every_folder_with_routes_is_a_service(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        composed(tmp_path, "agents", "agent", "invoicing")
    there = f"the services are {', '.join(SERVICES)}."
    assert str(error.value) == f"FLOWGRID_SERVICES: there is no 'agent', 'invoicing'; {there}"


@pytest.mark.parametrize("bus", [{}, {"servicebusconnection": "local"}], ids=["embedded", "servicebus"])
def test_apps_of_one_service_each_are_together_the_whole_app_and_share_nothing(
    tmp_path: Path, bus: dict[str, str]
) -> None:
    whole = composed(tmp_path, **bus)
    apart = [composed(tmp_path, name, **bus) for name in SERVICES]
    assert Counter(name for one in apart for name in one) == Counter(whole.keys())
    assert all(one for one in apart)


def test_timers_and_queues_are_in_the_app_of_their_service(tmp_path: Path) -> None:
    def behind(service: str) -> set[str]:
        found = composed(tmp_path, service, servicebusconnection="local")
        return {name for name, trigger in found.items() if trigger["type"] != "httpTrigger"}

    assert {name: found for name in SERVICES if (found := behind(name))} == {
        "backups": {"backup_daily", "backup_retention"},
        "executions": {"run_execution"},
        "webhooks": {"deliver"},
        "platform": {"sweep", "rounds", "run_job"},
        "usage": {"close_usage", "store_usage"},
    }


def test_a_path_is_of_one_service_so_its_options_are_answered_by_who_has_it(tmp_path: Path) -> None:
    paths: dict[str, set[str]] = {}
    for service in SERVICES:
        for trigger in composed(tmp_path, service).values():
            if trigger["type"] == "httpTrigger":
                paths.setdefault(trigger["route"], set()).add(service)
    assert {path: services for path, services in paths.items() if len(services) > 1} == {}


def test_no_service_is_chosen_twice() -> None:
    assert chosen({"a": [1, 2], "b": [3]}, ["b", "b"]) == [3]
    assert chosen({"a": [1, 2], "b": [3]}, []) == [1, 2, 3]


def test_the_description_is_of_the_whole_api_whoever_serves_it(tmp_path: Path) -> None:
    values = {**SETTINGS, "flowgrid_data_dir": tmp_path, "flowgrid_services": "platform"}
    own = core(Settings.model_validate(values), KINDS)
    function_app.compose(own)
    assert {route.name for route in own.endpoint.routes} == {
        route.name for route in function_app.own_core.endpoint.routes
    }


def test_a_wrong_name_ends_the_start_of_a_process(tmp_path: Path) -> None:
    env = {**os.environ, "FLOWGRID_DATA_DIR": str(tmp_path), "FLOWGRID_SERVICES": "agents,billings"}
    done = subprocess.run([sys.executable, "-c", "import function_app"], cwd=ROOT, env=env, capture_output=True)
    assert done.returncode != 0
    assert b"FLOWGRID_SERVICES: there is no 'billings'" in done.stderr


def test_demo_tenants_are_made_only_where_whoever_comes_may_make_them() -> None:
    gateway = '[{"issuer": "https://sts.example/", "audience": "x", "caller": "y"}]'
    assert _welcome(Settings()) is not None
    assert _welcome(Settings.load({"FLOWGRID_SERVICES": "agents"})) is None
    assert _welcome(Settings.load({"FLOWGRID_GATEWAY": gateway})) is None


def test_the_guide_has_each_service_once_and_a_gateway_that_passes_the_check() -> None:
    guide = (ROOT / "docs/gateway.md").read_text("utf-8")
    apps = re.findall(r"^\| [a-z ]+ \| `([a-z0-9,]+)` \|$", guide, re.MULTILINE)
    assert sorted(name for app in apps for name in app.split(",")) == SERVICES
    (setting,) = re.findall(r"^FLOWGRID_GATEWAY = (.*)$", guide, re.MULTILINE)
    (gateway,) = Settings.load({"FLOWGRID_GATEWAY": re.sub(r"<[a-z ]+>", "0", setting)}).flowgrid_gateway
    assert gateway.subject_claim == "oid"
