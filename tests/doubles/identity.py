"""The app's identity, as far as doubles ask for it."""

import time
from typing import Any

from azure.core.credentials import AccessToken


class Identity:
    """A credential whose tokens say what they are for."""

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken("token-of-" + scopes[0], int(time.time()) + 3600)

    async def close(self) -> None:
        return None

    async def __aenter__(self) -> "Identity":
        return self

    async def __aexit__(self, *error: object) -> None:
        return None
