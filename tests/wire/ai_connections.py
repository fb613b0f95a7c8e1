"""The connections that each test of a model call runs on."""

from shared.ai.port import Connection, Message, Question, Wire
from tests.doubles.ai import AiDouble

WIRES: tuple[Wire, ...] = ("openai", "azure_openai", "anthropic")
MODELS: dict[Wire, str] = {"openai": "gpt-5", "azure_openai": "gpt-5", "anthropic": "claude-haiku-4-5"}
KEY = "key-of-acme"


def connection(double: AiDouble, wire: Wire, key: str | None = KEY) -> Connection:
    """Of a tenant, to the double."""
    return Connection(wire, "acme's", f"{double.url}/v1" if wire == "openai" else double.url, key)


def question(wire: Wire, *messages: Message, **more: object) -> Question:
    fields = {"max_tokens": 500, "seconds": 20.0, **more}
    return Question(MODELS[wire], messages or (Message("user", "Go."),), **fields)  # type: ignore[arg-type]
