"""Signing keys: found, kept, renewed behind the callers' backs, and what happens when their issuer is away."""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from threading import get_ident
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from shared.auth import keys
from shared.auth.keys import MOST_KEYS, SigningKeys
from shared.errors import Unauthenticated, Unavailable
from shared.issuers import Issuer
from tests.unit.issuers import ONE, Web, published
from tests.unit.world import FakeClock

DISCOVERY, PAGE = f"{ONE}/.well-known/openid-configuration", f"{ONE}/keys"


def number(value: int) -> str:
    """As a JWK has it (RFC 7518 §2, Base64urlUInt)."""
    return urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8)).rstrip(b"=").decode()


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def one(web: Web, clock: FakeClock) -> AsyncIterator[SigningKeys]:
    own = web.keys(clock)(Issuer(issuer=ONE, audience="flowgrid"))
    yield own
    await own.close()


async def settled(own: SigningKeys) -> None:
    """Until what is fetched in the background is there."""
    if own._flight is not None:
        await asyncio.wait([own._flight])


async def refused(own: SigningKeys, kid: object) -> str:
    with pytest.raises(Unauthenticated) as error:
        await own.get(kid)
    return error.value.message


async def away(own: SigningKeys, kid: str = "k1") -> int:
    with pytest.raises(Unavailable) as error:
        await own.get(kid)
    return error.value.retry_after


# Found


async def test_the_keys_are_found_by_discovery(one: SigningKeys, web: Web) -> None:
    assert ((await one.get("k1")).key_id, web.fetched) == ("k1", [DISCOVERY, PAGE])


async def test_a_jwks_uri_in_the_settings_needs_no_discovery(web: Web, clock: FakeClock) -> None:
    await web.keys(clock)(Issuer(issuer=ONE, audience="flowgrid", jwks_uri=PAGE)).get("k1")
    assert web.fetched == [PAGE]


async def test_keys_are_fetched_once_for_many_tokens(one: SigningKeys, web: Web) -> None:
    for _ in range(5):
        await one.get("k1")
    assert web.fetched == [DISCOVERY, PAGE]


async def test_the_first_tokens_that_come_at_once_share_one_fetch(one: SigningKeys, web: Web) -> None:
    found = await asyncio.gather(*(one.get("k1") for _ in range(5)))
    assert ([key.key_id for key in found], web.fetched) == (["k1"] * 5, [DISCOVERY, PAGE])


async def test_a_caller_who_goes_away_does_not_stop_the_fetch_that_others_wait_for(one: SigningKeys, web: Web) -> None:
    web.hangs = asyncio.Event()
    first, second = asyncio.create_task(one.get("k1")), asyncio.create_task(one.get("k1"))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    web.hangs.set()
    assert (first.cancelled(), (await second).key_id) == (True, "k1")


# Kept, and renewed


async def test_old_keys_are_served_at_once_while_one_fetch_renews_them(
    one: SigningKeys, web: Web, clock: FakeClock
) -> None:
    await one.get("k1")
    web.hangs = asyncio.Event()
    clock.advance(hours=2)
    for _ in range(5):
        assert (await one.get("k1")).key_id == "k1"
        await asyncio.sleep(0)
    assert web.fetched == [DISCOVERY, PAGE, DISCOVERY]
    web.hangs.set()
    await settled(one)
    await one.get("k1")
    assert web.fetched == [DISCOVERY, PAGE, DISCOVERY, PAGE]


async def test_keys_of_this_hour_are_not_renewed(one: SigningKeys, web: Web, clock: FakeClock) -> None:
    await one.get("k1")
    clock.advance(seconds=3600)
    await one.get("k1")
    await settled(one)
    assert len(web.fetched) == 2


async def test_an_unknown_key_never_delays_a_known_one(one: SigningKeys, web: Web, clock: FakeClock) -> None:
    await one.get("k1")
    web.hangs = asyncio.Event()
    clock.advance(minutes=1)
    forged = asyncio.create_task(one.get("made-up"))
    await asyncio.sleep(0)
    assert ((await one.get("k1")).key_id, forged.done()) == ("k1", False)
    web.hangs.set()
    await asyncio.wait([forged])
    assert isinstance(forged.exception(), Unauthenticated)


async def test_a_new_key_is_found_when_a_token_names_it(one: SigningKeys, web: Web, clock: FakeClock) -> None:
    await one.get("k1")
    web.publish(ONE, "k1", "k2")
    clock.advance(seconds=30)
    assert (await one.get("k2")).key_id == "k2"


async def test_unknown_keys_cost_a_fetch_at_most_every_30_seconds(one: SigningKeys, web: Web, clock: FakeClock) -> None:
    await one.get("k1")
    for second in range(61):
        await refused(one, f"made-up-{second}")
        clock.advance(seconds=1)
    assert web.fetched.count(PAGE) == 1 + 2


async def test_nothing_is_remembered_of_unknown_keys(one: SigningKeys) -> None:
    await one.get("k1")
    for number in range(100):
        await refused(one, f"made-up-{number}")
    assert list(one._keys) == ["k1"]


async def test_a_key_that_is_taken_back_is_refused_once_the_keys_are_renewed(
    one: SigningKeys, web: Web, clock: FakeClock
) -> None:
    await one.get("k1")
    web.publish(ONE, "k2")
    clock.advance(seconds=3601)
    await one.get("k1")
    await settled(one)
    assert "does not publish" in await refused(one, "k1")


# Which keys sign


@pytest.mark.parametrize(
    "other",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"key_ops": []},
        {"key_ops": "verify"},
        {"alg": "RS512"},
        {"alg": "RSA-OAEP"},
        {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
        {"n": "AQAB"},
        {"n": 7},
        {"kid": 7},
        {"kid": ""},
        RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True),
        RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048), as_dict=True),
    ],
)
async def test_a_key_that_is_no_public_signing_key_is_left_out(
    one: SigningKeys, web: Web, other: dict[str, Any]
) -> None:
    web.pages[PAGE] = {"keys": [published("k1", **other), published("k2")]}
    await one.get("k2")
    assert "does not publish" in await refused(one, "k1")


@pytest.mark.parametrize("part", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
async def test_a_key_with_a_secret_part_is_not_even_read(
    one: SigningKeys, web: Web, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """PyJWT looks for the primes of a private key: 4 KB of it keep an event loop for seconds."""
    read: list[set[str]] = []
    of_words = jwt.PyJWK

    def noted(words: dict[str, Any], algorithm: str) -> jwt.PyJWK:
        read.append(set(words))
        return of_words(words, algorithm)

    monkeypatch.setattr(jwt, "PyJWK", noted)
    web.pages[PAGE] = {"keys": [published("k1", **{part: "AQAB"}), published("k2", x5c=["x"])]}
    await one.get("k2")
    assert ("does not publish" in await refused(one, "k1"), read) == (True, [{"kty", "kid", "n", "e"}])


@pytest.mark.parametrize(
    ("changes", "is_taken"),
    [
        ({"n": number((1 << 4096) - 1)}, True),
        ({"n": number((1 << 4104) - 1)}, False),
        ({"n": number((1 << 8000) - 1)}, False),
        ({"n": "AAAA" + "A" * 900}, False),
        ({"e": number(3)}, True),
        ({"e": "AAEAAQ=="}, True),
        ({"e": number((1 << 32) - 1)}, True),
        ({"e": number((1 << 33) - 1)}, False),
        ({"e": number((1 << 2000) + 1)}, False),
        ({"kid": "k" * 500}, True),
        ({"kid": "k" * 501}, False),
    ],
)
async def test_a_key_that_is_longer_than_keys_are_is_left_out(
    one: SigningKeys, web: Web, changes: dict[str, Any], is_taken: bool
) -> None:
    web.pages[PAGE] = {"keys": [published("k1", **changes), published("k2")]}
    await one.get("k2")
    assert set(one._keys) - {"k2"} == ({changes.get("kid", "k1")} if is_taken else set())


async def test_of_many_keys_the_first_twenty_that_sign_are_taken(one: SigningKeys, web: Web) -> None:
    others = [published("k1", kid=f"other-{count}", use="enc") for count in range(30)]
    web.pages[PAGE] = {"keys": [*others, *(published("k1", kid=f"k-{count}") for count in range(1000))]}
    await one.get("k-0")
    assert list(one._keys) == [f"k-{count}" for count in range(MOST_KEYS)]


async def test_a_page_of_keys_is_read_beside_the_event_loop(
    one: SigningKeys, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    in_it = keys._signing_keys

    def noted(listed: object) -> Any:
        threads.append(get_ident())
        return in_it(listed)

    monkeypatch.setattr(keys, "_signing_keys", noted)
    await one.get("k1")
    assert len(threads) == 1 and get_ident() not in threads


@pytest.mark.parametrize(
    "words", [{"use": "sig"}, {"use": None}, {"alg": "RS256"}, {"key_ops": ["verify"]}, {"x5t": "x"}]
)
async def test_a_key_that_says_it_signs_is_taken(one: SigningKeys, web: Web, words: dict[str, Any]) -> None:
    web.pages[PAGE] = {"keys": [published("k1", **words)]}
    assert (await one.get("k1")).key_id == "k1"


async def test_what_is_no_key_at_all_takes_no_other_key_away(one: SigningKeys, web: Web) -> None:
    web.pages[PAGE] = {"keys": ["x", 7, None, [], {}, {"kty": "RSA"}, {"kid": "k1"}, published("k1")]}
    assert (await one.get("k1")).key_id == "k1"


@pytest.mark.parametrize("kid", [None, 7, ["k1"]])
async def test_a_token_that_names_no_key_is_refused_without_asking(one: SigningKeys, web: Web, kid: Any) -> None:
    assert ("no key" in await refused(one, kid), web.fetched) == (True, [])


# An issuer that is away

OUTAGES: list[Exception] = [OSError("refused"), TimeoutError(), ValueError("no JSON"), RecursionError("deep")]


@pytest.mark.parametrize("outage", OUTAGES)
async def test_an_issuer_that_is_away_before_its_keys_are_known_is_no_fault_of_the_token(
    one: SigningKeys, web: Web, outage: Exception
) -> None:
    web.away = outage
    assert await away(one) == 5


async def test_who_asks_a_moment_after_a_failure_is_told_at_once_how_long_to_wait(
    one: SigningKeys, web: Web, clock: FakeClock
) -> None:
    web.away = OSError("refused")
    await away(one)
    clock.advance(seconds=3)
    assert (await away(one), await away(one, "k2"), web.fetched) == (2, 2, [DISCOVERY])


async def test_an_issuer_that_comes_back_is_asked_after_five_seconds(
    one: SigningKeys, web: Web, clock: FakeClock
) -> None:
    web.away = OSError("refused")
    await away(one)
    web.away = None
    clock.advance(seconds=5)
    assert (await one.get("k1")).key_id == "k1"


async def test_an_issuer_that_hangs_is_given_up_after_a_deadline_by_all_who_wait(
    one: SigningKeys, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keys.FETCH_SECONDS == 3
    monkeypatch.setattr(keys, "FETCH_SECONDS", 0)
    web.hangs = asyncio.Event()
    assert await asyncio.gather(*(away(one) for _ in range(5))) == [5] * 5
    assert web.fetched == [DISCOVERY]


@pytest.mark.parametrize("outage", OUTAGES)
async def test_known_keys_stay_good_for_a_day_while_their_issuer_is_away(
    one: SigningKeys, web: Web, clock: FakeClock, outage: Exception
) -> None:
    await one.get("k1")
    web.away = outage
    for _ in range(24):
        clock.advance(hours=1)
        assert (await one.get("k1")).key_id == "k1"
        await settled(one)
    clock.advance(seconds=1)
    assert await away(one) == 4


async def test_an_issuer_that_is_away_is_asked_behind_known_keys_every_30_seconds(
    one: SigningKeys, web: Web, clock: FakeClock
) -> None:
    await one.get("k1")
    clock.advance(hours=2)
    web.away = OSError("refused")
    for _ in range(60):
        await one.get("k1")
        await settled(one)
        clock.advance(seconds=1)
    assert web.fetched.count(DISCOVERY) == 1 + 2


async def test_an_unknown_key_of_an_issuer_that_is_away_may_be_a_good_one(
    one: SigningKeys, web: Web, clock: FakeClock
) -> None:
    await one.get("k1")
    web.away = OSError("refused")
    clock.advance(seconds=40)
    assert await away(one, "k2") == 30


@pytest.mark.parametrize(
    "page", [{}, {"keys": 7}, {"keys": []}, {"keys": ["x"]}, {"keys": [{}]}, {"keys": [published("k1", use="enc")]}]
)
async def test_a_page_without_a_signing_key_is_an_outage_and_takes_no_key_away(
    one: SigningKeys, web: Web, clock: FakeClock, page: dict[str, Any]
) -> None:
    await one.get("k1")
    web.pages[PAGE] = page
    clock.advance(hours=2)
    await one.get("k1")
    await settled(one)
    assert (await one.get("k1")).key_id == "k1"


async def test_a_discovery_document_of_another_issuer_is_not_believed(
    one: SigningKeys, web: Web, log: pytest.LogCaptureFixture
) -> None:
    web.pages[DISCOVERY]["issuer"] = "https://evil.example"
    await away(one)
    assert ["another issuer" in vars(record)["reason"] for record in log.records] == [True]


async def test_a_fetch_under_way_is_given_up_at_the_end(one: SigningKeys, web: Web) -> None:
    web.hangs = asyncio.Event()
    waiting = asyncio.create_task(one.get("k1"))
    await asyncio.sleep(0)
    flight = one._flight
    await one.close()
    assert flight is not None and flight.cancelled() and one._flight is None
    await asyncio.wait([waiting])
    assert isinstance(waiting.exception(), Unavailable)
