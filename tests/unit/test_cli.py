"""The command line: what it prints, and that whatever is wrong is told in one line with exit code 2."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import jwt
import pytest
from typer.testing import CliRunner, Result

import cli.serve
from cli.app import app
from cli.environment import add_settings_file, follow_issuer
from cli.errors import CliError
from cli.server import base_url, listen
from local.issuer import Issuer
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
TENANT = "0190c2a8-7e10-7abc-8def-0123456789ab"
APP = textwrap.dedent(
    """
    import os
    from pathlib import Path
    import azure.functions as func
    from shared.clock import SystemClock
    from shared.messaging.sqlite import SqliteMessaging

    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

    class Adapters:
        def __init__(self):
            self.folder = Path(os.environ["FLOWGRID_DATA_DIR"])
            self.receiving = self.messaging = SqliteMessaging(self.folder / "queue", SystemClock())

        async def close(self):
            await self.messaging.close()
            (self.folder / "closed").touch()

    class Core:
        adapters = Adapters()
        close = adapters.close

    own_core = Core()

    @app.route(route="health")
    async def health(req):
        return os.environ["ServiceBusConnection"]

    @app.route(route="v1/platform/tenants")
    async def tenants(req):
        return '{"items": [{"id": "0190c2a8-7e10-7abc-8def-0123456789ab"}]}'

    @app.timer_trigger(arg_name="tick", schedule="%NIGHTLY%")
    async def nightly(tick):
        pass
    """
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a stub app, its own data folder and an environment that is put back."""
    before = dict(os.environ)
    (tmp_path / "function_app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    os.environ["FLOWGRID_DATA_DIR"] = str(tmp_path / "data")
    os.environ["NIGHTLY"] = "0 0 2 * * *"
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def failure(*arguments: str) -> str:
    """The single error of a command that must fail: on standard error, exit code 2, nothing on standard output."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def claims_of(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.output
    claims: dict[str, object] = jwt.decode(result.stdout.strip(), options={"verify_signature": False})
    return claims


# token


def test_token_prints_a_token_and_nothing_else() -> None:
    claims = claims_of(invoke("token", "--tenant", TENANT, "--role", "admin", "--email", "ada@acme.example"))
    assert claims["extension_TenantId"] == TENANT
    assert claims["roles"] == ["tenant:admin"]
    assert claims["email"] == "ada@acme.example"
    assert claims["iss"] == "http://127.0.0.1:7071/oidc"


def test_a_platform_token_needs_no_tenant() -> None:
    claims = claims_of(invoke("token", "--role", "platform", "--hours", "1", "--subject", "ops-1"))
    assert claims["roles"] == ["platform:admin"]
    assert claims["sub"] == "ops-1"
    assert int(str(claims["exp"])) - int(str(claims["iat"])) == 3600


def test_token_rotate_signs_with_a_new_key() -> None:
    first, second, third = (
        jwt.get_unverified_header(invoke("token", "--role", "platform", *more).stdout.strip())["kid"]
        for more in ((), (), ("--rotate",))
    )
    assert first == second != third


def test_a_token_names_the_issuer_that_the_data_folder_was_served_as(place: Path) -> None:
    (place / "data" / "oidc").mkdir(parents=True)
    (place / "data" / "oidc" / "issuer.txt").write_text("http://127.0.0.1:8123/oidc\n")
    assert claims_of(invoke("token", "--role", "platform"))["iss"] == "http://127.0.0.1:8123/oidc"


def test_a_token_for_a_tenant_role_needs_a_tenant_id() -> None:
    assert "needs --tenant" in failure("token", "--role", "user")


def test_a_slug_without_a_host_to_ask_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with listen("127.0.0.1", 0) as taken:  # listens, and is closed before anybody calls: nobody answers there
        url = base_url("127.0.0.1", taken.getsockname()[1])
    monkeypatch.setenv("FLOWGRID_ISSUERS", json.dumps([{"issuer": f"{url}/oidc", "audience": "flowgrid"}]))
    error = failure("token", "--role", "user", "--tenant", "acme")
    assert error.count("\n") == 1
    assert f"{url} cannot be asked whose slug it is" in error


@pytest.mark.parametrize("command", ["serve", "token"])
def test_the_help_tells_the_default_of_every_option(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # one line for each
    shown = re.sub(r"\x1b\[[0-9;]*m", "", invoke(command, "--help").stdout)
    options = dict(re.findall(r"^\W*--([a-z-]+) (.*)$", shown, re.MULTILINE))
    assert len(options) > 5, shown
    silent = [name for name, said in options.items() if "[default: " not in said and "[required]" not in said]
    assert set(silent) <= {"help", "rotate"}
    assert "[default: (FLOWGRID_DATA_DIR, which is .data)]" in shown


# what can be wrong


def test_a_busy_port_is_told_in_one_line() -> None:
    with listen("127.0.0.1", 0) as busy:
        port = str(busy.getsockname()[1])
        error = failure("serve", "--port", port)
    assert error.count("\n") == 1
    assert f"Port {port} on 127.0.0.1 is in use" in error
    assert "--port" in error


def test_an_address_of_another_machine_is_told_in_one_line() -> None:
    error = failure("serve", "--host", "192.0.2.1", "--port", "0")
    assert error.count("\n") == 1
    assert "--host" in error


def test_broken_json_in_the_settings_file_is_told_with_line_and_column(place: Path) -> None:
    (place / "local.settings.json").write_text('{\n  "Values": {,}\n}')
    error = failure("serve", "--port", "0")
    assert error.count("\n") == 1
    assert "local.settings.json" in error
    assert "line 2, column 14" in error


@pytest.mark.parametrize("content", ["[]", '{"Values": []}', '{"Values": {"FLOWGRID_SHARDS": 1}}'])
def test_a_settings_file_of_another_shape_is_told_in_one_line(place: Path, content: str) -> None:
    (place / "mine.json").write_text(content)
    error = failure("serve", "--port", "0", "--settings", str(place / "mine.json"))
    assert error.count("\n") == 1
    assert "mine.json" in error


def test_a_settings_file_that_is_not_there_is_told_in_one_line() -> None:
    assert "absent.json cannot be read" in failure("serve", "--settings", "absent.json")


def test_every_wrong_setting_gets_a_line(place: Path) -> None:
    values = {"FLOWGRID_SHARDS": "many", "FLOWGRID_CURSOR_KEY": "short"}
    (place / "local.settings.json").write_text(json.dumps({"Values": values}))
    error = failure("serve", "--port", "0")
    assert "FLOWGRID_SHARDS" in error
    assert "FLOWGRID_CURSOR_KEY" in error


def test_a_data_folder_that_cannot_be_written_is_told_in_one_line(place: Path) -> None:
    (place / "file").write_text("")
    error = failure("serve", "--port", "0", "--data", str(place / "file" / "data"))
    assert error.count("\n") == 1
    assert "cannot be written" in error
    assert "--data" in error


def test_a_setting_that_a_function_needs_is_told_in_one_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(place)
    monkeypatch.delitem(sys.modules, "function_app", raising=False)
    monkeypatch.delenv("NIGHTLY")
    error = failure("serve", "--port", "0")
    sys.modules.pop("function_app", None)
    assert error.count("\n") == 1
    assert "nightly: the setting NIGHTLY has no value" in error


@pytest.mark.parametrize(("name", "value"), [("FLOWGRID_DATABASE", "cosmos"), ("FLOWGRID_BLOBS", "azure")])
def test_settings_that_need_what_is_not_installed_say_how_to_install_it(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("FLOWGRID_COSMOS_ENDPOINT", "https://127.0.0.1:8081/")
    monkeypatch.setenv("FLOWGRID_BLOB_EMULATOR_CONNECTION", "UseDevelopmentStorage=true")
    monkeypatch.setattr("cli.serve.find_spec", lambda module: None)
    error = failure("serve", "--port", "0")
    assert error.count("\n") == 1
    assert f"{name}={value}: this needs" in error
    assert "-m pip install --require-hashes -r requirements.txt" in error


# environment


def test_the_real_environment_wins_over_the_settings_file(place: Path) -> None:
    (place / "s.json").write_text('{"Values": {"A": "file", "B": "file"}}')
    environ = {"A": "real"}
    add_settings_file(environ, place / "s.json")
    assert environ == {"A": "real", "B": "file"}


def test_the_default_issuer_follows_the_port_and_a_chosen_one_stays() -> None:
    environ: dict[str, str] = {}
    moved = follow_issuer(environ, Settings.load(environ), "http://127.0.0.1:9/oidc")
    assert [item.issuer for item in moved.flowgrid_issuers] == ["http://127.0.0.1:9/oidc"]
    environ = {"FLOWGRID_ISSUERS": '[{"issuer": "https://login.example/v2.0", "audience": "flowgrid"}]'}
    kept = follow_issuer(environ, Settings.load(environ), "http://127.0.0.1:9/oidc")
    assert [item.issuer for item in kept.flowgrid_issuers] == ["https://login.example/v2.0"]


def test_the_base_url_is_one_that_can_be_called() -> None:
    assert base_url("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert base_url("::1", 80) == "http://[::1]:80"


def test_the_socket_is_named_tcp_so_that_asyncio_answers_without_delay() -> None:
    with listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_a_listening_socket_refuses_a_second_one() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(CliError):
        listen("127.0.0.1", first.getsockname()[1])


# serve


def serving(place: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "serve", "--port", "0", *arguments],
        cwd=place,
        env={**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{ROOT}", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_serve_says_when_it_is_ready_answers_and_ends_cleanly(place: Path, ending: signal.Signals) -> None:
    with serving(place, "--data", str(place / "data")) as process:
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            url = line.split()[4]
            health = httpx.get(f"{url}/api/health")
            discovery = httpx.get(f"{url}/oidc/.well-known/openid-configuration").json()
            keys = httpx.get(discovery["jwks_uri"]).json()["keys"]
            token = invoke("token", "--role", "platform").stdout.strip()
        finally:
            process.send_signal(ending)
            out, error = process.communicate()
            watchdog.cancel()
    assert line == f"Flowgrid is ready on {url} (data in {place / 'data'})\n"
    assert (health.status_code, health.text) == (200, "local")
    assert discovery["issuer"] == f"{url}/oidc"
    claims = jwt.decode(token, jwt.PyJWK(keys[0]), algorithms=["RS256"], audience="flowgrid", issuer=f"{url}/oidc")
    assert claims["roles"] == ["platform:admin"]
    assert (error, process.returncode) == ("", 0)
    assert not out or "/api/docs" in out  # the welcome, if there was time for it
    assert (place / "data" / "closed").exists()
    assert stat.S_IMODE((place / "data" / "oidc" / "keys.json").stat().st_mode) == 0o600


def test_on_ready_may_call_the_server(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(place)
    monkeypatch.delitem(sys.modules, "function_app", raising=False)
    answers: list[str] = []

    async def on_ready(url: str, issuer: Issuer) -> None:
        async with httpx.AsyncClient() as http:
            answers.append((await http.get(f"{url}/api/health")).text)
        assert issuer.issuer == f"{url}/oidc"
        signal.raise_signal(signal.SIGINT)

    cli.serve.run(host="127.0.0.1", port=0, data=None, settings_file=None, on_ready=on_ready)
    sys.modules.pop("function_app", None)
    assert answers == ["local"]
    assert capsys.readouterr().out.startswith("Flowgrid is ready on http://127.0.0.1:")


def test_the_server_may_open_as_many_files_as_the_system_lets_it() -> None:
    code = (
        "import resource, cli.server\n"
        "own = resource.RLIMIT_NOFILE\n"
        "resource.setrlimit(own, (64, resource.getrlimit(own)[1]))\n"
        "cli.server.open_many_files()\n"
        "soft, hard = resource.getrlimit(own)\n"
        "print(soft == hard > 64)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "True"


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    heavy = "{'starlette', 'uvicorn', 'azure', 'jwt', 'cryptography', 'pydantic', 'httpx'}"
    code = f"import sys, cli.app; print({heavy} & set(sys.modules))"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
