"""Bearer tokens: which ones are taken for whose, how keys are fetched, and what happens when their issuer is away."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import BadStatusLine
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from shared.auth import tokens
from shared.auth.roles import Role
from shared.auth.tokens import TokenVerifier
from shared.context import Caller
from shared.errors import Unauthenticated, Unavailable
from shared.settings import Issuer
from tests.unit.world import TENANT_ID, FakeClock

ONE = "https://one.example/v2.0"
TWO = "https://two.example/"
KEYS = {kid: rsa.generate_private_key(65537, 2048) for kid in ("k1", "k2")}


class Web:
    """The issuers' pages, and how often each was fetched."""

    def __init__(self) -> None:
        self.pages: dict[str, Any] = {}
        self.fetched: list[str] = []
        self.away: Exception | None = None

    def fetch(self, url: str) -> dict[str, Any]:
        self.fetched.append(url)
        if self.away is not None:
            raise self.away
        page: dict[str, Any] = self.pages[url]
        return page

    def publish(self, issuer: str, *kids: str) -> None:
        keys = [{**RSAAlgorithm.to_jwk(KEYS[kid].public_key(), as_dict=True), "kid": kid} for kid in kids]
        base = issuer.rstrip("/")
        self.pages[f"{base}/.well-known/openid-configuration"] = {"issuer": issuer, "jwks_uri": f"{base}/keys"}
        self.pages[f"{base}/keys"] = {"keys": keys}


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    web = Web()
    monkeypatch.setattr(tokens, "_fetch_json", web.fetch)
    web.publish(ONE, "k1")
    web.publish(TWO, "k2")
    return web


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def verifier(web: Web, clock: FakeClock) -> TokenVerifier:
    return make(clock)


def make(clock: FakeClock, **issuer: Any) -> TokenVerifier:
    one = Issuer(**{"issuer": ONE, "audience": "flowgrid", **issuer})
    two = Issuer(issuer=TWO, audience="flowgrid-two")
    return TokenVerifier([one, two], tenant_claim="extension_TenantId", roles_claim="roles", clock=clock)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    own = {"iss": ONE, "aud": "flowgrid", "sub": "s-1", "nbf": now, "exp": now + 600, "roles": ["tenant:user"]}
    return {name: value for name, value in {**own, **changes}.items() if value is not None}


def signed(kid: str = "k1", *, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
    return "Bearer " + jwt.encode(claims(**changes), KEYS[kid], "RS256", headers={"kid": kid, **(header or {})})


def unsigned(header: Mapping[str, Any], payload: bytes, signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), payload, signature)
    return "Bearer " + ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


async def refused(verifier: TokenVerifier, authorization: str | None) -> str:
    with pytest.raises(Unauthenticated) as error:
        await verifier.verify(authorization)
    return error.value.message


# Which tokens are taken


async def test_a_good_token_names_its_holder(verifier: TokenVerifier) -> None:
    token = signed(extension_TenantId=TENANT_ID, email="Ada@acme.example", email_verified=True, name="Ada")
    holder = Caller("s-1", "ada@acme.example", "Ada", TENANT_ID, Role.USER, ONE, email_verified=True)
    assert await verifier.verify(token) == holder


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer"])
async def test_the_scheme_may_be_written_in_any_case(verifier: TokenVerifier, scheme: str) -> None:
    assert (await verifier.verify(signed().replace("Bearer", scheme))).subject == "s-1"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  ", "Basic YWRhOnNlY3JldA==", "token"])
async def test_without_a_bearer_token_one_is_asked_for(verifier: TokenVerifier, header: str | None) -> None:
    assert "Send a token" in await refused(verifier, header)


@pytest.mark.parametrize("text", ["x", "a.b.c", "..", "é.é.é", "a.b.c.d.e", "eyJhbGciOiJSUzI1NiJ9.W10.x"])
async def test_what_is_no_jwt_is_refused(verifier: TokenVerifier, text: str) -> None:
    assert await refused(verifier, f"Bearer {text}") == "The token is not a JSON Web Token."


async def test_a_token_nested_too_deep_to_read_is_refused(verifier: TokenVerifier) -> None:
    deep = unsigned({"alg": "RS256", "kid": "k1"}, b"[" * 5000 + b"]" * 5000)
    assert await refused(verifier, deep) == "The token is not a JSON Web Token."


async def test_a_token_above_16_kb_is_refused(verifier: TokenVerifier) -> None:
    assert "too long" in await refused(verifier, signed(padding="x" * 16_000))


async def test_a_token_without_a_signature_is_refused(verifier: TokenVerifier) -> None:
    assert "RS256" in await refused(verifier, unsigned({"alg": "none", "kid": "k1"}, json.dumps(claims()).encode()))


async def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(verifier: TokenVerifier) -> None:
    """The classic confusion of HS256 and RS256 (https://nvd.nist.gov/vuln/detail/CVE-2015-9235)."""
    public = (
        KEYS["k1"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    header = {"alg": "HS256", "typ": "JWT", "kid": "k1"}
    signing = unsigned(header, json.dumps(claims()).encode()).removeprefix("Bearer ").rpartition(".")[0]
    signature = jwt.get_algorithm_by_name("HS256").sign(signing.encode(), public)
    forged = f"Bearer {signing}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    assert "RS256" in await refused(verifier, forged)


async def test_a_token_that_says_rs256_over_another_signature_is_refused(verifier: TokenVerifier) -> None:
    token = unsigned({"alg": "RS256", "kid": "k1"}, json.dumps(claims()).encode(), b"x" * 256)
    assert "does not verify" in await refused(verifier, token)


async def test_a_token_signed_with_another_algorithm_of_the_same_key_is_refused(verifier: TokenVerifier) -> None:
    token = jwt.encode(claims(), KEYS["k1"], "RS512", headers={"kid": "k1"})
    assert "RS256" in await refused(verifier, f"Bearer {token}")


async def test_a_key_of_another_issuer_signs_nothing_here(verifier: TokenVerifier) -> None:
    assert "does not publish" in await refused(verifier, signed("k2", iss=ONE))


async def test_a_token_changed_after_signing_is_refused(verifier: TokenVerifier) -> None:
    head, _, tail = signed()[7:].split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims(roles=["platform:admin"])).encode()).rstrip(b"=").decode()
    assert "does not verify" in await refused(verifier, f"Bearer {head}.{body}.{tail}")


@pytest.mark.parametrize("issuer", [None, "https://evil.example/", ONE + "/", ONE.upper()])
async def test_a_token_of_another_issuer_is_refused(verifier: TokenVerifier, web: Web, issuer: str | None) -> None:
    assert ("issuer" in await refused(verifier, signed(iss=issuer)), web.fetched) == (True, [])


@pytest.mark.parametrize("audience", [None, "another", "flowgrid-two", ["another"]])
async def test_a_token_for_another_audience_is_refused(verifier: TokenVerifier, audience: Any) -> None:
    assert "does not verify" in await refused(verifier, signed(aud=audience))


async def test_an_audience_may_be_one_of_several(verifier: TokenVerifier) -> None:
    assert (await verifier.verify(signed(aud=["another", "flowgrid"]))).subject == "s-1"


async def test_an_expired_token_is_refused_and_says_so(verifier: TokenVerifier) -> None:
    assert "expired" in await refused(verifier, signed(exp=int(time.time()) - 60))


async def test_a_token_that_never_expires_is_refused(verifier: TokenVerifier) -> None:
    assert "does not verify" in await refused(verifier, signed(exp=None))


async def test_a_token_from_the_future_is_refused(verifier: TokenVerifier) -> None:
    assert "does not verify" in await refused(verifier, signed(nbf=int(time.time()) + 120))


async def test_half_a_minute_of_clock_skew_is_forgiven(verifier: TokenVerifier) -> None:
    now = int(time.time())
    assert (await verifier.verify(signed(nbf=now + 20, exp=now + 600))).subject == "s-1"


async def test_a_token_without_a_subject_is_refused(verifier: TokenVerifier) -> None:
    assert "does not verify" in await refused(verifier, signed(sub=None))


async def test_each_of_several_issuers_has_its_own_audience_and_keys(verifier: TokenVerifier) -> None:
    assert (await verifier.verify(signed("k2", iss=TWO, aud="flowgrid-two", sub="s-2"))).subject == "s-2"


# What a token says


@pytest.mark.parametrize("claim", ["acme", "", 7, [TENANT_ID], TENANT_ID.upper(), f"{{{TENANT_ID}}}", TENANT_ID[:-1]])
async def test_a_tenant_claim_that_is_no_uuid_is_refused(verifier: TokenVerifier, claim: Any) -> None:
    assert "extension_TenantId" in await refused(verifier, signed(extension_TenantId=claim))


async def test_staff_need_no_tenant(verifier: TokenVerifier) -> None:
    assert (await verifier.verify(signed(roles=["platform:admin"]))).tenant_id is None


@pytest.mark.parametrize(
    ("claim", "role"),
    [
        (["tenant:viewer"], Role.VIEWER),
        (["tenant:viewer", "tenant:admin", "tenant:user"], Role.ADMIN),
        ("tenant:admin", Role.ADMIN),
        ("tenant:viewer tenant:user", Role.USER),
        (["Payroll.Read", "tenant:user"], Role.USER),
        (["Payroll.Read"], None),
        (["TENANT:ADMIN", "admin", "tenant:administrator"], None),
        ([["tenant:admin"], {"tenant:admin": 1}, 7], None),
        ({"tenant:admin": True}, None),
        (7, None),
        ([], None),
        (None, None),
    ],
)
async def test_the_highest_role_of_ours_counts(verifier: TokenVerifier, claim: Any, role: Role | None) -> None:
    assert (await verifier.verify(signed(roles=claim))).role is role


@pytest.mark.parametrize(
    ("own", "email"),
    [
        ({"email": "ada@acme.example"}, "ada@acme.example"),
        ({"emails": ["ada@acme.example", "second@acme.example"]}, "ada@acme.example"),
        ({"email": "a@acme.example", "emails": ["b@acme.example"]}, "a@acme.example"),
        ({"emails": []}, None),
        ({"emails": "ada@acme.example"}, None),
        ({"email": 7}, None),
        ({"emails": [7]}, None),
        ({}, None),
    ],
)
async def test_the_email_is_the_claim_or_the_first_of_b2cs_list(
    verifier: TokenVerifier, own: dict[str, Any], email: str | None
) -> None:
    assert (await verifier.verify(signed(**own))).email == email


@pytest.mark.parametrize(
    "email",
    [" ada@acme.example", "ada@acme.example.", "\uff41da@acme.example", "ada@acme.example\u200b", "a@b..c", "ada"],
)
async def test_an_address_in_another_spelling_is_none(verifier: TokenVerifier, email: str) -> None:
    assert (await verifier.verify(signed(email=email, email_verified=True))).email is None


@pytest.mark.parametrize(
    ("own", "verified"),
    [
        ({"email_verified": True}, True),
        ({"email_verified": "true"}, True),
        ({"email_verified": 1}, True),
        ({"email_verified": False}, False),
        ({"email_verified": "false"}, False),
        ({"email_verified": ["true"]}, False),
        ({"xms_edov": True}, False),
        ({}, False),
    ],
)
async def test_an_address_is_verified_only_when_the_token_says_so(
    verifier: TokenVerifier, own: dict[str, Any], verified: bool
) -> None:
    assert (await verifier.verify(signed(email="ada@acme.example", **own))).email_verified is verified


async def test_an_issuer_may_say_that_an_address_is_verified_in_a_claim_of_its_own(web: Web, clock: FakeClock) -> None:
    entra = make(clock, email_verified_claim="xms_edov")
    tokens = [signed(email="ada@acme.example", **own) for own in ({"xms_edov": "1"}, {"email_verified": True})]
    assert [(await entra.verify(token)).email_verified for token in tokens] == [True, False]


async def test_an_issuer_may_be_known_to_assert_verified_addresses_only(web: Web, clock: FakeClock) -> None:
    b2c = make(clock, email_verified_claim=None)
    assert (await b2c.verify(signed(emails=["ada@acme.example"]))).email_verified


async def test_an_issuer_may_name_the_claim_that_says_who_somebody_is(web: Web, clock: FakeClock) -> None:
    assert (await make(clock, subject_claim="oid").verify(signed(oid="o-1"))).subject == "o-1"


@pytest.mark.parametrize("oid", [None, "", 7, ["o-1"], "x" * 256])
async def test_a_token_that_does_not_say_who_its_holder_is_is_refused(web: Web, clock: FakeClock, oid: Any) -> None:
    assert "oid" in await refused(make(clock, subject_claim="oid"), signed(oid=oid))


async def test_a_name_that_is_no_text_is_left_out(verifier: TokenVerifier) -> None:
    assert (await verifier.verify(signed(name=["Ada"]))).name is None


# Keys


async def test_the_keys_are_found_by_discovery(verifier: TokenVerifier, web: Web) -> None:
    await verifier.verify(signed())
    assert web.fetched == [f"{ONE}/.well-known/openid-configuration", f"{ONE}/keys"]


async def test_a_jwks_uri_in_the_settings_needs_no_discovery(web: Web, clock: FakeClock) -> None:
    await make(clock, jwks_uri=f"{ONE}/keys").verify(signed())
    assert web.fetched == [f"{ONE}/keys"]


async def test_keys_are_fetched_once_for_many_tokens(verifier: TokenVerifier, web: Web) -> None:
    for _ in range(5):
        await verifier.verify(signed())
    assert len(web.fetched) == 2


async def test_the_first_tokens_that_come_at_once_share_one_fetch(verifier: TokenVerifier, web: Web) -> None:
    callers = await asyncio.gather(*(verifier.verify(signed()) for _ in range(5)))
    assert ([caller.subject for caller in callers], len(web.fetched)) == (["s-1"] * 5, 2)


async def test_keys_are_fetched_again_after_an_hour(verifier: TokenVerifier, web: Web, clock: FakeClock) -> None:
    await verifier.verify(signed())
    clock.advance(seconds=3601)
    await verifier.verify(signed())
    assert len(web.fetched) == 4


async def test_a_new_key_is_found_when_a_token_names_it(verifier: TokenVerifier, web: Web, clock: FakeClock) -> None:
    await verifier.verify(signed())
    web.publish(ONE, "k1", "k2")
    clock.advance(seconds=30)
    assert (await verifier.verify(signed("k2"))).subject == "s-1"


async def test_a_key_that_is_taken_back_is_refused(verifier: TokenVerifier, web: Web, clock: FakeClock) -> None:
    await verifier.verify(signed())
    web.publish(ONE, "k2")
    clock.advance(seconds=3601)
    assert "does not publish" in await refused(verifier, signed())


async def test_unknown_kids_fetch_at_most_every_30_seconds(verifier: TokenVerifier, web: Web, clock: FakeClock) -> None:
    await verifier.verify(signed())
    for second in range(61):
        await refused(verifier, signed(header={"kid": f"made-up-{second}"}))
        clock.advance(seconds=1)
    assert web.fetched.count(f"{ONE}/keys") == 1 + 2


@pytest.mark.parametrize("kid", [None, 7, ["k1"]])
async def test_a_token_that_names_no_key_is_refused(verifier: TokenVerifier, web: Web, kid: Any) -> None:
    header = {"alg": "RS256"} if kid is None else {"alg": "RS256", "kid": kid}
    await refused(verifier, unsigned(header, json.dumps(claims()).encode(), b"x"))
    assert web.fetched == []


async def test_keys_that_are_not_rsa_are_left_out(verifier: TokenVerifier, web: Web) -> None:
    page = web.pages[f"{ONE}/keys"]
    page["keys"] = [{"kty": "oct", "kid": "k1", "k": "c2VjcmV0", "alg": "HS256"}, *page["keys"][1:]]
    assert "does not publish" in await refused(verifier, signed())


async def test_a_discovery_document_of_another_issuer_is_not_believed(verifier: TokenVerifier, web: Web) -> None:
    web.pages[f"{ONE}/.well-known/openid-configuration"]["issuer"] = "https://evil.example"
    with pytest.raises(Unavailable, match="another issuer"):
        await verifier.verify(signed())


BROKEN: list[Exception] = [OSError("refused"), TimeoutError("slow"), ValueError("no JSON"), BadStatusLine("x")]


@pytest.mark.parametrize("outage", BROKEN)
async def test_an_issuer_that_is_away_before_its_keys_are_known_is_no_fault_of_the_token(
    verifier: TokenVerifier, web: Web, outage: Exception
) -> None:
    web.away = outage
    with pytest.raises(Unavailable) as error:
        await verifier.verify(signed())
    assert error.value.retry_after == 5


async def test_an_issuer_that_comes_back_is_asked_at_once(verifier: TokenVerifier, web: Web) -> None:
    web.away = OSError("refused")
    with pytest.raises(Unavailable):
        await verifier.verify(signed())
    web.away = None
    assert (await verifier.verify(signed())).subject == "s-1"


@pytest.mark.parametrize("outage", BROKEN)
async def test_known_keys_stay_good_while_their_issuer_is_away(
    verifier: TokenVerifier, web: Web, clock: FakeClock, outage: Exception
) -> None:
    await verifier.verify(signed())
    web.away = outage
    clock.advance(hours=2)
    assert (await verifier.verify(signed())).subject == "s-1"


@pytest.mark.parametrize("page", [{}, {"keys": 7}, {"keys": []}, {"keys": ["x"]}, {"keys": [{}]}])
async def test_a_key_page_that_is_none_is_an_outage(verifier: TokenVerifier, web: Web, page: dict[str, Any]) -> None:
    web.pages[f"{ONE}/keys"] = page
    with pytest.raises(Unavailable):
        await verifier.verify(signed())


# Fetching


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], str]]:
    """A local HTTP server with one page."""
    servers: list[HTTPServer] = []

    def start(page: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: Any) -> None:
                return None

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_local_issuer_may_speak_plain_http(serve: Callable[[bytes], str]) -> None:
    assert tokens._fetch_json(serve(b'{"keys": []}')) == {"keys": []}


def test_a_page_that_is_no_object_is_refused(serve: Callable[[bytes], str]) -> None:
    with pytest.raises(ValueError, match="not a JSON object"):
        tokens._fetch_json(serve(b"[]"))


def test_a_page_that_is_too_large_is_not_read_to_its_end(serve: Callable[[bytes], str]) -> None:
    with pytest.raises(ValueError):
        tokens._fetch_json(serve(b'{"keys": "' + b"x" * tokens.MAX_KEYS_BYTES + b'"}'))


@pytest.mark.parametrize("url", ["http://one.example/keys", "file:///etc/passwd", "ftp://127.0.0.2/keys"])
def test_keys_come_over_https_only(url: str) -> None:
    with pytest.raises(ValueError, match="not https"):
        tokens._fetch_json(url)
