"""Slips in who is let in by an API key; each is found."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

import shared.auth.apikeys as form
import shared.auth.tokens as tokens
import shared.http.admission as admission
import shared.members.apikeys as apikeys
from shared.auth.caller import Caller
from shared.members.apikeys import ApiKeys
from shared.members.members import Members
from tests.isolation.cases import Stage
from tests.isolation.mutating import mutate
from tests.isolation.prover import Prover
from tests.isolation.watch import Watch

LIST, INVITE, GET = "GET v1/agents", "POST v1/users", "GET v1/agents/{agent_id}"


@pytest_asyncio.fixture(loop_scope="module")
async def watch(on_sqlite: Stage) -> AsyncIterator[Watch]:
    own = Watch(on_sqlite.site, on_sqlite.victim.id)
    yield own
    own.close()


async def leaks(stage: Stage, watch: Watch, route: str, *credentials: str) -> str:
    """What the prover tells of these cases by keys that nobody has looked at yet, as one text."""
    known: Any = stage.site.core.api_keys._known
    known.clear()
    prover = Prover(stage, watch)
    await prover.prove([route], credentials)
    known.clear()
    return "\n".join(map(str, prover.leaks))


async def test_without_a_mutation_the_same_cases_find_nothing(on_sqlite: Stage, watch: Watch) -> None:
    keys = [name for name in on_sqlite.credentials if name.startswith(("key", "the victim's key"))]
    assert len(keys) == 16
    for route in (LIST, GET, INVITE):
        assert await leaks(on_sqlite, watch, route, *keys) == ""


async def test_a_secret_that_is_not_compared(on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, apikeys, "_secret", ('if hmac.compare_digest(one["digest"], digest)', ""))
    name = "the victim's key, another secret"
    assert f"{LIST} as {name}, own ids: 200 where 401 must be" in await leaks(on_sqlite, watch, LIST, name)


async def test_a_checksum_that_is_not_looked_at(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, form, "parsed", ("_checksum(text[: -len(checksum)]) != checksum", "False"))
    monkeypatch.setattr(tokens, "parsed", form.parsed)
    name = "key with a wrong character"
    assert f"{LIST} as {name}, own ids: 200 where 401 must be" in await leaks(on_sqlite, watch, LIST, name)


@pytest.mark.parametrize(
    ("left_out", "name"),
    [
        ("not has_maker", "key that was made with a revoked one"),
        ("known.until <= self._clock.now()", "key that is over"),
    ],
    ids=["the key that it was made with", "its time"],
)
async def test_a_key_of_which_something_is_not_checked(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch, left_out: str, name: str
) -> None:
    mutate(monkeypatch, ApiKeys, "caller" if "until" in left_out else "_read", (left_out, "False"))
    core = on_sqlite.site.core
    monkeypatch.setattr(core.endpoint.verifier, "_api_keys", core.api_keys.caller)
    assert f"{LIST} as {name}, own ids: 200 where 401 must be" in await leaks(on_sqlite, watch, LIST, name)


async def test_a_user_who_is_not_looked_at(on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a key were good by itself."""
    inner = Members.admit

    async def admit(self: Members, session: Any) -> Any:
        return session if session.caller.key is not None else await inner(self, session)

    monkeypatch.setattr(Members, "admit", admit)
    names = ("key of a removed user", "key of a disabled user", "key of a user who was removed elsewhere")
    found = await leaks(on_sqlite, watch, LIST, *names)
    assert all(f"{LIST} as {name}, own ids: 200 where 403 must be" in found for name in names)
    wide = await leaks(on_sqlite, watch, INVITE, "key of an admin who is a viewer now")
    assert f"{INVITE} as key of an admin who is a viewer now, own ids: " in wide


async def test_a_key_that_is_for_everything(on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Caller, "may", lambda self, scope: True)
    found = await leaks(on_sqlite, watch, INVITE, "key that only reads")
    assert f"{INVITE} as key that only reads, own ids: 409 where 403 must be" in found  # there is such a user


async def test_a_key_that_is_believed_whatever_tenant_it_names(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a header, which any caller may send."""

    mutate(
        monkeypatch, admission, "_tenant_id", ("if caller.role is Role.PLATFORM else None", "if caller.key else None")
    )
    found = await leaks(on_sqlite, watch, LIST, "key that names the victim")
    assert f"{LIST} as key that names the victim, own ids: " in found
