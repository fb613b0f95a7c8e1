"""Providers by Pydantic AI's low-level calls: OpenAI and what speaks like it, Azure OpenAI, Anthropic.

Imported on first use (shared/ai/models.py). A call is one request: no retries, no stream, our own client and key.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic_ai.direct import model_request
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from shared.ai.failures import failure_of
from shared.ai.history import history_of, kept
from shared.ai.port import (
    Answer,
    Connection,
    Finish,
    Message,
    ModelMalformed,
    ModelRefused,
    ModelTimeout,
    Question,
    TokenUsage,
    ToolCall,
)
from shared.ai.prices import price_of
from shared.outgoing.client import Outgoing

if TYPE_CHECKING:
    import httpx2
    from azure.core.credentials_async import AsyncTokenCredential

    Identity = Callable[[], AsyncTokenCredential]

OPENAI = "https://api.openai.com/v1"
ANTHROPIC = "https://api.anthropic.com"
AZURE_VERSION = "2025-04-01-preview"
AZURE_SCOPE = "https://cognitiveservices.azure.com/.default"
AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")


class PydanticAi:
    """`identity` makes the credential of the app itself; None: Azure's own."""

    def __init__(self, outgoing: Outgoing, identity: "Identity | None" = None) -> None:
        self._outgoing = outgoing
        self._identity = identity
        self._credential: AsyncTokenCredential | None = None

    async def ask(self, connection: Connection, question: Question) -> Answer:
        client = self._outgoing.client()
        settings = ModelSettings(max_tokens=question.max_tokens, max_retries=0, timeout=question.seconds)
        try:
            async with asyncio.timeout(question.seconds):
                # in a thread, as the first one loads the provider's package
                model = await asyncio.to_thread(self._model, connection, question.model, client)
                history = history_of(connection.wire, question)
                response = await model_request(
                    model, history, model_settings=settings, model_request_parameters=_parameters(question, model)
                )
        except TimeoutError as error:
            raise ModelTimeout(f"The AI provider did not answer within {question.seconds:g} s.") from error
        except ModelRefused:
            raise
        except Exception as error:
            raise failure_of(error, connection.key) from error
        return _answer(connection, question, response)

    async def close(self) -> None:
        credential, self._credential = self._credential, None
        if credential is not None:
            await credential.close()

    def _model(self, connection: Connection, model: str, client: "httpx2.AsyncClient") -> Model:
        match connection.wire:
            case "anthropic":
                return _anthropic(connection, model, client)
            case "azure_openai":
                return self._azure(connection, model, client)
            case _:
                return _openai(connection, model, client)

    def _azure(self, connection: Connection, model: str, client: "httpx2.AsyncClient") -> Model:
        from openai import AsyncAzureOpenAI
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.azure import AzureProvider

        if connection.base_url is None:
            raise ModelRefused("An Azure OpenAI connection needs the address of its resource.")
        access: dict[str, Any] = {"api_key": connection.key}
        if connection.key is None:
            access = {"azure_ad_token_provider": self._token(connection.base_url)}
        azure = AsyncAzureOpenAI(
            azure_endpoint=connection.base_url,
            api_version=connection.api_version or AZURE_VERSION,
            http_client=client,
            max_retries=0,
            default_headers=_not_of_the_environment(),
            **access,
        )
        return OpenAIChatModel(model, provider=AzureProvider(openai_client=azure))

    def _token(self, base_url: str) -> Any:
        """Tokens of the app's own identity, for Azure's own hosts alone: who has one is the app."""
        from azure.identity.aio import DefaultAzureCredential, get_bearer_token_provider

        parts = urlsplit(base_url)
        host = (parts.hostname or "").lower()
        if not host.endswith(AZURE_HOSTS) and (host, parts.port) not in self._outgoing.allowed:
            raise ModelRefused(f"The app's own identity is not shown to {host}; give the connection a key.")
        if self._credential is None:
            self._credential = (self._identity or DefaultAzureCredential)()
        return get_bearer_token_provider(self._credential, AZURE_SCOPE)


def _openai(connection: Connection, model: str, client: "httpx2.AsyncClient") -> Model:
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    url = connection.base_url or OPENAI
    openai = AsyncOpenAI(
        base_url=url,
        api_key=_key(connection),
        http_client=client,
        max_retries=0,
        default_headers=_not_of_the_environment(),
    )
    return OpenAIChatModel(model, provider=OpenAIProvider(openai_client=openai))


def _anthropic(connection: Connection, model: str, client: "httpx2.AsyncClient") -> Model:
    from anthropic import AsyncAnthropic
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    url = connection.base_url or ANTHROPIC
    anthropic = AsyncAnthropic(base_url=url, api_key=_key(connection), http_client=client, max_retries=0)
    return AnthropicModel(model, provider=AnthropicProvider(anthropic_client=anthropic))


def _key(connection: Connection) -> str:
    if not connection.key:
        raise ModelRefused(f"The connection {connection.name} has no key.")
    return connection.key


def _not_of_the_environment() -> Any:
    """No organization and no project, which the SDK would take from the environment: they are not the tenant's."""
    from openai import Omit

    return {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}


def _parameters(question: Question, model: Model) -> ModelRequestParameters:
    """A schema goes in the provider's own field for one, and into the instructions of a model that has none."""
    tools = [
        ToolDefinition(name=tool.name, description=tool.description, parameters_json_schema=dict(tool.parameters))
        for tool in question.tools
    ]
    if question.schema is None:
        return ModelRequestParameters(function_tools=tools)
    wanted = OutputObjectDefinition(json_schema=dict(question.schema), name="answer")
    native = model.profile.get("supports_json_schema_output", False)
    return ModelRequestParameters(
        function_tools=tools, output_mode="native" if native else "prompted", output_object=wanted
    )


def _answer(connection: Connection, question: Question, response: ModelResponse) -> Answer:
    used = response.usage
    if used.unmeasured_requests or not used.input_tokens:
        raise ModelMalformed("The AI provider does not say how many tokens it used, so its answer cannot be charged.")
    if response.finish_reason == "content_filter":
        raise ModelRefused("The AI provider's filter held the answer back.")
    cut = response.finish_reason == "length"
    parts = [] if cut else [part for part in response.parts if isinstance(part, ToolCallPart)]
    calls = [ToolCall(part.tool_call_id, part.tool_name, part.args_as_dict()) for part in parts]
    text = "".join(part.content for part in response.parts if isinstance(part, TextPart))
    message = Message("assistant", text, calls, opaque=None if cut else kept(connection.wire, response))
    finish: Finish = "length" if cut else "calls" if calls else "stop"
    usage = TokenUsage(used.input_tokens, used.output_tokens, used.cache_read_tokens)
    names = [name for name in (response.model_name, question.model) if name]
    cost = price_of(connection, names, usage, cache_written=used.cache_write_tokens)
    return Answer(message, usage, response.model_name or question.model, cost, finish)
