"""Slips in who is let in otherwise: staff by a grant, people by an own issuer, providers that ask; each is found."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import jwt
import pytest
import pytest_asyncio
from jwt.algorithms import RSAAlgorithm

import shared.auth.tokens as tokens
import shared.database.sqlite_query as sqlite_query
import shared.http.admission as admission
import shared.http.endpoint as endpoint
import shared.members.breakglass as breakglass
from functions.claims.asking import Asking
from functions.claims.service import ClaimsService
from shared.auth.keys import SigningKeys
from shared.auth.verified import VerifiedTokens
from shared.members.breakglass import use
from shared.members.issuers import OwnIssuers
from shared.members.whereabouts import Whereabouts
from shared.work.session import TenantSession
from tests.isolation.cases import Stage
from tests.isolation.credentials import Credential, of_removed_issuer
from tests.isolation.mutating import mutate
from tests.isolation.prover import Prover
from tests.isolation.watch import Watch

LIST, STAFFS, CLAIMS = "GET v1/agents", "GET v1/platform/tenants", "POST claims/{issuer}"
UNASKED, ELSEWHERE = "staff without a grant, the victim", "staff, another tenant's grant"
REMOVED = "own issuer that was removed"


@pytest_asyncio.fixture(loop_scope="module")
async def watch(on_sqlite: Stage) -> AsyncIterator[Watch]:
    own = Watch(on_sqlite.site, on_sqlite.victim.id)
    yield own
    own.close()


async def leaks(stage: Stage, watch: Watch, route: str, *credentials: str) -> str:
    """What the prover tells of these cases, as one text."""
    prover = Prover(stage, watch)
    await prover.prove([route], credentials)
    return "\n".join(map(str, prover.leaks))


async def test_without_a_mutation_the_same_cases_find_nothing(on_sqlite: Stage, watch: Watch) -> None:
    others = ("staff, own tenant", "staff, the victim", "the victim's own issuer", "admin by an own issuer", "admin")
    for route in (LIST, STAFFS, CLAIMS, "GET v1/audit/verify", "GET v1/audit/export"):
        assert await leaks(on_sqlite, watch, route, UNASKED, ELSEWHERE, REMOVED, "no token", *others) == ""


# Grants of staff


async def test_a_grant_that_is_not_asked_for(on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, endpoint, "admit", ("session.caller.role is Role.PLATFORM and", "False and"))
    found = await leaks(on_sqlite, watch, LIST, UNASKED, "staff, the victim")
    assert f"{LIST} as {UNASKED}, own ids: 200 where 403 must be" in found
    assert "the victim's trail, where {'audit staff_access.used': 2} is to be, is not changed" in found


async def test_a_grant_of_another_tenant_that_counts(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is remembered by whose it is alone."""
    known: set[str] = set()

    async def remembered(session: TenantSession, used: Mapping[str, Any]) -> None:
        if session.caller.subject not in known:
            await use(session, used)
        known.add(session.caller.subject)

    monkeypatch.setattr(admission, "use", remembered)
    found = await leaks(on_sqlite, watch, LIST, "staff, own tenant", ELSEWHERE)
    assert f"{LIST} as {ELSEWHERE}, own ids: 200 where 403 must be" in found


@pytest.mark.parametrize(
    ("left_out", "name"),
    [
        ("parse_rfc3339(grant.expires_at) <= session.services.clock.now()", "staff, a grant that is over"),
        ("grant.ended_at is not None", "staff, a grant that was ended"),
    ],
    ids=["its time", "its end"],
)
async def test_a_grant_of_which_something_is_not_checked(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch, left_out: str, name: str
) -> None:
    mutate(monkeypatch, breakglass, "_open", (left_out, "False"))
    assert f"{LIST} as {name}, own ids: 200 where 403 must be" in await leaks(on_sqlite, watch, LIST, name)


async def test_a_use_of_a_grant_that_the_victim_is_not_told_of(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, admission, "use", ('change.audit("used"', '(lambda *_: None)("used"'))
    found = await leaks(on_sqlite, watch, LIST, "staff, the victim")
    assert found.startswith(f"{LIST} as staff, the victim, the victim's ids; HEAD ") and "/staff_access:" in found


# A tenant's own issuer


async def test_an_own_issuer_that_may_name_another_tenant(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(
        monkeypatch,
        tokens,
        "_of_its_tenant",
        ("caller.tenant_id not in (None, by.tenant_id)", "False"),
        ("tenant_id=by.tenant_id", "tenant_id=caller.tenant_id"),
    )
    found = await leaks(on_sqlite, watch, LIST, "own issuer, naming the victim")
    assert f"{LIST} as own issuer, naming the victim, own ids: 403 where 401 must be" in found


async def test_an_own_issuer_that_may_make_somebody_staff(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(
        monkeypatch,
        tokens,
        "_of_its_tenant",
        ("caller.role is Role.PLATFORM", "False"),
        ("Role.ADMIN if by.issuer.roles_claim is None else caller.role", "caller.role"),
    )
    found = await leaks(on_sqlite, watch, STAFFS, "own issuer, the platform's role")
    assert f"{STAFFS} as own issuer, the platform's role, own ids: 200 where 401 must be" in found
    assert "the answer holds the victim's tenant_id" in found


async def test_an_own_issuer_that_speaks_of_every_domain(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, tokens, "_of_its_tenant", ("not in by.email_domains", "is None"))
    name = "own issuer, the victim's address"
    assert f"{LIST} as {name}, own ids: 403 where 401 must be" in await leaks(on_sqlite, watch, LIST, name)


async def test_a_key_that_is_known_by_its_id_whoever_published_it(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    company, name = on_sqlite.site.companies.of(on_sqlite.home.slug), "own issuer, as the platform's by its key id"
    key = jwt.PyJWK({**RSAAlgorithm.to_jwk(company.key.public_key(), as_dict=True), "alg": "RS256"})
    monkeypatch.setattr(SigningKeys, "all_by_id", {company.kid: key}, raising=False)
    mutate(monkeypatch, SigningKeys, "_usable", ("self._keys if", "{**self._keys, **self.all_by_id} if"))
    assert f"{LIST} as {name}, own ids: 200 where 401 must be" in await leaks(on_sqlite, watch, LIST, name)


@pytest.mark.parametrize(
    ("owner", "name", "left_out"),
    [
        (OwnIssuers, "forget", ("self._known.pop((issuer, audience), None)", "return")),
        (VerifiedTokens, "whose", ("known.still is not None and not await known.still()", "False")),
    ],
    ids=["what is known of it", "what it has signed"],
)
async def test_a_removed_own_issuer_that_still_counts(
    on_sqlite: Stage,
    watch: Watch,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    left_out: tuple[str, str],
) -> None:
    mutate(monkeypatch, owner, name, left_out)
    token = await of_removed_issuer(on_sqlite.site, on_sqlite.home)
    again = replace(on_sqlite, credentials={REMOVED: Credential(REMOVED, token, {})})
    assert f"{LIST} as {REMOVED}, own ids: 200 where 401 must be" in await leaks(again, watch, LIST, REMOVED)
    on_sqlite.site.core.own_issuers._known.clear()


# The trail's own ways out


@pytest.mark.parametrize("route", ["GET v1/audit/export", "GET v1/audit/verify"])
async def test_a_trail_that_is_read_without_its_tenant(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    mutate(monkeypatch, sqlite_query, "select", ('"tenant_id = ?")', '"? IS NOT NULL")'))
    assert f"{route} as admin, own ids: the answer holds the victim's entry_id" in await leaks(
        on_sqlite, watch, route, "admin"
    )


# Providers that ask


async def test_claims_that_anybody_may_ask_for(on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, ClaimsService, "_verified", ("await self._asking.verify(asker, asked)", "pass"))
    found = await leaks(on_sqlite, watch, CLAIMS, "no token", "provider, wrong secret", "provider b2c")
    for name, source in (("no token", "entra"), ("provider, wrong secret", "b2c"), ("provider b2c", "auth0")):
        assert f"{CLAIMS} as {name}, the victim's people, of {source}: 200 where 401 must be" in found
        assert f"{CLAIMS} as {name}, the victim's people, of {source}: the answer holds the victim's tenant_id" in found


@pytest.mark.parametrize(
    ("left_out", "where"),
    [
        (("abs(self._clock.now().timestamp() - int(at)) > WINDOW_SECONDS", "False"), "signed two minutes ago"),
        (("not _any(", "not shown or None in ("), "signed for another question"),
    ],
    ids=["its time", "what it says"],
)
async def test_a_signature_of_a_question_of_which_something_is_not_checked(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch, left_out: tuple[str, str], where: str
) -> None:
    mutate(monkeypatch, Asking, "_signed", left_out)
    found = await leaks(on_sqlite, watch, CLAIMS, "provider auth0")
    assert f"{CLAIMS} as provider auth0, {where}: 200 where 401 must be" in found


async def test_claims_that_an_address_leads_to_though_somebody_else_has_it(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(
        monkeypatch,
        Whereabouts,
        "find",
        ('Absent.DISABLED if bound.user.status == "disabled" else Absent.OTHER_IDENTITY', "_place(bound)"),
    )
    found = await leaks(on_sqlite, watch, CLAIMS, "provider b2c")
    assert f"{CLAIMS} as provider b2c, who brings a bound address: is told" in found


async def test_claims_that_say_more_than_where_somebody_belongs(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = ClaimsService._told

    async def more(self: ClaimsService, *asked: Any) -> Any:
        return {**await tell(self, *asked), "email": "somebody@acme.example"}

    monkeypatch.setattr(ClaimsService, "_told", more)
    found = await leaks(on_sqlite, watch, CLAIMS, "provider auth0")
    assert f"{CLAIMS} as provider auth0, who is invited: is told" in found
