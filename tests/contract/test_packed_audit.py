"""What an audit entry says lies in Cosmos DB as one compressed text; whoever reads it sees what was written."""

import base64
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from functions.audit.models import AuditEntry
from functions.backups.export import replayed
from shared.clock import rfc3339
from shared.database.cosmos.batch import stored
from shared.database.cosmos.packing import DICTIONARY, MOST_BYTES, PACKED, RAW, packed, unpacked
from shared.database.cosmos.store import CosmosDatabase
from shared.database.port import Document
from shared.errors import Conflict, Unavailable
from shared.kinds import Kind
from shared.tenancy.fence import AUDIT
from tests.contract.audit_world import Trail
from tests.contract.database import TENANT
from tests.doubles.clock import FakeClock
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import KEY
from tests.unit.world import UNLIMITED, World, admin

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=12,
)


@pytest.fixture
async def trail(cosmos_database_of_double: CosmosDatabase, tmp_path: Path, clock: FakeClock) -> Trail:
    made = Trail(cosmos_database_of_double, tmp_path, clock)
    await made.begin()
    return made


def documents(cosmos: CosmosDouble) -> dict[str, Document]:
    """The entries, by id, as they lie in the database."""
    items = cosmos.store.container("shard-1", "items").documents(None, 0)
    return {one["id"].removeprefix("audit:"): one for one in items if one["kind"] == "audit"}


def entry(**fields: Any) -> Document:
    own = {"id": "audit:one", "kind": "audit", "tenant_id": TENANT, "schema": 1, "_etag": "1"}
    return {**own, "created_at": "2026-11-24T12:00:00.000000Z", "action": "agent.updated", **fields}


def text_of(text: bytes) -> str:
    deflate = zlib.compressobj(6, zlib.DEFLATED, RAW, zdict=DICTIONARY)
    return base64.b64encode(deflate.compress(text) + deflate.flush()).decode()


async def test_an_entry_is_stored_packed_and_read_as_it_was_written(trail: Trail, cosmos: CosmosDouble) -> None:
    (id,) = await trail.write(1)
    lies = documents(cosmos)[id]
    assert lies.keys() & AUDIT.packed.keys() == set() and lies["schema"] == 2
    assert {"created_at", *AUDIT.filtered} - lies.keys() == {"api_key_id"}  # by what lists ask
    read = await trail.body(id)
    assert (read["old_value"], read["new_value"], read["ip_address"]) == (
        {"budget": 1.0},
        {"budget": 2.5},
        "198.51.100.7",
    )
    assert trail.signatures.check(TENANT, id, read) == "good" and PACKED not in read


async def test_entries_of_before_stay_readable_signed_sealed_and_verified_among_those_of_now(
    trail: Trail, cosmos: CosmosDouble
) -> None:
    ids = await trail.sealed(6)
    for id in ids[:3]:  # as the release before has left them
        document = documents(cosmos)[id]
        plain = unpacked(AUDIT, document)
        document.clear()
        document.update(plain)
    assert [PACKED in documents(cosmos)[id] for id in ids] == [False] * 3 + [True] * 3
    assert [trail.signatures.check(TENANT, id, await trail.body(id)) for id in ids] == ["good"] * 6
    later = await trail.sealed(2)
    assert await trail.findings() == set()
    assert await trail.chained() == [*ids, *later]


def test_what_this_release_has_stored_is_read_by_every_later_one() -> None:
    text = (
        "hdTNCsMwCADgVxm7L4tJjHrek8SYQtnPZb2Nvns76MYIjF4ED4Kfiv+ben3WcbmV8f48jI+pXN/D7cbQq/eqtocy7/lA2CG49Ugd9dZphZ3B+Z65JSf4"
        "tWqWYJr4a+aUvABpRFPmUFsES7VyMdAaUGKlRt68yUBrzFGwVYoFAWXIasd5AQ=="
    )
    read = unpacked(AUDIT, entry(schema=2, packed=text))
    assert (read["schema"], read["revision"], read["old_value"]) == (1, 2, {"name": "Claims intake", "status": "draft"})
    assert read["mac"] == "8440917b35db882ce31d4cc8ad1bc2593c7e70d0d9f7d0d6395ec73a5159f6bd"


async def test_a_release_that_cannot_unpack_refuses_instead_of_seeing_nothing() -> None:
    older = Kind("audit", append_only=True)
    lies = packed(AUDIT, entry(old_value=None, new_value={"name": "Claims intake"}))
    with pytest.raises(Unavailable, match="newer release"):
        stored(older, lies)


DAMAGE: Mapping[str, Any] = {
    "no base64": "?",
    "no text": 7,
    "no deflate": base64.b64encode(b"\xff" * 40).decode(),
    "cut": text_of(b'{"old_value":null,"new_value":{"name":"Claims intake"}}')[:-8],
    "more behind it": base64.b64encode(base64.b64decode(text_of(b'{"new_value":null}')) + b"more").decode(),
    "no JSON": text_of(b"{"),
    "no object": text_of(b"[]"),
    "another's field": text_of(b'{"user_id":"grace"}'),
    "larger than any": text_of(b'{"new_value":"' + b" " * MOST_BYTES + b'"}'),
    "half a character": text_of(b'{"new_value":{"name":"\\ud800"}}'),
    "nested too deep": text_of(b'{"new_value":' + b'{"a":' * 300 + b"1" + b"}" * 301),
    "nested without end": text_of(b'{"new_value":' + b"[" * 100_000),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
async def test_what_is_damaged_is_shown_without_values_and_found_by_verify(
    trail: Trail, cosmos: CosmosDouble, damage: Any
) -> None:
    ids = await trail.sealed(3)
    documents(cosmos)[ids[1]][PACKED] = damage
    found = await trail.raw.get(AUDIT, ids[1])
    assert found is not None
    shown = AuditEntry.model_validate(found.body)
    assert (shown.old_value, shown.new_value, shown.mac, shown.resource_id) == ({}, {}, "", "one")
    assert await trail.findings() == {("changed", ids[1])}
    with pytest.raises(Conflict, match=f"{ids[1]} is damaged"):
        replayed(found)


async def test_no_restore_is_made_of_an_entry_that_cannot_be_read(cosmos: CosmosDouble, tmp_path: Path) -> None:
    own: dict[str, Any] = {"flowgrid_cosmos_endpoint": cosmos.endpoint, "flowgrid_cosmos_emulator_key": KEY}
    world = World.over(tmp_path, flowgrid_database="cosmos", **own)
    tenant = str((await world.onboard("acme", limits=UNLIMITED))["id"])
    backup = (await world.call("create_backup", admin(tenant))).json
    await world.settled("get_backup", tenant, {"backup_id": backup["id"]})
    made = (await world.call("create_agent", admin(tenant), {"name": "Claims intake", "pattern": "Monitor"})).json
    world.clock.advance(seconds=1)
    asked = {"as_of": rfc3339(world.clock.now()), "target": "in_place", "confirm": "acme"}
    world.clock.advance(seconds=1)
    one = {"agent_id": made["id"]}
    await world.call("patch_agent", admin(tenant), {"status": "active"}, params=one)
    found = [one for one in documents(cosmos).items() if one[1]["action"] == "agent.created"]
    [(entry_id, document)] = found
    document[PACKED] = "?"
    restore = (await world.call("create_restore", admin(tenant), asked)).json
    restore = await world.settled("get_restore", tenant, {"restore_id": restore["id"]})
    assert (restore["status"], f"{entry_id} is damaged" in restore["error"], restore["report"]) == (
        "failed",
        True,
        None,
    )
    assert (await world.call("get_agent", admin(tenant), params=one)).json["status"] == "active"
    await world.close()


@profile(deadline=None)
@given(values=st.fixed_dictionaries({}, optional=dict.fromkeys(AUDIT.packed, JSON)))
def test_whatever_an_entry_says_comes_back(values: dict[str, Any]) -> None:
    written = entry(**values)
    assert unpacked(AUDIT, packed(AUDIT, written)) == written


@pytest.mark.parametrize("size", [MOST_BYTES // 2, 4 * MOST_BYTES])
def test_what_would_hold_up_other_calls_is_stored_as_it_is(size: int) -> None:
    written = entry(new_value={"instructions": "Assess the damage. " * (size // 19)})
    lies = packed(AUDIT, written)
    assert (PACKED in lies) is (size < MOST_BYTES) and unpacked(AUDIT, lies) == written


def test_what_is_filtered_by_or_changed_cannot_be_packed() -> None:
    for wrong in ({"append_only": True, "filtered": ("name",)}, {}):
        with pytest.raises(ValueError, match="is changed, or filtered by"):
            Kind("note", packed={"name": ""}, **wrong)  # type: ignore[arg-type]
