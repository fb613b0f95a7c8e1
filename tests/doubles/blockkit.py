"""What Slack refuses of a message, by the documented rules of the blocks that we send.

https://docs.slack.dev/reference/block-kit/blocks, …/block-elements/button-element, …/composition-objects/text-object
"""

from collections.abc import Iterator, Mapping
from typing import Any

STYLES = {"primary", "danger"}


def refused(message: Mapping[str, Any]) -> list[str]:
    """A line for each rule that is broken."""
    return [*_message(message)]


def _message(message: Mapping[str, Any]) -> Iterator[str]:
    blocks = message.get("blocks", [])
    if not message.get("text"):
        yield "a message with blocks needs a text, for notifications"
    if not 1 <= len(blocks) <= 50:
        yield f"{len(blocks)} blocks"
    ids = [one["block_id"] for one in blocks if "block_id" in one]
    if len({*ids}) < len(ids):
        yield "a block_id twice"
    for block in blocks:
        yield from _block(block)


def _block(block: Mapping[str, Any]) -> Iterator[str]:
    if len(block.get("block_id", "")) > 255:
        yield "block_id too long"
    match block["type"]:
        case "header":
            yield from _text(block["text"], ("plain_text",), 150)
        case "section":
            fields = block.get("fields", [])
            if not (block.get("text") or fields) or len(fields) > 10:
                yield f"a section with {len(fields)} fields"
            for one in fields:
                yield from _text(one, ("plain_text", "mrkdwn"), 2000)
        case "context":
            if not 1 <= len(block["elements"]) <= 10:
                yield "elements of a context"
            for one in block["elements"]:
                yield from _text(one, ("plain_text", "mrkdwn"), 3000)
        case "actions":
            elements = block["elements"]
            if not 1 <= len(elements) <= 25 or len({one["action_id"] for one in elements}) < len(elements):
                yield "elements of actions"
            for one in elements:
                yield from _button(one)
        case other:
            yield f"a block {other}"


def _button(one: Mapping[str, Any]) -> Iterator[str]:
    if one["type"] != "button" or not 1 <= len(one["action_id"]) <= 255 or len(one.get("value", "")) > 2000:
        yield f"a button {one}"
    if one.get("style", "primary") not in STYLES:
        yield f"a style {one['style']}"
    yield from _text(one["text"], ("plain_text",), 75)


def _text(text: Mapping[str, Any], types: tuple[str, ...], most: int) -> Iterator[str]:
    if text["type"] not in types or not 1 <= len(text["text"]) <= most or set(text) - {"type", "text", "emoji"}:
        yield f"a text {text}"
