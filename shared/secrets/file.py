"""The embedded secrets: one encrypted file each (Fernet: AES-128-CBC with HMAC-SHA256), for development and tests.

The ciphertext says whose it is, so that a file moved to another tenant or name is refused.
"""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from shared.disk import outage
from shared.errors import NotFound, Unavailable
from shared.folders import private_folder
from shared.secrets.port import Secrets, SecretSpace, checked_name, checked_tenant, checked_value, name_of, reference


class FileSecrets(Secrets):
    """`key` gives the Fernet key; it is asked when a secret is first needed."""

    def __init__(self, folder: Path, key: Callable[[], bytes]) -> None:
        self._folder = folder
        self._key = key

    def space(self, tenant_id: str) -> SecretSpace:
        return _Folder(self._folder / checked_tenant(tenant_id), tenant_id, self._key)

    async def ping(self) -> None:
        try:
            await asyncio.to_thread(self._key)
        except OSError as error:
            raise Unavailable(f"The key of the secrets cannot be read: {error}") from error

    async def close(self) -> None:
        return None


class _Folder(SecretSpace):
    def __init__(self, folder: Path, tenant_id: str, key: Callable[[], bytes]) -> None:
        self._folder = folder
        self._tenant_id = tenant_id
        self._key = key

    async def put(self, name: str, value: str) -> str:
        await asyncio.to_thread(self._write, checked_name(name), checked_value(value))
        return reference(name)

    async def get(self, reference: str) -> str:
        return await asyncio.to_thread(self._read, name_of(reference))

    async def delete(self, reference: str) -> None:
        path = self._folder / name_of(reference)
        with outage("The secrets' folder"):
            await asyncio.to_thread(path.unlink, missing_ok=True)

    @outage("The secrets' folder")
    def _write(self, name: str, value: str) -> None:
        from cryptography.fernet import Fernet

        plain = json.dumps({"tenant_id": self._tenant_id, "name": name, "value": value}).encode()
        private_folder(self._folder)
        temporary = self._folder / f".{uuid4().hex}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet(self._key()).encrypt(plain))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._folder / name)

    @outage("The secrets' folder")
    def _read(self, name: str) -> str:
        from cryptography.fernet import Fernet, InvalidToken

        try:
            encrypted = (self._folder / name).read_bytes()
        except FileNotFoundError as error:
            raise NotFound("There is no such secret.") from error
        try:
            kept = json.loads(Fernet(self._key()).decrypt(encrypted))
        except InvalidToken as error:
            raise Unavailable("A secret cannot be decrypted: FLOWGRID_SECRETS_KEY is another than it was.") from error
        if (kept["tenant_id"], kept["name"]) != (self._tenant_id, name):
            raise Unavailable("A secret is not where it belongs: somebody has moved its file.")
        return str(kept["value"])
