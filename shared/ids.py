"""Identifiers: uuid7 (RFC 9562, time-ordered) for what is new, uuid5 for what is derived from something else."""

import os
import re
import time
import uuid
from hashlib import sha1
from threading import Lock
from typing import Final, Protocol

PLATFORM_TENANT_ID = "00000000-0000-0000-0000-000000000000"
DEFAULT_TENANT_ID = "00000000-0000-0000-0000-000000000001"
"""Of what a database of one user alone becomes."""

RANDOM_AT_ONCE = 128
REQUEST_ID = r"[A-Za-z0-9._-]{1,128}"
_REQUEST_ID = re.compile(REQUEST_ID)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FLOWGRID = uuid.UUID("6b1f4f9e-52a5-5c0e-9d1c-0d6c1f0a7e11")
_BEGUN: Final = sha1(_FLOWGRID.bytes, usedforsecurity=False)
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class Ids(Protocol):
    def new(self) -> str:
        """A fresh id; later ids of one process sort after earlier ones."""
        ...


class Uuid7Ids:
    """uuid7 with RFC 9562 method 3 (the 12 sub-millisecond bits), kept strictly increasing within the process."""

    def __init__(self) -> None:
        self._last = 0
        self._random = b""  # from the system, many at once: asking it lets other threads in
        self._lock = Lock()

    def new(self) -> str:
        milliseconds, rest = divmod(time.time_ns(), 1_000_000)
        stamp = (milliseconds << 12) | (rest * 4096 // 1_000_000)
        with self._lock:
            stamp = self._last = max(stamp, self._last + 1)
            if not self._random:
                self._random = os.urandom(RANDOM_AT_ONCE * 8)
            tail, self._random = int.from_bytes(self._random[:8], "big") >> 2, self._random[8:]
        value = (stamp >> 12) << 80 | 7 << 76 | (stamp & 0xFFF) << 64 | 2 << 62 | tail
        digits = f"{value:032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def derived_id(*parts: str) -> str:
    """The same parts give the same id, always (uuid5 over a length-prefixed join, so parts cannot run together).

    Written out, as `uuid` takes three times as long and a migration makes one of each row (RFC 9562, 5.5).
    """
    hashed = _BEGUN.copy()
    hashed.update("".join([f"{len(part)}:{part}" for part in parts]).encode())
    digits = hashed.hexdigest()
    rest = f"{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:32]}"
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{rest}"


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in its canonical lower-case form (the only form ids have here)."""
    return _UUID.fullmatch(text) is not None


def is_request_id(text: str) -> bool:
    """Whether a caller's request id may be echoed and logged: nothing in it can do harm in a header, page or log."""
    return _REQUEST_ID.fullmatch(text) is not None
