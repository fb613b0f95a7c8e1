"""Where models answer, as long as no tenant has connections of its own: nowhere but offline."""

from shared.ai.port import Answer, Connection, Models, ModelUnavailable, Question, TokenUsage
from shared.errors import Invalid
from shared.work.session import TenantSession

OFFLINE = Connection("offline", "offline")


async def offline_only(session: TenantSession, provider: str, model: str) -> tuple[Connection, str]:
    """The connection of a provider, and the model to ask there. `Invalid` for any but `offline`."""
    if provider != OFFLINE.name:
        raise Invalid.of("provider", "is no provider of this tenant; `offline` is always there", provider)
    return OFFLINE, model or "offline"


class NoModels(Models):
    """Of an app without any."""

    async def ask(self, connection: Connection, question: Question) -> Answer:
        raise ModelUnavailable("No model is connected to this service.")

    def price(self, connection: Connection, model: str, usage: TokenUsage) -> int | None:
        return 0

    async def close(self) -> None:
        return None
