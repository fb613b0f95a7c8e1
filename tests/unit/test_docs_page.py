"""The page on which the API is read and tried out: what it loads is ours, unchanged, and allowed."""

import gzip
import json
import re
from hashlib import sha256

import pytest

from shared.http.answers import SECURITY_HEADERS
from shared.http.docs import FILES, POLICY, VIEWER, _takes_gzip
from tests.unit.world import World

VENDORED = json.loads((VIEWER / "vendored.json").read_text("utf-8"))


def test_the_viewer_is_what_its_makers_published() -> None:
    packed = {path.name.removesuffix(".gz"): path for path in VIEWER.glob("*.gz")}
    found = {name: sha256(gzip.decompress(path.read_bytes())).hexdigest() for name, path in packed.items()}
    assert found == VENDORED["sha256"]
    assert VENDORED["license"] in ("Apache-2.0",) and "Apache License" in (VIEWER / "LICENSE").read_text("utf-8")
    assert sum(path.stat().st_size for path in VIEWER.iterdir()) < 600_000


async def test_the_page_loads_only_what_is_served_and_runs_nothing_that_stands_in_it(world: World) -> None:
    text = (await world.call("get_docs")).raw.decode()
    loaded = set(re.findall(r'(?:src|href)="([^"]+)"', text))
    served = {f"{route.path}" for route in world.core.endpoint.routes if route.role is None}
    assert {name.partition("?")[0] for name in loaded} - {"data:,"} <= served  # beside /api/docs
    assert len(loaded) == 5
    assert not re.search(r"<script(?![^>]*src=)[^>]*>|<style|\sstyle=|\son\w+=|javascript:|https?://", text)


async def test_the_pages_content_policy_takes_nothing_from_elsewhere_and_nothing_inline(world: World) -> None:
    policy = (await world.call("get_docs")).headers["Content-Security-Policy"]
    assert policy == POLICY
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy


async def test_no_other_answer_may_load_anything(world: World) -> None:
    policy = (await world.call("get_openapi")).headers["Content-Security-Policy"]
    assert policy == SECURITY_HEADERS["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize("name", FILES)
async def test_a_file_of_the_page_is_kept_for_ever_under_its_hash(world: World, name: str) -> None:
    route = next(route.name for route in world.core.endpoint.routes if route.path == f"docs/{name}")
    page = (await world.call("get_docs")).raw.decode()
    plain = await world.call(route)
    packed = await world.call(route, headers={"accept-encoding": "br, gzip"})
    assert f"docs/{name}?{plain.etag[1:-1]}" in page
    assert gzip.decompress(packed.raw) == plain.raw
    assert (packed.headers["Content-Encoding"], "Content-Encoding" in plain.headers) == ("gzip", False)
    assert packed.etag != plain.etag
    for answer in (plain, packed):  # not by its hash: of the next release it may be another
        assert answer.headers["Cache-Control"] == "no-cache"
    by_hash = f"?{plain.etag[1:-1]}"
    for search, kept in ((by_hash, "public, max-age=31536000, immutable"), ("?another", "no-cache")):
        assert (await world.call(route, search=search)).headers["Cache-Control"] == kept
        assert answer.headers["Vary"] == "Accept-Encoding"
    again = await world.call(route, headers={"accept-encoding": "gzip", "if-none-match": packed.etag})
    assert (again.status, again.raw) == (304, b"")


async def test_the_page_itself_is_asked_for_each_time(world: World) -> None:
    answer = await world.call("get_docs")
    assert answer.headers["Cache-Control"] == "no-cache"
    assert (await world.call("get_docs", headers={"if-none-match": answer.etag})).status == 304


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("gzip;q=0", False), ("gzip; q=0.0", False), ("br", False), ("", False)],
)
def test_who_does_not_take_gzip_gets_none(accepted: str, takes: bool) -> None:
    assert _takes_gzip(accepted) is takes
