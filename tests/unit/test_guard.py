"""The development host among web pages: by which names it is called, who may run functions, and what it echoes."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import azure.functions as func
import httpx
import pytest

from cli.app import app as commands
from cli.server import private_files
from functions.kinds import KINDS
from local.host import Host
from shared.adapters import build
from shared.clock import SystemClock
from shared.folders import private_folder
from shared.messaging.sqlite import SqliteMessaging
from shared.settings import Settings
from tests.unit.world import TENANT_ID

Client = Callable[..., httpx.AsyncClient]


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

    @app.timer_trigger(arg_name="tick", schedule="0 0 2 * * *")
    async def nightly(tick: func.TimerRequest) -> None:
        return None

    @app.route(route="page")
    async def page(req: func.HttpRequest) -> str:
        return "page"

    messaging = SqliteMessaging(tmp_path / "queue", SystemClock())
    host = Host(app, state=tmp_path / "state", messaging=messaging, values={}, names=["Flowgrid.lan"])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(host.asgi()), base_url="http://127.0.0.1:7071"
    ) as client:
        yield client
    await messaging.close()


# Names


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "LOCALHOST:7071",
        "localhost.:7071",
        "acme.localhost",
        "127.0.0.1:7071",
        "[::1]:7071",
        "192.168.1.7",
        "flowgrid.lan:7071",
    ],
)
async def test_this_machine_addresses_and_allowed_names_are_served(http: httpx.AsyncClient, name: str) -> None:
    assert (await http.get("/api/page", headers={"host": name})).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["evil.example", "evil.example:7071", "localhost.evil.example", "127.0.0.1.evil.example", "2130706433", "0x7f.1"],
)
@pytest.mark.parametrize("path", ["/api/page", "/admin/functions/nightly", "/oidc/jwks"])
async def test_a_name_that_somebody_else_may_make_point_here_is_not_served(
    http: httpx.AsyncClient, name: str, path: str
) -> None:
    answer = await http.post(path, headers={"host": name}, json={})
    assert (answer.status_code, answer.json()["code"]) == (421, "misdirected")


@pytest.mark.parametrize("name", ["[::1", "::1", "[::1]x", "a b", "a@b", "a/b", "", ":80", "a:b", "[::::]", "é"])
async def test_a_malformed_host_is_a_400(http: httpx.AsyncClient, name: str) -> None:
    assert (await http.get("/api/page", headers=[(b"host", name.encode())])).status_code == 400


async def test_two_hosts_are_a_400(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/page", headers=[("host", "localhost"), ("host", "localhost")])
    assert answer.status_code == 400


def test_a_name_can_be_allowed_on_the_command_line() -> None:
    from typer.testing import CliRunner

    assert (
        "--allow-host" in CliRunner(env={"TERM": "dumb", "COLUMNS": "200"}).invoke(commands, ["serve", "--help"]).output
    )


# Running functions


async def run(http: httpx.AsyncClient, content: str = '{"input": ""}', **headers: str) -> int:
    sent = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return (await http.post("/admin/functions/nightly", content=content, headers=sent)).status_code


async def test_a_script_runs_a_function_with_json(http: httpx.AsyncClient) -> None:
    assert await run(http) == 202


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_what_a_form_of_any_page_can_send_runs_nothing(http: httpx.AsyncClient, kind: str) -> None:
    assert await run(http, content_type=kind) == 415


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_page_of_another_site_runs_nothing(http: httpx.AsyncClient, site: str) -> None:
    assert await run(http, sec_fetch_site=site) == 403


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:8080", "http://localhost:7071", ""]
)
async def test_a_page_of_another_origin_runs_nothing(http: httpx.AsyncClient, origin: str) -> None:
    assert await run(http, origin=origin) == 403


async def test_a_page_of_this_host_may_run_functions(http: httpx.AsyncClient) -> None:
    assert await run(http, origin="http://127.0.0.1:7071", sec_fetch_site="same-origin") == 202


# What is echoed


@pytest.mark.parametrize("asked", ["<script>alert(1)</script>", 'a"b', "a b", "x" * 129])
async def test_a_request_id_that_could_do_harm_is_not_echoed(http: httpx.AsyncClient, asked: str) -> None:
    answer = await http.get("/api/nothing", headers={"x-request-id": asked})
    assert (answer.status_code, asked in answer.text, asked in answer.headers.values()) == (404, False, False)


async def test_a_plain_request_id_is_echoed(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/nothing", headers={"x-request-id": "r-1"})
    assert (answer.json()["request_id"], answer.headers["x-request-id"]) == ("r-1", "r-1")


# Files


def loose(folder: Path) -> list[str]:
    """What others may look into, the folder itself included."""
    return [str(path) for path in (folder, *folder.rglob("*")) if path.is_dir() and path.stat().st_mode & 0o077]


async def test_whatever_the_adapters_keep_lies_in_folders_of_their_owner(tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    settings = Settings(flowgrid_data_dir=tmp_path / "a" / "data")
    adapters = build(settings, SystemClock(), KINDS)
    for ping in adapters.pings().values():
        await ping()
    await adapters.blobs.space("backups", TENANT_ID).write("a/b", chunks())
    await adapters.secrets.space(TENANT_ID).put("key", "value")
    await adapters.close()
    assert {path.name for path in (tmp_path / "a" / "data").iterdir()} >= {"database", "queues", "blobs", "secrets"}
    assert loose(tmp_path / "a") == []


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    shared.chmod(0o755)
    made = private_folder(shared / "one" / "two")
    assert [path.stat().st_mode & 0o777 for path in (shared, made.parent, made)] == [0o755, 0o700, 0o700]


def test_files_of_a_served_host_are_their_owners_only(tmp_path: Path) -> None:
    with private_files():
        (tmp_path / "one").write_text("x")
    (tmp_path / "two").write_text("x")
    modes: Any = [(tmp_path / name).stat().st_mode & 0o077 for name in ("one", "two")]
    assert modes[0] == 0 and modes[1] != 0
