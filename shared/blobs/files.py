"""The embedded blobs: files, written under a temporary name, fsynced, renamed."""

import asyncio
import os
import re
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from shared.blobs.port import BlobInfo, Blobs, BlobSpace
from shared.errors import Conflict, NotFound, Unavailable

READ_BYTES = 1024 * 1024
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\Z")
_TEMPORARY = ".part-"
NO_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class FileBlobs(Blobs):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def space(self, area: str, tenant_id: str) -> BlobSpace:
        return _Folder(self._folder / _checked(area) / _checked(tenant_id))

    async def ping(self) -> None:
        try:
            await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"The blob folder cannot be used: {error}") from error

    async def close(self) -> None:
        return None


class _Folder(BlobSpace):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def write(self, name: str, chunks: AsyncIterable[bytes], *, overwrite: bool = True) -> BlobInfo:
        path = self._folder / _checked(name)
        temporary = path.with_name(f"{_TEMPORARY}{uuid4().hex}")
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        file = await asyncio.to_thread(temporary.open, "xb")
        try:
            with file:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(_flush, file)
            await asyncio.to_thread(_publish, temporary, path, overwrite)
        except FileExistsError as error:
            raise Conflict(f"There is a blob {name} already.") from error
        finally:
            await asyncio.to_thread(temporary.unlink, missing_ok=True)
        return _info(self._folder, path)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread((self._folder / _checked(name)).open, "rb")
        except NO_FILE as error:
            raise NotFound(f"There is no blob {name}.") from error
        with file:
            while chunk := await asyncio.to_thread(file.read, READ_BYTES):
                yield chunk

    async def info(self, name: str) -> BlobInfo | None:
        return await asyncio.to_thread(_found, self._folder, self._folder / _checked(name))

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        for path in await asyncio.to_thread(_files, self._folder):
            if path.relative_to(self._folder).as_posix().startswith(prefix):
                blob = await asyncio.to_thread(_found, self._folder, path)
                if blob is not None:  # not deleted meanwhile
                    yield blob

    async def delete(self, name: str) -> None:
        await asyncio.to_thread((self._folder / _checked(name)).unlink, missing_ok=True)


def _checked(name: str) -> str:
    if not all(_SEGMENT.match(segment) for segment in name.split("/")):
        raise ValueError(f"{name!r} is not a blob name")
    return name


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _publish(temporary: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(path)
    else:
        os.link(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _files(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(_TEMPORARY))
    return sorted(files, key=Path.as_posix)


def _found(folder: Path, path: Path) -> BlobInfo | None:
    try:
        return _info(folder, path) if path.is_file() else None
    except NO_FILE:
        return None


def _info(folder: Path, path: Path) -> BlobInfo:
    status = path.stat()
    return BlobInfo(path.relative_to(folder).as_posix(), status.st_size, f"{status.st_mtime_ns:x}-{status.st_ino:x}")
