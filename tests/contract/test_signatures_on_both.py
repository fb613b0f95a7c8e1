"""Audit entries are signed on the way to either database, by one key for all instances that can be replaced."""

import asyncio
import json
from decimal import Decimal
from math import inf, nextafter
from pathlib import Path
from typing import Any

import pytest

from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Create, Database, Stored
from shared.database.sqlite import SqliteDatabase
from shared.errors import Unavailable
from shared.ids import PLATFORM_TENANT_ID
from shared.secrets.file import FileSecrets
from shared.secrets.port import Secrets, SecretSpace
from shared.tenancy.directory import RESERVATION
from shared.tenancy.fence import AUDIT, Handle, first_permit
from shared.tenancy.signing import KEYS, LOOKED_AGAIN_SECONDS, Signatures, canonical
from tests.contract.database import OTHER, SHARD, TENANT
from tests.doubles.clock import FakeClock

VALUES: dict[str, Any] = {
    "whole": 3.0,
    "large": 1e22,
    "larger": 1e23,
    "largest": 2.0**53,
    "small": -0.5,
    "exponent": 2.5e-9,
    "truth": True,
    "nothing": None,
    "text": 'ü "1.0", [2.50]',
    "nested": [{"z": 1.0, "a": [1, 2.25]}],
}


@pytest.fixture(params=["sqlite", "cosmos"])
def database(
    request: pytest.FixtureRequest, sqlite_database: SqliteDatabase, cosmos_database_of_double: CosmosDatabase
) -> Database:
    return sqlite_database if request.param == "sqlite" else cosmos_database_of_double


@pytest.fixture
def secrets(tmp_path: Path) -> FileSecrets:
    return FileSecrets(tmp_path / "secrets", lambda: b"qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=")


def entry(id: str, value: Any = None) -> Create:
    body = {"created_at": "2026-11-24T12:00:00.000000Z", "action": "agent.created", "new_value": value}
    return Create(AUDIT, id, body)


async def nobody(old: str, new: str) -> None:
    """Is told."""


async def written(database: Database, signatures: Signatures, id: str, value: Any = None) -> dict[str, Any]:
    store = Handle(database.tenant(TENANT, SHARD), signer=signatures).control
    await store.commit([entry(id, value)])
    found = await store.get(AUDIT, id)
    assert found is not None
    return found.body


async def test_an_entry_is_as_it_was_signed_after_the_database_has_kept_it(
    database: Database, secrets: FileSecrets, clock: FakeClock
) -> None:
    signatures = Signatures(secrets, database, clock)
    body = await written(database, signatures, "one", VALUES)
    assert signatures.check(TENANT, "one", body) == "good"


@pytest.mark.parametrize(
    "change",
    [
        {"new_value": {**VALUES, "small": -0.25}},
        {"created_at": "2026-11-24T12:00:00.000001Z"},
        {"action": "agent.deleted"},
        {"more": 1},
    ],
)
async def test_whatever_of_it_is_changed_it_is_not_any_more(
    database: Database, secrets: FileSecrets, clock: FakeClock, change: dict[str, Any]
) -> None:
    signatures = Signatures(secrets, database, clock)
    body = await written(database, signatures, "one", VALUES)
    assert signatures.check(TENANT, "one", {**body, **change}) == "forged"


async def test_a_signature_is_of_one_tenant_one_id_and_one_purpose(
    database: Database, secrets: FileSecrets, clock: FakeClock
) -> None:
    signatures = Signatures(secrets, database, clock)
    body = await written(database, signatures, "one")
    verdicts = [
        signatures.check(OTHER, "one", body),
        signatures.check(TENANT, "two", body),
        signatures.check(TENANT, "one", body, "segment"),
        signatures.check(TENANT, "one", {**body, "mac": None}),
        signatures.check(TENANT, "one", {**body, "mac": None, "key_id": None}),
    ]
    assert verdicts == ["forged", "forged", "forged", "forged", "unsigned"]


async def test_of_instances_that_come_first_at_once_all_sign_by_one_key(
    database: Database, secrets: FileSecrets, clock: FakeClock
) -> None:
    instances = [Signatures(secrets, database, clock) for _ in range(4)]
    bodies = await asyncio.gather(*(written(database, one, f"e{at}") for at, one in enumerate(instances)))
    assert len({body["key_id"] for body in bodies}) == 1
    assert {one.check(TENANT, body["id"], body) for one in instances for body in bodies} == {"good"}
    held = await database.platform.get(RESERVATION, PLATFORM_TENANT_ID, KEYS)
    assert held is not None and len(held.body["keys"]) == 1 and "key" not in held.body["keys"]


async def test_after_a_rotation_new_entries_have_another_key_and_old_ones_are_checked_by_theirs(
    database: Database, secrets: FileSecrets, clock: FakeClock
) -> None:
    here, elsewhere = Signatures(secrets, database, clock), Signatures(secrets, database, clock)
    old, also = await written(database, here, "old"), await written(database, elsewhere, "also")
    keys = await here.rotate(nobody)
    new = await written(database, here, "new")
    assert (old["key_id"], new["key_id"]) == (keys.keys[0].id, keys.current) and old["key_id"] != new["key_id"]
    assert {here.check(TENANT, one["id"], one) for one in (old, also, new)} == {"good"}
    assert elsewhere.check(TENANT, "new", new) == "unknown_key"
    clock.forward(seconds=LOOKED_AGAIN_SECONDS)
    waits_for_nothing = await written(database, elsewhere, "meanwhile")
    assert waits_for_nothing["key_id"] == old["key_id"]
    await elsewhere.close()
    assert (await written(database, elsewhere, "later"))["key_id"] == new["key_id"]
    assert elsewhere.check(TENANT, "new", new) == "good"


async def test_a_new_key_signs_here_at_once_though_a_look_was_under_way(
    database: Database, secrets: FileSecrets, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    signatures = Signatures(secrets, database, clock)
    old = await written(database, signatures, "old")
    held, begun, go_on = signatures._held, asyncio.Event(), asyncio.Event()
    refresh, asked = signatures.refresh, asyncio.Event()

    async def stopping() -> Stored | None:
        found = await held()
        if not begun.is_set():
            begun.set()
            await go_on.wait()
        return found

    async def asking() -> None:
        asked.set()
        await refresh()

    monkeypatch.setattr(signatures, "_held", stopping)
    looking = asyncio.ensure_future(refresh())
    await begun.wait()
    monkeypatch.setattr(signatures, "refresh", asking)
    rotating = asyncio.ensure_future(signatures.rotate(nobody))
    await asked.wait()
    go_on.set()
    keys = await rotating
    await looking
    assert (await written(database, signatures, "new"))["key_id"] == keys.current != old["key_id"]


class Down(Secrets):
    def space(self, tenant_id: str) -> SecretSpace:
        return _Down()

    async def ping(self) -> None:
        raise Unavailable("The key vault does not answer.")

    async def close(self) -> None:
        return None


class _Down(SecretSpace):
    async def put(self, name: str, value: str) -> str:
        raise Unavailable("The key vault does not answer.")

    async def get(self, reference: str) -> str:
        raise Unavailable("The key vault does not answer.")

    async def delete(self, reference: str) -> None:
        raise Unavailable("The key vault does not answer.")


async def test_nothing_is_written_unsigned_while_no_key_can_be_had(database: Database, clock: FakeClock) -> None:
    store = Handle(database.tenant(TENANT, SHARD), signer=Signatures(Down(), database, clock))
    await store.control.commit([first_permit()])
    with pytest.raises(Unavailable):
        await store.commit([entry("one")])
    assert await store.get(AUDIT, "one") is None


async def test_whoever_holds_a_key_needs_the_secret_store_no_more(
    database: Database, secrets: FileSecrets, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    signatures = Signatures(secrets, database, clock)
    await written(database, signatures, "one")
    monkeypatch.setattr(signatures, "_space", _Down())
    clock.forward(seconds=LOOKED_AGAIN_SECONDS)
    assert signatures.check(TENANT, "two", await written(database, signatures, "two")) == "good"
    await signatures.close()


def test_numbers_are_one_text_whatever_a_database_makes_of_them() -> None:
    one = canonical(TENANT, "a", {"n": [1.0, 2.5, {"m": -3.0}], "_etag": "x", "schema": 1})
    assert one == canonical(TENANT, "a", {"n": [1, 2.5, {"m": -3}], "_etag": "y"})
    assert b'"n":[1,2.5,{"m":-3}]' in one


@pytest.mark.parametrize("number", [1.0, -0.0, 0.1, 2.0**53 - 1, 2.0**53, -(2.0**63), 1e22, 1e23, 1.7e308, 5e-324])
def test_a_number_is_signed_as_the_double_that_every_text_of_it_reads_as(number: float) -> None:
    """As digits, as ECMAScript writes it, with 17 digits, with an exponent: a store may answer any of them."""
    texts = [repr(number), f"{number:.17g}", f"{number:.16e}", *([f"{number:.0f}"] if abs(number) >= 1 else [])]
    if number.is_integer():
        texts += [str(int(number)), str(int(Decimal(repr(number))))]
    signed = canonical(TENANT, "a", {"n": number})
    assert {canonical(TENANT, "a", {"n": json.loads(text)}) for text in texts if float(text) == number} == {signed}
    assert canonical(TENANT, "a", {"n": nextafter(number, inf)}) != signed


def test_a_number_that_is_no_double_is_an_entry_that_is_not_ours(
    sqlite_database: SqliteDatabase, secrets: FileSecrets, clock: FakeClock
) -> None:
    signatures = Signatures(secrets, sqlite_database, clock)
    body = {"key_id": "a", "mac": "b", "n": 10**400}
    assert signatures.check(TENANT, "one", body) == "unknown_key"
    assert canonical(TENANT, "one", body) != canonical(TENANT, "one", {**body, "n": 10**400 + 1})
