"""The AI port: one question to one model, one answer; what it used, to the digit.

Who asks keeps the conversation, in the form below, and decides what comes next. An adapter maps it to a wire,
asks once, and says by which error it failed; it neither retries nor waits.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from shared.errors import FlowgridError

Wire = Literal["offline", "openai", "azure_openai", "anthropic"]
Finish = Literal["stop", "calls", "length"]


@dataclass(frozen=True)
class Connection:
    """Where a model answers, and how to get in.

    `name`: what its usage is counted under. `base_url` None: the provider's own address. `key` None: no key, which only
    `offline` and `azure_openai` (by the app's own identity) do without; an environment's key is never used.
    """

    wire: Wire
    name: str
    base_url: str | None = None
    key: str | None = field(default=None, repr=False)
    api_version: str | None = None


@dataclass(frozen=True)
class ToolSpec:
    """A tool as a model is told of it: `name` of 1 to 64 `[a-zA-Z0-9_-]`, `parameters` a JSON Schema of an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class ToolCall:
    """What a model wants to be done; `id` names the call in its conversation."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Message:
    """One turn: the user's text, the model's text and calls, or the result of one of its calls (`call_id`, `name`).

    `opaque`: of a model's turn, what its adapter wants to see again as it was; worthless to any other.
    """

    role: Literal["user", "assistant", "tool"]
    text: str = ""
    calls: Sequence[ToolCall] = ()
    call_id: str | None = None
    name: str | None = None
    opaque: str | None = None


@dataclass(frozen=True)
class Question:
    """What a model is asked. `schema`: its answer is to be JSON of this JSON Schema. `seconds`: for all of the call."""

    model: str
    messages: Sequence[Message]
    max_tokens: int
    seconds: float
    instructions: str = ""
    tools: Sequence[ToolSpec] = ()
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class TokenUsage:
    """Tokens as the provider counts them; `cached` are those of `input` that it had in its cache."""

    input: int
    output: int
    cached: int = 0


@dataclass(frozen=True)
class Answer:
    """What a model said (`message`, of the assistant); `cost` in micro-USD, None where the price is not known."""

    message: Message
    usage: TokenUsage
    model: str
    cost: int | None
    finish: Finish


class ModelFailed(FlowgridError):
    """A model did not answer. `again`: whether the same question may be answered later."""

    code = "model_failed"
    meaning = "The AI provider did not answer as it should; `detail` says how."
    remedy = "Look at the provider's state and at the connection's address, model and key."
    again: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ModelRefused(ModelFailed):
    """HTTP 4xx that no repetition mends, a filter that held the answer back, or nothing to call with."""

    code = "model_refused"
    meaning = "The AI provider refused the call: the key, the model's name, or what was asked."
    remedy = "Mend the connection (`PUT v1/providers/{id}`), the agent's model, or what it is told."


class ModelMalformed(ModelFailed):
    """An answer came that is none of its wire, or says not what it has used."""

    code = "model_malformed"
    meaning = "What the AI provider sent is not an answer of its kind."
    remedy = "Look whether the connection's address is that of such a provider."


class ModelThrottled(ModelFailed):
    """`retry_after`: seconds, where the provider says so."""

    code = "model_throttled"
    meaning = "The AI provider asked to slow down, and kept asking."
    remedy = "Run fewer agents at a time, or ask the provider for more."
    again = True


class ModelUnavailable(ModelFailed):
    """No connection, HTTP 500 and more, or another status that passes."""

    code = "model_unavailable"
    meaning = "The AI provider cannot be reached, or had trouble of its own."
    remedy = "Run it again later."
    again = True


class ModelTimeout(ModelFailed):
    """It may have been answered, and billed by the provider, all the same."""

    code = "model_timeout"
    meaning = "The AI provider did not answer in time."
    remedy = "Ask for less at once, or allow it more time."
    again = True


class Models(ABC):
    """Asks models. Raises `ModelFailed` and its kinds, nothing else but cancellation."""

    @abstractmethod
    async def ask(self, connection: Connection, question: Question) -> Answer:
        """One call over the network at most, and no retries; cancelled, it ends its call at once."""

    @abstractmethod
    def price(self, connection: Connection, model: str, usage: TokenUsage) -> int | None:
        """What such a usage costs in micro-USD, rounded up; None where the price is not known."""

    @abstractmethod
    async def close(self) -> None:
        """Give back sockets."""
