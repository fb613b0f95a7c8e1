"""What the app calls for a tenant: nothing private is dialled, whatever it is called; answers are within bounds."""

import asyncio
import socket
import ssl
import threading
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from shared.outgoing.addresses import is_public, wrong_with
from shared.outgoing.client import Outgoing, Resolve
from shared.outgoing.errors import AddressRefused, AnswerTooLarge, AnswerTooSlow, OutgoingFailed
from shared.outgoing.transport import ADDRESSES_TRIED, GuardedBackend
from tests.doubles.certificate import make_certificate
from tests.doubles.server import serving


def words(text: str) -> list[str]:
    return text.split()


PRIVATE = words(
    """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 168.63.129.16
    169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 192.168.0.1
    198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1
    ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:a9fe:a9fe ::ffff:0:127.0.0.1 64:ff9b::7f00:1
    64:ff9b::808:808 64:ff9b:1::1 100::1 100:0:0:1::1 2001::1 2001:0:7f00:1::1 2001:2::1 2001:10::1 2001:20::1
    2001:db8::1 2002:7f00:1:: 2002:808:808::1 3fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0
    2600::1%eth0 fec0::1 ff02::1 ff0e::1
    """
)
PUBLIC = words(
    """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15
    168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0
    198.17.255.255 198.20.0.0 223.255.255.255 2001:200::1 2001:4860:4860::8888 2400:: 2606:4700::1111 2a00:1450::1
    """
)
URLS = words(
    """
    http://8.8.8.8/ https://127.0.0.1/ https://127.0.0.1:{port}/ https://127.1:{port}/ https://127.0.1:{port}/
    https://2130706433:{port}/ https://0x7f000001:{port}/ https://0x7f.1:{port}/ https://0X7F.0.0.1:{port}/
    https://0177.0.0.1:{port}/ https://017700000001:{port}/ https://0:{port}/ https://0.0.0.0:{port}/
    https://127.0.0.1.:{port}/ https://127.1.:{port}/ https://2852039166/ https://0xA9FEA9FE/
    https://0251.0376.0251.0376/ https://169.254.169.254/metadata/identity https://168.63.129.16/ https://10.0.0.1/
    https://100.64.0.1/ https://192.168.1.1/ https://224.0.0.1/ https://255.255.255.255/ https://[::1]:{port}/
    https://[::]:{port}/ https://[::ffff:127.0.0.1]:{port}/ https://[::ffff:7f00:1]:{port}/
    https://[::127.0.0.1]:{port}/ https://[64:ff9b::7f00:1]:{port}/ https://[64:ff9b::a9fe:a9fe]/
    https://[2002:7f00:1::]:{port}/ https://[2001:0:7f00:1::1]:{port}/ https://[fe80::1%25eth0]:{port}/
    https://[fe80::1%eth0]:{port}/ https://[fec0::1]/ https://[fd00::1]/ https://[ff02::1]/
    https://localhost:{port}/ https://LOCALHOST:{port}/ https://localhost.:{port}/ https://a.localhost:{port}/
    https://printer.local/ https://metadata.google.internal/ https://registry/
    https://\uff11\uff12\uff17.0.0.1:{port}/ https://127。0。0。1:{port}/ https://①②⑦.0.0.1:{port}/ https://ⓛocalhost:{port}/
    https://8.8.8.8@127.0.0.1:{port}/ https://8.8.8.8\\@127.0.0.1:{port}/ https://[::1 https://127.0.0.1:99999/
    ftp://8.8.8.8/ file:///etc/passwd gopher://127.0.0.1:{port}/ https:///path https://:{port}/
    """
)
HIDDEN = [
    "https://user:key@8.8.8.8/",
    "https://127.0.0.1:{port}\\@8.8.8.8/",
    "https://127.0.0.1%2f@8.8.8.8/",
]  # to a public address, and yet


class Listener:
    """A port of this machine that nobody should come to."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(100)
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]

    @property
    def came(self) -> int:
        came = 0
        while True:
            try:
                self._socket.accept()[0].close()
            except BlockingIOError:
                return came
            came += 1

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.close()


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every address that the loop connects a socket to."""
    addresses: list[object] = []
    connect = BaseSelectorEventLoop.sock_connect

    async def watched(loop: BaseSelectorEventLoop, sock: socket.socket, address: Any) -> None:
        addresses.append(address)
        await connect(loop, sock, address)

    monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", watched)
    return addresses


def resolving(*answers: list[str]) -> Resolve:
    left = iter(answers)

    async def resolve(host: str, port: int) -> list[str]:
        return next(left)

    return resolve


@contextmanager
def answering(endpoint: Callable[[Request], object]) -> Iterator[int]:
    """A server on this machine whose every path is this; its port."""
    with serving(Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET", "POST"])])) as address:
        yield int(address.rpartition(":")[2])


@pytest.fixture
async def made() -> AsyncIterator[list[Outgoing]]:
    """To be closed in the end."""
    every: list[Outgoing] = []
    yield every
    for one in every:
        await one.close()


def allowing(made: list[Outgoing], port: int) -> Outgoing:
    made.append(Outgoing(frozenset({("127.0.0.1", port)})))
    return made[-1]


# Addresses


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_everybodys_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_beside_those_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("url", [*URLS, *HIDDEN])
def test_what_is_wrong_with_a_url_is_seen_before_it_is_called(url: str) -> None:
    assert wrong_with(url.format(port=8443)) is not None


@pytest.mark.parametrize(
    "url", ["https://api.openai.com/v1", "https://acme.openai.azure.com", "https://8.8.8.8:8443/", "https://a.b.:443/x"]
)
def test_nothing_is_wrong_with_a_url_that_may_be_public(url: str) -> None:
    assert wrong_with(url) is None


def test_an_allowed_address_is_one_address_and_one_port() -> None:
    allowed = frozenset({("127.0.0.1", 8931), ("::1", 80)})
    urls = ["http://127.0.0.1:8931/", "http://[::1]/", "http://127.0.0.1:8932/", "http://127.1:8931/", "https://[::1]/"]
    assert [wrong_with(url, allowed) is None for url in urls] == [True, True, False, False, False]


# What is dialled


@pytest.mark.parametrize("url", URLS)
async def test_nothing_private_is_dialled(
    url: str, listener: Listener, dialled: list[object], made: list[Outgoing]
) -> None:
    made.append(Outgoing())
    with pytest.raises((OutgoingFailed, httpx2.InvalidURL, httpx2.TransportError, httpx2.UnsupportedProtocol)):
        await made[0].client().get(url.format(port=listener.port))
    assert (dialled, listener.came) == ([], 0)


@pytest.mark.parametrize("address", [*PRIVATE, "127.1", "0x7f000001", "nonsense", ""])
async def test_a_name_that_stands_for_a_private_address_is_not_dialled(
    address: str, listener: Listener, dialled: list[object], made: list[Outgoing]
) -> None:
    """Alone, and beside a public one, before it and after it."""
    every = [[address], ["8.8.8.8", address], [address, "8.8.8.8"], ["2606:4700::1111", "8.8.8.8", "1.1.1.1", address]]
    made.append(Outgoing(resolve=resolving(*every)))
    for _ in every:
        with pytest.raises(AddressRefused, match=r"evil\.example has an address that is not public"):
            await made[0].client().get(f"https://evil.example:{listener.port}/")
    assert (dialled, listener.came) == ([], 0)


async def test_a_name_is_looked_at_again_each_time_it_is_dialled(listener: Listener, dialled: list[object]) -> None:
    """What it stands for when it is checked is what is called; the next answer is checked anew."""
    answers = resolving(["127.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["169.254.169.254"])
    allowed = frozenset({("127.0.0.1", listener.port)})
    backend = GuardedBackend(allowed, answers)
    stream = await backend.connect_tcp("evil.example", listener.port, 5)
    await stream.aclose()
    for _ in range(2):
        with pytest.raises(AddressRefused):
            await backend.connect_tcp("evil.example", listener.port, 5)
    assert (dialled, listener.came) == ([("127.0.0.1", listener.port)], 1)


async def test_tls_goes_by_the_name_and_not_by_the_address(tmp_path: Path, made: list[Outgoing]) -> None:
    certificate = make_certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=certificate)

    async def host(request: Request) -> Response:
        return Response(request.headers["host"])

    with serving(Starlette(routes=[Route("/", host)]), certificate) as address:
        port = int(address.rpartition(":")[2])
        allowed = frozenset({("127.0.0.1", port)})
        resolve = resolving(["127.0.0.1"], ["127.0.0.1"])
        made.append(Outgoing(allowed, resolve=resolve, tls=trusting))
        with pytest.raises(httpx2.ConnectError, match="Hostname mismatch"):
            await made[0].client().get(f"https://evil.example:{port}/")


async def test_only_the_first_addresses_of_a_name_are_tried(dialled: list[object], made: list[Outgoing]) -> None:
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    port = closed.getsockname()[1]  # bound, and nobody listens
    addresses = [f"127.0.0.{last}" for last in range(1, 9)]
    allowed = frozenset((address, port) for address in addresses)
    backend = GuardedBackend(allowed, resolving(addresses))
    with pytest.raises(Exception, match="failed"):
        await backend.connect_tcp("slow.example", port, 5)
    closed.close()
    assert dialled == [(address, port) for address in addresses[:ADDRESSES_TRIED]]


@pytest.mark.parametrize("found", [[], OSError("no such name"), UnicodeError("label too long")])
async def test_a_name_that_stands_for_nothing_is_told_so(found: object, made: list[Outgoing]) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        if isinstance(found, Exception):
            raise found
        return []

    made.append(Outgoing(resolve=resolve))
    with pytest.raises(httpx2.ConnectError, match=r"^nobody\.example "):
        await made[0].client().get("https://nobody.example/")


async def test_a_name_that_nobody_resolves_is_not_waited_for() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(Exception, match="not resolved in time"):
        await GuardedBackend(frozenset(), resolve).connect_tcp("slow.example", 443, 0.01)


async def test_no_socket_of_this_machine_is_called() -> None:
    with pytest.raises(AddressRefused):
        await GuardedBackend(frozenset(), resolving()).connect_unix_socket("/run/docker.sock")


@pytest.mark.parametrize("to", ["http://169.254.169.254/", "http://127.0.0.1:{port}/", "/elsewhere", "//10.0.0.1/"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(
    to: str, status: int, listener: Listener, dialled: list[object], made: list[Outgoing]
) -> None:
    async def away(request: Request) -> Response:
        return RedirectResponse(to.format(port=listener.port), status)

    with answering(away) as port:
        client = allowing(made, port).client()
        for follow in (False, True):
            answer = await client.get(f"http://127.0.0.1:{port}/", follow_redirects=follow)
            assert answer.status_code == status
    assert (dialled, listener.came) == ([("127.0.0.1", port)], 0)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"])
async def test_a_proxy_of_the_environment_is_not_used(
    name: str, listener: Listener, dialled: list[object], made: list[Outgoing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, f"http://127.0.0.1:{listener.port}")

    async def here(request: Request) -> Response:
        return Response("here")

    with answering(here) as port:
        answer = await allowing(made, port).client().get(f"http://127.0.0.1:{port}/")
    assert (answer.text, dialled, listener.came) == ("here", [("127.0.0.1", port)], 0)


async def test_the_port_beside_an_allowed_one_is_not_dialled(
    listener: Listener, dialled: list[object], made: list[Outgoing]
) -> None:
    client = allowing(made, listener.port + 1).client()
    with pytest.raises(AddressRefused):
        await client.get(f"http://127.0.0.1:{listener.port}/")
    assert (dialled, listener.came) == ([], 0)


# Answers


async def test_one_callers_cookies_are_not_sent_with_the_next_call(made: list[Outgoing]) -> None:
    async def biscuits(request: Request) -> Response:
        return Response(request.headers.get("cookie", ""), headers={"set-cookie": "session=acme"})

    with answering(biscuits) as port:
        client = allowing(made, port).client()
        assert [(await client.get(f"http://127.0.0.1:{port}/")).text for _ in range(2)] == ["", ""]


async def test_an_answer_of_the_bounds_size_is_read_and_a_byte_more_is_not(made: list[Outgoing]) -> None:
    async def sized(request: Request) -> Response:
        return Response(b"x" * int(request.query_params["bytes"]))

    with answering(sized) as port:
        client = allowing(made, port).client(max_bytes=100_000)
        assert len((await client.get(f"http://127.0.0.1:{port}/?bytes=100000")).content) == 100_000
        with pytest.raises(AnswerTooLarge, match="more than 100000 bytes"):
            await client.get(f"http://127.0.0.1:{port}/?bytes=100001")
        assert (await client.get(f"http://127.0.0.1:{port}/?bytes=1")).status_code == 200


async def test_an_endless_answer_is_cut_at_the_bound(made: list[Outgoing]) -> None:
    async def endless(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 10_000
                await asyncio.sleep(0)  # to hear of who hangs up

        return StreamingResponse(chunks())

    with answering(endless) as port:
        with pytest.raises(AnswerTooLarge):
            await allowing(made, port).client(max_bytes=100_000).get(f"http://127.0.0.1:{port}/")
        await made[0].close()


async def test_a_packed_answer_is_not_unpacked(made: list[Outgoing]) -> None:
    async def bomb(request: Request) -> Response:
        assert request.headers["accept-encoding"] == "identity"
        return Response(b"\x1f\x8b...", headers={"content-encoding": "gzip"})

    with answering(bomb) as port, pytest.raises(AnswerTooLarge, match="packed"):
        await allowing(made, port).client().get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("begun", [True, False])
async def test_a_slow_answer_is_given_up_however_it_drips(begun: bool, made: list[Outgoing]) -> None:
    """No single wait is long: the bound is on all of them."""

    async def slow(request: Request) -> Response:
        async def drops() -> AsyncIterator[bytes]:
            while True:
                yield b"x"
                await asyncio.sleep(0.01)

        if not begun:
            await asyncio.sleep(0.5)
        return StreamingResponse(drops())

    with answering(slow) as port:
        with pytest.raises(AnswerTooSlow, match=r"within 0\.1 s"):
            await allowing(made, port).client(seconds=0.1).get(f"http://127.0.0.1:{port}/")
        await made[0].close()


async def test_a_server_that_is_not_there_is_an_error_of_httpx(made: list[Outgoing]) -> None:
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    with pytest.raises(httpx2.ConnectError):
        await allowing(made, port).client().get(f"http://127.0.0.1:{port}/")
    closed.close()


# The client


async def test_a_client_is_made_once_for_its_bounds_and_closed_with_the_rest(made: list[Outgoing]) -> None:
    made.append(Outgoing())
    first = made[0].client(seconds=1)
    assert made[0].client(seconds=1) is first and made[0].client(seconds=2) is not first
    await made[0].close()
    assert first.is_closed and made[0].client(seconds=1) is not first


async def test_calls_of_one_tenant_that_nobody_answers_leave_the_others_their_connections(
    made: list[Outgoing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.outgoing.transport.MAX_OF_ONE", 2)
    at_hand, let_go = "eve", threading.Event()

    async def answer(request: Request) -> Response:
        if request.url.path == "/slow":
            await asyncio.to_thread(let_go.wait)
        return Response(b"well")

    with answering(answer) as port:
        made.append(Outgoing(frozenset({("127.0.0.1", port)}), whose=lambda: at_hand))
        client, url = made[0].client(), f"http://127.0.0.1:{port}"
        slow = [asyncio.create_task(client.get(f"{url}/slow")) for _ in range(2)]
        await asyncio.sleep(0)
        little = httpx2.Timeout(10, pool=0.05)
        with pytest.raises(httpx2.PoolTimeout, match="this tenant's"):
            await client.get(url, timeout=little)
        at_hand = "acme"
        assert (await client.get(url, timeout=little)).text == "well"
        at_hand = "eve"
        slow[0].cancel()
        await asyncio.wait([slow[0]])
        async with client.stream("GET", url, timeout=little) as response:
            with pytest.raises(httpx2.PoolTimeout):
                await client.get(url, timeout=little)
            assert (await response.aread()) == b"well"
        let_go.set()
        assert (await slow[1]).text == "well"
        for _ in range(3):
            assert (await client.get(url, timeout=little)).text == "well"
