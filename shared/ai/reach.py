"""Whether a provider is there and takes its key: its list of models is asked for, which costs no tokens.

https://platform.openai.com/docs/api-reference/models/list, https://docs.anthropic.com/en/api/models-list and
https://learn.microsoft.com/rest/api/azureopenai/models/list.
"""

import asyncio
from importlib import import_module

from shared.ai.models import MISSING
from shared.ai.port import Connection, ModelRefused, ModelUnavailable
from shared.outgoing.client import Outgoing

SECONDS = 2.0
MAX_BYTES = 1024 * 1024
AZURE_VERSION = "2024-10-21"
ANTHROPIC_VERSION = "2023-06-01"


async def reach(outgoing: Outgoing, connection: Connection) -> str | None:
    """What there is to say of it, if anything. `ModelRefused` for a key or an address that is not taken,
    `ModelUnavailable` where nobody answers, or answers that it cannot now.
    """
    if connection.wire == "offline":
        return None
    try:
        await asyncio.to_thread(import_module, "shared.outgoing.transport")  # takes a while: others go on
    except ImportError as error:
        raise ModelRefused(MISSING) from error
    import httpx2

    from shared.outgoing.errors import AddressRefused, OutgoingFailed

    url, headers = _asked(connection)
    try:
        status = (await outgoing.client(max_bytes=MAX_BYTES, seconds=SECONDS).get(url, headers=headers)).status_code
    except AddressRefused as error:
        raise ModelRefused("The address of the AI provider may not be called.") from error
    except (OutgoingFailed, httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ModelUnavailable(f"The AI provider does not answer ({type(error).__name__}).") from error
    if status in (401, 403):
        if connection.key is None:
            return "it answers; whether it takes the app's own identity is seen by the first run"
        raise ModelRefused(f"The AI provider does not take its key ({status}).")
    if status >= 500:
        raise ModelUnavailable(f"The AI provider answered {status}.")
    return None if status == 200 else f"it answered {status}"


def _asked(connection: Connection) -> tuple[str, dict[str, str]]:
    """The address of its models, and the key as it wants it."""
    base, key = (connection.base_url or "").rstrip("/"), connection.key or ""
    match connection.wire:
        case "anthropic":
            url = f"{base or 'https://api.anthropic.com'}/v1/models?limit=1"
            return url, {"x-api-key": key, "anthropic-version": ANTHROPIC_VERSION}
        case "azure_openai":
            url = f"{base}/openai/models?api-version={connection.api_version or AZURE_VERSION}"
            return url, {"api-key": key} if key else {}
        case _:
            return f"{base or 'https://api.openai.com/v1'}/models", {"Authorization": f"Bearer {key}"}
