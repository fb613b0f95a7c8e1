"""What HTTP says of a message, beside its body: its version, what it is about, what is taken in answer.

Of 2026-07-28 the headers have to say what the body says, so that what stands in between need not read bodies; of the
versions before, `MCP-Protocol-Version` alone, which the first of them do not have
(https://modelcontextprotocol.io/specification/2026-07-28/basic/transports). A session's id is nobody's: none is given.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

HANDSHAKES: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN: Final = ("2026-07-28",)
VERSIONS: Final = (*HANDSHAKES, *MODERN)
NAMED_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
VERSION_HEADER = "mcp-protocol-version"
METHOD_HEADER = "mcp-method"
NAME_HEADER = "mcp-name"
MISMATCH: Final = -32020
UNSUPPORTED: Final = -32022
TAKEN: Final = ("application/json", "application/*", "*/*")
ENCODED: Final = ("=?base64?", "?=")


class RpcError(Exception):
    """JSON-RPC 2.0 §5.1."""

    def __init__(self, code: int, message: str, status: int = 200, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.data = data


def check_accept(accept: str | None) -> None:
    """`RpcError` (406) for who does not take JSON; who says nothing takes anything (RFC 9110 §12.5.1)."""
    named = [one.partition(";")[0].strip().lower() for one in (accept or "*/*").split(",")]
    if not any(one in TAKEN for one in named):
        raise RpcError(-32600, "Answers are application/json, which `Accept` does not name.", 406)


def check_version(headers: Mapping[str, str], message: Mapping[str, Any]) -> None:
    """`RpcError` (400) for a version that is not spoken, and for headers that say otherwise than the body."""
    told, params = headers.get(VERSION_HEADER), message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    named = meta.get(NAMED_VERSION) if isinstance(meta, dict) else None
    if (named is not None or told in MODERN) and told != named:
        raise RpcError(MISMATCH, "MCP-Protocol-Version says another version than the body does.", 400)
    if told is not None and told not in VERSIONS:
        data = {"supported": [*VERSIONS], "requested": told[:100]}
        raise RpcError(UNSUPPORTED, "This version of the protocol is not spoken here.", 400, data)
    if told in MODERN:
        _check_about(headers, message)


def _check_about(headers: Mapping[str, str], message: Mapping[str, Any]) -> None:
    if headers.get(METHOD_HEADER) != message["method"]:
        raise RpcError(MISMATCH, "Mcp-Method says another method than the body does.", 400)
    name = message["params"].get("name") if message["method"] == "tools/call" else None
    if name is not None and _decoded(headers.get(NAME_HEADER)) != name:
        raise RpcError(MISMATCH, "Mcp-Name says another tool than the body does.", 400)


def _decoded(value: str | None) -> str | None:
    """What no header can hold comes as `=?base64?…?=`."""
    begin, end = ENCODED
    if value is None or not (value.startswith(begin) and value.endswith(end)):
        return value
    try:
        return base64.b64decode(value[len(begin) : -len(end)], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
