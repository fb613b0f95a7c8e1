"""The blob port: named byte streams in areas; what belongs to a tenant is reached through a space bound to it."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True)
class BlobInfo:
    """`name` is relative to the space; `size` in bytes."""

    name: str
    size: int
    etag: str


class BlobSpace(ABC):
    """One tenant's blobs of one area (such as `backups`). Names are `/`-separated segments of `[A-Za-z0-9._-]`."""

    @abstractmethod
    async def write(self, name: str, chunks: AsyncIterable[bytes], *, overwrite: bool = True) -> BlobInfo:
        """Stream a blob in; it is there whole when this returns and not at all when it fails.

        Raises `Conflict` when `overwrite` is False and the name is taken.
        """

    @abstractmethod
    def read(self, name: str) -> AsyncIterator[bytes]:
        """Stream a blob out; `NotFound` when there is none."""

    @abstractmethod
    async def info(self, name: str) -> BlobInfo | None:
        """Size and ETag, or None."""

    @abstractmethod
    def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        """The blobs whose name starts with `prefix`, by name."""

    @abstractmethod
    async def delete(self, name: str) -> None:
        """Remove a blob; no error when there is none."""


class Blobs(ABC):
    @abstractmethod
    def space(self, area: str, tenant_id: str) -> BlobSpace:
        """The blobs of one tenant in one area, bound to both."""

    @abstractmethod
    async def ping(self) -> None:
        """Raise `Unavailable` when the storage does not answer."""

    @abstractmethod
    async def close(self) -> None:
        """Give back sockets."""
