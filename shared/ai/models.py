"""The adapter of a connection, by what it speaks. What speaks to providers is loaded when the first one is asked."""

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from shared.ai import offline
from shared.ai.port import Answer, Connection, ModelRefused, Models, Question, TokenUsage
from shared.outgoing.client import Outgoing

if TYPE_CHECKING:
    from shared.ai.pydantic_ai import Identity, PydanticAi

MISSING = "Providers other than `offline` need the packages of requirements.txt; they are not installed here."


class AiModels(Models):
    """`identity`: of the app itself, for Azure OpenAI without a key; None: Azure's own."""

    def __init__(self, outgoing: Outgoing, identity: "Identity | None" = None) -> None:
        self._outgoing = outgoing
        self._identity = identity
        self._providers: PydanticAi | None = None

    async def ask(self, connection: Connection, question: Question) -> Answer:
        if connection.wire == "offline":
            try:
                return offline.answer(question)
            except ValueError as error:
                raise ModelRefused(f"The offline provider cannot do that: {error}.") from error
        return await (await self._loaded()).ask(connection, question)

    def price(self, connection: Connection, model: str, usage: TokenUsage) -> int | None:
        if connection.wire == "offline":
            return 0
        try:
            from shared.ai.prices import price_of
        except ImportError:
            return None
        return price_of(connection, [model], usage)

    async def close(self) -> None:
        providers, self._providers = self._providers, None
        if providers is not None:
            await providers.close()

    async def _loaded(self) -> "PydanticAi":
        if self._providers is None:
            try:
                await asyncio.to_thread(import_module, "shared.ai.pydantic_ai")  # takes a second: others go on
            except ImportError as error:
                raise ModelRefused(MISSING) from error
            from shared.ai.pydantic_ai import PydanticAi

            self._providers = PydanticAi(self._outgoing, self._identity)
        return self._providers
