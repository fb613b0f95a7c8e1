"""One answer of A2A: in the version that was asked for, or one of the protocol's errors."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from functions.a2a.cards import VERSION
from functions.a2a.errors import Refused

MEDIA_TYPE: Final = "application/a2a+json"
_VERSION: Final = re.compile(rf"{re.escape(VERSION)}(\.[0-9]{{1,9}})?")


async def spoken(version: str | None, said: Callable[[], Awaitable[Mapping[str, Any]]]) -> tuple[bytes, str, int]:
    """Body, media type and status. Who names no version speaks 0.3 (§3.6.2)."""
    try:
        if _VERSION.fullmatch(version or "") is None:
            told = f"Version {VERSION} is spoken here: send it in the header A2A-Version."
            raise Refused("VERSION_NOT_SUPPORTED", told)
        return as_json(await said()), MEDIA_TYPE, 200
    except Refused as error:
        return as_json(error.body), MEDIA_TYPE, error.status


def as_json(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
