"""The embedded blobs: files, written under a temporary name, fsynced, renamed."""

import asyncio
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from shared.blobs.port import BlobInfo, Blobs, BlobSpace, checked_area, checked_name, checked_tenant
from shared.disk import outage
from shared.errors import Conflict, NotFound, Unavailable
from shared.folders import check_there, kept_folder, private_folder

READ_BYTES = 1024 * 1024
_TEMPORARY = ".part-"


class FileBlobs(Blobs):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def space(self, area: str, tenant_id: str) -> BlobSpace:
        return _Folder(self._folder, self._folder / checked_area(area) / checked_tenant(tenant_id))

    async def ping(self) -> None:
        await asyncio.to_thread(_probe, self._folder)

    async def close(self) -> None:
        return None


class _Folder(BlobSpace):
    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder

    async def write(self, name: str, chunks: AsyncIterable[bytes], *, overwrite: bool = True) -> BlobInfo:
        path = self._folder / checked_name(name)
        temporary = path.with_name(f"{_TEMPORARY}{uuid4().hex}")
        file = await asyncio.to_thread(_create, self._root, temporary)
        try:
            async for chunk in chunks:
                await asyncio.to_thread(_append, file, chunk)
            await asyncio.to_thread(_publish, file, temporary, path, overwrite)
        except FileExistsError as error:
            raise Conflict(f"There is a blob {name} already.") from error
        finally:
            await asyncio.to_thread(_discard, file, temporary)
        return _info(self._folder, path)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        await asyncio.to_thread(check_there, self._root)
        try:
            file = await asyncio.to_thread(_open, self._folder / checked_name(name))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NotFound(f"There is no blob {name}.") from error
        with file:
            while chunk := await asyncio.to_thread(_next, file):
                yield chunk

    async def info(self, name: str) -> BlobInfo | None:
        await asyncio.to_thread(check_there, self._root)
        try:
            return await asyncio.to_thread(_info, self._folder, self._folder / checked_name(name))
        except (FileNotFoundError, NotADirectoryError):
            return None

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        await asyncio.to_thread(check_there, self._root)
        for name in await asyncio.to_thread(_names, self._folder, prefix):
            found = await self.info(name)
            if found is not None:
                yield found

    async def delete(self, name: str) -> None:
        await asyncio.to_thread(_remove, self._folder / checked_name(name))


def _probe(folder: Path) -> None:
    """Write, as any blob does."""
    try:
        kept_folder(folder)
        probe = folder / f"{_TEMPORARY}{uuid4().hex}"
        try:
            probe.write_bytes(b"probe")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(f"The blob folder cannot be used: {error.strerror}.") from error


@outage("The blob folder")
def _create(root: Path, temporary: Path) -> BinaryIO:
    kept_folder(root)
    private_folder(temporary.parent)
    return temporary.open("xb")


@outage("The blob folder")
def _append(file: BinaryIO, chunk: bytes) -> None:
    file.write(chunk)


@outage("The blob folder")
def _publish(file: BinaryIO, temporary: Path, path: Path, overwrite: bool) -> None:
    file.flush()
    os.fsync(file.fileno())
    if overwrite:
        temporary.replace(path)
    else:
        os.link(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@outage("The blob folder")
def _discard(file: BinaryIO, temporary: Path) -> None:
    temporary.unlink(missing_ok=True)
    with suppress(OSError):  # what it still held could not be written, and is of no use to anybody
        file.close()


@outage("The blob folder")
def _open(path: Path) -> BinaryIO:
    return path.open("rb")


@outage("The blob folder")
def _next(file: BinaryIO) -> bytes:
    return file.read(READ_BYTES)


@outage("The blob folder")
def _remove(path: Path) -> None:
    if path.is_file():
        path.unlink(missing_ok=True)


def _names(folder: Path, prefix: str) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(_TEMPORARY))
    names = (path.relative_to(folder).as_posix() for path in files)
    return sorted(name for name in names if name.startswith(prefix))


def _info(folder: Path, path: Path) -> BlobInfo:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(path)
    return BlobInfo(path.relative_to(folder).as_posix(), status.st_size, f"{status.st_mtime_ns:x}-{status.st_ino:x}")
