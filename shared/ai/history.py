"""A conversation in our form as Pydantic AI's messages, and what is kept of its answers. Imported on first use."""

from importlib.metadata import version

from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from shared.ai.port import Message, Question

VERSION = version("pydantic-ai-slim")  # what another version has kept is not read: its form may have changed


def history_of(wire: str, question: Question) -> list[ModelMessage]:
    """Turns of the same side that follow each other are one message."""
    history: list[ModelMessage] = []
    asked: list[ModelRequestPart] = []
    for message in question.messages:
        if message.role == "assistant":
            history += [*_request(question, asked), _response(wire, message)]
            asked = []
        elif message.role == "tool":
            asked.append(ToolReturnPart(message.name or "", message.text, tool_call_id=message.call_id or ""))
        else:
            asked.append(UserPromptPart(message.text))
    return [*history, *_request(question, asked)]


def kept(wire: str, response: ModelResponse) -> str:
    """What the same provider wants back as it was, in this version of the package (signatures of its thinking)."""
    return f"{_mark(wire)}{ModelMessagesTypeAdapter.dump_json([response]).decode()}"


def _mark(wire: str) -> str:
    return f"pydantic-ai {VERSION} {wire} "


def _request(question: Question, parts: list[ModelRequestPart]) -> list[ModelMessage]:
    return [ModelRequest(parts=parts, instructions=question.instructions or None)] if parts else []


def _response(wire: str, message: Message) -> ModelMessage:
    if message.opaque is not None and message.opaque.startswith(_mark(wire)):
        try:
            (found,) = ModelMessagesTypeAdapter.validate_json(message.opaque.removeprefix(_mark(wire)))
        except ValueError:  # somebody else's, or damaged: our own fields have what counts
            pass
        else:
            if isinstance(found, ModelResponse):
                return found
    text = [TextPart(message.text)] if message.text else []
    return ModelResponse([*text, *(ToolCallPart(one.name, dict(one.arguments), one.id) for one in message.calls)])
