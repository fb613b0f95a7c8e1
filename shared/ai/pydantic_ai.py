"""Providers by Pydantic AI's low-level calls: OpenAI and what speaks like it, Azure OpenAI, Anthropic.

Imported on first use (shared/ai/models.py). A call is one request: no retries, no stream, our own client and key.
"""

import asyncio
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pydantic_ai.direct import model_request
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from shared.ai.answers import answer_of
from shared.ai.failures import failure_of
from shared.ai.history import history_of
from shared.ai.port import (
    Answer,
    Connection,
    ModelMalformed,
    ModelRefused,
    ModelTimeout,
    Question,
)
from shared.outgoing.client import Outgoing

if TYPE_CHECKING:
    import httpx2
    from azure.core.credentials_async import AsyncTokenCredential

    Identity = Callable[[], AsyncTokenCredential]

Client = TypeVar("Client")
OPENAI = "https://api.openai.com/v1"
ANTHROPIC = "https://api.anthropic.com"
AZURE_VERSION = "2025-04-01-preview"
AZURE_SCOPE = "https://cognitiveservices.azure.com/.default"
HOSTS_HEADERS = ("OpenAI-Organization", "OpenAI-Project")
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
            return answer_of(connection, question, response)
        except TimeoutError as error:
            raise ModelTimeout(f"The AI provider did not answer within {question.seconds:g} s.") from error
        except (ModelMalformed, ModelRefused):
            raise
        except Exception as error:
            raise failure_of(error, connection.key) from error

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
        from openai import AsyncAzureOpenAI, Omit
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.azure import AzureProvider

        if connection.base_url is None:
            raise ModelRefused("An Azure OpenAI connection needs the address of its resource.")
        access: dict[str, Any] = {"api_key": connection.key}
        if connection.key is None:
            access = {"azure_ad_token_provider": self._token(connection.base_url)}
        azure = _own(AsyncAzureOpenAI, Omit)(
            azure_endpoint=connection.base_url,
            api_version=connection.api_version or AZURE_VERSION,
            http_client=client,
            max_retries=0,
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
    from openai import AsyncOpenAI, Omit
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    url = connection.base_url or OPENAI
    openai = _own(AsyncOpenAI, Omit)(base_url=url, api_key=_key(connection), http_client=client, max_retries=0)
    return OpenAIChatModel(model, provider=OpenAIProvider(openai_client=openai))


def _anthropic(connection: Connection, model: str, client: "httpx2.AsyncClient") -> Model:
    from anthropic import AsyncAnthropic, Omit
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    url = connection.base_url or ANTHROPIC
    anthropic = _own(AsyncAnthropic, Omit)(base_url=url, api_key=_key(connection), http_client=client, max_retries=0)
    return AnthropicModel(model, provider=AnthropicProvider(anthropic_client=anthropic))


def _key(connection: Connection) -> str:
    if not connection.key:
        raise ModelRefused(f"The connection {connection.name} has no key.")
    return connection.key


@cache
def _own(client: type[Client], omit: type) -> type[Client]:
    """An SDK's client, and copies of it, without the headers that it takes from the environment: no tenant's they are.

    Those of OPENAI_CUSTOM_HEADERS and ANTHROPIC_CUSTOM_HEADERS are no argument that could be given in their place.
    """
    headers = dict.fromkeys(HOSTS_HEADERS, omit())
    only = property(lambda _: headers, lambda *_: None)
    return type(client.__name__, (client,), {"_custom_headers": only})


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
