"""Answers that are JSON of a schema: read, and asked for once more where they are not."""

from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from functions.executions.models import Step
from shared.ai.port import Message

TRIES = 2
T = TypeVar("T", bound=BaseModel)
AGAIN = "That is not what was asked for. Answer again with JSON of the schema, and nothing else: {reason}"


def read(model: type[T], step: Step) -> T | str:
    """What the model has answered in this step; as text, why it cannot be read."""
    try:
        return model.model_validate_json(said(step))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def said(step: Step) -> str:
    """The text of the step's last message; without the fence that some models put around JSON."""
    text = step.messages[-1].text.strip() if step.messages else ""
    if text.startswith("```") and text.endswith("```"):
        text = text.removeprefix("```").removesuffix("```").strip().removeprefix("json")
    return text


def asked_again(messages: Sequence[Message], failed: Step, reason: str) -> list[Message]:
    """The question, the answer that cannot be read, and why."""
    return [*messages, *failed.messages, Message("user", AGAIN.format(reason=reason))]
