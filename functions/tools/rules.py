"""What a tool must be like beyond the types of its fields."""

from collections.abc import Iterator
from typing import Final

from functions.tools.models import ToolFields
from functions.tools.schemas import wrong_with_schema
from functions.tools.urls import names_in, origin_of, wrong_with_template
from shared.errors import FieldError
from shared.outgoing.addresses import Allowed

MAX_HEADER_BYTES: Final = 8 * 1024
RESERVED: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "max-forwards",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "upgrade-insecure-requests",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    }
)
"""Headers that say how a message is carried: they are the app's."""
_SECRET: Final = frozenset({"authorization", "cookie"})


def wrong_with(tool: ToolFields, allowed: Allowed) -> list[FieldError]:
    """All that is wrong; `allowed`: addresses that are called although they are not public."""
    errors = [*_headers(tool)]
    if wrong := wrong_with_template(tool.url, allowed):
        errors.append(FieldError("url", wrong, tool.url))
    if wrong := wrong_with_schema(tool.parameters):
        return [*errors, FieldError("parameters", wrong)]
    return [*errors, *_arguments(tool)]


def moved_with_its_secret(old_url: str, new_url: str) -> FieldError | None:
    """Whoever may change a tool may not have its secret sent to a place of his choice."""
    if origin_of(old_url) == origin_of(new_url):
        return None
    return FieldError("secret", "is for another server than this `url`; send it again with the new one, or empty")


def _arguments(tool: ToolFields) -> Iterator[FieldError]:
    known = tool.parameters.get("properties", {})
    required = tool.parameters.get("required", [])
    in_path = names_in(tool.url)
    for name in dict.fromkeys(in_path):
        if name not in known or name not in required:
            yield FieldError("url", "has an argument that the parameters have not in `properties` and `required`", name)
    for name in dict.fromkeys(tool.query):
        if name in in_path:
            yield FieldError("query", "is in the path already", name)
        elif name not in known:
            yield FieldError("query", "is none of the `properties` of the parameters", name)


def _headers(tool: ToolFields) -> Iterator[FieldError]:
    own = [("auth_header", tool.auth_header), ("idempotency_header", tool.idempotency_header or "")]
    for field, name in own:
        if name.lower() in RESERVED:
            yield FieldError(field, "is a header that says how a message is carried; choose another", name)
    if tool.idempotency_header and tool.idempotency_header.lower() == tool.auth_header.lower():
        yield FieldError("idempotency_header", "is the header of the secret as well", tool.idempotency_header)
    taken = {name.lower() for _, name in own} | RESERVED | _SECRET
    seen = set[str]()
    for name in tool.headers:
        if name.lower() in taken | seen:
            yield FieldError("headers", "is none to be set here: set by the call, or secret, or given twice", name)
        seen.add(name.lower())
    if sum(len(name) + len(value) for name, value in tool.headers.items()) > MAX_HEADER_BYTES:
        yield FieldError("headers", f"are more than {MAX_HEADER_BYTES} bytes")
