"""Single sign-on: a tenant's own issuer speaks of that tenant's people, and of nobody and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from functions.identity.assembly import Identity
from functions.identity.issuers import NewIssuer
from shared.auth.roles import Role
from shared.errors import Forbidden, Unavailable
from shared.members.issuers import LIVES_SECONDS, MOST_OF_A_TENANT, OwnIssuer
from shared.work.fencing import close, reopen
from tests.doubles.providers import API, B2C, Company, Human, published
from tests.unit.providers_world import AllTokens, with_token
from tests.unit.world import AGENT, STAFF, Answer, World, admin, person

GRACE = "grace@acme.example"


@pytest.fixture(scope="module")
def company() -> Iterator[Company]:
    with published(Company()) as served:
        yield served


@pytest.fixture(scope="module")
def ours() -> Iterator[B2C]:
    """An issuer of the platform's, whose key has the same id."""
    with published(B2C()) as served:
        yield served


def over(folder: Path, company: Company, ours: B2C, **rest: Any) -> World:
    issuers = [{"issuer": ours.issuer, "audience": API, "email_verified_claim": None}]
    allowed = company.url.removeprefix("http://")
    world = World.over(folder, flowgrid_issuers=issuers, flowgrid_outgoing_allowed=allowed, **rest)
    verifier = AllTokens(world.core.settings, world.verifier, world.core.own_issuers.trusted)
    world.core.endpoint.verifier = verifier
    return world


@pytest.fixture
async def world(tmp_path: Path, company: Company, ours: B2C) -> AsyncIterator[World]:
    own = over(tmp_path / "data", company, ours)
    yield own
    await own.close()


@pytest.fixture
async def twin(world: World, company: Company, ours: B2C) -> AsyncIterator[World]:
    other = over(world.core.settings.flowgrid_data_dir, company, ours, clock=world.clock, process=1)
    yield other
    await other.close()


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard())["id"])


def new(company: Company, **changes: Any) -> dict[str, Any]:
    return {"issuer": company.issuer, "audience": API, "email_domains": ["acme.example"], **changes}


async def set_up(world: World, tenant: str, company: Company, **changes: Any) -> Answer:
    return await world.call("create_issuer", admin(tenant), new(company, **changes))


async def invite(world: World, tenant: str, email: str = GRACE, **fields: Any) -> None:
    assert (await world.call("create_user", admin(tenant), {"email": email, **fields})).status == 201


async def me(world: World, token: str) -> Answer:
    return await with_token(world, token, "get_me")


async def why_not(world: World, token: str) -> str:
    answer = await me(world, token)
    assert answer.status == 401, answer.raw
    return str(answer.json["detail"])


# What it can do


async def test_who_is_invited_signs_in_with_the_companys_own_provider_and_makes_an_agent(
    world: World, tenant: str, company: Company
) -> None:
    made = await set_up(world, tenant, company)
    await invite(world, tenant)
    token = await company.sign_in(Human(GRACE))
    agent = await with_token(world, token, "create_agent", AGENT)
    assert (made.status, agent.status, agent.json["tenant_id"]) == (201, 201, tenant)


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("user", 201), ("admin", 201)])
async def test_without_a_claim_for_roles_the_user_list_decides(
    world: World, tenant: str, company: Company, role: str, status: int
) -> None:
    await set_up(world, tenant, company)
    await invite(world, tenant, role=role)
    token = await company.sign_in(Human(GRACE), roles=["tenant:viewer"])
    assert (await with_token(world, token, "create_agent", AGENT)).status == status


async def test_with_one_the_lower_of_both_roles_counts(world: World, tenant: str, company: Company) -> None:
    await set_up(world, tenant, company, roles_claim="groups")
    await invite(world, tenant, role="admin")
    token = await company.sign_in(Human(GRACE), groups=["tenant:user", "staff-of-acme"])
    assert (await me(world, token)).json["role"] == "tenant:user"


async def test_who_is_not_invited_is_not_let_in(world: World, tenant: str, company: Company) -> None:
    await set_up(world, tenant, company)
    answer = await me(world, await company.sign_in(Human(GRACE)))
    assert (answer.status, answer.json["code"]) == (403, "not_a_member")


@pytest.mark.parametrize("changes", [{}, {"roles_claim": "groups"}])
async def test_an_open_tenant_is_open_to_the_platforms_issuers_only(
    world: World, company: Company, ours: B2C, changes: dict[str, Any]
) -> None:
    """Else every employee would be made a user, as an admin where no claim says less."""
    tenant = (await world.onboard(settings={"limits": {}, "membership": "open"}))["id"]
    await set_up(world, tenant, company, **changes)
    stranger = await me(world, await company.sign_in(Human(GRACE), groups=["tenant:user"]))
    invited = "ada@acme.example"
    await invite(world, tenant, invited, role="viewer")
    theirs = await me(world, await company.sign_in(Human(invited), groups=["tenant:user"]))
    by_ours = ours.sign(sub="grace", emails=[GRACE], extension_TenantId=tenant, roles=["tenant:user"])
    assert (stranger.status, stranger.json.get("code")) == (403, "not_a_member")
    assert theirs.json["role"] == "tenant:viewer"
    assert (await me(world, by_ours)).json["role"] == "tenant:user"


async def test_an_address_that_the_provider_has_not_verified_binds_nobody(
    world: World, tenant: str, company: Company
) -> None:
    await set_up(world, tenant, company)
    await invite(world, tenant)
    assert (await me(world, await company.sign_in(Human(GRACE, verified=False)))).status == 403


async def test_an_address_of_another_domain_is_refused(world: World, tenant: str, company: Company) -> None:
    await set_up(world, tenant, company)
    for email in ("grace@globex.example", "grace@sub.acme.example", "grace@notacme.example"):
        await invite(world, tenant, email)
        assert "not of the domains" in await why_not(world, await company.sign_in(Human(email)))


# What it cannot


async def test_it_speaks_of_no_other_tenant(world: World, tenant: str, company: Company) -> None:
    other = (await world.onboard("globex"))["id"]
    await set_up(world, tenant, company)
    await invite(world, tenant)
    await invite(world, other)
    token = await company.sign_in(Human(GRACE), extension_TenantId=other)
    assert await why_not(world, token) == "The token's issuer does not speak of that tenant."
    assert (await me(world, await company.sign_in(Human(GRACE)))).json["tenant"]["id"] == tenant


async def test_a_header_leads_it_to_no_other_tenant(world: World, tenant: str, company: Company) -> None:
    other = (await world.onboard("globex"))["id"]
    await set_up(world, tenant, company)
    await invite(world, tenant)
    token = await company.sign_in(Human(GRACE))
    headers = {"authorization": f"Bearer {token}", "x-tenant-id": other}
    assert (await world.call("get_me", None, headers=headers)).json["tenant"]["id"] == tenant


@pytest.mark.parametrize("roles", [["platform:admin"], "platform:admin", ["tenant:admin", "platform:admin"]])
async def test_it_makes_nobody_staff(world: World, tenant: str, company: Company, roles: Any) -> None:
    await set_up(world, tenant, company, roles_claim="groups")
    await invite(world, tenant, role="admin")
    token = await company.sign_in(Human(GRACE), groups=roles)
    assert "staff" in await why_not(world, token)
    listed = await with_token(world, token, "list_tenants")
    assert listed.status == 401


async def test_what_it_says_of_an_address_is_no_matter_of_other_tenants(
    world: World, tenant: str, company: Company, ours: B2C
) -> None:
    """A tenant that makes up a colleague of another one keeps nobody out there."""
    victim = "vera@globex.example"
    other = (await world.onboard("globex"))["id"]
    await set_up(world, tenant, company, email_domains=["globex.example"])
    await invite(world, tenant, victim)
    await invite(world, other, victim)
    assert (await me(world, await company.sign_in(Human(victim)))).status == 200
    token = ours.sign(sub="vera", emails=[victim], extension_TenantId=other, roles=["tenant:user"])
    assert (await me(world, token)).json["tenant"]["id"] == other


async def test_the_same_key_id_of_another_issuer_is_another_key(
    world: World, tenant: str, company: Company, ours: B2C
) -> None:
    await set_up(world, tenant, company)
    await invite(world, tenant)
    assert company.kid == ours.kid
    claims = {"emails": [GRACE], "email": GRACE, "email_verified": True, "extension_TenantId": tenant}
    as_ours = company.sign(iss=ours.issuer, sub="s", roles=["platform:admin"], **claims)
    as_theirs = ours.sign(iss=company.issuer, sub="s", **claims)
    assert [await why_not(world, token) for token in (as_ours, as_theirs)] == [
        "The token does not verify: signature."
    ] * 2


async def test_the_platforms_issuers_are_nobodys_own(world: World, tenant: str, company: Company, ours: B2C) -> None:
    for issuer in (ours.issuer, ours.issuer.rstrip("/"), ours.issuer.upper().replace("HTTP:", "http:")):
        answer = await world.call("create_issuer", admin(tenant), new(company, issuer=issuer))
        assert (answer.status, answer.json["errors"][0]["field"]) == (400, "issuer")


@pytest.mark.parametrize("field", ["issuer", "jwks_uri"])
@pytest.mark.parametrize(
    "url",
    ["http://8.8.8.8/", "https://127.0.0.1/", "https://169.254.169.254/x", "https://10.0.0.1", "ftp://a.b", "acme"],
)
async def test_an_address_that_is_not_public_is_not_called(
    world: World, tenant: str, company: Company, field: str, url: str
) -> None:
    answer = await world.call("create_issuer", admin(tenant), new(company, **{field: url}))
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, field)


async def test_keys_that_a_discovery_document_says_are_within_the_network_are_not_fetched(
    world: World, tenant: str, company: Company
) -> None:
    answer = await set_up(world, tenant, company, jwks_uri="https://internal.acme.example/keys")
    calls: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        calls.append(host)
        return ["10.0.0.7"]

    world.core.adapters.outgoing._resolve = resolve
    refused = await me(world, await company.sign_in(Human(GRACE)))
    assert (answer.status, refused.status, calls) == (201, 503, ["internal.acme.example"])


async def test_a_pair_of_issuer_and_audience_is_one_tenants(world: World, tenant: str, company: Company) -> None:
    other = (await world.onboard("globex"))["id"]
    answers = [await set_up(world, one, company) for one in (tenant, other, tenant)]
    third = await set_up(world, other, company, audience="another")
    assert ([one.status for one in answers], third.status) == ([201, 409, 409], 201)
    assert tenant not in answers[1].raw.decode()
    await invite(world, other)
    token = company.sign(aud="another", sub="s", email=GRACE, email_verified=True)
    assert (await me(world, token)).json["tenant"]["id"] == other


@pytest.mark.parametrize("aud", ["another", ["x"], [], None, 7, ["1", "2", "3", API], "x" * 600])
async def test_a_token_for_another_audience_is_nobodys(world: World, tenant: str, company: Company, aud: Any) -> None:
    await set_up(world, tenant, company)
    assert "issuer is not one" in await why_not(world, company.sign(aud=aud, sub="s"))


# Whose a pair of issuer and audience is


async def away(*_: Any, **__: Any) -> None:
    raise Unavailable("the registry is away")


async def gone(world: World, tenant: str, id: str) -> int:
    return (await world.call("delete_issuer", admin(tenant), params={"issuer_id": id})).status


async def lets_in(world: World, company: Company) -> bool:
    """Whether its tokens are taken, whatever was known of it before."""
    world.clock.advance(seconds=LIVES_SECONDS)
    return (await me(world, await company.sign_in(Human(GRACE)))).status == 200


async def test_of_the_same_one_set_up_many_times_at_once_there_is_one_and_it_lets_people_in(
    world: World, twin: World, tenant: str, company: Company
) -> None:
    await invite(world, tenant)
    answers = await asyncio.gather(*(set_up((world, twin)[n % 2], tenant, company) for n in range(6)))
    assert sorted(one.status for one in answers) == [201] + [409] * 5
    assert await lets_in(world, company)
    [made] = (await world.call("list_issuers", admin(tenant))).json["items"]
    other = (await world.onboard("globex"))["id"]
    world.clock.advance(days=1)
    held = await set_up(world, other, company)
    assert (held.status, await gone(world, tenant, made["id"])) == (409, 204)
    assert (await set_up(world, other, company)).status == 201


async def test_one_that_is_set_up_again_before_the_old_one_has_given_its_pair_back_keeps_it(
    world: World, twin: World, tenant: str, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (await set_up(world, tenant, company)).json["id"]
    world.clock.advance(minutes=2)
    release = world.core.names.release
    again: list[Answer] = []

    async def late(*args: Any, **rest: Any) -> None:
        again.append(await set_up(twin, tenant, company))
        await release(*args, **rest)

    monkeypatch.setattr(world.core.names, "release", late)
    assert (await gone(world, tenant, made), again[0].status, again[0].json["id"]) == (204, 201, made)
    await invite(world, tenant)
    other = (await world.onboard("globex"))["id"]
    world.clock.advance(minutes=2)
    assert (await lets_in(world, company), (await set_up(world, other, company)).status) == (True, 409)


@pytest.mark.parametrize("names", [["release"], ["holder", "release"]])
async def test_one_that_is_taken_out_while_the_registry_is_away_keeps_its_pair_from_nobody(
    world: World, tenant: str, company: Company, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    made = (await set_up(world, tenant, company)).json["id"]
    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(world.core.names, name, away)
        assert await gone(world, tenant, made) == 204
    other = (await world.onboard("globex"))["id"]
    assert (await set_up(world, tenant, company, audience="another")).json["id"] == made
    world.clock.advance(seconds=61)
    assert (await set_up(world, other, company)).status == 201


async def test_one_that_cannot_be_set_up_during_a_restore_holds_nothing(
    world: World, tenant: str, company: Company
) -> None:
    other, session = (await world.onboard("globex"))["id"], await world.session(tenant)
    await close(session, "a restore")
    refused = [(await set_up(world, tenant, company, audience=f"a-{n}")).json["code"] for n in range(3)]
    await reopen(session, "a restore")
    taken = [(await set_up(world, other, company, audience=f"a-{n}")).status for n in range(3)]
    assert (refused, taken) == (["fenced"] * 3, [201] * 3)


@pytest.mark.parametrize("is_written", [True, False])
async def test_one_whose_answer_was_lost_holds_its_pair_if_it_is_there(
    world: World, tenant: str, company: Company, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    other, handle = (await world.onboard("globex"))["id"], type((await world.session(tenant)).store)
    commit = handle.commit

    async def lost(self: Any, operations: Any) -> None:
        if is_written:
            await commit(self, operations)
        raise Unavailable("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(handle, "commit", lost)
        assert (await set_up(world, tenant, company)).status == 503
    await invite(world, tenant)
    young = (await set_up(world, other, company)).status
    world.clock.advance(seconds=61)
    assert (young, await lets_in(world, company)) == (409, is_written)
    assert (await set_up(world, other, company)).status == (409 if is_written else 201)


# How many, and by whom


async def test_a_tenant_has_three_at_most(world: World, tenant: str, company: Company) -> None:
    answers = [await set_up(world, tenant, company, audience=f"a-{n}") for n in range(MOST_OF_A_TENANT + 1)]
    assert [one.status for one in answers] == [201] * MOST_OF_A_TENANT + [409]


async def test_of_many_set_up_at_once_three_are_there_and_the_others_hold_nothing(
    world: World, twin: World, tenant: str, company: Company
) -> None:
    answers = await asyncio.gather(
        *(set_up((world, twin)[n % 2], tenant, company, audience=f"a-{n}") for n in range(6))
    )
    assert sorted(one.status for one in answers) == [201] * 3 + [409] * 3
    for one in (await world.call("list_issuers", admin(tenant))).json["items"]:
        await world.call("delete_issuer", admin(tenant), params={"issuer_id": one["id"]})
    world.clock.advance(minutes=2)
    again = [(await set_up(world, tenant, company, audience=f"a-{n}")).status for n in range(3)]
    assert again == [201] * 3


async def test_only_admins_set_them_up_and_a_removed_one_does_not(world: World, tenant: str, company: Company) -> None:
    for role in (Role.USER, Role.VIEWER):
        assert (await world.call("create_issuer", person(tenant, role), new(company))).status == 403
    await invite(world, tenant, role="admin")
    grace = person(tenant, Role.ADMIN, GRACE)
    user = (await world.call("get_me", grace)).json["user"]
    session = await world.session(tenant, replace(grace, user=user["id"]))
    await world.call("delete_user", admin(tenant), params={"user_id": user["id"]})
    with pytest.raises(Forbidden, match="no admin"):
        await Identity.of(world.core).issuers.create(session, NewIssuer.model_validate(new(company)))


async def test_staff_set_one_up_with_a_grant(world: World, tenant: str, company: Company) -> None:
    headers = {"x-tenant-id": tenant}
    refused = await world.call("create_issuer", STAFF, new(company), headers=headers)
    await world.break_glass(tenant)
    made = await world.call("create_issuer", STAFF, new(company), headers=headers)
    assert (refused.status, made.status) == (403, 201)


# Taken out


async def test_one_that_is_taken_out_is_dead_here_at_once_and_elsewhere_within_five_seconds(
    world: World, twin: World, tenant: str, company: Company
) -> None:
    made = await set_up(world, tenant, company)
    await invite(world, tenant)
    token = await company.sign_in(Human(GRACE))
    assert [(await me(one, token)).status for one in (world, twin)] == [200, 200]
    gone = await world.call("delete_issuer", admin(tenant), params={"issuer_id": made.json["id"]})
    assert (gone.status, await why_not(world, token)) == (204, "The token's issuer is not one of this service's.")
    world.clock.advance(seconds=LIVES_SECONDS)
    assert "issuer is not one" in await why_not(twin, token)


async def test_one_that_is_set_up_again_with_other_domains_holds_by_those(
    world: World, tenant: str, company: Company
) -> None:
    made = await set_up(world, tenant, company)
    await invite(world, tenant)
    token = await company.sign_in(Human(GRACE))
    assert (await me(world, token)).status == 200
    await world.call("delete_issuer", admin(tenant), params={"issuer_id": made.json["id"]})
    await set_up(world, tenant, company, email_domains=["acme.test"])
    assert "domains" in await why_not(world, token)


async def test_a_suspended_tenants_issuer_lets_nobody_in(world: World, tenant: str, company: Company) -> None:
    await set_up(world, tenant, company)
    await invite(world, tenant)
    await world.call("suspend_tenant", STAFF, params={"tenant_id": tenant})
    answer = await me(world, await company.sign_in(Human(GRACE)))
    assert (answer.status, answer.json["code"]) == (403, "tenant_suspended")


async def test_made_up_issuers_are_looked_for_once_in_five_seconds(
    world: World, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    holder = world.core.names.holder

    async def counted(sort: str, name: str) -> str | None:
        looked.append(name)
        return await holder(sort, name)

    monkeypatch.setattr(world.core.names, "holder", counted)
    token = company.sign(sub="s")
    for _ in range(3):
        await why_not(world, token)
    assert len(looked) == 1


def test_a_restore_brings_no_issuer_back() -> None:
    assert OwnIssuer.KIND.backup is None
