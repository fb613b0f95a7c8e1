"""The API's description, and a page on which it can be read and tried out.

The page is Swagger UI, which lies in `viewer/` as it was published (vendored.json says which, and its checksums; 0030).
All that it loads comes from here, and its content policy takes nothing else.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from azure.functions import HttpRequest

from shared.http.routes import Content, Route
from shared.version import VERSION

VIEWER = Path(__file__).with_name("viewer")
FILES: Mapping[str, str] = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "start.js": "text/javascript",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FOR_EVER = "public, max-age=31536000, immutable"  # what is asked for by its hash is never another
HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css?{style}">
</head>
<body>
<div id="viewer"></div>
<noscript>The viewer needs JavaScript; for programs there is <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js?{bundle}"></script>
<script src="docs/start.js?{start}"></script>
</body>
</html>
"""


class Packed:
    """Bytes that are the same for everybody, plain and compressed, each with an ETag of its own (RFC 9110 §8.8.3.3)."""

    def __init__(self, packed: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> None:
        self.hash = sha256(gzip.decompress(packed)).hexdigest()[:32]
        self._packed = packed
        self._media_type = media_type
        self._headers = {"Vary": "Accept-Encoding", **(headers or {})}

    @classmethod
    def of(cls, plain: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> "Packed":
        return cls(gzip.compress(plain, mtime=0), media_type, headers)

    def answer(self, request: HttpRequest) -> Content:
        """As the caller takes it; to be kept for ever by who asks for it by its hash, as the page does."""
        asked = request.url.partition("?")[2]
        kept = {**self._headers, **({"Cache-Control": FOR_EVER} if asked == self.hash else {})}
        if _takes_gzip(request.headers.get("accept-encoding", "")):
            headers = {"Content-Encoding": "gzip", **kept}
            return Content(self._packed, self._media_type, etag=f'"{self.hash}-gzip"', headers=headers)
        plain = gzip.decompress(self._packed)  # few ask for that
        return Content(plain, self._media_type, etag=f'"{self.hash}"', headers=kept)


class Description:
    """What a process says of its API: made once, when it is first asked for and every route is known."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes
        self._files: dict[str, Packed] = {}

    @cached_property
    def document(self) -> Packed:
        """OpenAPI 3.1 as JSON."""
        text = json.dumps(self._described, ensure_ascii=False, separators=(",", ":"))
        return Packed.of(text.encode(), "application/json")

    @cached_property
    def html(self) -> Packed:
        """The viewer's page."""
        bundle, style, start = (self.file(name).hash for name in FILES)
        html = HTML.format(title=escape(f"Flowgrid API {VERSION}"), bundle=bundle, style=style, start=start)
        return Packed.of(html.encode(), "text/html", {"Content-Security-Policy": POLICY})

    def file(self, name: str) -> Packed:
        """A file of the viewer, read when it is first asked for."""
        if name not in self._files:
            packed = VIEWER / f"{name}.gz"
            self._files[name] = (
                Packed(packed.read_bytes(), FILES[name])
                if packed.exists()
                else Packed.of((VIEWER / name).read_bytes(), FILES[name])
            )
        return self._files[name]

    @cached_property
    def _described(self) -> dict[str, Any]:
        from shared.http.openapi import describe  # not at start: most processes are never asked

        return describe(self._routes, version=VERSION)


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding names gzip, and not with `q=0` (RFC 9110 §12.5.3)."""
    for one in accepted.lower().split(","):
        coding, _, weight = one.partition(";")
        if coding.strip() == "gzip":
            return weight.replace(" ", "").removeprefix("q=").strip("0.") != "" or not weight
    return False
