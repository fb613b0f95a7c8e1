"""What is fetched from token issuers: over HTTPS or from this machine, from where it was asked for, not for ever."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from shared.auth.keys import SigningKeys
from shared.auth.published import MAX_DOCUMENT_BYTES, Published
from shared.errors import Unavailable
from shared.issuers import Issuer

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, Answer]], str]]:
    """A local HTTP server with these pages; `{base}` in a header is its address."""
    servers: list[HTTPServer] = []

    def start(answers: dict[str, Answer]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, page = answers[self.path]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value.format(base=base))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: Any) -> None:
                return None

        server = HTTPServer(("127.0.0.1", 0), Handler)
        base = f"http://127.0.0.1:{server.server_port}"
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return base

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def local() -> Published:
    return Published(local=True)


def page(body: bytes = b'{"keys": []}', **headers: str) -> Answer:
    return 200, headers, body


async def test_an_issuer_on_this_machine_may_speak_plain_http(local: Published, serve: Any) -> None:
    assert await local.fetch(f"{serve({'/keys': page()})}/keys") == {"keys": []}


@pytest.mark.parametrize(
    "url", ["http://one.example/keys", "file:///etc/passwd", "ftp://127.0.0.1/keys", "http://[::1"]
)
async def test_keys_come_over_https_only(local: Published, url: str) -> None:
    with pytest.raises(ValueError):
        await local.fetch(url)


async def test_an_issuer_elsewhere_does_not_lead_to_this_machine(serve: Any) -> None:
    base = serve({"/keys": page()})
    with pytest.raises(ValueError, match="not https"):
        await Published().fetch(f"{base}/keys")


@pytest.mark.parametrize("body", [b"[]", b"x", b"", b"\xff", b'{"keys": "' + b"x" * MAX_DOCUMENT_BYTES + b'"}'])
async def test_a_page_that_is_no_object_or_too_large_is_refused(local: Published, serve: Any, body: bytes) -> None:
    with pytest.raises(ValueError):
        await local.fetch(f"{serve({'/keys': page(body)})}/keys")


@pytest.mark.parametrize("status", [204, 404, 500])
async def test_a_page_that_is_not_there_is_refused(local: Published, serve: Any, status: int) -> None:
    with pytest.raises(ValueError, match=str(status)):
        await local.fetch(f"{serve({'/keys': (status, {}, b'')})}/keys")


async def test_a_redirect_within_the_same_place_is_followed(local: Published, serve: Any) -> None:
    base = serve({"/keys": (302, {"Location": "/real"}, b""), "/real": page(b'{"keys": [1]}')})
    assert await local.fetch(f"{base}/keys") == {"keys": [1]}


@pytest.mark.parametrize(
    "target", ["http://localhost:{port}/keys", "https://127.0.0.1:{port}/keys", "file:///etc/passwd"]
)
async def test_a_redirect_to_another_scheme_or_host_is_not_followed(local: Published, serve: Any, target: str) -> None:
    elsewhere = serve({"/keys": page()})
    base = serve({"/keys": (307, {"Location": target.format(port=elsewhere.rpartition(":")[2])}, b"")})
    with pytest.raises(ValueError, match="another place"):
        await local.fetch(f"{base}/keys")


@pytest.mark.parametrize(("steps", "arrives"), [(3, True), (4, False)])
async def test_three_redirects_are_followed(local: Published, serve: Any, steps: int, arrives: bool) -> None:
    answers = {f"/{step}": (302, {"Location": f"/{step - 1}"}, b"") for step in range(1, steps + 1)}
    base = serve({**answers, "/0": page(b'{"keys": []}')})
    if arrives:
        assert await local.fetch(f"{base}/{steps}") == {"keys": []}
    else:
        with pytest.raises(ValueError, match="one page to the next"):
            await local.fetch(f"{base}/{steps}")


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
async def test_a_page_has_at_most_256_kib(local: Published, serve: Any, more: int, fits: bool) -> None:
    body = b'{"k": "' + b"x" * (262_144 - 9 + more) + b'"}'
    base = serve({"/keys": page(body)})
    if fits:
        assert (await local.fetch(f"{base}/keys")).keys() == {"k"}
    else:
        with pytest.raises(ValueError, match="more than 262144 bytes"):
            await local.fetch(f"{base}/keys")


async def test_redirects_without_end_are_given_up(local: Published, serve: Any) -> None:
    base = serve({"/keys": (302, {"Location": "/keys"}, b"")})
    with pytest.raises(ValueError, match="one page to the next"):
        await local.fetch(f"{base}/keys")


async def test_an_issuer_that_nobody_listens_for_is_an_outage(local: Published, serve: Any) -> None:
    probe = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    probe.server_close()
    with pytest.raises(OSError, match="cannot be read"):
        await local.fetch(f"http://127.0.0.1:{probe.server_port}/keys")


async def test_a_name_that_hangs_takes_no_thread_that_others_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shared pool of `asyncio.to_thread` has one thread here, and the issuer's name is never found."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))
    asked, found = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hang(*_: Any) -> list[Any]:
        loop.call_soon_threadsafe(asked.set)
        found.wait(30)
        return []

    monkeypatch.setattr("shared.auth.published.socket.getaddrinfo", hang)
    own = SigningKeys(Issuer(issuer="https://hangs.example", audience="flowgrid"))
    waiting = asyncio.create_task(own.get("k1"))
    await asked.wait()
    assert await asyncio.to_thread(lambda: "others work") == "others work"
    await own.close()
    assert own._documents._names is not None
    with pytest.raises(RuntimeError, match="after shutdown"):
        own._documents._names.submit(print)
    found.set()
    await asyncio.wait([waiting])
    assert isinstance(waiting.exception(), Unavailable)


async def test_keys_travel_from_a_real_issuer_to_their_first_use(serve: Any) -> None:
    from tests.unit.issuers import published

    answers: dict[str, Answer] = {"/keys": page(json.dumps({"keys": [published("k1")]}).encode())}
    base = serve(answers)
    answers["/.well-known/openid-configuration"] = page(
        json.dumps({"issuer": base, "jwks_uri": f"{base}/keys"}).encode()
    )
    own = SigningKeys(Issuer(issuer=base, audience="flowgrid"))
    assert (await own.get("k1")).key_id == "k1"
    await own.close()
