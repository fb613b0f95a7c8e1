"""Slack and Teams: cards that their schemas take, and a waiting run that is answered from one, once."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import jsonschema_rs
import pytest

from shared.tenancy.directory import TENANT
from shared.work.scope import IDEMPOTENCY
from tests.doubles import receiver
from tests.doubles.blockkit import refused
from tests.wire.chat_world import EVENTS, PUBLIC, SECRET_PATH, SIGNING, Chat, buttons, token_of

SCHEMA = json.loads((Path(receiver.__file__).parent / "schemas" / "adaptive-card-1.5.0.json").read_text("utf-8"))


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncIterator[Chat]:
    async with Chat.over(tmp_path) as made:
        yield made


async def test_slack_gets_messages_that_block_kit_takes(chat: Chat) -> None:
    await chat.hook("slack")
    await chat.runs.agent("<!channel> & " + "x" * 200, [])
    await chat.ordering()
    messages = [one.json for one in chat.receiver.calls]
    assert len(messages) == 3 and [refused(one) for one in messages] == [[], [], []]
    assert "<!channel>" not in json.dumps([one["text"] for one in messages])
    assert set(buttons(chat.told("slack", "waiting"))) == {"approve", "reject"}
    assert all(f"{PUBLIC}/api/v1/" in json.dumps(one) for one in messages)


async def test_teams_gets_cards_that_the_schema_of_1_5_takes_in_the_envelope_of_workflows(chat: Chat) -> None:
    await chat.hook("teams")
    await chat.ordering()
    validator = jsonschema_rs.validator_for(SCHEMA)
    cards = []
    for one in chat.receiver.calls:
        assert one.json["type"] == "message"
        (attachment,) = one.json["attachments"]
        assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
        cards.append(attachment["content"])
    assert len(cards) == 2 and {one["version"] for one in cards} == {"1.5"}
    assert [str(error) for card in cards for error in validator.iter_errors(card)] == []
    assert all(f"{PUBLIC}/api/v1/" in json.dumps(card) for card in cards)
    assert not validator.is_valid({**cards[0], "body": [{"type": "TextBlock"}]}), "the schema refuses what is no card"


async def test_an_approval_from_slack_continues_the_run_once_whatever_is_clicked_twice(chat: Chat) -> None:
    hook = await chat.hook("slack")
    run = await chat.ordering()
    shown = buttons(chat.told("slack", "waiting"))
    for button in ("approve", "approve", "reject"):
        assert (await chat.clicked(hook, shown[button])).status == 200
    assert (await chat.runs.shown(run))["status"] == "succeeded" and len(chat.runs.desk.order.sent) == 1
    trail = (await chat.runs.world.call("list_audit", chat.runs.admin, query={"action": "execution.decided"})).json
    assert [one["user_id"] for one in trail["items"]] == [f"webhook:{hook['id']}:slack:U1"]


async def test_an_approval_that_is_clicked_everywhere_at_once_continues_the_run_once(chat: Chat) -> None:
    slack, _ = await chat.hook("slack"), await chat.hook("teams")
    run = await chat.ordering()
    shown, token = buttons(chat.told("slack", "waiting")), token_of(chat.told("teams", "waiting"))
    answers = await asyncio.gather(
        *(chat.clicked(slack, shown[button]) for button in ("approve", "approve")),
        *(chat.page(token, "approve") for _ in range(2)),
    )
    assert [answer.status for answer in answers] == [200] * 4
    assert (await chat.runs.shown(run))["status"] == "succeeded" and len(chat.runs.desk.order.sent) == 1
    trail = (await chat.runs.world.call("list_audit", chat.runs.admin, query={"action": "execution.decided"})).json
    assert len(trail["items"]) == 1


async def test_what_slack_has_not_signed_or_signed_long_ago_decides_nothing(chat: Chat) -> None:
    hook, other = await chat.hook("slack"), await chat.hook("slack", signing_secret="another" * 4)
    run = await chat.ordering()
    approve, others = (chat.button_of(one) for one in (hook, other))
    assert (await chat.clicked(hook, approve, secret="guessed")).status == 401
    assert (await chat.clicked(hook, approve, late=301)).status == 401
    assert (await chat.clicked(hook, others)).status == 401, "a button of another webhook"
    assert (await chat.clicked(other, approve, secret="another" * 4)).status == 401
    await chat.runs.call("patch_webhook", {"enabled": False}, webhook_id=hook["id"])
    assert (await chat.clicked(hook, approve)).status == 401
    assert (await chat.runs.shown(run))["status"] == "waiting" and chat.runs.desk.order.sent == []


async def test_a_teams_link_asks_and_its_form_decides_once(chat: Chat) -> None:
    await chat.hook("teams")
    run = await chat.ordering()
    token = token_of(chat.told("teams", "waiting"))
    for _ in range(2):
        page = await chat.page(token)
        assert page.status == 200 and b'<form method="post">' in page.raw and b"<script" not in page.raw
    assert (await chat.runs.shown(run))["status"] == "waiting", "who only looks approves nothing"
    assert (await chat.page(token, "perhaps")).status == 200
    assert b"Approved" in (await chat.page(token, "approve")).raw
    assert b"Approved" not in (await chat.page(token, "approve")).raw
    assert (await chat.runs.shown(run))["status"] == "succeeded" and len(chat.runs.desk.order.sent) == 1


async def test_a_link_that_is_made_up_changed_or_too_old_opens_nothing(chat: Chat) -> None:
    hook = await chat.hook("teams")
    await chat.ordering()
    token = token_of(chat.told("teams", "waiting"))
    payload, _, tag = token.partition(".")
    for wrong in ("x", f"{payload}.", f"{payload}.{tag[::-1]}", f"{payload[:-2]}.{tag}", "é" * 10, "a" * 5000):
        assert (await chat.page(wrong)).status == 401, wrong
        assert (await chat.page(wrong, "approve")).status == 401, wrong
    await chat.runs.call("patch_webhook", {"approvals": None}, webhook_id=hook["id"])
    assert (await chat.page(token, "approve")).status == 401, "who takes no answers any more"
    again = {"approvals": "admin"}
    await chat.runs.world.call("patch_webhook", chat.boss, again, params={"webhook_id": hook["id"]})
    assert (await chat.page(token)).status == 200
    chat.runs.world.clock.advance(days=8)
    assert (await chat.page(token)).status == 401
    assert chat.runs.desk.order.sent == []


async def test_who_counts_as_a_user_approves_nothing_that_an_admin_has_to(chat: Chat) -> None:
    await chat.hook("teams", approvals="user")
    run = await chat.ordering()
    assert (await chat.page(token_of(chat.told("teams", "waiting")), "approve")).status == 403
    assert (await chat.runs.shown(run))["status"] == "waiting"


async def test_no_secret_of_a_webhook_is_in_any_answer_but_the_one_that_makes_it_in_the_audit_or_in_the_log(
    chat: Chat, capfd: pytest.CaptureFixture[str]
) -> None:
    body = {"url": f"{chat.receiver.url}/own", "events": EVENTS}
    key = {"idempotency-key": "once"}
    world, boss = chat.runs.world, chat.runs.admin
    own = (await world.call("create_webhook", boss, body, headers=key)).json
    slack, new = await chat.hook("slack"), (await chat.runs.call("rotate_webhook_secret", webhook_id=own["id"])).json
    again = await world.call("create_webhook", boss, body, headers=key)
    assert again.json["id"] == own["id"] and again.json["secret"] is None
    await chat.ordering()
    session = await world.session(chat.runs.tenant)
    kinds = [kind for kind in world.core.services.kinds if kind.container == "items" and kind != TENANT]
    kept = json.dumps([one.body async for page in session.store.scan(kinds) for one in page])
    assert IDEMPOTENCY in kinds and own["id"] in kept
    shown = b"".join(
        [
            (await chat.runs.call("list_webhooks")).raw,
            (await chat.runs.call("get_webhook", webhook_id=slack["id"])).raw,
            (await chat.runs.call("list_audit")).raw,
            (await chat.runs.call("list_webhook_deliveries")).raw,
            (await chat.runs.call("export_tenant")).raw if "export_tenant" in world.functions else b"",
        ]
    ).decode()
    logged = capfd.readouterr()
    for secret in (own["secret"], new["secret"], SIGNING, SECRET_PATH):
        for where in (kept, shown, logged.out, logged.err):
            assert secret not in where
    assert slack["secret"] is None and slack["url"].endswith(chat.receiver.address)
