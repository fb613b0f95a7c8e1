"""How the app is built, so far as isolation rests on it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import azure.functions as func

import function_app
from function_app import own_core
from shared.http.openapi import describe
from tests.isolation.expected import EXPECTED, HEADERS

ROOT = Path(__file__).parents[2]
ROUTES = own_core.endpoint.routes


def test_each_http_function_is_declared_through_the_one_pipeline() -> None:
    http = {name: trigger for name, trigger in _functions() if trigger["type"] == "httpTrigger"}
    declared = {route.name: (route.path, *route.methods) for route in ROUTES}
    found = {name: (trigger["route"], *map(str, trigger["methods"])) for name, trigger in http.items()}
    assert found == declared
    anonymous = [name for name, trigger in http.items() if trigger["authLevel"] != func.AuthLevel.ANONYMOUS]
    assert anonymous == [], "the pipeline authenticates; a function key would be a second, weaker way"


def test_function_names_are_unique() -> None:
    names = [name for name, _ in _functions()]
    assert len(names) == len(set(names))
    operations = [(route.method, re.sub(r"{\w+}", "{}", route.path)) for route in ROUTES]
    assert len(operations) == len(set(operations))


def test_whatever_has_an_etag_is_deleted_only_as_the_version_that_is_meant() -> None:
    """The matrix sends each of these an If-Match that never was."""
    versioned = {route.path for route in ROUTES if route.tagged and route.of_resource}
    deleted = {f"DELETE {route.path}" for route in ROUTES if route.method == "DELETE" and route.path in versioned}
    assert len(deleted) >= 15
    assert {key for key in deleted if 412 not in EXPECTED[key].own} == set()


def test_what_is_read_of_a_requests_headers_has_an_expectation() -> None:
    """So that a second kind of credential cannot come unnoticed."""
    files = [*(ROOT / "shared/http").glob("*.py"), *(ROOT / "functions").rglob("*.py")]
    read = {name for path in files for name in _headers_read(path)}
    assert read == set(HEADERS), "add it to HEADERS in expected.py; a credential, callers who have it to CREDENTIALS"


def test_the_api_is_described_with_no_other_credential() -> None:
    described = describe(ROUTES, version="1")["components"]["securitySchemes"]
    assert {name: scheme["scheme"] for name, scheme in described.items()} == {"bearer": "bearer"}


def test_the_composition_root_imports_services_and_shared_only() -> None:
    allowed = re.compile(r"(os|azure\.functions|(functions|shared)(\.\w+)*)\Z")
    assert [name for name in _imports(ROOT / "function_app.py") if not allowed.match(name)] == []


def test_only_trigger_files_and_hosts_know_azure_functions() -> None:
    """Services and adapters stay free of it (the linter's contract covers packages; this one covers every file)."""
    triggers = ("functions/*/http.py", "functions/*/bus.py", "functions/*/timer.py")
    allowed = {ROOT / "function_app.py"}
    for pattern in (*triggers, "shared/http/*.py", "local/*.py", "cli/*.py"):
        allowed |= set(ROOT.glob(pattern))
    code = {path for folder in ("functions", "shared", "local", "cli") for path in (ROOT / folder).rglob("*.py")}
    knowing = [path for path in code if any(name.startswith("azure.functions") for name in _imports(path))]
    assert sorted(str(path) for path in set(knowing) - allowed) == []


def _functions() -> Iterator[tuple[str, dict[str, Any]]]:
    function_app.app.functions_bindings = None  # the SDK remembers names over calls
    for function in function_app.app.get_functions():
        trigger = function.get_trigger()
        assert trigger is not None
        yield str(function.get_function_name()), trigger.get_dict_repr()


def _headers_read(path: Path) -> Iterator[str]:
    """The names of `headers.get("name")`, and of `….headers.get(NAME)` with a constant of the module."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    constants: dict[str, str] = {}
    for line in module.body:
        match line:
            case ast.Assign(targets=[ast.Name(id=called)], value=ast.Constant(value=str(text))):
                constants[called] = text
    for node in ast.walk(module):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="headers") | ast.Name(id="headers"), attr="get"),
                args=[named, *_],
            ):
                name = constants[named.id] if isinstance(named, ast.Name) else ast.literal_eval(named)
                if name == name.lower():  # those of an answer are written as they are sent
                    yield name


def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = str(node.module)
            names += [f"{module}.{alias.name}" for alias in node.names] if module == "azure" else [module]
    return names
