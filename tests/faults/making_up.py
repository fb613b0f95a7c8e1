"""Requests that nobody sends in earnest: near what a route declares, and then wrong in one place, or in all of them."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from shared.auth.roles import Role
from shared.http.bodies import Json, Merge
from shared.http.routes import Route

WHO = (None, *Role)
NEVER = "01900000-0000-7000-8000-00000000dead"
DEEP, ENDLESS = "\x01deep\x01", "\x01endless\x01"  # what `json.dumps` does not write
TEXTS: Sequence[str] = (
    *("", " ", "a", "null", "*", "-1", "0", "1", "true", "9" * 400, "1e400", "NaN", "Infinity", "0x10", "٣", "½"),
    *("..", "../..", "%2e%2e%2f", "%00", "\x00", "a\x00b", "\x1f", "\r\nx-evil: 1", "\u2028", "\u202e", "\ufffe"),
    *("é" * 300, "🦄", "e\u0301" * 200, "a" * 5000, "'", '"', "' OR 1=1 --", "{{7*7}}", "${x}", "%s%n", "<b>", "\\"),
    *("2026-02-30T25:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-13", "0000-00", "2026-11"),
    *("2026-11-24T10:00:00+23:59", "2026-11-24T10:00:00", "2026-11-24", "-created_at", "created_at;drop", "24:00"),
    *(NEVER, NEVER.upper(), f"{{{NEVER}}}", NEVER.replace("-", ""), f"agent:{NEVER}", "offline", "platform", "gpt-5"),
    *("http://169.254.169.254/", "https://[::1]:0/", "https://a@b:c@d/", "javascript:1", "* * * * *", "*/0 * * * *"),
    *("a@b.example", "A@B.EXAMPLE", "a@", "@", "a@b@c.example", "admin@xn--a.example", "Orchestrator", "active"),
)
VALUES: Sequence[Any] = (
    *(None, True, False, -1, 0, 1, 2, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400, 0.1, 1e308, -0.0),
    *(float("nan"), float("inf"), float("-inf"), [], {}, [[]], {"": None}, [None] * 300, ["a"] * 3, {"a": {"b": {}}}),
    *("\ud800", "\udfff\ud800", "a\udc00b", {"\ud800": 1}, {"__proto__": {}}, {"$ref": "#"}, DEEP, ENDLESS),
    *({f"k{number}": number for number in range(60)}, list(range(200)), "x" * 70_000),
)
JUNK: Sequence[bytes] = (
    *(
        b"",
        b" ",
        b"{",
        b"}",
        b"[]",
        b"null",
        b"0",
        b'""',
        b"NaN",
        b"-",
        b"{}{}",
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
    ),
    *(b'{"name": "\xff"}', b'{"name": "\\ud800"}', b'{"name": "\\u00', b'{"name": 1, "name": 2}', b"[" * 100_000),
    *(b"\xef\xbb\xbf{}", b'{"a":' * 5_000, b'{"name": ' + b"9" * 50_000 + b"}", b'{"name": 1e' + b"9" * 500 + b"}"),
    *(b"[" + b"1," * 20_000, b'{"name": "' + b"a" * 1_100_000 + b'"}', b"a=b&c=d", b"\x00" * 99),
    *(
        b"<a/>",
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b"<" * 9_000,
        b"a=b&c=d",
        b"\x00" * 99,
    ),
    *(b'{"name": "' + b"a" * 1_100_000 + b'"}',),
)
MEDIA = (
    *(
        "application/json",
        "application/merge-patch+json",
        "application/xml",
        "text/plain",
        "",
        ";",
        "application/json;",
    ),
    *(
        "application/json; charset=utf-16",
        "APPLICATION/JSON",
        "multipart/form-data; boundary=x",
        "é",
        "application/" * 99,
    ),
)
WORDS = st.text(st.characters(codec="utf-8"), max_size=40)
ETAGS = ('"1"', 'W/"1"', "*", '"', "", '"a", "b"', "1", '""' * 500, "é", '"\x7f"')
ODD_HEADERS: Mapping[str, Sequence[str]] = {
    "if-match": ETAGS,
    "if-none-match": ETAGS,
    "idempotency-key": ("k", "k,k", "", " ", "é", "k" * 255, "k" * 256, "\x00", "k k"),
    "x-tenant-id": (NEVER, "", "acme", NEVER.upper(), "a" * 9000, f"{NEVER},{NEVER}"),
    "x-request-id": ("r", "", "é", "a" * 9000, "\r\nx-evil: 1", NEVER),
    "x-forwarded-for": ("", ",", "::1", "1.2.3.4:x, y", "unknown", "[::1]:1, [", "1.2.3.4," * 900, "é"),
    "user-agent": ("", "a" * 9000, "é🦄", "\x1b[31m"),
    "traceparent": ("", "00-0-0-0", "00-" + "f" * 32 + "-" + "f" * 16 + "-01", "ff-" * 900, "é"),
    "tracestate": ("", "a=b," * 900),
    "authorization": (
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer a.b.c",
        "Bearer é",
        "Bearer " + "a" * 20_000,
        "bearer x",
    ),
    "origin": ("null", "https://evil.example", "é", "https://" + "a" * 3000),
    "accept": ("", "text/csv", "*/*;q=x", "application/" * 900, "é"),
    "accept-language": ("", "de;q=9", "é" * 999),
    "host": ("", "[", "evil.example", "a/b?c"),
    "content-length": ("0", "-1", "99999999999999999999"),
    "x-http-method-override": ("DELETE",),
}


class Known:
    """What can be named: ids by the parameter that takes them, cursors and bodies by route; and what the API says."""

    def __init__(
        self,
        routes: Sequence[Route],
        document: Mapping[str, Any],
        ids: dict[str, list[str]],
        cursors: Mapping[str, str],
        bodies: Mapping[str, Any],
    ) -> None:
        self.routes, self.document, self.ids, self.cursors, self.bodies = routes, document, ids, cursors, bodies

    def operation(self, route: Route) -> Mapping[str, Any]:
        """As the API describes it; of what it does not, nothing is known."""
        none: dict[str, Any] = {"responses": {}, "parameters": []}
        found: Mapping[str, Any] = self.document["paths"].get(f"/api/{route.path}", {}).get(route.method.lower(), none)
        return found

    def resolved(self, one: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in one:
            found: Any = self.document
            for part in one["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            one = found
        return one

    def schema(self, route: Route) -> Mapping[str, Any]:
        """Of the route's body."""
        content = self.operation(route).get("requestBody", {}).get("content", {})
        return next((one["schema"] for one in content.values()), {})

    def parameter(self, route: Route, name: str) -> Mapping[str, Any]:
        for one in map(self.resolved, self.operation(route)["parameters"]):
            if one["in"] == "query" and one["name"] == name:
                schema: Mapping[str, Any] = one["schema"]
                return schema
        return {}


@dataclass(frozen=True)
class MadeUp:
    """One request, before it has a token; `query` as it stands in the URL."""

    who: Role | None
    route: Route
    method: str
    params: Mapping[str, str]
    query: str
    headers: Mapping[str, str]
    body: bytes

    def __str__(self) -> str:
        told = f"{self.method} {self.route.path} as {self.who}: {dict(self.params)} ?{self.query} {dict(self.headers)}"
        return f"{told[:1500]} {self.body[:700]!r}"


@st.composite
def requests(draw: DrawFn, known: Known) -> MadeUp:
    """Texts are hypothesis's; by chance, as hypothesis seeds it, is what is asked, and where it is wrong."""
    making = _Making(draw(st.randoms(use_true_random=True)), known, lambda: draw(WORDS))
    return making.request()


class _Making:
    """One request. `word`: another text each time."""

    def __init__(self, chance: Random, known: Known, word: Callable[[], str]) -> None:
        self._chance, self._known, self._word = chance, known, word

    def request(self) -> MadeUp:
        route = self._one_of(self._known.routes)
        anybody = route.role is None or self._once_in(5)
        who = self._one_of(WHO if anybody else [role for role in Role if role.includes(route.role)])
        method = self._one_of(route.methods) if self._once_in(10) else route.method
        params = {name: self._id(name) for name in re.findall(r"{(\w+)}", route.path)}
        body = self._body(route) if route.body is not None or self._once_in(20) else b""
        return MadeUp(who, route, method, params, self._query(route), self._headers(route), body)

    def _one_of(self, some: Sequence[Any]) -> Any:
        """By one number, however many they are: what was learned meanwhile changes nothing that is chosen later."""
        return some[int(self._chance.random() * len(some))]

    def _once_in(self, times: int) -> bool:
        return self._chance.random() * times < 1

    def _text(self) -> str:
        return self._word() if self._once_in(3) else str(self._one_of(TEXTS))

    def _wrong(self) -> Any:
        return self._text() if self._once_in(2) else self._one_of(VALUES)

    def _id(self, name: str) -> str:
        """Of a segment of a path: never empty, else it were another path."""
        if not self._once_in(5):
            return str(self._one_of(self._known.ids[name]))
        others = sorted({id for ids in self._known.ids.values() for id in ids})
        return (self._one_of(others) if self._once_in(2) else self._text()).replace("/", "") or "a"

    def _query(self, route: Route) -> str:
        fields = [declared.alias or name for name, declared in route.query.model_fields.items()]
        names = self._chance.sample(fields, min(len(fields), self._one_of((0, 0, 1, 1, 2, 3))))
        sent = [(name, self._parameter(route, name)) for name in names]
        if self._once_in(20):
            sent.append((self._text(), self._text()))
        raw = "&".join(f"{quote(name)}={quote(value, errors='replace')}" for name, value in sent)
        return raw + self._one_of(("&", "%ff=%ff", "&&==", "&a", "&limit", "+")) if self._once_in(20) else raw

    def _parameter(self, route: Route, name: str) -> str:
        ids, cursor = self._known.ids, self._known.cursors.get(route.name)
        if self._once_in(4):
            return self._text()
        if name == "cursor" and cursor is not None:
            return cursor
        if known := ids.get(name, ids.get(f"{name}_id")):
            return str(self._one_of(known))
        value = self._like(self._known.parameter(route, name))
        return value if isinstance(value, str) else json.dumps(value)

    def _headers(self, route: Route) -> dict[str, str]:
        headers: dict[str, str] = {}
        if route.body is not None:
            headers["content-type"] = self._one_of(MEDIA) if self._once_in(20) else route.body.media_types[0]
        if route.method in ("PUT", "PATCH", "DELETE") and not self._once_in(8):
            headers["if-match"] = "*"
        if self._once_in(4):
            for name in self._chance.sample(sorted(ODD_HEADERS), self._one_of((1, 1, 2))):
                headers[name] = self._one_of(ODD_HEADERS[name])
        return headers

    def _body(self, route: Route) -> bytes:
        example = self._known.bodies.get(route.name)
        if self._once_in(10):
            return bytes(self._one_of(JUNK))
        if not isinstance(route.body, Json | Merge):
            raw = example if isinstance(example, bytes) else json.dumps(example).encode()
            at = self._chance.randint(0, len(raw))
            return bytes(self._one_of((raw, raw, raw[:at], raw[:at] + self._one_of(JUNK)[:999] + raw[at:], raw * 2)))
        body = example if example and self._once_in(2) else self._like(self._known.schema(route))
        if isinstance(route.body, Merge) and isinstance(body, dict) and body:
            body = {name: body[name] for name in self._chance.sample(sorted(body), self._chance.randint(1, len(body)))}
        for _ in range(self._one_of((0, 0, 0, 1, 1, 2, 4))):
            body = self._spoilt(body)
        raw = json.dumps(body).encode()
        for name, written in ((DEEP, b"[" * 3000 + b"]" * 3000), (ENDLESS, b"9" * 5000)):
            raw = raw.replace(json.dumps(name).encode(), written)
        return raw

    def _spoilt(self, value: Any) -> Any:
        """With another value somewhere in it, or one more, or one less."""
        if isinstance(value, dict) and value and not self._once_in(5):
            name = self._one_of(sorted(value))
            if self._once_in(6):
                return {other: one for other, one in value.items() if other != name}
            if self._once_in(8):
                added = self._one_of(("id", "tenant_id", "revision", "etag", self._text()))
                return {**value, added: self._wrong()}
            return {**value, name: self._spoilt(value[name])}
        if isinstance(value, list) and value and not self._once_in(4):
            at = self._chance.randrange(len(value))
            return [*value[:at], self._spoilt(value[at]), *value[at + self._chance.randint(0, 1) :]]
        return self._wrong()

    def _like(self, schema: Mapping[str, Any], depth: int = 0) -> Any:
        """A value that is much as a JSON schema describes it; patterns are left to chance."""
        schema = self._known.resolved(schema)
        if options := schema.get("anyOf") or schema.get("oneOf"):
            return self._like(self._one_of(options), depth)
        if "const" in schema:
            return schema["const"]
        if chosen := schema.get("enum") or (schema.get("examples") if self._once_in(2) else None):
            return self._one_of(chosen)
        match schema.get("type"):
            case "object" if "properties" in schema:
                needed, names = set(schema.get("required", ())), schema["properties"]
                kept = [name for name in names if name in needed or (depth < 4 and self._once_in(2))]
                return {name: self._like(names[name], depth + 1) for name in kept}
            case "object":
                return self._one_of(({}, {"a": "b"}, {"status": "active", "deep": {"er": [1]}}))
            case "array":
                most = min(3, schema.get("maxItems", 3)) if depth < 5 else 0
                count = self._chance.randint(min(most, schema.get("minItems", 0)), most)
                return [self._like(schema.get("items", {}), depth + 1) for _ in range(count)]
            case "integer" | "number":
                low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
                return self._one_of((low, low + 1, schema.get("maximum", 100)))
            case "boolean":
                return self._once_in(2)
            case "null":
                return None
            case "string":
                likely = (NEVER, "claims", "2026-11-24T10:00:00Z", "ü", "a-b", "agent:x", self._text())
                text = str(self._one_of(likely)).ljust(schema.get("minLength", 0), "x")
                return text[: schema.get("maxLength", 60)]
        return self._one_of(VALUES)
