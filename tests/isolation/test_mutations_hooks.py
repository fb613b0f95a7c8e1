"""Slips in what is delivered by others; each is found, and told by what was sent."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

import functions.hooks.delivering as delivering
import functions.hooks.signatures as signatures
import shared.members.makers as makers
from functions.hooks.delivering import Delivering
from functions.hooks.tokens import HookTokens
from tests.isolation.cases import Stage
from tests.isolation.mutating import mutate
from tests.isolation.senders import IN, through_hooks
from tests.isolation.watch import Watch


@pytest_asyncio.fixture(loop_scope="module")
async def watch(on_sqlite: Stage) -> AsyncIterator[Watch]:
    own = Watch(on_sqlite.site, on_sqlite.victim.id)
    yield own
    own.close()


async def leaks(stage: Stage, watch: Watch) -> str:
    return "\n".join([str(leak) async for leak in through_hooks(stage, watch) if leak])


async def test_without_a_mutation_no_delivery_does_what_it_may_not(on_sqlite: Stage, watch: Watch) -> None:
    found = [leak async for leak in through_hooks(on_sqlite, watch)]
    assert [str(leak) for leak in found if leak] == [] and len(found) == 27


async def test_a_signature_that_is_not_compared(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signatures, "_one_of", lambda sent, right: True)
    found = await leaks(on_sqlite, watch)
    assert f"{IN}, one's own secret, to the victim: 202 where 401 must be" in found
    assert f"{IN}, a secret that was ended: 202 where 401 must be" in found


async def test_a_time_that_is_not_looked_at(on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, signatures, "_timely", ("abs(int(at) - now) <= WINDOW_SECONDS", "True"))
    found = await leaks(on_sqlite, watch)
    assert f"{IN}, what is signed six minutes ago: 202 where 401 must be" in found
    assert f"{IN}, what is signed six minutes ahead: 202 where 401 must be" in found


async def test_a_delivery_whose_id_is_forgotten(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = 'derived_id(Execution.KIND, "hook", session.id, hook.id, delivery.id)'
    mutate(monkeypatch, Delivering, "take", (name, "session.services.ids.new()"))
    found = await leaks(on_sqlite, watch)
    assert f"{IN}, the same delivery again: starts 1 runs where 0 must be" in found
    assert f"{IN}, the same delivery, at another instance: starts 1 runs where 0 must be" in found


async def test_a_token_whose_tag_is_not_compared(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, HookTokens, "opened", ("or not hmac.compare_digest(tag, self._tag(named))", ""))
    found = await leaks(on_sqlite, watch)
    assert f"{IN}, a made-up token of one's own hook: 202 where 401 must be" in found
    wrong = "a made-up token of the victim's hook, the victim's secret"
    assert f"{IN}, {wrong}: 202 where 401 must be" in found


async def test_a_delivery_that_is_taken_to_the_tenant_that_it_names(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a header, which any sender may send."""
    named = 'self._directory.entry(sent.headers.get("x-tenant-id") or named[0])'
    mutate(monkeypatch, Delivering, "_named", ("self._directory.entry(named[0])", named))
    assert f"{IN}, one that names the victim: 401 where 202 must be" in await leaks(on_sqlite, watch)


@pytest.mark.parametrize(
    ("owner", "name", "check", "without", "who"),
    [
        (makers, "_user", ' or user.status == "disabled"', "", "a disabled user"),
        (delivering, "as_maker", "not role.includes(needs)", "False", "a user who is a viewer now"),
    ],
    ids=["disabled", "viewer"],
)
async def test_an_owner_of_whom_something_is_not_checked(
    on_sqlite: Stage,
    watch: Watch,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    check: str,
    without: str,
    who: str,
) -> None:
    mutate(monkeypatch, owner, name, (check, without))
    assert f"{IN}, the hook of {who}: 202 where 403 must be" in await leaks(on_sqlite, watch)


async def test_an_owner_who_is_remembered(on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a hook were good by itself."""
    by_user = remembering(makers.as_maker, lambda session, maker, *_: maker.user_id)
    monkeypatch.setattr(delivering, "as_maker", by_user)
    found = await leaks(on_sqlite, watch)
    for who in ("a removed user", "a removed user, at another instance"):
        assert f"{IN}, the hook of {who}: 202 where 403 must be" in found


async def test_a_revoked_hook_that_is_remembered(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own instance, and by those that were not told."""
    by_token = remembering(Delivering._named, lambda self, sent: (id(self), sent.token))
    monkeypatch.setattr(Delivering, "_named", by_token)
    by_id = remembering(Delivering._good, lambda self, session, hook: (id(self), hook.id))
    monkeypatch.setattr(Delivering, "_good", by_id)
    found = await leaks(on_sqlite, watch)
    assert f"{IN}, a revoked hook: 202 where 401 must be" in found
    assert f"{IN}, a revoked hook, at another instance: 202 where 401 must be" in found


def remembering(inner: Callable[..., Any], key: Callable[..., Any]) -> Callable[..., Any]:
    """Asked once for each key, and never again."""
    kept = dict[Any, Any]()

    async def remembered(*given: Any) -> Any:
        if key(*given) not in kept:
            kept[key(*given)] = await inner(*given)
        return kept[key(*given)]

    return remembered
