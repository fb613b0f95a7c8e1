"""The shape of the code: what the composition root may do, what starting costs, how large a module may be."""

import ast
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import function_app
from tests.unit.world import World

ROOT = Path(__file__).parents[2]
PACKAGES = ("functions", "shared", "local", "cli")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
HEAVY = ("jwt", "cryptography", "zstandard", "httpx", "starlette", "uvicorn", "typer", "rich")
AI = ("pydantic_ai", "openai", "anthropic", "genai_prices", "httpx2", "httpcore2", "tiktoken")
RUNS = ("jsonschema_rs", "croniter", "dateutil")
AZURE_SDKS = ("azure.cosmos", "azure.servicebus", "azure.storage", "azure.identity", "azure.keyvault")
TELEMETRY = ("opencensus", "requests", "shared.telemetry.insights")
NO_LOGIC = (ast.For, ast.While, ast.Try, ast.With, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def loaded(*names: str, **environment: str) -> list[str]:
    """Which of these modules a fresh interpreter has loaded once it has imported the app."""
    program = (
        "import sys, function_app\n"
        f"print(*[name for name in {names!r} if any((one + '.').startswith(name + '.') for one in sys.modules)])"
    )
    command, env = [sys.executable, "-c", program], {**os.environ, **environment}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_importing_the_app_loads_nothing_heavy() -> None:
    assert loaded(*HEAVY, *AZURE_SDKS, *AI, *RUNS, *TELEMETRY) == []


def test_with_telemetry_it_loads_no_more_than_what_keeps_items_for_later() -> None:
    """opencensus, with requests and azure-identity, is loaded by the thread that sends, some time after the first."""
    connection = "InstrumentationKey=11111111-2222-3333-4444-555555555555;IngestionEndpoint=https://i.example"
    found = loaded(*HEAVY, *AZURE_SDKS, *AI, *RUNS, *TELEMETRY, APPLICATIONINSIGHTS_CONNECTION_STRING=connection)
    assert found == ["shared.telemetry.insights"]


def test_importing_the_app_builds_the_validators_of_nothing_but_what_it_makes_then() -> None:
    """Others are built at their first use: `Answer`, `Body` and `Resource` see to it, or `defer_build`."""
    program = (
        "import function_app, pydantic\n"
        "models = [pydantic.BaseModel]\n"
        "for one in models: models += one.__subclasses__()\n"
        "print(*sorted({m.__name__ for m in models if m.__pydantic_complete__ and m.__module__[:8] != 'pydantic'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    made = {"Configuration", "Limits", "NewRunLimits", "Outcome", "Progress", "RunLimits", "Settings", "TenantSettings"}
    generic = {"Page", "Row", "Told"}
    assert set(done.stdout.split()) - made - generic == {"ClaimsAsker", "Gateway", "Issuer"}  # parts of the settings


def test_importing_the_app_opens_no_file(tmp_path: Path) -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1]); import function_app"
    subprocess.run([sys.executable, "-B", "-c", program, str(ROOT)], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []


def test_every_function_has_a_name_of_its_own() -> None:
    function_app.app.functions_bindings = None  # it counts names over calls; another test may have called it
    names = Counter(function.get_function_name() for function in function_app.app.get_functions())
    assert {name: count for name, count in names.items() if count > 1} == {}


def test_every_route_is_registered_once(world: World) -> None:
    routes = Counter((route.method, route.path) for route in world.core.endpoint.routes)
    assert {route: count for route, count in routes.items() if count > 1} == {}


async def test_with_a_service_bus_connection_triggers_take_the_place_of_the_drain_timer(tmp_path: Path) -> None:
    world = World.over(tmp_path, servicebusconnection="Endpoint=sb://localhost")
    await world.close()
    assert {"store_usage", "run_job"} <= set(world.functions) and "drain_queues" not in world.functions


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_stays_below_350_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 350


WORDS_ARE_OURS = {  # or are looked through before they are told
    "shared/telemetry/log.py",  # the system's alone
    "shared/sqlite.py",  # the same
    "shared/outgoing/transport.py",  # a number in them
    "shared/ai/failures.py",  # masked, and told to whom the answer was given
    "shared/auth/keys.py",  # of an issuer's documents, which are public
}


def _anything(type: ast.expr | None) -> bool:
    return isinstance(type, ast.Name) and type.id in ("Exception", "BaseException")


def quoted(tree: ast.AST) -> list[int]:
    """The lines where the words of an exception of any kind are taken: of a handler, or of a parameter."""
    found = []
    for node in ast.walk(tree):
        names: set[str] = set()
        if isinstance(node, ast.ExceptHandler) and _anything(node.type) and node.name:
            names = {node.name}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = {one.arg for one in node.args.args if _anything(one.annotation)}
        for part in ast.walk(node) if names else ():
            if isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id in ("str", "repr"):
                taken = part.args[0]
            elif isinstance(part, ast.FormattedValue):
                taken = part.value
            else:
                continue
            if isinstance(taken, ast.Name) and taken.id in names:
                found.append(part.lineno)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_words_of_an_exception_of_any_kind_are_never_taken_as_they_are(path: Path) -> None:
    """They may quote what people have written: `reason_of` or `said` (shared/telemetry/log.py) leaves them out."""
    name = path.relative_to(ROOT).as_posix()
    if not name.startswith(("functions/", "shared/")) or name in WORDS_ARE_OURS:
        return
    assert quoted(ast.parse(path.read_text())) == []


@pytest.mark.parametrize("taken", ["str(error)", "repr(error)", 'f"{error}"', 'f"it says {error!r}"'])
def test_words_that_are_taken_are_found(taken: str) -> None:
    caught = f"try:\n    work()\nexcept Exception as error:\n    log({taken})"
    given = f"def told(error: BaseException) -> str:\n    return {taken}"
    narrow = f"try:\n    work()\nexcept FlowgridError as error:\n    log({taken})"
    assert [quoted(ast.parse(source)) for source in (caught, given, narrow)] == [[4], [2], []]


def test_the_composition_root_decides_nothing() -> None:
    source = (ROOT / "function_app.py").read_text()
    tree = ast.parse(source)
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For)]
    branches = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    others = [node for node in ast.walk(tree) if isinstance(node, NO_LOGIC) and not isinstance(node, ast.For)]
    assert (len(source.splitlines()) < 100, len(loops), others) == (True, 1, [])
    assert len(branches) <= 2  # triggers where there is a Service Bus, else the timer that drains the embedded queue


def test_the_composition_root_imports_services_and_shared_only() -> None:
    tree = ast.parse((ROOT / "function_app.py").read_text())
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name.partition(".")[0] for name in names} <= {"os", "azure", "functions", "shared"}


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.name == "http.py" and "functions" in path.parts], ids=str
)
def test_a_handler_is_one_call_without_a_branch(path: Path) -> None:
    """`http.py` parses, calls one service method, answers: nothing else."""
    handlers = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.AsyncFunctionDef)]
    branching = [
        handler.name
        for handler in handlers
        if any(isinstance(node, (ast.If, ast.For, ast.Try)) for node in ast.walk(handler))
    ]
    assert branching == []
