"""What a provider has answered, in our form: what cannot be counted or kept is no answer. Imported with the adapter."""

import json
from math import isfinite
from typing import Any

from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.usage import RequestUsage

from shared.ai.history import kept
from shared.ai.port import (
    Answer,
    Connection,
    Finish,
    Message,
    ModelMalformed,
    ModelRefused,
    Question,
    TokenUsage,
    ToolCall,
)
from shared.ai.prices import price_of

MAX_TOKENS = 10**9  # of one answer; no model has read as many
MAX_NAME = 200  # characters, of a tool's, a call's or a model's
MAX_ARGUMENTS = 256 * 1024  # characters of JSON
MAX_DEPTH = 64
MAX_INTEGER = 2**53  # what is larger is another number to who reads JSON
NO_JSON = "INVALID_JSON"  # as the adapter's package calls arguments that are none; the tool refuses them


def answer_of(connection: Connection, question: Question, response: ModelResponse) -> Answer:
    """`ModelMalformed` where it cannot be charged or kept, `ModelRefused` where the provider held it back."""
    used = response.usage
    usage = _usage(used)
    if response.finish_reason == "content_filter":
        raise ModelRefused("The AI provider's filter held the answer back.")
    cut = response.finish_reason == "length"
    parts = [] if cut else [part for part in response.parts if isinstance(part, ToolCallPart)]
    calls = [_call(part) for part in parts]
    text = _whole("".join(part.content for part in response.parts if isinstance(part, TextPart)))
    message = Message("assistant", text, calls, opaque=None if cut else kept(connection.wire, response))
    finish: Finish = "length" if cut else "calls" if calls else "stop"
    model = _whole(response.model_name or "")
    names = [model, question.model] if 0 < len(model) <= MAX_NAME else [question.model]
    cost = price_of(connection, names, usage, cache_written=used.cache_write_tokens)
    return Answer(message, usage, names[0], cost, finish)


def _usage(used: RequestUsage) -> TokenUsage:
    if used.unmeasured_requests or not used.input_tokens:
        raise ModelMalformed("The AI provider does not say how many tokens it used, so its answer cannot be charged.")
    counts = (used.input_tokens, used.output_tokens, used.cache_read_tokens, used.cache_write_tokens)
    whole = all(type(count) is int and 0 <= count <= MAX_TOKENS for count in counts)
    if not whole or used.cache_read_tokens + used.cache_write_tokens > used.input_tokens:
        raise ModelMalformed("The AI provider says that it used tokens which cannot be, so they cannot be charged.")
    return TokenUsage(used.input_tokens, used.output_tokens, used.cache_read_tokens)


def _call(part: ToolCallPart) -> ToolCall:
    if len(part.tool_name) > MAX_NAME or len(part.tool_call_id) > MAX_NAME:
        raise ModelMalformed(f"The AI provider calls a tool by a name of more than {MAX_NAME} characters.")
    arguments = part.args_as_dict()
    if _depth(arguments) > MAX_DEPTH:
        arguments = {NO_JSON: json.dumps(arguments)}
    if len(json.dumps(arguments)) > MAX_ARGUMENTS:
        raise ModelMalformed(f"The AI provider calls a tool with more than {MAX_ARGUMENTS} characters of arguments.")
    return ToolCall(_whole(part.tool_call_id), _whole(part.tool_name), _exact(arguments))


def _depth(value: Any) -> int:
    """Level by level, as whoever nests deep would end a recursion."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth


def _exact(value: Any) -> Any:
    """JSON that can be kept as it is: a number that is none everywhere is text, half a character a question mark."""
    match value:
        case str():
            return _whole(value)
        case dict():
            return {_whole(str(name)): _exact(one) for name, one in value.items()}
        case list():
            return [_exact(one) for one in value]
        case int() if abs(value) > MAX_INTEGER:
            return str(value)
        case float() if not isfinite(value):
            return str(value)
        case _:
            return value


def _whole(text: str) -> str:
    return text.encode(errors="replace").decode()
