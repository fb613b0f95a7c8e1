"""Hooks: deliveries of others start runs, once each, as whoever made the hook, and as nobody else."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from functions.executions.models import MAX_INPUT_BYTES
from functions.hooks.models import COUNTER, MOST_HOOKS
from shared.auth.caller import Caller
from shared.database.port import Increment
from shared.work.change import COUNTER as COUNTER_KIND
from tests.doubles.models import says
from tests.unit.hooks_world import EVENT, OTHER, SECRETS, delivered, hook_of, member, raw, sent, signed
from tests.unit.keys_world import by_key, key_of
from tests.unit.runs_world import RunsWorld
from tests.unit.world import STAFF, World, admin

STYLES = list(SECRETS)


@pytest.fixture
async def grace(runs: RunsWorld) -> Caller:
    return await member(runs.world, runs.tenant)


@pytest.fixture
async def clerk(runs: RunsWorld) -> str:
    return await runs.agent("clerk", [says("Filed.")])


async def begun(runs: RunsWorld) -> int:
    return len(await runs.runs())


# --- deliveries ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
async def test_a_delivery_is_a_run_of_the_agent_as_whoever_made_the_hook(
    runs: RunsWorld, grace: Caller, clerk: str, style: str
) -> None:
    hook = await hook_of(runs.world, grace, clerk, style)
    answer = await delivered(runs.world, hook)
    assert answer.status == 202, answer.raw
    id = answer.json["execution_id"]
    await runs.drain()
    shown = await runs.shown(id)
    assert (shown["status"], shown["output"], shown["purpose"]) == ("succeeded", "Filed.", "hook")
    assert (shown["agent_id"], shown["created_by"]) == (clerk, hook["user_id"])
    said = runs.models.asked[0].messages[0].text
    assert raw(EVENT).decode() in said and hook["id"] in said
    trail = await runs.world.call("list_audit", admin(runs.tenant), query={"action": "execution.started"})
    assert [(one["user_id"], one["resource_id"]) for one in trail.json["items"]] == [(hook["user_id"], id)]


@pytest.mark.parametrize("style", STYLES)
async def test_a_delivery_that_comes_again_is_the_run_that_there_is(
    runs: RunsWorld, grace: Caller, clerk: str, style: str
) -> None:
    hook = await hook_of(runs.world, grace, clerk, style)
    first = await delivered(runs.world, hook)
    runs.world.clock.advance(seconds=60)
    again = await delivered(runs.world, hook)
    assert (again.status, again.raw, await begun(runs)) == (202, first.raw, 1)
    await runs.drain()
    runs.world.clock.advance(days=200)  # what was said in it is purged by then
    await runs.executions.retention.purge(await runs.session())
    late = await delivered(runs.world, hook)
    assert (late.status, late.raw, await begun(runs)) == (202, first.raw, 1)


@pytest.mark.parametrize("style", STYLES)
async def test_the_same_delivery_twice_at_once_is_one_run(
    runs: RunsWorld, grace: Caller, clerk: str, style: str
) -> None:
    hook = await hook_of(runs.world, grace, clerk, style)
    answers = await asyncio.gather(*(delivered(runs.world, hook) for _ in range(4)))
    assert {answer.status for answer in answers} == {202} and len({answer.raw for answer in answers}) == 1
    assert await begun(runs) == 1


async def test_other_deliveries_are_other_runs(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    for style in STYLES:
        hook = await hook_of(runs.world, grace, clerk, style)
        await delivered(runs.world, hook, {**EVENT, "id": "evt_1"}, "msg_1")
        await delivered(runs.world, hook, {**EVENT, "id": "evt_2"}, "msg_2")
    assert await begun(runs) == 2 * len(STYLES)


@pytest.mark.parametrize("style", ["github", "plain"])
async def test_what_was_caught_starts_nothing_under_another_id(
    runs: RunsWorld, grace: Caller, clerk: str, style: str
) -> None:
    """Their ids are not signed, so it is the body that counts."""
    hook = await hook_of(runs.world, grace, clerk, style)
    first = await delivered(runs.world, hook, id="first")
    again = await delivered(runs.world, hook, id="second", **{"x-github-event": "push"})
    assert again.raw == first.raw and await begun(runs) == 1


@pytest.mark.parametrize("style", STYLES)
async def test_what_is_not_signed_by_the_secret_starts_nothing(
    runs: RunsWorld, grace: Caller, clerk: str, style: str
) -> None:
    hook, now = await hook_of(runs.world, grace, clerk, style), runs.world.clock.now().timestamp()
    body, good = raw(EVENT), signed(style, SECRETS[style], raw(EVENT), now)
    tried = [
        (body, {}),
        (body, signed(style, OTHER[style], body, now)),
        (body + b" ", good),
        (body, {name: "" for name in good}),
        (body, {name: "x" * 5000 for name in good}),
        (body, {name: "ü€" for name in good}),
    ]
    if style in ("standard", "stripe"):
        tried += [(body, signed(style, SECRETS[style], body, now + way * 301)) for way in (-1, 1)]
    if style == "standard":
        tried += [(body, {**good, "webhook-id": "msg_2"}), (body, {**good, "webhook-timestamp": str(int(now) + 1)})]
    answers = [await sent(runs.world, hook, *one) for one in tried]
    assert [answer.status for answer in answers] == [401] * len(tried)
    assert len({answer.json["detail"] for answer in answers}) == 1 and await begun(runs) == 0
    assert (await sent(runs.world, hook, body, good)).status == 202


@pytest.mark.parametrize("style", ["standard", "stripe"])
async def test_clocks_may_differ_by_five_minutes(runs: RunsWorld, grace: Caller, clerk: str, style: str) -> None:
    hook, now = await hook_of(runs.world, grace, clerk, style), runs.world.clock.now().timestamp()
    for way in (-300, 300):
        headers = signed(style, SECRETS[style], raw(EVENT), now + way)
        assert (await sent(runs.world, hook, raw(EVENT), headers)).status == 202


@pytest.mark.parametrize("style", STYLES)
async def test_another_tenant_starts_nothing_here(runs: RunsWorld, grace: Caller, clerk: str, style: str) -> None:
    """By a hook of its own, by its secret at this URL, and by a delivery that was taken here."""
    hook = await hook_of(runs.world, grace, clerk, style)
    other = await runs.beside("globex")
    eve = await member(other.world, other.tenant, "eve@globex.example")
    theirs = await hook_of(other.world, eve, await other.agent("theirs", [says("Taken.")]), style, secret=OTHER[style])
    assert (await delivered(runs.world, hook, secret=OTHER[style])).status == 401
    assert (await delivered(runs.world, theirs)).status == 401
    for name, body in (("get_hook", None), ("rotate_hook", {"secret": OTHER[style]}), ("revoke_hook", None)):
        answer = await runs.world.call(name, eve, body, params={"hook_id": hook["id"]})
        never = await runs.world.call(name, eve, body, params={"hook_id": "01900000-0000-7000-8000-00000000dead"})
        assert answer.status == never.status == 404 and answer.json["detail"] == never.json["detail"]
    made = await runs.world.call("create_hook", eve, {"name": "x", "style": style}, params={"agent_id": clerk})
    assert made.status == 404
    mine = (await delivered(runs.world, hook)).json["execution_id"]
    same = (await delivered(runs.world, theirs, secret=OTHER[style])).json["execution_id"]
    assert mine != same and (await begun(runs), await begun(other)) == (1, 1)


async def test_a_made_up_url_is_answered_as_a_wrong_signature(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    hook = await hook_of(runs.world, grace, clerk)
    refused = await delivered(runs.world, hook, secret=OTHER["github"])
    token = hook["path"].rpartition("/")[2]
    flipped = token[:10] + ("A" if token[10] != "A" else "B") + token[11:]
    for other in (flipped, "x", "ä" * 64, token[:-1], token + "A", "A" * 64):
        answer = await delivered(runs.world, {**hook, "path": f"/api/hooks/in/{other}"})
        assert (answer.status, answer.json["detail"]) == (401, refused.json["detail"])


async def test_a_ping_of_github_is_answered_and_starts_nothing(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    hook = await hook_of(runs.world, grace, clerk)
    answer = await delivered(runs.world, hook, {"zen": "Keep it simple."}, **{"x-github-event": "ping"})
    assert (answer.status, answer.json, await begun(runs)) == (202, {"execution_id": None}, 0)


async def test_what_is_too_much_or_no_text_starts_nothing(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    hook, now = await hook_of(runs.world, grace, clerk, "plain"), runs.world.clock.now().timestamp()
    for body, status in (
        (b"x" * (MAX_INPUT_BYTES + 1), 413),
        (b"\xff\xfe", 400),
        (b" ", 400),
        (b"x" * MAX_INPUT_BYTES, 202),
    ):
        answer = await sent(runs.world, hook, body, signed("plain", SECRETS["plain"], body, now))
        assert answer.status == status, body[:20]
    assert await begun(runs) == 1


async def test_deliveries_are_limited_beside_the_tenants_calls(tmp_path: Path) -> None:
    runs = await RunsWorld.over(tmp_path, requests_per_minute=12)
    grace, clerk = await member(runs.world, runs.tenant), await runs.agent("clerk", [says("Filed.")])
    hook = await hook_of(runs.world, grace, clerk)
    answers = [await delivered(runs.world, hook, {"number": number}) for number in range(13)]
    assert [answer.status for answer in answers] == [202] * 12 + [429]
    assert int(answers[-1].headers["Retry-After"]) > 0 and await begun(runs) == 12
    runs.world.clock.advance(seconds=61)
    assert (await delivered(runs.world, hook, {"number": 12})).status == 202
    await runs.world.close()


async def test_a_sender_who_shows_himself_spends_nothing_of_his_address(tmp_path: Path) -> None:
    """GitHub delivers to everybody from few addresses."""
    world = World.over(tmp_path, flowgrid_global_limit=10)
    tenant = str((await world.onboard())["id"])
    grace = await member(world, tenant)
    agent = await world.call("create_agent", grace, {"name": "Clerk", "pattern": "Specialist"})
    hook = await hook_of(world, grace, agent.json["id"])
    assert [(await delivered(world, hook, {"number": one})).status for one in range(20)] == [202] * 20
    bad = [(await delivered(world, hook, secret=OTHER["github"])).status for _ in range(12)]
    assert bad[:5] == [401] * 5 and bad[-1] == 429
    await world.close()


async def test_what_was_caught_and_comes_again_spends_its_address(tmp_path: Path) -> None:
    world = World.over(tmp_path, flowgrid_global_limit=10)
    grace = await member(world, str((await world.onboard())["id"]))
    agent = await world.call("create_agent", grace, {"name": "Clerk", "pattern": "Specialist"})
    hook = await hook_of(world, grace, agent.json["id"])
    first = await delivered(world, hook)
    ping = {"x-github-event": "ping"}  # which is not signed
    again = [await delivered(world, hook, id=f"other_{one}", **more) for one in range(8) for more in ({}, ping)]
    assert [answer.status for answer in again[:5]] == [202] * 5 and again[-1].status == 429
    assert {answer.json["execution_id"] for answer in again[:5]} == {first.json["execution_id"], None}
    await world.close()


async def test_what_was_caught_and_comes_again_takes_no_place_of_what_is_new(tmp_path: Path) -> None:
    runs = await RunsWorld.over(tmp_path, requests_per_minute=12)
    grace, clerk = await member(runs.world, runs.tenant), await runs.agent("clerk", [says("Filed.")])
    hook = await hook_of(runs.world, grace, clerk)
    assert [(await delivered(runs.world, hook)).status for _ in range(20)] == [202] * 20
    assert [(await delivered(runs.world, hook, {"number": one})).status for one in range(11)] == [202] * 11
    assert (await delivered(runs.world, hook, {"number": 11})).status == 429
    await runs.world.close()


# --- whose it is -----------------------------------------------------------------------------------------------------


async def test_a_hook_ends_with_the_user_who_made_it(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    hook, boss = await hook_of(runs.world, grace, clerk), admin(runs.tenant)
    user = {"user_id": hook["user_id"]}
    changed = [
        ({"status": "disabled"}, 403, "not_a_member"),
        ({"status": "active", "role": "viewer"}, 403, "role_needed"),
        ({"role": "user"}, 202, None),
    ]
    for number, (change, status, code) in enumerate(changed):
        assert (await runs.world.call("patch_user", boss, change, params=user)).status == 200
        answer = await delivered(runs.world, hook, {"number": number})
        assert (answer.status, answer.json.get("code")) == (status, code)
    assert (await runs.world.call("delete_user", boss, params=user)).status == 204
    assert (await delivered(runs.world, hook, {"number": 8})).status == 403
    runs.world.clock.advance(seconds=1)
    again = await runs.world.call("create_user", boss, {"email": "grace@acme.example", "role": "admin"})
    assert again.json["id"] == hook["user_id"]  # the next of this address is another
    assert (await delivered(runs.world, hook, {"number": 9})).json["code"] == "not_a_member"
    assert await begun(runs) == 1


async def test_a_revoked_hook_takes_nothing_any_more(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    hook, other = await hook_of(runs.world, grace, clerk), await member(runs.world, runs.tenant, "eve@acme.example")
    named = {"hook_id": hook["id"]}
    assert (await runs.world.call("revoke_hook", other, params=named)).status == 403
    assert (await runs.world.call("revoke_hook", admin(runs.tenant), params=named)).status == 204
    assert (await delivered(runs.world, hook)).status == 401
    assert (await runs.world.call("get_hook", grace, params=named)).status == 404
    assert await runs.counter(COUNTER) == 0


async def test_a_suspended_tenant_takes_no_delivery(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    hook, params = await hook_of(runs.world, grace, clerk), {"tenant_id": runs.tenant}
    assert (await runs.world.call("suspend_tenant", STAFF, params=params)).status == 200
    assert (await delivered(runs.world, hook)).json["code"] == "tenant_suspended"
    assert (await delivered(runs.world, hook, secret=OTHER["github"])).status == 401


async def test_an_agent_that_is_gone_or_retired_is_not_run(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    hook = await hook_of(runs.world, grace, clerk)
    await runs.call("patch_agent", {"status": "retired"}, agent_id=clerk)
    assert (await delivered(runs.world, hook)).json["code"] == "wrong_state"
    assert (await runs.call("delete_agent", agent_id=clerk)).status == 204
    assert (await delivered(runs.world, hook)).status == 404


async def test_no_restore_brings_back_a_hook_that_was_revoked(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    world, hook = runs.world, await hook_of(runs.world, grace, clerk)
    backup = await world.backed_up(runs.tenant)
    assert (await world.call("revoke_hook", grace, params={"hook_id": hook["id"]})).status == 204
    asked = {"backup_id": backup["id"], "target": "in_place", "confirm": "acme"}
    restore = await world.call("create_restore", admin(runs.tenant), asked)
    done = await world.settled("get_restore", runs.tenant, {"restore_id": restore.json["id"]})
    assert done["status"] == "succeeded", done
    assert (await delivered(world, hook)).status == 401


async def test_a_hook_ends_with_the_key_that_it_was_made_with(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    world, token = runs.world, await hook_of(runs.world, grace, clerk)
    key = await key_of(world, grace, role="user", scopes=["execute"])
    body = {"name": "By a key", "style": "github", "secret": SECRETS["github"]}
    made = await by_key(world, key["key"], "create_hook", body, params={"agent_id": clerk})
    assert (made.status, made.json["made_with"]) == (201, key["id"])
    rotation = {"secret": OTHER["github"]}
    taken = await by_key(world, key["key"], "rotate_hook", rotation, params={"hook_id": token["id"]})
    assert taken.status == 403  # it would be good when the key is not
    assert (await by_key(world, key["key"], "rotate_hook", rotation, params={"hook_id": made.json["id"]})).status == 200
    assert (await delivered(world, made.json, {"number": 1})).status == 202
    assert (await world.call("delete_api_key", grace, params={"api_key_id": key["id"]})).status == 204
    assert (await delivered(world, made.json, {"number": 2})).status == 403
    short = await key_of(world, grace, role="user", scopes=["execute"])
    made = await by_key(world, short["key"], "create_hook", body, params={"agent_id": clerk})
    world.clock.advance(days=91)
    assert (await delivered(world, made.json, {"number": 3})).status == 403
    assert (await delivered(world, token, {"number": 3})).status == 202
    narrow = await key_of(world, grace, role="user", scopes=["read", "write"])
    assert (await by_key(world, narrow["key"], "create_hook", body, params={"agent_id": clerk})).status == 403


async def test_a_hooks_url_is_of_the_public_address_and_never_of_the_host_that_is_sent(tmp_path: Path) -> None:
    world = World.over(tmp_path, flowgrid_public_url="https://flowgrid.acme.example")
    tenant = str((await world.onboard())["id"])
    grace = await member(world, tenant)
    agent = (await world.call("create_agent", grace, {"name": "Clerk", "pattern": "Specialist"})).json["id"]
    body, params = {"name": "x", "style": "github", "secret": SECRETS["github"]}, {"agent_id": agent}
    keyed: dict[str, Any] = {"params": params, "headers": {"idempotency-key": "once"}, "host": "evil.example"}
    made = (await world.call("create_hook", grace, body, **keyed)).json
    assert made["url"] == f"https://flowgrid.acme.example{made['path']}"
    one, rotation = {"hook_id": made["id"]}, {"secret": OTHER["github"]}
    again: dict[str, Any] = {"params": one, "headers": {"idempotency-key": "two"}, "host": "evil.example"}
    answers = [
        (await world.call("create_hook", grace, body, **keyed)).json,
        (await world.call("rotate_hook", grace, rotation, **again)).json,
        (await world.call("rotate_hook", grace, rotation, **again)).json,
        (await world.call("get_hook", grace, params=one, host="evil.example")).json,
        *(await world.call("list_hooks", grace, host="evil.example")).json["items"],
    ]
    assert [(answer["path"], answer["url"]) for answer in answers] == [(made["path"], made["url"])] * 5
    await world.close()


async def test_where_no_public_address_is_known_a_hook_has_a_path(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    assert (await hook_of(runs.world, grace, clerk))["url"] is None


# --- secrets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
async def test_two_secrets_are_good_while_one_takes_the_place_of_the_other(
    runs: RunsWorld, grace: Caller, clerk: str, style: str
) -> None:
    hook = await hook_of(runs.world, grace, clerk, style)

    async def statuses(number: int) -> list[int]:
        both = (SECRETS[style], OTHER[style])
        events = [{"id": f"evt_{number}_{index}"} for index in range(2)]
        return [
            (await delivered(runs.world, hook, events[index], f"msg_{number}_{index}", secret)).status
            for index, secret in enumerate(both)
        ]

    assert await statuses(1) == [202, 401]
    rotation = {"secret": OTHER[style], "overlap_hours": 1}
    rotated = await runs.world.call("rotate_hook", grace, rotation, params={"hook_id": hook["id"]})
    assert rotated.status == 200 and rotated.json["path"] == hook["path"]
    assert await statuses(2) == [202, 202]
    runs.world.clock.advance(hours=1)
    assert await statuses(3) == [401, 202]
    ended = await runs.world.call(
        "rotate_hook", grace, {"secret": SECRETS[style], "overlap_hours": 0}, params={"hook_id": hook["id"]}
    )
    assert ended.status == 200 and await statuses(4) == [202, 401]


async def test_a_hook_without_a_secret_takes_nothing_until_it_has_one(
    runs: RunsWorld, grace: Caller, clerk: str
) -> None:
    """Stripe tells its secret once it knows the URL."""
    hook = await hook_of(runs.world, grace, clerk, "stripe", secret=None)
    assert (await delivered(runs.world, hook)).status == 401
    assert (await delivered(runs.world, hook, secret="")).status == 401
    rotated = await runs.world.call("rotate_hook", grace, {"secret": SECRETS["stripe"]}, params={"hook_id": hook["id"]})
    assert rotated.json["old_secret_until"] is None
    assert (await delivered(runs.world, hook)).status == 202


async def test_only_whoever_made_it_sets_its_secret(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    hook = await hook_of(runs.world, grace, clerk)
    for other in (await member(runs.world, runs.tenant, "eve@acme.example", "admin"), admin(runs.tenant)):
        answer = await runs.world.call(
            "rotate_hook", other, {"secret": OTHER["github"]}, params={"hook_id": hook["id"]}
        )
        assert answer.status == 403
    assert (await delivered(runs.world, hook, secret=OTHER["github"])).status == 401


@pytest.mark.parametrize(
    ("style", "secret"),
    [
        ("github", "short"),
        ("plain", "with\nlines-in-it-which-are-none"),
        ("standard", SECRETS["github"]),
        ("standard", "whsec_c2hvcnQ="),
        ("standard", "whsec_!!!!!!!!!!!!!!!!!!!!"),
        ("stripe", "x" * 257),
    ],
)
async def test_a_secret_that_is_none_is_refused_and_not_repeated(
    runs: RunsWorld, grace: Caller, clerk: str, style: str, secret: str
) -> None:
    body = {"name": "x", "style": style, "secret": secret}
    answer = await runs.world.call("create_hook", grace, body, params={"agent_id": clerk})
    assert answer.status == 400 and answer.json["errors"][0]["field"] == "secret"
    assert secret.encode() not in answer.raw


async def test_no_hook_is_made_beyond_their_number(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    hook = await hook_of(runs.world, grace, clerk)
    await runs.commit([Increment(COUNTER_KIND, COUNTER, {"value": MOST_HOOKS - 2}, {})])
    await hook_of(runs.world, grace, clerk)
    body = {"name": "one more", "style": "github"}
    answer = await runs.world.call("create_hook", grace, body, params={"agent_id": clerk})
    assert (answer.status, answer.json["code"]) == (429, "quota_exceeded")
    await runs.world.call("revoke_hook", grace, params={"hook_id": hook["id"]})
    assert (await runs.world.call("create_hook", grace, body, params={"agent_id": clerk})).status == 201


async def test_hooks_are_of_users_and_of_agents_that_there_are(runs: RunsWorld, grace: Caller, clerk: str) -> None:
    body = {"name": "x", "style": "github"}
    never = {"agent_id": "01900000-0000-7000-8000-00000000dead"}
    assert (await runs.world.call("create_hook", grace, body, params=never)).status == 404
    await runs.world.break_glass(runs.tenant)
    named = {"x-tenant-id": runs.tenant}
    answer = await runs.world.call("create_hook", STAFF, body, params={"agent_id": clerk}, headers=named)
    assert answer.status == 403
    hook = await hook_of(runs.world, grace, clerk)
    listed = await runs.world.call("list_hooks", grace, query={"agent_id": clerk})
    assert listed.json["items"] == [hook]
