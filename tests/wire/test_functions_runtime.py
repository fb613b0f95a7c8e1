"""The app as Microsoft's own Python 3.13 worker loads and calls it; and its bindings, as the host reads them."""

import fcntl
import json
import os
import re
import subprocess
import types
import typing
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from croniter import croniter

import function_app
from functions.kinds import KINDS
from shared.core import core
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
RUNTIME = "azure-functions-runtime==1.3.*"
QUEUES = {"ServiceBusConnection": "Endpoint=sb://localhost/;SharedAccessKeyName=a;SharedAccessKey=b"}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# https://learn.microsoft.com/azure/azure-functions/functions-triggers-bindings: what each binding must and may say
ALLOWED = {
    "httpTrigger": {"name", "type", "direction", "route", "methods", "authLevel"},
    "http": {"name", "type", "direction"},
    "timerTrigger": {"name", "type", "direction", "schedule", "runOnStartup", "useMonitor"},
    "serviceBusTrigger": {
        "name",
        "type",
        "direction",
        "queueName",
        "connection",
        "cardinality",
        "dataType",
        "isSessionsEnabled",
    },
}


def _python313() -> Path:
    found = sorted(Path("~/.pyenv/versions").expanduser().glob("3.13.*/bin/python"))
    if not found:
        pytest.skip("no Python 3.13 in ~/.pyenv")
    return found[-1]


@pytest.fixture(scope="module")
def python() -> Path:
    """A Python 3.13 with the app's requirements and Microsoft's runtime, kept between runs."""
    base = _python313()
    folder = Path(os.environ.get("FLOWGRID_RUNTIME_CACHE", "~/.cache/flowgrid-runtime")).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    python, wanted = folder / "venv/bin/python", (ROOT / "requirements.txt").read_text("utf-8") + RUNTIME
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        installed = folder / ".installed"
        if not installed.exists() or installed.read_text("utf-8") != wanted:
            pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            commands = [
                [str(base), "-m", "venv", str(folder / "venv")],
                [*pip, "-r", "requirements.txt"],
                [*pip, RUNTIME],
            ]
            for command in commands:
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
                if done.returncode and os.environ.get("CI") != "true":
                    pytest.skip(f"the runtime cannot be installed: {done.stderr[-500:]}")
                assert done.returncode == 0, done.stderr
            installed.write_text(wanted, "utf-8")
    return python


@pytest.fixture(scope="module", params=["with queues", "without queues"])
def report(request: pytest.FixtureRequest, python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    connection = QUEUES if request.param == "with queues" else {}
    data = {"FLOWGRID_DATA_DIR": str(tmp_path_factory.mktemp("data")), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [str(python), str(ROOT / "tests/doubles/functions_host.py"), str(ROOT)],
        env={"PATH": os.environ["PATH"], **data, **connection},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "stderr": done.stderr, "settings": Settings.load(connection)}


def _app(settings: Settings) -> func.FunctionApp:
    return function_app.compose(core(settings, KINDS))


def _bindings(app: func.FunctionApp) -> dict[str, list[dict[str, Any]]]:
    """As the worker sends them: JSON, by way of the library's own encoder."""
    return {
        str(one.get_function_name()): [json.loads(raw) for raw in one.get_raw_bindings()] for one in app.get_functions()
    }


@pytest.mark.timeout(400)
def test_the_worker_of_3_13_finds_every_function(report: dict[str, Any]) -> None:
    assert report["python"].startswith("3.13")
    assert set(report["functions"]) == set(_bindings(_app(report["settings"])))


def test_the_worker_of_3_13_answers_every_http_function(report: dict[str, Any]) -> None:
    statuses = {name: one["status"] for name, one in report["functions"].items() if "status" in one}
    assert {found.pop("OPTIONS", 204) for found in statuses.values()} == {204}
    found = {name: set(answers.values()) for name, answers in statuses.items()}
    signed = ("tell_claims", "deliver_to_hook", "take_slack_answer", "ask_decision", "take_decision")
    others = {"get_problem": {404}, **{name: {401} for name in signed}}  # what stands for a code or a proof is none
    assert found == {name: {200 if name in report["open"] else 401} for name in statuses} | others


def test_the_worker_of_3_13_hands_messages_over_whole(report: dict[str, Any]) -> None:
    assert report["became"] == {"usage_event": True, "job": "succeeded", "error": None}


def test_the_worker_of_3_13_gets_what_is_no_json_too_and_the_good_ones_beside_it(report: dict[str, Any]) -> None:
    expected = [
        ["deliveries", "names no webhook of a tenant"],
        ["executions", "names no run of a tenant"],
        ["jobs", "names no job of a tenant"],
        ["usage-events", "the body is not a JSON object"],
    ]
    assert report["dead"] == (expected if report["settings"].queue_triggers else [])


def test_the_worker_of_3_13_tells_the_host_of_which_level_and_invocation_each_line_is(report: dict[str, Any]) -> None:
    ours = [(one, json.loads(one["text"])) for one in report["lines"] if one["text"].startswith("{")]
    assert [line for one, line in ours if one["level"].lower() != line["level"]] == []
    refused = {(one["function"], line["operation"]) for one, line in ours if line["message"] == "a caller was refused"}
    closed = [route for route in report["functions"] if "status" in report["functions"][route]]
    assert refused == {(name, name) for name in closed if name not in report["open"]}
    assert all(re.fullmatch(r"[0-9a-f]{32}", line["trace_id"]) for one, line in ours if one["function"] in closed)
    assert '"logger": "flowgrid' not in report["stderr"]  # of which the host would guess the level


def test_both_pythons_say_the_same_of_every_binding(report: dict[str, Any]) -> None:
    other = {name: one["bindings"] for name, one in report["functions"].items()}
    assert other == _bindings(_app(report["settings"]))


@pytest.mark.parametrize("connection", [QUEUES, {}])
def test_every_binding_is_one_that_the_host_understands(connection: dict[str, str]) -> None:
    settings = Settings.load(connection)
    for name, bindings in _bindings(_app(settings)).items():
        kinds = [binding["type"] for binding in bindings]
        assert kinds in (["httpTrigger", "http"], ["timerTrigger"], ["serviceBusTrigger"]), name
        assert len({binding["name"] for binding in bindings}) == len(bindings), name
        for binding in bindings:
            assert set(binding) <= ALLOWED[binding["type"]], (name, binding)
            assert re.fullmatch(r"\$return|[a-z][a-z0-9_]*", binding["name"]), name
            assert binding["direction"] == ("OUT" if binding["type"] == "http" else "IN"), name
            CHECKS[binding["type"]](binding, settings.values())


def _check_http(binding: dict[str, Any], values: dict[str, str]) -> None:
    assert set(binding["methods"]) <= METHODS
    assert binding["methods"]
    assert binding["authLevel"] == "ANONYMOUS"  # our own tokens, not function keys
    assert not binding["route"].startswith(("/", "api/"))


def _check_timer(binding: dict[str, Any], values: dict[str, str]) -> None:
    schedule = _expanded(binding["schedule"], values)
    assert len(schedule.split()) == 6
    assert croniter.is_valid(schedule, second_at_beginning=True)
    assert not binding.get("runOnStartup")


def _check_queue(binding: dict[str, Any], values: dict[str, str]) -> None:
    assert _expanded(binding["queueName"], values)
    assert binding["connection"] == "ServiceBusConnection"
    cardinality = binding.get("cardinality", "one").lower()
    assert cardinality in ("one", "many")
    # without it the host reads every body with Json.NET and writes it again: local/messages.py
    assert cardinality == "one" or binding.get("dataType") == "BINARY"


def _check_answer(binding: dict[str, Any], values: dict[str, str]) -> None:
    assert binding["name"] == "$return"


CHECKS = {
    "httpTrigger": _check_http,
    "http": _check_answer,
    "timerTrigger": _check_timer,
    "serviceBusTrigger": _check_queue,
}


def _expanded(text: str, values: dict[str, str]) -> str:
    names = re.findall(r"%(\w+)%", text)
    assert set(names) <= set(values), "a setting that nobody sets"
    return values[names[0]] if names else text


def test_no_two_routes_compete() -> None:
    seen: dict[tuple[str, str], str] = {}
    for name, bindings in _bindings(_app(Settings.load({}))).items():
        for binding in bindings:
            for method in binding.get("methods", []):
                shape = re.sub(r"{\w+}", "{}", binding["route"])
                assert seen.setdefault((method, shape), name) == name


def test_every_parameter_has_an_annotation_that_the_worker_takes() -> None:
    """The worker refuses the whole app for one `list[…]`: it knows classes and `typing.List[…]` only."""
    for one in _app(Settings.load(QUEUES)).get_functions():
        hints = typing.get_type_hints(one.get_user_function())
        bad = {name: hint for name, hint in hints.items() if isinstance(hint, types.GenericAlias)}
        assert not bad, one.get_function_name()
