"""What webhooks tell and decide is no more than whoever has made them may, and no longer than they are there."""

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.keys_world import by_key, key_of, member, why_not
from tests.unit.world import STAFF
from tests.wire.chat_world import SECRET_PATH, Chat, token_of
from tests.wire.webhooks_world import WebhooksWorld

WHO = "secret.person@acme.example"
NEEDED = (403, "scope_needed")


@pytest.fixture
async def acme(tmp_path: Path) -> AsyncIterator[WebhooksWorld]:
    async with WebhooksWorld.over(tmp_path / "data") as made:
        yield made


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncIterator[Chat]:
    async with Chat.over(tmp_path) as made:
        yield made


# Who is told of users


async def test_who_is_let_in_is_told_to_nobody_who_may_not_read_it(acme: WebhooksWorld) -> None:
    world = acme.world
    hook = await acme.hook(events=["user.created"])
    viewer = await member(world, acme.tenant, "vic@acme.example", "viewer")
    boss = await member(world, acme.tenant, WHO, "admin")
    await world.drain()
    (_, told) = await acme.log(hook)
    assert told["payload"]["data"]["object"]["email"] == WHO
    params = {"delivery_id": told["id"]}
    for name in ("list_webhook_deliveries", "get_webhook_delivery"):
        assert (await world.call(name, viewer, params=params)).status == 403
    reading = await key_of(world, boss, scopes=["read"])
    assert await why_not(world, reading["key"], "list_webhook_deliveries") == NEEDED
    key, whole = await key_of(world, boss, scopes=["admin"]), await key_of(world, boss, scopes=["admin", "members"])
    for name in ("list_webhook_deliveries", "get_webhook_delivery", "redeliver_webhook_delivery"):
        answer = await by_key(world, key["key"], name, params=params)
        assert answer.status in (200, 202) and WHO.encode() not in answer.raw and told["id"].encode() in answer.raw
        if name.startswith("redeliver"):
            await world.drain()
        else:
            assert WHO.encode() in (await by_key(world, whole["key"], name, params=params)).raw
    assert acme.receiver.calls[-1].json["data"]["object"]["email"] == WHO, "what is told is whole"


async def test_a_key_that_is_not_for_members_has_nobody_told_of_them(acme: WebhooksWorld) -> None:
    world, boss = acme.world, await member(acme.world, acme.tenant)
    key, whole = await key_of(world, boss, scopes=["admin"]), await key_of(world, boss, scopes=["admin", "members"])
    body = {"url": f"{acme.receiver.url}/a", "events": ["agent.created", "user.created"]}
    assert await why_not(world, key["key"], "create_webhook", body) == NEEDED
    made = (await by_key(world, whole["key"], "create_webhook", body)).json
    other = await acme.hook()
    for hook, moved in ((made, {"url": f"{acme.receiver.url}/b"}), (other, {"events": ["user.deleted"]})):
        params = {"webhook_id": hook["id"]}
        change: dict[str, Any] = {**moved}
        assert await why_not(world, key["key"], "patch_webhook", change, params=params) == NEEDED
    for change in ({"enabled": False}, {"events": ["agent.created"]}):
        assert (
            await by_key(world, key["key"], "patch_webhook", change, params={"webhook_id": made["id"]})
        ).status == 200


# Who decides


def body_of(chat: Chat, **fields: Any) -> dict[str, Any]:
    url = f"{chat.receiver.url}/teams/{SECRET_PATH}"
    return {"format": "teams", "url": url, "events": ["execution.waiting"], "approvals": "admin", **fields}


async def test_a_key_that_decides_nothing_has_no_card_decide(chat: Chat) -> None:
    world, boss = chat.runs.world, await member(chat.runs.world, chat.runs.tenant)
    key, whole = await key_of(world, boss, scopes=["admin"]), await key_of(world, boss, scopes=["admin", "execute"])
    assert await why_not(world, key["key"], "create_webhook", body_of(chat)) == NEEDED
    made = await by_key(world, whole["key"], "create_webhook", body_of(chat))
    silent = await by_key(world, key["key"], "create_webhook", body_of(chat, approvals=None))
    assert (made.status, silent.status) == (201, 201)
    for hook, change in ((made, {"url": f"{chat.receiver.url}/elsewhere"}), (silent, {"approvals": "user"})):
        params = {"webhook_id": hook.json["id"]}
        assert await why_not(world, key["key"], "patch_webhook", change, params=params) == NEEDED
    params = {"webhook_id": made.json["id"]}
    assert (await by_key(world, key["key"], "patch_webhook", {"description": "x"}, params=params)).status == 200


@pytest.mark.parametrize("ends", ["key", "user", "identity", "role"])
async def test_a_card_decides_nothing_once_whoever_has_said_as_whom_is_gone(chat: Chat, ends: str) -> None:
    world, boss = chat.runs.world, await member(chat.runs.world, chat.runs.tenant)
    key = await key_of(world, boss, scopes=["admin", "execute"])
    assert (await by_key(world, key["key"], "create_webhook", body_of(chat))).status == 201
    run = await chat.ordering()
    token = token_of(chat.told("teams", "waiting"))
    assert (await chat.page(token)).status == 200
    params = {"user_id": key["user_id"], "api_key_id": key["id"]}
    way = {
        "key": ("delete_api_key", None, 204),
        "user": ("delete_user", None, 204),
        "identity": ("unbind_user", None, 200),
        "role": ("patch_user", {"role": "user"}, 200),
    }
    name, body, status = way[ends]
    assert (await world.call(name, chat.runs.admin, body, params=params)).status == status
    assert ((await chat.page(token)).status, (await chat.page(token, "approve")).status) == (401, 401)
    assert (await chat.runs.shown(run))["status"] == "waiting"


async def test_whoever_sets_it_anew_takes_over_from_who_is_gone(chat: Chat) -> None:
    world, boss = chat.runs.world, await member(chat.runs.world, chat.runs.tenant)
    hook = (await world.call("create_webhook", boss, body_of(chat))).json
    await chat.ordering()
    params = {"user_id": hook["maker"]["user_id"]}
    assert (await world.call("delete_user", chat.runs.admin, params=params)).status == 204
    token = token_of(chat.told("teams", "waiting"))
    assert (await chat.page(token)).status == 401
    for approvals in (None, "admin"):
        changed = await world.call(
            "patch_webhook", chat.boss, {"approvals": approvals}, params={"webhook_id": hook["id"]}
        )
        assert changed.status == 200
    assert b"Approved" in (await chat.page(token, "approve")).raw


async def test_a_suspended_tenants_card_decides_nothing(chat: Chat) -> None:
    hook, _ = await chat.hook("slack"), await chat.hook("teams")
    run = await chat.ordering()
    button, token = chat.button_of(hook), token_of(chat.told("teams", "waiting"))
    params = {"tenant_id": chat.runs.tenant}
    assert (await chat.runs.world.call("suspend_tenant", STAFF, params=params)).status == 200
    answers = [await chat.clicked(hook, button), await chat.page(token), await chat.page(token, "approve")]
    assert [answer.status for answer in answers] == [401] * 3
    assert (await chat.runs.world.call("resume_tenant", STAFF, params=params)).status == 200
    assert (await chat.runs.shown(run))["status"] == "waiting" and chat.runs.desk.order.sent == []


async def test_a_button_of_slacks_opens_no_page(chat: Chat) -> None:
    hook = await chat.hook("slack")
    run = await chat.ordering()
    token = chat.button_of(hook)["value"]
    assert ((await chat.page(token)).status, (await chat.page(token, "approve")).status) == (401, 401)
    assert (await chat.runs.shown(run))["status"] == "waiting"
    assert (await chat.clicked(hook, chat.button_of(hook))).status == 200


async def test_what_is_no_link_and_no_form_of_ours_breaks_nothing(chat: Chat) -> None:
    await chat.hook("teams")
    run = await chat.ordering()
    deep = urlsafe_b64encode(b"[" * 1100).decode()
    assert ((await chat.page(deep)).status, (await chat.page(deep, "approve")).status) == (401, 401)
    token, form = token_of(chat.told("teams", "waiting")), {"content-type": "application/x-www-form-urlencoded"}
    many = b"decision=approve" + b"&a=b" * 30
    answer = await chat.runs.world.call("take_decision", None, many, params={"token": token}, headers=form)
    assert answer.status == 200 and b"Nothing was decided" in answer.raw
    assert (await chat.runs.shown(run))["status"] == "waiting"


# Where a chat is


async def test_the_address_of_a_chat_is_in_no_error_of_an_attempt(
    chat: Chat, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        if host == "private.example":
            return ["10.0.0.1"]
        raise OSError(f"no way to {host}:{port}/{SECRET_PATH}")

    monkeypatch.setattr(chat.runs.world.core.adapters.outgoing, "_resolve", resolve)
    for host in ("gone.example", "private.example"):
        await chat.hook("teams", url=f"https://{host}/{SECRET_PATH}")
    await chat.ordering()
    told = await chat.runs.call("list_webhook_deliveries")
    errors = [attempt["error"] for one in told.json["items"] for attempt in one["attempts"]]
    assert {*errors} == {"ConnectError", "private.example has an address that is not public"}
    logged = capfd.readouterr()
    assert SECRET_PATH not in f"{told.raw!r}{logged.out}{logged.err}"
