"""The secrets port: what a resource must not hold itself (webhook keys, AI keys) is kept here and referred to.

A reference is worthless without its tenant's space, so that a stolen one opens nothing.
"""

import re
from abc import ABC, abstractmethod

from shared.errors import TooLarge
from shared.ids import is_uuid

MAX_BYTES = 25 * 1024
_PREFIX = "secret:"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,78}[a-z0-9])?\Z")


class SecretSpace(ABC):
    """One tenant's secrets. Names are 1 to 80 of `[a-z0-9-]`; `ValueError` for others, and for what is no reference."""

    @abstractmethod
    async def put(self, name: str, value: str) -> str:
        """Keep a value of at most 25 KB, in place of an older one of this name; answers the reference to it."""

    @abstractmethod
    async def get(self, reference: str) -> str:
        """The value; `NotFound` when there is none."""

    @abstractmethod
    async def delete(self, reference: str) -> None:
        """Forget the value; no error when there is none."""


class Secrets(ABC):
    """Texts by name, at most `MAX_BYTES` as UTF-8. `NotFound`; `Unavailable` while that cannot be told."""

    @abstractmethod
    def space(self, tenant_id: str) -> SecretSpace:
        """The secrets of one tenant, bound to it."""

    @abstractmethod
    async def ping(self) -> None:
        """Raise `Unavailable` when secrets cannot be read."""

    @abstractmethod
    async def close(self) -> None:
        """Give back sockets."""


def reference(name: str) -> str:
    """What is stored in place of a secret of this name; ValueError where it is none."""
    return f"{_PREFIX}{checked_name(name)}"


def name_of(reference: str) -> str:
    """The name that `reference` was given; ValueError."""
    if not reference.startswith(_PREFIX):
        raise ValueError("not a reference to a secret")  # without its text: it may be the secret itself
    return checked_name(reference.removeprefix(_PREFIX))


def checked_name(name: str) -> str:
    """The name, if every adapter can keep it; ValueError."""
    if not _NAME.match(name):
        raise ValueError("not the name of a secret")
    return name


def checked_tenant(tenant_id: str) -> str:
    """All ids have one length, so that no tenant's names begin like another's."""
    if not is_uuid(tenant_id):
        raise ValueError(f"{tenant_id!r} is not a tenant id")
    return tenant_id


def checked_value(value: str) -> str:
    """The secret, if every adapter can keep it; `TooLarge`."""
    if len(value.encode()) > MAX_BYTES:
        raise TooLarge(f"A secret has at most {MAX_BYTES} bytes.")
    return value
