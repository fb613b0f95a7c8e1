"""The API's description as one page: plain HTML without scripts, so the strictest content policy fits it."""

import json
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from html import escape
from typing import Any

from shared.http.openapi import describe
from shared.http.routes import Content, Route
from shared.version import VERSION

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1a2233}"
    "code,pre{font:14px/1.4 ui-monospace,monospace;background:#f3f5f9;border-radius:4px}code{padding:.1em .3em}"
    "pre{padding:.8rem;overflow:auto}summary{cursor:pointer;padding:.35rem 0}"
    "h2{margin-top:2rem;text-transform:capitalize}"
    ".m{display:inline-block;min-width:4.5rem;font-weight:600}.p{font-family:ui-monospace,monospace}"
    ".s{color:#5a6478}table{border-collapse:collapse}"
    "td,th{border:1px solid #d9dee8;padding:.25rem .6rem;text-align:left}"
)


class Description:
    """What a process says of its API: made once, when it is first asked for and every route is known."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes

    @cached_property
    def document(self) -> Content:
        """OpenAPI 3.1 as JSON."""
        text = json.dumps(self._described, ensure_ascii=False, separators=(",", ":"))
        return _kept(text.encode(), "application/json")

    @cached_property
    def page(self) -> Content:
        """The same as HTML."""
        return _kept(page(self._described).encode(), "text/html")

    @cached_property
    def _described(self) -> dict[str, Any]:
        return describe(self._routes, version=VERSION)


def _kept(body: bytes, media_type: str) -> Content:
    return Content(body, media_type, etag=f'"{sha256(body).hexdigest()[:32]}"')


def page(document: dict[str, Any]) -> str:
    """One HTML page of an OpenAPI document made by `shared.http.openapi`."""
    info = document["info"]
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            sections.setdefault(operation["tags"][0], []).append(_operation(method.upper(), path, operation))
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(shown)}" for tag, shown in sections.items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
        f'<p>For programs: <a href="/api/openapi.json">openapi.json</a> (OpenAPI 3.1).</p>{body}</body></html>'
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"<p>{escape(operation.get('description', 'Open to everybody.'))}</p>"]
    if operation["parameters"]:
        rows = "".join(
            f"<tr><td><code>{escape(one['name'])}</code></td><td>{one['in']}</td>"
            f"<td>{escape(json.dumps(one['schema'], ensure_ascii=False))}</td></tr>"
            for one in operation["parameters"]
        )
        parts.append(f"<table><tr><th>parameter</th><th>in</th><th>schema</th></tr>{rows}</table>")
    for media_type, media in operation.get("requestBody", {}).get("content", {}).items():
        example = json.dumps(media.get("example", media["schema"]), indent=2, ensure_ascii=False)
        parts.append(f"<p>Body, <code>{media_type}</code>:</p><pre>{escape(example)}</pre>")
    answers = ", ".join(
        f"<code>{status}</code> {escape(answer['description'])}" for status, answer in operation["responses"].items()
    )
    parts.append(f"<p>Answers: {answers}</p>")
    return (
        f'<details><summary><span class="m">{method}</span> <span class="p">{escape(path)}</span> '
        f'<span class="s">{escape(operation["summary"])}</span></summary>{"".join(parts)}</details>'
    )
