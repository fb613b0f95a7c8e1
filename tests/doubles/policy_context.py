"""What expressions of API Management's policies see of a call, under its names there.

https://learn.microsoft.com/azure/api-management/api-management-policy-expressions#ContextVariables
"""

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import jwt


class Headers(dict[str, str]):
    """By name in lower case."""


class Claims(dict[str, Any]):
    """Of a token, as they are in it."""


@dataclass(frozen=True)
class Jwt:
    Issuer: str
    Claims: Claims

    @classmethod
    def read(cls, token: str) -> "Jwt | None":
        """Unverified; None for what is none."""
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.PyJWTError:
            return None
        return cls(str(claims.get("iss", "")), Claims(claims))


@dataclass(frozen=True)
class Guid:
    text: str = field(default_factory=lambda: str(uuid4()))


@dataclass(frozen=True)
class Matched:
    Id: str
    template: str = ""


@dataclass(frozen=True)
class Url:
    Path: str


@dataclass
class Asked:
    Headers: Headers
    IpAddress: str
    OriginalUrl: Url


@dataclass
class Answered:
    Headers: Headers
    StatusCode: int = 200
    body: bytes = b""


@dataclass(eq=False)
class Failure(Exception):
    Source: str
    Reason: str
    status: int = 500


@dataclass
class Context:
    """What an expression sees of a call."""

    Request: Asked
    Operation: Matched | None = None
    Response: Answered | None = None
    LastError: Failure | None = None
    Variables: dict[str, Any] = field(default_factory=dict)
    RequestId: Guid = field(default_factory=Guid)
