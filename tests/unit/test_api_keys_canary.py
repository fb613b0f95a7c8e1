"""No secret of an API key is anywhere but in the answer that makes it: not in what is kept, logged or shown."""

from collections.abc import Callable, Iterator
from pathlib import Path

from zstandard import ZstdDecompressor

from shared.auth.apikeys import SHOWN, parsed
from shared.clock import rfc3339
from tests.unit.keys_world import by_key, key_of, member
from tests.unit.world import AGENT, World, admin


def secret_of(key: str) -> str:
    """All of the secret but the digits that are shown of it."""
    return key.split("_")[4][SHOWN:64]


def kept(folder: Path) -> Iterator[tuple[str, bytes]]:
    """All that lies in the data folder, with what is compressed in it as text."""
    for path in folder.rglob("*"):
        if path.is_file():
            held = path.read_bytes()
            yield str(path), ZstdDecompressor().decompressobj().decompress(held) if path.suffix == ".zst" else held


async def test_nothing_holds_a_secret_of_a_key(world: World, written: Callable[[], str]) -> None:
    tenant = str((await world.onboard(tier="enterprise"))["id"])
    grace = await member(world, tenant)
    headers = {"idempotency-key": "once"}
    made = await key_of(world, grace)
    again = await world.call("create_api_key", grace, {"name": "Other", "scopes": ["read"]}, headers=headers)
    params = {"api_key_id": made["id"]}
    rotated = (await world.call("rotate_api_key", grace, params=params, headers={"idempotency-key": "two"})).json
    keys = [made["key"], again.json["key"], rotated["key"]]
    good, broken = rotated["key"], rotated["key"][:-1] + "x"
    answers = [
        await by_key(world, good, "create_agent", AGENT, headers={"idempotency-key": "three"}),
        await by_key(world, good, "create_agent", {"name": "", "pattern": "Boss"}),
        await by_key(world, good, "get_agent", params={"agent_id": made["id"]}),
        await by_key(world, good, "rotate_api_key", params=params),
        await by_key(world, good, "list_agents", query={"cursor": "nonsense"}),
        *[await by_key(world, text) for text in (broken, good[:-9], f"{good}0", good.upper())],
        await world.call("rotate_api_key", grace, params=params, headers={"idempotency-key": "two"}),
        await world.call("patch_api_key", grace, {"name": "Renamed"}, params=params),
        await world.call("list_api_keys", grace),
    ]
    await world.core.key_uses.flush()
    await world.backed_up(tenant)
    asked = {"as_of": rfc3339(world.clock.now()), "target": "in_place", "confirm": "acme"}
    restore = await world.call("create_restore", admin(tenant), asked)
    assert (await world.settled("get_restore", tenant, {"restore_id": restore.json["id"]}))["status"] == "succeeded"
    for name in ("export_tenant", "export_audit", "list_audit", "list_usage_events", "list_jobs", "get_me"):
        answers.append(await world.call(name, grace))
    assert {answer.status for answer in answers} <= {200, 201, 400, 401, 404, 409}
    assert all(answer.status == 200 for answer in answers[-6:]), [answer.raw for answer in answers[-6:]]
    await world.core.services.outbox.flush()

    lies = dict(kept(world.core.settings.flowgrid_data_dir))
    everywhere = {"a log": written().encode(), **lies}
    everywhere |= {f"answer {number}": answer.raw for number, answer in enumerate(answers)}
    digests = [parsed(key).digest for key in keys]
    found = [where for where, held in everywhere.items() if any(secret_of(key).encode() in held for key in keys)]
    with_digest = {where for where, held in everywhere.items() if digests[1].encode() in held}
    assert found == []
    assert with_digest and all("/database/" in where for where in with_digest)
    assert any(".zst" in where for where in lies) and "key_form" in written()


async def test_no_digest_leaves_the_partition_in_a_backup_or_an_export(world: World) -> None:
    tenant = str((await world.onboard(tier="enterprise"))["id"])
    made = await key_of(world, await member(world, tenant))
    await world.backed_up(tenant)
    taken = [(await world.call(name, admin(tenant))).raw for name in ("export_tenant", "export_audit")]
    taken += [held for where, held in kept(world.core.settings.flowgrid_data_dir) if "/blobs/" in where]
    assert len(taken) > 2 and not any(parsed(made["key"]).digest.encode() in held for held in taken)
