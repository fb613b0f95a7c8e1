"""Webhooks over real HTTP: signed as the library has it, in order, none twice, whatever the receiver does."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from standardwebhooks import WebhookVerificationError

from functions.webhooks.lines import AT_ONCE
from functions.webhooks.models import SCHEDULE
from tests.unit.world import AGENT, admin
from tests.wire.webhooks_world import WebhooksWorld, verified


@pytest.fixture
async def acme(tmp_path: Path) -> AsyncIterator[WebhooksWorld]:
    async with WebhooksWorld.over(tmp_path / "data") as own:
        yield own


# What is told, and how it is signed


async def test_an_event_is_told_as_standard_webhooks_has_it(
    acme: WebhooksWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = await acme.hook()
    agent = await acme.agent()
    await acme.world.drain()
    (call,) = acme.receiver.calls
    told = verified(call, hook["secret"], monkeypatch)
    assert (told["type"], told["timestamp"], told["tenant_id"]) == ("agent.created", agent["created_at"], acme.tenant)
    assert told["data"] == {
        "type": "agent",
        "id": agent["id"],
        "revision": 1,
        "href": f"/api/v1/agents/{agent['id']}",
        "object": agent,
    }
    assert call.headers["webhook-timestamp"] == str(int(acme.world.clock.now().timestamp()))
    (logged,) = await acme.log(hook)
    assert (logged["status"], logged["event_id"], logged["attempts"][0]["status"]) == ("succeeded", call.id, 204)


async def test_what_is_large_is_named_and_not_sent(acme: WebhooksWorld) -> None:
    await acme.hook()
    agent = await acme.agent(instructions="x" * 20_500)
    await acme.world.drain()
    (call,) = acme.receiver.calls
    assert len(call.body) < 500
    assert call.json["data"] == {
        "type": "agent",
        "id": agent["id"],
        "revision": 1,
        "href": f"/api/v1/agents/{agent['id']}",
    }


async def test_what_nobody_listens_to_is_told_to_nobody(acme: WebhooksWorld) -> None:
    hook = await acme.hook(events=["agent.deleted"])
    agent = await acme.agent()
    await acme.world.drain()
    assert await acme.log(hook) == []
    await acme.call("delete_agent", agent_id=agent["id"])
    await acme.world.drain()
    assert [one.json["type"] for one in acme.receiver.calls] == ["agent.deleted"]


async def test_during_a_rotation_either_secret_verifies_and_a_day_later_the_new_one_alone(
    acme: WebhooksWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await acme.hook()
    new = (await acme.call("rotate_webhook_secret", webhook_id=old["id"])).json
    assert new["secret"] != old["secret"]
    await acme.agent("during")
    await acme.world.drain()
    acme.world.clock.advance(hours=24, seconds=1)
    await acme.agent("after")
    await acme.world.drain()
    during, after = acme.receiver.calls
    for secret in (old["secret"], new["secret"]):
        assert verified(during, secret, monkeypatch)["data"]["object"]["name"] == "during"
    assert verified(after, new["secret"], monkeypatch)["data"]["object"]["name"] == "after"
    with pytest.raises(WebhookVerificationError):
        verified(after, old["secret"], monkeypatch)


# A receiver that is away


async def test_a_receiver_that_was_away_for_six_hours_gets_everything_in_order_and_nothing_twice(
    acme: WebhooksWorld,
) -> None:
    away, well = await acme.hook("/away"), await acme.hook("/well")
    acme.receiver.says["/away"] = 503
    names = []
    for hour in range(6):
        for number in range(4):
            names.append(f"{hour}-{number}")
            await acme.agent(names[-1])
        await acme.pass_time(60, steps=4)
        assert acme.names("/well") == names
    assert acme.receiver.taken("/away") == []
    tried = len(acme.receiver.of("/away"))
    assert tried == 5, "its first was tried five times, after longer and longer; the others wait for it"
    acme.receiver.says["/away"] = 200
    await acme.pass_time(180, steps=12)
    assert acme.names("/away") == names
    ids = [one.id for one in acme.receiver.taken("/away")]
    assert len(set(ids)) == len(names) > AT_ONCE
    assert {one.id for one in acme.receiver.of("/away")[:tried]} == {ids[0]}
    assert [one["status"] for one in await acme.log(away)] == ["succeeded"] * len(names)
    assert len(await acme.log(well)) == len(names)


async def test_attempts_are_made_when_the_schedule_says_and_then_it_is_the_next_ones_turn(acme: WebhooksWorld) -> None:
    hook = await acme.hook()
    acme.receiver.says["/a"] = 500
    begun = acme.world.clock.now()
    await acme.agent("first")
    await acme.agent("second")
    await acme.world.drain()
    for pause in SCHEDULE[1:]:
        made = len(acme.receiver.calls)
        acme.world.clock.advance(seconds=pause.total_seconds() - 1)
        await acme.world.drain()
        assert len(acme.receiver.calls) == made
        acme.world.clock.advance(seconds=1)
        await acme.world.drain()
    first = acme.receiver.calls[0].id
    at = [(one.at - begun).total_seconds() for one in acme.receiver.calls if one.id == first]
    assert at == [0, 5, 305, 2105, 9305, 27305, 63305, 99305]
    assert [one["status"] for one in await acme.log(hook)] == ["failed", "queued"]
    acme.receiver.says["/a"] = 204
    await acme.pass_time(1)
    assert acme.names("/a") == ["second"]


async def test_retry_after_is_waited_for_within_ten_hours(acme: WebhooksWorld) -> None:
    await acme.hook("/an-hour"), await acme.hook("/for-ever"), await acme.hook("/nonsense")
    later = acme.world.clock.now().replace(hour=13).strftime("%a, %d %b %Y %H:%M:%S GMT")
    acme.receiver.says = {
        "/an-hour": (503, {"retry-after": later}),
        "/for-ever": (429, {"retry-after": "99999999999"}),
        "/nonsense": (503, {"retry-after": "soon"}),
    }
    await acme.agent()
    await acme.world.drain()
    acme.receiver.says = {}
    await acme.pass_time(1)
    assert len(acme.receiver.taken("/nonsense")) == 1 and acme.receiver.taken("/an-hour") == []
    await acme.pass_time(59)
    assert len(acme.receiver.taken("/an-hour")) == 1 and acme.receiver.taken("/for-ever") == []
    await acme.pass_time(9 * 60)
    assert len(acme.receiver.taken("/for-ever")) == 1


async def test_a_redirect_is_a_failure_and_is_not_followed(acme: WebhooksWorld) -> None:
    hook = await acme.hook()
    acme.receiver.says["/a"] = (307, {"location": f"{acme.receiver.url}/elsewhere"})
    await acme.agent()
    await acme.world.drain()
    assert [one.path for one in acme.receiver.calls] == ["/a"]
    assert (await acme.log(hook))[0]["attempts"][0]["status"] == 307


async def test_an_address_that_is_private_is_not_called(acme: WebhooksWorld) -> None:
    for url in ("https://169.254.169.254/", "http://hooks.acme.example/", "https://10.0.0.1/", "https://a:b@c.example"):
        answer = await acme.call("create_webhook", {"url": url, "events": ["agent.created"]})
        assert (answer.status, answer.json["errors"][0]["field"]) == (400, "url"), url


# Switched off


async def test_a_receiver_that_says_410_is_called_no_more_and_the_tenant_is_told(acme: WebhooksWorld) -> None:
    hook, other = await acme.hook(), await acme.hook("/other", ["notification.webhook_off"])
    acme.receiver.says["/a"] = 410
    await acme.agent("first")
    await acme.agent("second")
    await acme.world.drain()
    await acme.pass_time(60)
    assert len(acme.receiver.of("/a")) == 1
    shown = await acme.shown(hook)
    assert (shown["enabled"], shown["off_reason"]) == (False, "gone")
    assert [one["status"] for one in await acme.log(hook)] == ["cancelled", "cancelled"]
    told = [one for one in (await acme.call("list_notifications")).json["items"] if one["code"] == "webhook_off"]
    assert [one["data"] for one in told] == [{"webhook_id": hook["id"], "reason": "gone"}]
    assert [one.json["type"] for one in acme.receiver.taken("/other")] == ["notification.webhook_off"]
    assert (await acme.shown(other))["enabled"]


async def test_five_failing_days_switch_a_webhook_off_and_four_do_not(acme: WebhooksWorld) -> None:
    hook = await acme.hook()
    acme.receiver.says["/a"] = 500
    for _ in range(10):
        await acme.agent()
    await acme.pass_time(4 * 24 * 60, steps=4 * 12)
    assert (await acme.shown(hook))["enabled"]
    await acme.pass_time(40 * 60, steps=20)
    shown = await acme.shown(hook)
    assert (shown["enabled"], shown["off_reason"]) == (False, "failing")
    assert {one["status"] for one in await acme.log(hook)} == {"failed", "cancelled"}
    made = len(acme.receiver.calls)
    acme.receiver.says = {}
    assert (await acme.call("patch_webhook", {"enabled": True}, webhook_id=hook["id"])).json["off_reason"] is None
    await acme.agent("again")
    await acme.world.drain()
    assert len(acme.receiver.calls) == made + 1 and acme.names("/a") == ["again"]


async def test_a_webhook_that_was_deleted_is_told_nothing_more(acme: WebhooksWorld) -> None:
    hook = await acme.hook()
    acme.receiver.says["/a"] = 500
    await acme.agent()
    await acme.world.drain()
    assert (await acme.call("delete_webhook", webhook_id=hook["id"])).status == 204
    await acme.pass_time(120, steps=4)
    assert len(acme.receiver.calls) == 1
    assert (await acme.world.queued("deliveries"), await acme.world.core.adapters.messaging.dead("deliveries")) == (
        [],
        [],
    )


# Again


async def test_one_delivery_is_made_again_under_its_id(acme: WebhooksWorld) -> None:
    hook = await acme.hook()
    await acme.agent()
    await acme.world.drain()
    (logged,) = await acme.log(hook)
    params = {"delivery_id": logged["id"]}
    assert (await acme.call("redeliver_webhook_delivery", **params)).status == 202
    assert (await acme.call("redeliver_webhook_delivery", **params)).status == 409
    await acme.world.drain()
    assert [one.id for one in acme.receiver.calls] == [logged["event_id"]] * 2
    assert len((await acme.call("get_webhook_delivery", **params)).json["attempts"]) == 2


async def test_a_range_is_replayed_in_order_some_at_a_time(acme: WebhooksWorld) -> None:
    hook = await acme.hook()
    for number in range(5):
        await acme.agent(str(number))
        acme.world.clock.advance(minutes=1)
    await acme.world.drain()
    logged = await acme.log(hook)
    since, until = logged[1]["created_at"], logged[4]["created_at"]
    asked = {"since": since, "until": until, "limit": 2}
    first = (await acme.call("replay_webhook_deliveries", asked, webhook_id=hook["id"])).json
    assert first == {"replayed": 2, "next_since": logged[3]["created_at"]}
    rest = {**asked, "since": first["next_since"]}
    assert (await acme.call("replay_webhook_deliveries", rest, webhook_id=hook["id"])).json == {
        "replayed": 1,
        "next_since": None,
    }
    await acme.world.drain()
    assert acme.names("/a") == ["0", "1", "2", "3", "4", "1", "2", "3"]


async def test_a_range_in_which_nothing_was_is_nothing_to_replay(acme: WebhooksWorld) -> None:
    hook = await acme.hook()
    asked = {"since": "2026-11-01T00:00:00Z", "status": "failed"}
    answer = await acme.call("replay_webhook_deliveries", asked, webhook_id=hook["id"])
    assert (answer.status, answer.json) == (200, {"replayed": 0, "next_since": None})


async def test_a_test_event_is_told_and_signed(acme: WebhooksWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = await acme.hook()
    assert (await acme.call("test_webhook", webhook_id=hook["id"])).status == 202
    await acme.world.drain()
    (call,) = acme.receiver.calls
    assert verified(call, hook["secret"], monkeypatch)["type"] == "webhook.test"


# Tenants and numbers


async def test_another_tenant_sees_and_makes_nothing_of_it(acme: WebhooksWorld) -> None:
    hook = await acme.hook()
    await acme.agent()
    await acme.world.drain()
    (logged,) = await acme.log(hook)
    other = (await acme.world.onboard("globex"))["id"]
    params = {"webhook_id": hook["id"], "delivery_id": logged["id"]}
    for name in ("get_webhook", "get_webhook_delivery", "redeliver_webhook_delivery", "test_webhook"):
        assert (await acme.world.call(name, admin(other), params=params)).status == 404, name
    await acme.world.call("create_agent", admin(other), AGENT)
    await acme.world.drain()
    assert len(acme.receiver.calls) == 1


async def test_a_plan_bounds_how_many_webhooks_there_are(acme: WebhooksWorld) -> None:
    for _ in range(5):
        await acme.hook()
    answer = await acme.call("create_webhook", {"url": f"{acme.receiver.url}/a", "events": ["agent.created"]})
    assert (answer.status, answer.json["limit"], answer.json["current"]) == (429, 5, 5)
