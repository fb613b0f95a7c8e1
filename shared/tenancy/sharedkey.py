"""Keys that all instances share: each made once, kept in the registry or the data folder, read once by each process."""

import secrets
from contextlib import suppress
from pathlib import Path

from shared.clock import Clock, rfc3339
from shared.database.port import Create, Database, Rejected
from shared.errors import Unavailable
from shared.folders import KEY_BYTES, kept_key
from shared.ids import PLATFORM_TENANT_ID
from shared.tenancy.directory import RESERVATION

CURSORS = "cursor-key"
ADDRESSES = "address-key"
HOOKS = "hook-key"


class RegistryKey:
    """`load` before the first call; whichever instance comes first makes the key. `id`: which one."""

    def __init__(self, database: Database, clock: Clock, id: str = CURSORS) -> None:
        self._database = database
        self._clock = clock
        self._id = id
        self._key: bytes | None = None

    async def load(self) -> None:
        if self._key is not None:
            return
        platform = self._database.platform
        held = await platform.get(RESERVATION, PLATFORM_TENANT_ID, self._id)
        if held is None:
            body = {"created_at": rfc3339(self._clock.now()), "key": secrets.token_hex(KEY_BYTES)}
            with suppress(Rejected):  # another instance made it
                await platform.put(Create(RESERVATION, self._id, body), PLATFORM_TENANT_ID)
            held = await platform.get(RESERVATION, PLATFORM_TENANT_ID, self._id)
        if held is None:
            raise Unavailable(f"The {self._id} cannot be read.")
        self._key = bytes.fromhex(held.body["key"])

    def __call__(self) -> bytes:
        if self._key is None:
            raise Unavailable(f"The {self._id} is not loaded.")
        return self._key


class FolderKey:
    """The setting's, or one made once in the data folder: for instances that share that."""

    def __init__(self, given: str, path: Path) -> None:
        self._given = given
        self._path = path
        self._key: bytes | None = None

    def __call__(self) -> bytes:
        if self._key is None:
            self._key = self._given.encode() if self._given else kept_key(self._path)
        return self._key
