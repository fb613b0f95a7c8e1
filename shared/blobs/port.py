"""The blob port: named byte streams in areas; what belongs to a tenant is reached through a space bound to it."""

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass

MAX_NAME = 800
_AREA = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(-[a-z0-9]+)*\Z")
_SEGMENT = re.compile(r"(?=.{1,200}\Z)[A-Za-z0-9_-]([A-Za-z0-9._-]*[A-Za-z0-9_-])?\Z")


@dataclass(frozen=True)
class BlobInfo:
    """`name` is relative to the space; `size` in bytes; `etag` is another one after every write."""

    name: str
    size: int
    etag: str


class BlobSpace(ABC):
    """One tenant's blobs of one area (such as `backups`).

    Names are `/`-separated segments of `[A-Za-z0-9._-]` that neither begin nor end with a dot; `ValueError` for others.
    A name is never a folder of another name. Errors beside those named: `Unavailable` and `Unknown` (shared.errors).
    """

    @abstractmethod
    async def write(self, name: str, chunks: AsyncIterable[bytes], *, overwrite: bool = True) -> BlobInfo:
        """Stream a blob in; it is there whole when this returns and not at all when it fails.

        Raises `Conflict` when `overwrite` is False and the name is taken, and may do so when another write of the same
        name ends while this one goes on. After `Unknown` it may be there or not, but whole: write it again.
        """

    @abstractmethod
    def read(self, name: str) -> AsyncIterator[bytes]:
        """Stream a blob out; `NotFound` when there is none, `Stale` when it is replaced before the end."""

    @abstractmethod
    async def info(self, name: str) -> BlobInfo | None:
        """Size and ETag, or None."""

    @abstractmethod
    def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        """The blobs whose name starts with `prefix`, by name (in the order of their bytes)."""

    @abstractmethod
    async def delete(self, name: str) -> None:
        """Remove a blob; no error when there is none."""


class Blobs(ABC):
    """Files by name within an area; bytes in, bytes out. `NotFound`, `Conflict`, `Stale`, `Unavailable`."""

    @abstractmethod
    def space(self, area: str, tenant_id: str) -> BlobSpace:
        """The blobs of one tenant in one area (3 to 63 of `[a-z0-9-]`), bound to both."""

    @abstractmethod
    async def ping(self) -> None:
        """Raise `Unavailable` when the storage does not answer."""

    @abstractmethod
    async def close(self) -> None:
        """Give back sockets."""


def checked_name(name: str) -> str:
    """The name, if every adapter can keep it."""
    if len(name) > MAX_NAME or not all(_SEGMENT.match(segment) for segment in name.split("/")):
        raise ValueError(f"{name!r} is not a blob name")
    return name


def checked_area(area: str) -> str:
    """The area, if every adapter can keep it; ValueError."""
    if not _AREA.match(area):
        raise ValueError(f"{area!r} is not an area of blobs")
    return area


def checked_tenant(tenant_id: str) -> str:
    """One segment: what a space is bound to can never be another tenant's folder."""
    if "/" in tenant_id:
        raise ValueError(f"{tenant_id!r} is not a blob name of one segment")
    return checked_name(tenant_id)
