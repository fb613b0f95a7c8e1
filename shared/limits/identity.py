"""Signing in to Azure Managed Redis with a token of Microsoft Entra ID for a password.

https://learn.microsoft.com/azure/redis/entra-for-authentication: the user name is the identity's object id. Redis
closes a connection whose token has expired, and the next one has a new token: the SDK keeps one that is good.
"""

from typing import TYPE_CHECKING

import jwt
from redis.credentials import CredentialProvider

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

SCOPE = "https://redis.azure.com/.default"


class Identity(CredentialProvider):
    def __init__(self, credential: "AsyncTokenCredential") -> None:
        self._credential = credential

    async def get_credentials_async(self) -> tuple[str, str]:
        """Object id and token."""
        token = (await self._credential.get_token(SCOPE)).token
        claims = jwt.decode(token, options={"verify_signature": False})  # ours: it only says who we are
        return str(claims["oid"]), token
