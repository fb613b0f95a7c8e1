"""Sign-in without an operator: a provider asks where somebody belongs, and the token that it then issues is enough."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from functions.claims.asking import Asked, Asking
from functions.claims.service import CALLS_PER_MINUTE, MAX_BODY_BYTES, window_of
from shared.auth.roles import Role
from shared.database.port import Create, Delete
from shared.errors import Unavailable
from shared.ids import PLATFORM_TENANT_ID, derived_id
from shared.members.invitations import INVITED, MOST_TENANTS
from tests.doubles.providers import Human, Provider, SignInRefused
from tests.unit.providers_world import B2C_SECRETS, Providers, providers, with_token, world_of
from tests.unit.world import AGENT, STAFF, Answer, World, admin

SHAPES = ["entra", "b2c", "auth0"]
ADA, GRACE = "admin@acme.example", "grace@acme.example"


@pytest.fixture(scope="module")
def served() -> Iterator[Providers]:
    with providers() as found:
        yield found


@pytest.fixture
async def world(served: Providers, tmp_path: Path) -> AsyncIterator[World]:
    own = await world_of(served, tmp_path / "data")
    yield own
    await own.close()


@pytest.fixture
async def strict(served: Providers, tmp_path: Path) -> AsyncIterator[World]:
    """Whoever is in no tenant is not signed in, where the provider has an answer for that."""
    own = await world_of(served, tmp_path / "data", refuse=True)
    yield own
    await own.close()


@pytest.fixture(params=SHAPES)
def provider(request: pytest.FixtureRequest, served: Providers) -> Provider:
    return served.named(request.param)


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard())["id"])


async def invite(world: World, tenant: str, email: str = GRACE, **fields: Any) -> dict[str, Any]:
    answer = await world.call("create_user", admin(tenant), {"email": email, **fields})
    assert answer.status == 201, answer.raw
    user: dict[str, Any] = answer.json
    return user


async def me(world: World, token: str) -> Answer:
    return await with_token(world, token, "get_me")


async def nowhere(world: World, provider: Provider, human: Human) -> bool:
    """Whether they sign in and are let into no tenant."""
    answer = await me(world, await provider.sign_in(human))
    return answer.status == 403 and "names no tenant" in answer.json["detail"]


# The first sign-in


async def test_an_invited_user_signs_in_for_the_first_time_and_makes_an_agent(
    world: World, provider: Provider, tenant: str
) -> None:
    await invite(world, tenant)
    token = await provider.sign_in(Human(GRACE))
    made = await with_token(world, token, "create_agent", AGENT)
    who = (await me(world, token)).json
    assert (made.status, who["tenant"]["id"], who["user"]["email"]) == (201, tenant, GRACE)
    assert (who["user"]["status"], who["user"]["issuer"]) == ("active", provider.issuer)


async def test_onboarding_needs_nobody_after_staff_has_named_the_first_admin(world: World, provider: Provider) -> None:
    tenant = (await world.onboard())["id"]
    token = await provider.sign_in(Human(ADA))
    invited = await with_token(world, token, "create_user", {"email": GRACE})
    made = await with_token(world, await provider.sign_in(Human(GRACE)), "create_agent", AGENT)
    assert (invited.status, made.status, made.json["tenant_id"]) == (201, 201, tenant)


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("user", 201), ("admin", 201)])
async def test_the_token_has_the_role_of_the_invitation(
    world: World, provider: Provider, tenant: str, role: str, status: int
) -> None:
    await invite(world, tenant, role=role)
    token = await provider.sign_in(Human(GRACE))
    made, who = await with_token(world, token, "create_agent", AGENT), await me(world, token)
    assert (made.status, who.json["role"]) == (status, f"tenant:{role}")


async def test_who_is_bound_is_known_by_identity_whatever_their_address_is_now(
    world: World, provider: Provider, tenant: str
) -> None:
    await invite(world, tenant)
    human = Human(GRACE)
    await me(world, await provider.sign_in(human))
    renamed = Human("grace@elsewhere.example", verified=False, subject=human.subject)
    assert (await me(world, await provider.sign_in(renamed))).json["tenant"]["id"] == tenant


async def test_a_changed_role_is_in_the_next_token(world: World, provider: Provider, tenant: str) -> None:
    user, human = await invite(world, tenant), Human(GRACE)
    await me(world, await provider.sign_in(human))
    await world.call("patch_user", admin(tenant), {"role": "admin"}, params={"user_id": user["id"]})
    assert (await me(world, await provider.sign_in(human))).json["role"] == "tenant:admin"


async def test_no_claim_is_ever_that_of_staff(world: World, provider: Provider, tenant: str) -> None:
    await invite(world, tenant, role="admin")
    await provider.sign_in(Human(GRACE))
    assert Role.PLATFORM not in json.dumps(provider.answers)


# Who gets nothing


async def test_who_is_in_no_tenant_gets_no_claims(world: World, provider: Provider, tenant: str) -> None:
    assert await nowhere(world, provider, Human("stranger@acme.example"))


async def test_an_address_that_nobody_has_verified_leads_nowhere(
    served: Providers, world: World, tenant: str, tmp_path: Path
) -> None:
    await invite(world, tenant)
    assert await nowhere(world, served.auth0, Human(GRACE, verified=False))
    other = await world_of(served, tmp_path / "other", verifies_email=False)
    there = (await other.onboard())["id"]
    await invite(other, there)
    for name in ("entra", "b2c"):
        assert await nowhere(other, served.named(name), Human(GRACE))
    await other.close()


@pytest.mark.parametrize(
    "email", ["grace@acme.example.", " grace@acme.example", "\uff47race@acme.example", "", "grace"]
)
async def test_what_only_looks_like_the_address_leads_nowhere(
    world: World, provider: Provider, tenant: str, email: str
) -> None:
    await invite(world, tenant)
    assert await nowhere(world, provider, Human(email))


async def test_a_removed_user_gets_nothing(world: World, provider: Provider, tenant: str) -> None:
    user, human = await invite(world, tenant), Human(GRACE)
    await me(world, await provider.sign_in(human))
    await world.call("delete_user", admin(tenant), params={"user_id": user["id"]})
    assert await nowhere(world, provider, human)


async def test_a_disabled_user_gets_nothing(world: World, provider: Provider, tenant: str) -> None:
    user, human = await invite(world, tenant), Human(GRACE)
    await me(world, await provider.sign_in(human))
    await world.call("patch_user", admin(tenant), {"status": "disabled"}, params={"user_id": user["id"]})
    assert await nowhere(world, provider, human)


async def test_another_identity_of_the_same_address_gets_nothing_until_it_is_unbound(
    world: World, provider: Provider, tenant: str
) -> None:
    user = await invite(world, tenant)
    await me(world, await provider.sign_in(Human(GRACE)))
    other = Human(GRACE)
    assert await nowhere(world, provider, other)
    await world.call("unbind_user", admin(tenant), params={"user_id": user["id"]})
    assert (await me(world, await provider.sign_in(other))).status == 200


async def test_a_suspended_tenants_users_get_nothing(world: World, provider: Provider, tenant: str) -> None:
    await invite(world, tenant)
    await world.call("suspend_tenant", STAFF, params={"tenant_id": tenant})
    assert await nowhere(world, provider, Human(GRACE))


async def test_who_has_made_up_a_tenant_at_sign_up_gets_none(served: Providers, world: World, tenant: str) -> None:
    """B2C puts what the directory has into the token wherever the answer leaves it out."""
    human = Human("mallory@acme.example")
    served.b2c.directory[human.subject] = {"extension_TenantId": tenant, "extension_Roles": "tenant:admin"}
    assert await nowhere(world, served.b2c, human)


async def test_where_a_provider_can_refuse_who_is_nowhere_is_told_why(served: Providers, strict: World) -> None:
    human = Human("stranger@acme.example")
    with pytest.raises(SignInRefused, match="ask an admin of yours"):
        await served.auth0.sign_in(human)
    with pytest.raises(SignInRefused, match="ask an admin of yours"):
        await served.b2c.sign_up(human)
    assert await nowhere(strict, served.entra, human)


async def test_a_custom_policy_is_answered_in_its_form(served: Providers, strict: World) -> None:
    status, told = await served.b2c.asked({}, {"objectId": "o-1", "email": "stranger@acme.example"})
    assert (status, told["status"], told["version"]) == (409, 409, "1.0.0")
    assert "ask an admin" in told["userMessage"]


async def test_what_is_told_while_somebody_signs_up_is_not_stored_in_the_directory(
    served: Providers, world: World, tenant: str
) -> None:
    await invite(world, tenant)
    human = Human(GRACE)
    assert (await me(world, await served.b2c.sign_up(human))).status == 200
    assert served.b2c.directory[human.subject] == {}


# Two tenants


async def test_who_is_invited_by_two_tenants_belongs_to_the_one_that_is_asked_for(
    served: Providers, world: World, tenant: str
) -> None:
    other = (await world.onboard("globex"))["id"]
    await invite(world, tenant)
    await invite(world, other)
    human = Human(GRACE)
    assert await nowhere(world, served.auth0, human)
    token = await served.auth0.sign_in(human, tenant="globex")
    assert (await me(world, token)).json["tenant"]["id"] == other


async def test_who_is_bound_in_one_tenant_stays_there_whoever_else_invites_them(
    world: World, provider: Provider, tenant: str
) -> None:
    await invite(world, tenant)
    human = Human(GRACE)
    await me(world, await provider.sign_in(human))
    await invite(world, (await world.onboard("globex"))["id"])
    assert (await me(world, await provider.sign_in(human))).json["tenant"]["id"] == tenant


async def test_a_tenant_that_has_not_invited_them_is_not_reached_by_asking_for_it(
    served: Providers, world: World, tenant: str
) -> None:
    await world.onboard("globex")
    await invite(world, tenant)
    answer = await me(world, await served.auth0.sign_in(Human(GRACE), tenant="globex"))
    assert answer.status == 403


async def test_an_invitation_that_nobody_can_accept_does_not_stand_in_the_way(
    world: World, provider: Provider, tenant: str
) -> None:
    other = (await world.onboard("globex"))["id"]
    await invite(world, other)
    await invite(world, tenant)
    await world.call("suspend_tenant", STAFF, params={"tenant_id": other})
    assert (await me(world, await provider.sign_in(Human(GRACE)))).json["tenant"]["id"] == tenant


async def test_hints_that_lead_nowhere_make_room_and_are_bounded(world: World, provider: Provider, tenant: str) -> None:
    gone = [derived_id("gone", str(number)) for number in range(MOST_TENANTS)]
    hint = Create(INVITED, derived_id(INVITED, GRACE), {"created_at": "", "tenants": gone})
    await world.core.adapters.database.platform.put(hint, PLATFORM_TENANT_ID)
    await invite(world, tenant)
    assert await world.core.invitations.tenants(GRACE) == [tenant]
    assert (await me(world, await provider.sign_in(Human(GRACE)))).status == 200


async def test_more_tenants_than_are_asked_may_invite_an_address(world: World) -> None:
    tenants = [str((await world.onboard(f"tenant-{number}"))["id"]) for number in range(MOST_TENANTS + 1)]
    for one in tenants:
        await invite(world, one)
    assert await world.core.invitations.tenants(GRACE) == tenants[:MOST_TENANTS]


async def test_two_tenants_that_invite_an_address_at_once_are_both_noted(world: World, tenant: str) -> None:
    other = str((await world.onboard("globex"))["id"])
    await asyncio.gather(invite(world, tenant), invite(world, other))
    assert {*await world.core.invitations.tenants(GRACE)} == {tenant, other}


async def test_who_is_removed_or_was_not_invited_for_want_of_room_leaves_no_hint(world: World) -> None:
    tenant = (await world.onboard(max_users=2))["id"]
    user = await invite(world, tenant)
    refused = await world.call("create_user", admin(tenant), {"email": "alan@acme.example"})
    again = await world.call("create_user", admin(tenant), {"email": GRACE})
    hints = [await world.core.invitations.tenants(email) for email in ("alan@acme.example", GRACE)]
    await world.call("delete_user", admin(tenant), params={"user_id": user["id"]})
    assert ((refused.status, again.status), hints) == ((429, 409), [[], [tenant]])
    assert await world.core.invitations.tenants(GRACE) == []


async def test_who_is_invited_again_before_their_old_hint_is_taken_back_is_found(
    world: World, provider: Provider, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await invite(world, tenant)
    forget = world.core.invitations.forget

    async def late(tenant_id: str, email: str) -> None:
        await invite(world, tenant)
        await forget(tenant_id, email)

    monkeypatch.setattr(world.core.invitations, "forget", late)
    gone = await world.call("delete_user", admin(tenant), params={"user_id": user["id"]})
    assert (gone.status, await world.core.invitations.tenants(GRACE)) == (204, [tenant])
    assert (await me(world, await provider.sign_in(Human(GRACE)))).status == 200


async def test_a_removed_user_leaves_the_hints_of_others(world: World, tenant: str) -> None:
    other = str((await world.onboard("globex"))["id"])
    user = await invite(world, tenant)
    await invite(world, other)
    await world.call("delete_user", admin(tenant), params={"user_id": user["id"]})
    assert await world.core.invitations.tenants(GRACE) == [other]


async def test_who_was_invited_before_there_were_hints_gets_one_by_the_hourly_round(
    world: World, provider: Provider, tenant: str
) -> None:
    await invite(world, tenant)
    platform = world.core.adapters.database.platform
    id = derived_id(INVITED, GRACE)
    held = await platform.get(INVITED, PLATFORM_TENANT_ID, id)
    assert held is not None
    await platform.put(Delete(INVITED, id, held.etag), PLATFORM_TENANT_ID)
    assert await nowhere(world, provider, Human(GRACE))
    world.clock.advance(hours=1)
    await world.functions["rounds"](None)
    assert (await me(world, await provider.sign_in(Human(GRACE)))).status == 200


# Who may ask


async def refused(world: World, provider: Provider, human: Human) -> int:
    with pytest.raises(SignInRefused):
        await provider.sign_in(human)
    return int(provider.answers[-1]["status"])


@pytest.mark.parametrize(
    "claims",
    [
        {"azp": "00000000-0000-4000-8000-000000000000"},
        {"azp": None, "appid": "00000000-0000-4000-8000-000000000000"},
        {"azp": None},
        {"aud": "another-app"},
        {"exp": 1},
        {"iss": "https://sts.windows.net/another/"},
    ],
    ids=["another app", "another app, version 1", "no app", "another audience", "expired", "another issuer"],
)
async def test_entra_shows_itself_by_a_token_of_its_events_service_for_our_app(
    served: Providers, world: World, monkeypatch: pytest.MonkeyPatch, claims: dict[str, Any]
) -> None:
    token = served.entra.caller_token(**claims)
    monkeypatch.setattr(served.entra, "shown", lambda _: {"authorization": f"Bearer {token}"})
    assert await refused(world, served.entra, Human(GRACE)) == 401


async def test_entras_tokens_of_version_one_name_the_app_in_another_claim(
    served: Providers, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = {"appid": "99045fe1-7639-4a75-9d4a-577b6ca3810f"}
    own = served.entra.sign(aud="1c2d5a1e-0000-4000-8000-00000000ext1", sub="events", **claims)
    monkeypatch.setattr(served.entra, "shown", lambda _: {"authorization": f"Bearer {own}"})
    assert await nowhere(world, served.entra, Human(GRACE))


async def test_a_users_own_token_asks_for_nothing(
    served: Providers, world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await invite(world, tenant)
    token = await served.entra.sign_in(Human(GRACE))
    monkeypatch.setattr(served.entra, "shown", lambda _: {"authorization": f"Bearer {token}"})
    assert await refused(world, served.entra, Human(GRACE)) == 401


async def test_a_key_of_another_provider_signs_nothing_for_entra(
    served: Providers, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.entra, "key", served.auth0.key)
    token = served.entra.caller_token()
    monkeypatch.undo()
    monkeypatch.setattr(served.entra, "shown", lambda _: {"authorization": f"Bearer {token}"})
    assert await refused(world, served.entra, Human(GRACE)) == 401


@pytest.mark.parametrize("name", ["b2c", "auth0"])
async def test_a_wrong_secret_asks_for_nothing(
    served: Providers, world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    provider = served.named(name)
    monkeypatch.setattr(provider, "password", "flowgrid:wrong", raising=False)
    monkeypatch.setattr(provider, "secret", "wrong", raising=False)
    assert await refused(world, provider, Human(GRACE)) == 401


@pytest.mark.parametrize(
    "authorization", ["", "Basic", "Basic ", "Basic !!", "Basic \u00e9", "Bearer ", "Digest x", "Basic " + "A" * 9000]
)
async def test_what_is_no_secret_asks_for_nothing(
    served: Providers, world: World, monkeypatch: pytest.MonkeyPatch, authorization: str
) -> None:
    monkeypatch.setattr(served.b2c, "shown", lambda _: {"authorization": authorization})
    assert await refused(world, served.b2c, Human(GRACE)) == 401


async def test_a_source_whose_secrets_are_not_set_is_asked_for_by_nobody(
    served: Providers, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = world.core.adapters.secrets.space(PLATFORM_TENANT_ID)
    await secrets.put(B2C_SECRETS[0], "")
    monkeypatch.setattr(served.b2c, "password", "")
    assert await refused(world, served.b2c, Human(GRACE)) == 401


async def test_two_secrets_are_good_at_once_and_one_that_is_taken_back_for_five_seconds(
    served: Providers, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = world.core.adapters.secrets.space(PLATFORM_TENANT_ID)
    second = await secrets.put(B2C_SECRETS[1], "flowgrid:second")
    for password in ("flowgrid:first", "flowgrid:second"):
        monkeypatch.setattr(served.b2c, "password", password)
        assert await nowhere(world, served.b2c, Human(GRACE))
    await secrets.delete(second)
    world.clock.advance(seconds=5)
    assert await refused(world, served.b2c, Human(GRACE)) == 401


class Vault:
    """Looks at the secrets of the platform. `away`: they fail; `hangs`: nobody is answered until it is set."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looks = 0
        self.away = False
        self.hangs: asyncio.Event | None = None
        space = type(world.core.adapters.secrets.space(PLATFORM_TENANT_ID))
        get = space.get

        async def noted(own: Any, reference: str) -> str:
            self.looks += 1
            if self.hangs is not None:
                await self.hangs.wait()
            if self.away:
                raise Unavailable("the vault is away")
            return await get(own, reference)

        monkeypatch.setattr(space, "get", noted)


@pytest.fixture
def vault(world: World, monkeypatch: pytest.MonkeyPatch) -> Vault:
    return Vault(world, monkeypatch)


async def asks(world: World, authorization: str = "Bearer x") -> int:
    headers = {"authorization": authorization}
    return (await world.call("tell_claims", None, {}, params={"issuer": "b2c"}, headers=headers)).status


async def test_all_who_ask_at_once_are_one_look_at_the_secrets(world: World, vault: Vault) -> None:
    assert await asyncio.gather(*(asks(world) for _ in range(20))) == [401] * 20
    assert vault.looks == len(B2C_SECRETS)
    world.clock.advance(seconds=5)
    await asks(world)
    assert vault.looks == 2 * len(B2C_SECRETS)


async def test_secrets_that_cannot_be_read_are_looked_at_once_a_second(
    served: Providers, world: World, vault: Vault
) -> None:
    vault.away = True
    assert await asyncio.gather(*(asks(world) for _ in range(20))) == [503] * 20
    assert (await asks(world), vault.looks) == (503, 1)
    vault.away = False
    world.clock.advance(seconds=1)
    assert await nowhere(world, served.b2c, Human(GRACE))


async def test_secrets_that_are_known_no_longer_open_nothing_while_they_cannot_be_read(
    served: Providers, world: World, vault: Vault
) -> None:
    """One that was taken back meanwhile would be good for as long as the vault is away."""
    assert await nowhere(world, served.b2c, Human(GRACE))
    vault.away = True
    world.clock.advance(seconds=4)
    assert await nowhere(world, served.b2c, Human(GRACE))
    world.clock.advance(seconds=1)
    assert await refused(world, served.b2c, Human(GRACE)) == 503


async def test_who_hangs_up_while_the_secrets_are_read_keeps_nobody_out(
    served: Providers, world: World, vault: Vault
) -> None:
    vault.hangs = asyncio.Event()
    asking = Asking(world.core.app_tokens, world.core.adapters.secrets, world.clock)
    [source] = [one for one in world.core.settings.flowgrid_claims if one.name == "b2c"]
    asked = Asked("b2c", served.b2c.shown(b""), b"")
    first, second = (asyncio.create_task(asking.verify(source, asked)) for _ in range(2))
    await asyncio.sleep(0)
    assert vault.looks == 1
    first.cancel()
    vault.hangs.set()
    await asyncio.wait([first, second])
    assert (first.cancelled(), second.exception()) == (True, None)


@pytest.mark.parametrize(("seconds", "status"), [(-60, 200), (60, 200), (-62, 401), (62, 401)])
async def test_what_auth0_has_signed_is_good_for_a_minute(
    served: Providers, world: World, seconds: int, status: int
) -> None:
    body = json.dumps(served.auth0.question(Human(GRACE))).encode()
    headers = {"content-type": "application/json", **served.auth0.shown(body)}
    world.clock.advance(seconds=seconds) if seconds > 0 else world.clock.set_back(seconds=-seconds)
    assert (await world.call("tell_claims", None, body, params={"issuer": "auth0"}, headers=headers)).status == status


@pytest.mark.parametrize("at", ["", "-1", "1e9", "٣", "9" * 13, "nan"])
async def test_a_time_that_is_none_is_refused(
    served: Providers, world: World, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    monkeypatch.setattr(served.auth0, "shown", lambda _: {"x-flowgrid-timestamp": at, "x-flowgrid-signature": "x"})
    assert await refused(world, served.auth0, Human(GRACE)) == 401


async def test_a_signature_is_of_one_body_and_one_source(served: Providers, world: World) -> None:
    body = json.dumps(served.auth0.question(Human(GRACE))).encode()
    headers = {"content-type": "application/json", **served.auth0.shown(body)}
    other = json.dumps(served.auth0.question(Human(ADA))).encode()
    answers = [
        await world.call("tell_claims", None, other, params={"issuer": "auth0"}, headers=headers),
        await world.call("tell_claims", None, body, params={"issuer": "b2c"}, headers=headers),
    ]
    assert [answer.status for answer in answers] == [401, 401]


async def test_a_source_that_there_is_not_is_answered_as_a_wrong_secret_is(world: World) -> None:
    said = []
    for name in ("b2c", "nobody", "..%2f"):
        answer = await world.call("tell_claims", None, {}, params={"issuer": name}, headers={"x-request-id": "same"})
        said.append((answer.status, answer.raw.replace(f"claims/{name}".encode(), b"claims/<name>")))
    assert said == [said[0]] * 3 and said[0][0] == 401


# Bounds


async def test_a_question_has_at_most_64_kb(served: Providers, world: World) -> None:
    body = b" " * (MAX_BODY_BYTES + 1)
    headers = {"content-type": "application/json", **served.b2c.shown(body)}
    assert (await world.call("tell_claims", None, body, params={"issuer": "b2c"}, headers=headers)).status == 413


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'{"objectId": 7}', b"[" * 9000 + b"]" * 9000, b"\xff"])
async def test_a_question_of_another_form_is_refused_without_a_word_of_it(
    served: Providers, world: World, body: bytes
) -> None:
    headers = {"content-type": "application/json", **served.b2c.shown(body)}
    answer = await world.call("tell_claims", None, body, params={"issuer": "b2c"}, headers=headers)
    assert (answer.status, [error["value"] for error in answer.json["errors"]]) == (400, [None])


async def test_who_asks_in_vain_spends_the_addresses_calls_and_who_may_ask_does_not(
    served: Providers, world: World
) -> None:
    wrong = await world.call("tell_claims", None, {}, params={"issuer": "b2c"})
    for _ in range(3):
        await served.b2c.sign_in(Human(GRACE))
    again = await world.call("tell_claims", None, {}, params={"issuer": "b2c"})
    assert [one.headers["RateLimit-Remaining"] for one in (wrong, again)] == ["999999", "999998"]


async def test_a_provider_has_a_window_of_its_own(served: Providers, world: World) -> None:
    for _ in range(CALLS_PER_MINUTE):
        await world.core.endpoint.limiter.take(window_of("b2c"))
    assert await refused(world, served.b2c, Human(GRACE)) == 429
    assert await nowhere(world, served.auth0, Human(GRACE))


async def test_a_slow_database_is_given_up_before_the_provider_gives_up(
    served: Providers, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("functions.claims.service.SECONDS", 0.0)
    monkeypatch.setattr(world.core.names, "holder", hangs)
    assert await refused(world, served.b2c, Human(GRACE)) == 503


async def test_no_address_is_logged(
    served: Providers, world: World, tenant: str, log: pytest.LogCaptureFixture
) -> None:
    log.set_level(logging.DEBUG)
    await invite(world, tenant)
    for name in SHAPES:
        await served.named(name).sign_in(Human(GRACE))
        await served.named(name).sign_in(Human("stranger@acme.example"))
    await world.call("tell_claims", None, served.b2c.question(Human(GRACE)), params={"issuer": "b2c"})
    records = [json.dumps(vars(record), default=str) for record in log.records]
    assert len(records) >= 7 and not [one for one in records if "grace" in one or "stranger" in one]
