"""Which web pages of other origins may call (https://fetch.spec.whatwg.org/#http-cors-protocol), and what OPTIONS says.

A caller's token comes in a header that its page sets itself: no page is let use what a browser sends by itself
(cookies, client certificates), so `Access-Control-Allow-Credentials` is never sent.
"""

from collections.abc import Iterable

import azure.functions as func

SENT = (
    *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match"),
    *("x-request-id", "x-tenant-id", "A2A-Version", "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"),
)
READ = (
    *("Content-Disposition", "ETag", "Idempotency-Replayed", "Link", "Location", "RateLimit-Limit"),
    *("RateLimit-Remaining", "RateLimit-Reset", "Retry-After", "WWW-Authenticate", "x-request-id"),
)
MAX_AGE_SECONDS = 7200  # no browser keeps it longer, but for Firefox (24 hours)


def options(methods: Iterable[str]) -> func.HttpResponse:
    """What a path takes (RFC 9110 §9.3.7)."""
    return func.HttpResponse(status_code=204, headers={"Allow": ", ".join(sorted(set(methods)))})


class Cors:
    """Lets pages of exactly these origins in; without any, no header is ever added."""

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self._origins = frozenset(origins)

    def allows(self, origin: str) -> bool:
        return origin in self._origins

    def mark(self, response: func.HttpResponse, req: func.HttpRequest) -> None:
        """Add what lets the browser show this answer to the page that has asked, or send what it has asked about."""
        if not self._origins:
            return
        headers = response.headers
        headers["Vary"] = f"{headers['Vary']}, Origin" if "Vary" in headers else "Origin"
        origin = req.headers.get("origin")
        if origin not in self._origins:
            return
        headers["Access-Control-Allow-Origin"] = origin
        if "Allow" in headers:  # OPTIONS, and it was not refused
            headers["Access-Control-Allow-Methods"] = headers["Allow"]
            headers["Access-Control-Allow-Headers"] = ", ".join(SENT)
            headers["Access-Control-Max-Age"] = str(MAX_AGE_SECONDS)
        else:
            headers["Access-Control-Expose-Headers"] = ", ".join(READ)
