"""Slips that show only where both tenants are at work, or two instances: each is found, and told by its name."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

import functions.backups.export as export
import functions.usage.analytics as analytics
import shared.database.sqlite as sqlite
import shared.http.admission as admission
import shared.http.endpoint as endpoint
from functions.usage.rollups import sums
from shared.database.port import TenantStore
from shared.http.endpoint import Endpoint
from shared.members.issuers import OwnIssuers
from shared.members.members import Members
from shared.tenancy.directory import Directory
from tests.isolation import both, changes
from tests.isolation.cases import Stage
from tests.isolation.credentials import Credential, of_removed_issuer, suspended_elsewhere, taken_out
from tests.isolation.mutating import mutate
from tests.isolation.people import onboard
from tests.isolation.prover import Prover
from tests.isolation.watch import Watch

LIST, ONE = "GET v1/agents", "GET v1/agents/{agent_id}"
SUSPENDED = "admin of a tenant that was suspended elsewhere"
REMOVED = "user who was removed elsewhere"
ISSUER = "own issuer that was removed elsewhere"


@pytest_asyncio.fixture(loop_scope="module")
async def watch(on_sqlite: Stage) -> AsyncIterator[Watch]:
    own = Watch(on_sqlite.site, on_sqlite.victim.id)
    yield own
    own.close()


async def leaks(stage: Stage, watch: Watch, route: str, *credentials: str) -> str:
    """What the prover tells of these cases, as one text."""
    prover = Prover(stage, watch)
    await prover.prove([route], credentials)
    return "\n".join(map(str, prover.leaks))


# Answers


async def test_a_memory_of_answers_that_forgets_whose_they_are(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each path and query the first who asked is told, and everybody after that the same."""
    kept, in_time = dict[Any, Any](), Endpoint._in_time

    async def remembered(self: Endpoint, route: Any, req: Any, *rest: Any) -> Any:
        key = (route.name, *sorted(req.route_params.items()), *sorted(req.params.items()))
        if route.method == "GET" and key not in kept:
            kept[key] = await in_time(self, route, req, *rest)
        return kept[key] if route.method == "GET" else await in_time(self, route, req, *rest)

    monkeypatch.setattr(Endpoint, "_in_time", remembered)
    assert f"{LIST} as viewer, own ids: the answer holds the victim's agent_id" in await leaks(
        on_sqlite, watch, LIST, "viewer"
    )
    assert f"{ONE} as admin, the victim's agent_id: 200 where 404 must be" in await leaks(
        on_sqlite, watch, ONE, "admin"
    )


async def test_a_session_that_two_calls_at_once_share(on_sqlite: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(
        monkeypatch,
        Endpoint,
        "_answer",
        ("session = await self._admitted(", "self.session = await self._admitted("),
        ("answered.allowances += await", "await __import__('asyncio').sleep(0)\n    answered.allowances += await"),
        ("windows_of(route, session))", "windows_of(route, self.session))\n    session = self.session"),
    )
    found = [str(leak) async for leak in both.at_once(on_sqlite, [LIST]) if leak]
    assert f"{LIST} as admin, at once with the other tenant: the answer holds the other's agent_id" in found


# Figures and windows


async def test_figures_with_the_victims_sums_in_them(on_sqlite: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = await on_sqlite.site.core.directory.store(on_sqlite.victim.id)

    async def more(store: TenantStore, *asked: Any) -> Mapping[str, Any]:
        assert theirs is not None
        return {**await sums(store, *asked), **await sums(theirs, *asked)}

    monkeypatch.setattr(analytics, "sums", more)
    found = [str(leak) async for leak in both.figures(on_sqlite) if leak]
    assert any(leak.startswith("GET v1/analytics as admin, figures: calls.calls moves by 0, and by ") for leak in found)
    assert all(leak.startswith("GET v1/analytics as admin") for leak in found)


@pytest.mark.parametrize(
    ("shared", "key"),
    [
        ('Window("tenant", {}, most', "GET v1/me as admin"),
        ("Window(route.limit, {}, plan", "POST v1/agents as admin"),
    ],
    ids=["of all calls", "of a route's"],
)
async def test_a_window_of_calls_that_everybody_shares(
    on_sqlite: Stage, monkeypatch: pytest.MonkeyPatch, shared: str, key: str
) -> None:
    mutate(monkeypatch, admission, "windows_of", (shared.format("session.id"), shared.format('"everybody"')))
    monkeypatch.setattr(endpoint, "windows_of", admission.windows_of)
    found = [str(leak) async for leak in both.windows(on_sqlite) if leak]
    assert any(leak.startswith(f"{key}, again and again: leaves the victim ") for leak in found)


# Changes that succeed, and what is done later


async def test_a_removal_that_forgets_the_tenant(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids are made of names: what two tenants call alike has one id."""
    buries = "db.execute(_PUT, _row(key, kind, operation.body, text, ttl, etag, now))\n    return etag"
    others = "DELETE FROM items WHERE tenant_id <> ? AND container = ? AND id = ?"
    also = f"if kind is TOMBSTONE:\n                db.execute({others!r}, key)"
    mutate(monkeypatch, sqlite, "_apply", (buries, buries.replace("\n    return", f"\n            {also}\n    return")))
    found = [str(leak) async for leak in changes.through_changes(on_sqlite, watch) if leak]
    for what in ("tool", "provider", "mcp_server"):
        [leak] = [
            leak
            for leak in found
            if leak.startswith(f"DELETE v1/{what.replace('_', '-')}s/{{{what}_id}} as admin, one's own")
        ]
        assert f"/{what}:" in leak and leak.endswith(" changed")


async def test_a_backup_that_takes_the_victims_along(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = await on_sqlite.site.core.directory.store(on_sqlite.victim.id)
    monkeypatch.setattr(export, "theirs", theirs, raising=False)
    more = "[*page.items, *(await theirs.query(kind, where, order=order, limit=PAGE_ITEMS)).items]"
    mutate(monkeypatch, export.Export, "_page", ("map(line, page.items)", f"map(line, {more})"))
    found = [str(leak) async for leak in changes.through_work(on_sqlite, watch) if leak]
    assert any(leak.startswith("blobs/backups/") and "holds the victim's" in leak for leak in found)


# What another instance has changed


@pytest.mark.parametrize(
    ("owner", "name", "left_out", "who"),
    [
        (Directory, "entry", " and now - cached[0] < ENTRY_LIVES_SECONDS", SUSPENDED),
        (Members, "_user", " and now - known.at < LIVES_SECONDS", REMOVED),
        (OwnIssuers, "_found", " and now - known[0] < LIVES_SECONDS", ISSUER),
    ],
    ids=["a tenant", "a user", "an issuer"],
)
async def test_something_that_is_believed_for_ever(
    on_sqlite: Stage,
    watch: Watch,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    left_out: str,
    who: str,
) -> None:
    mutate(monkeypatch, owner, name, (left_out, ""))
    site, home = on_sqlite.site, on_sqlite.home
    if who == SUSPENDED:
        token = await suspended_elsewhere(site, await onboard(site))
    elif who == REMOVED:
        token = await taken_out(site, home, by=site.elsewhere)
    else:
        token = await of_removed_issuer(site, home, by=site.elsewhere)
    again = replace(on_sqlite, credentials={who: Credential(who, token, {})})
    wanted = 401 if who == ISSUER else 403
    assert f"{LIST} as {who}, own ids: 200 where {wanted} must be" in await leaks(again, watch, LIST, who)
