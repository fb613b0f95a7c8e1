"""Bearer tokens: which ones are taken, and for whose."""

import asyncio
import base64
import gc
import json
import time
import tracemalloc
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from shared.auth.caller import Caller
from shared.auth.keys import FRESH_SECONDS
from shared.auth.roles import Role
from shared.auth.signed import LEEWAY_SECONDS, Trusted
from shared.auth.tokens import TokenVerifier
from shared.errors import Unauthenticated
from shared.issuers import Issuer
from tests.unit.issuers import KEYS, ONE, TWO, Web
from tests.unit.world import TENANT_ID, FakeClock


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime.now(UTC))


@pytest.fixture
def verifier(web: Web) -> TokenVerifier:
    return make(web)


def make(web: Web, clock: FakeClock | None = None, **changes: Any) -> TokenVerifier:
    """`changes`: settings of the first issuer. `clock`: its ages' clock (PyJWT has the machine's own)."""
    clock = clock or FakeClock(datetime.now(UTC))
    one, two = Issuer(issuer=ONE, audience="flowgrid", **changes), Issuer(issuer=TWO, audience="flowgrid-two")
    names: dict[str, Any] = {"tenant_claim": "extension_TenantId", "roles_claim": "roles"}
    return TokenVerifier([one, two], **names, keys=web.keys(clock), now=lambda: clock.now().timestamp())


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


@pytest.mark.parametrize("issuer", [7, True, [ONE], {"iss": ONE}, [[]], 1.5])
async def test_an_issuer_that_is_no_string_is_refused(verifier: TokenVerifier, web: Web, issuer: Any) -> None:
    token = unsigned({"alg": "RS256", "kid": "k1"}, json.dumps({**claims(), "iss": issuer}).encode(), b"x" * 256)
    assert ("issuer" in await refused(verifier, token), web.fetched) == (True, [])


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


@pytest.mark.parametrize("claim", ["acme", " ", 7, [TENANT_ID], TENANT_ID.upper(), f"{{{TENANT_ID}}}", TENANT_ID[:-1]])
async def test_a_tenant_claim_that_is_no_uuid_is_refused(verifier: TokenVerifier, claim: Any) -> None:
    assert "extension_TenantId" in await refused(verifier, signed(extension_TenantId=claim))


async def test_an_empty_tenant_claim_names_none(verifier: TokenVerifier) -> None:
    assert (await verifier.verify(signed(extension_TenantId=""))).tenant_id is None


async def test_an_issuer_may_have_names_of_its_own_for_tenant_and_roles(web: Web) -> None:
    verifier = make(web, tenant_claim="https://flowgrid.example/tenant", roles_claim="flowgrid_roles")
    own: dict[str, Any] = {"https://flowgrid.example/tenant": TENANT_ID, "flowgrid_roles": ["tenant:admin"]}
    caller = await verifier.verify(signed(**own, extension_TenantId="acme", roles=["platform:admin"]))
    assert (caller.tenant_id, caller.role) == (TENANT_ID, Role.ADMIN)


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


async def test_an_issuer_may_say_that_an_address_is_verified_in_a_claim_of_its_own(web: Web) -> None:
    entra = make(web, email_verified_claim="xms_edov")
    tokens = [signed(email="ada@acme.example", **own) for own in ({"xms_edov": "1"}, {"email_verified": True})]
    assert [(await entra.verify(token)).email_verified for token in tokens] == [True, False]


async def test_an_issuer_may_be_known_to_assert_verified_addresses_only(web: Web) -> None:
    b2c = make(web, email_verified_claim=None)
    assert (await b2c.verify(signed(emails=["ada@acme.example"]))).email_verified


async def test_an_issuer_may_name_the_claim_that_says_who_somebody_is(web: Web) -> None:
    assert (await make(web, subject_claim="oid").verify(signed(oid="o-1"))).subject == "o-1"


@pytest.mark.parametrize("oid", [None, "", 7, ["o-1"], "x" * 256, "\ud800"])
async def test_a_token_that_does_not_say_who_its_holder_is_is_refused(web: Web, oid: Any) -> None:
    assert "oid" in await refused(make(web, subject_claim="oid"), signed(oid=oid))


@pytest.mark.parametrize("name", [["Ada"], "Ada \ud800"])
async def test_a_name_that_is_no_text_is_left_out(verifier: TokenVerifier, name: Any) -> None:
    assert (await verifier.verify(signed(name=name))).name is None


# Tokens that were verified before


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signature was looked at."""
    seen: list[str] = []
    decode = jwt.decode

    def counted(token: str, *args: Any, **options: Any) -> Any:
        seen.append(token)
        return decode(token, *args, **options)

    monkeypatch.setattr(jwt, "decode", counted)
    return seen


async def test_a_token_is_verified_once_while_it_is_good(verifier: TokenVerifier, verifications: list[str]) -> None:
    token = signed()
    first = await verifier.verify(token)
    assert [await verifier.verify(token) for _ in range(3)] == [first] * 3
    assert len(verifications) == 1
    assert (await verifier.verify(signed(sub="s-2"))).subject == "s-2"
    assert len(verifications) == 2


async def test_a_token_that_was_verified_is_looked_at_again_when_its_time_is_over(
    web: Web, clock: FakeClock, verifications: list[str]
) -> None:
    verifier, token = make(web, clock), signed(exp=int(clock.now().timestamp()) + 600)
    await verifier.verify(token)
    clock.advance(seconds=600 + LEEWAY_SECONDS - 1)
    await verifier.verify(token)
    assert len(verifications) == 1
    clock.advance(seconds=1)
    await verifier.verify(token)
    assert len(verifications) == 2


async def test_a_clock_that_was_set_back_makes_no_old_verification_good(
    web: Web, clock: FakeClock, verifications: list[str]
) -> None:
    verifier, token = make(web, clock), signed()
    await verifier.verify(token)
    clock.advance(seconds=-1)
    await verifier.verify(token)
    assert len(verifications) == 2


async def test_a_token_that_was_verified_goes_with_its_key(web: Web, clock: FakeClock) -> None:
    verifier, token = make(web, clock), signed(exp=int(time.time()) + 10 * FRESH_SECONDS)
    await verifier.verify(token)
    web.publish(ONE, "k2")
    clock.advance(seconds=FRESH_SECONDS + 1)
    await verifier.verify(token)  # the last one before the keys are there
    flight = verifier._issuers[ONE].keys._flight
    assert flight is not None
    await asyncio.wait([flight])
    assert len(web.fetched) == 4  # discovery and keys, a second time
    assert "does not publish" in await refused(verifier, token)


async def test_what_is_changed_in_a_token_that_was_verified_is_not_it(verifier: TokenVerifier) -> None:
    token = signed()
    await verifier.verify(token)
    header, payload, signature = token.split(".")
    other = signed(roles=["tenant:admin"]).split(".")[1]
    assert "does not verify" in await refused(verifier, f"{header}.{other}.{signature}")
    assert (await verifier.verify(f"{header}.{payload}.{signature}")).role is Role.USER


async def test_a_token_that_was_refused_is_looked_at_each_time(
    verifier: TokenVerifier, verifications: list[str]
) -> None:
    token = signed(aud="another")
    for _ in range(3):
        await refused(verifier, token)
    assert len(verifications) == 3


async def test_so_many_tokens_are_known_and_no_more(
    web: Web, clock: FakeClock, verifications: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.auth.verified.MOST", 2)
    verifier = make(web, clock)
    one, two, three = (signed(sub=name) for name in ("one", "two", "three"))
    for token in (one, two, one, three, one):
        await verifier.verify(token)
    assert len(verifications) == 3
    await verifier.verify(two)
    assert len(verifications) == 4


# Of a tenant's own issuer, which says what it likes


def with_own(web: Web) -> TokenVerifier:
    """The platform takes issuer two, a tenant has issuer one."""
    theirs, keys = Issuer(issuer=ONE, audience="flowgrid"), web.keys(FakeClock())
    trusted = Trusted(theirs, keys(theirs), TENANT_ID, frozenset({"acme.example"}))

    async def find(issuer: str, claims: Mapping[str, Any]) -> Trusted | None:
        return trusted if (issuer, claims["aud"]) == (ONE, "flowgrid") else None

    two = Issuer(issuer=TWO, audience="flowgrid")
    return TokenVerifier([two], tenant_claim="tid", roles_claim="roles", keys=keys, own=find)


async def test_what_is_kept_of_a_token_is_small_whatever_it_says(web: Web) -> None:
    verifier = with_own(web)
    tokens = [signed(sub=str(number), name="x" * 1000, x=[[{}]] * 1500) for number in range(21)]
    await verifier.verify(tokens.pop())
    tracemalloc.start()
    for token in tokens:
        assert (await verifier.verify(token)).name == "x" * 255
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / len(tokens) < 4096


async def test_a_tenants_issuer_pushes_out_no_tokens_of_others(
    web: Web, verifications: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.auth.verified.MOST_OF_ONE", 2)
    verifier, other = with_own(web), signed("k2", iss=TWO, sub="other")
    one, two, three = (signed(sub=name) for name in ("one", "two", "three"))
    for token in (other, one, two, one, three, one, three, other):
        await verifier.verify(token)
    assert len(verifications) == 4
    await verifier.verify(two)
    assert len(verifications) == 5
    assert len(verifier._verified) == 3
