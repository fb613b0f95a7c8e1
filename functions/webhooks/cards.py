"""Events as people read them: Block Kit for Slack (https://docs.slack.dev/reference/block-kit), an Adaptive Card 1.5 in
the envelope that Teams' Workflows take (https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors).
"""

from collections.abc import Mapping
from typing import Any

TITLE = 150  # characters of a header
TEXT = 1000
FACTS = ("name", "status", "agent_name", "role", "until", "title", "text", "email", "stop_reason")
CARD = "application/vnd.microsoft.card.adaptive"
SCHEMA = "http://adaptivecards.io/schemas/adaptive-card.json"


def slack(payload: Mapping[str, Any], token: str | None, base: str = "") -> dict[str, Any]:
    """A message; with a `token` it has buttons that answer it. `base`: where this app is, before its paths."""
    title = _title(payload)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": {"type": "plain_text", "text": title[:TITLE]}}]
    fields = [{"type": "mrkdwn", "text": f"*{name}*\n{_escaped(value)}"} for name, value in _facts(payload)]
    if fields:
        blocks.append({"type": "section", "fields": fields})
    told = f"{base}{_escaped(payload['data']['href'])} · {payload['timestamp']}"
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": told}]})
    if token is not None:
        buttons = [_button("approve", "Approve", "primary", token), _button("reject", "Reject", "danger", token)]
        blocks.append({"type": "actions", "block_id": "decision", "elements": buttons})
    return {"text": _escaped(title), "blocks": blocks}


def teams(payload: Mapping[str, Any], token: str | None, base: str = "") -> dict[str, Any]:
    """A message with one card; with a `token` and a `base` it leads to the page that asks for the decision."""
    facts = [{"title": name, "value": value} for name, value in _facts(payload)]
    body: list[dict[str, Any]] = [
        {"type": "TextBlock", "text": _title(payload), "weight": "Bolder", "size": "Medium", "wrap": True}
    ]
    if facts:
        body.append({"type": "FactSet", "facts": facts})
    told = f"{base}{payload['data']['href']} · {payload['timestamp']}"
    body.append({"type": "TextBlock", "text": told, "isSubtle": True, "size": "Small", "wrap": True})
    card: dict[str, Any] = {"$schema": SCHEMA, "type": "AdaptiveCard", "version": "1.5", "body": body}
    if base and token is not None:
        url = f"{base}/api/hooks/decisions/{token}"
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Decide", "url": url}]
    return {"type": "message", "attachments": [{"contentType": CARD, "contentUrl": None, "content": card}]}


def _title(payload: Mapping[str, Any]) -> str:
    what = str(payload["type"]).replace(".", " ").replace("_", " ")
    name = _about(payload).get("name") or _about(payload).get("agent_name") or payload["data"]["id"]
    return f"{what}: {name}"[:TEXT]


def _facts(payload: Mapping[str, Any]) -> list[tuple[str, str]]:
    about = _about(payload)
    return [(name.replace("_", " "), str(about[name])[:TEXT]) for name in FACTS if about.get(name)]


def _about(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = payload["data"].get("object") or {}
    return found


def _button(id: str, text: str, style: str, token: str) -> dict[str, Any]:
    label = {"type": "plain_text", "text": text}
    return {"type": "button", "action_id": id, "text": label, "style": style, "value": token}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
