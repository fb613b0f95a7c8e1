"""A tenant's AI providers: who sets them, where their keys lie, and that nobody is shown one."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from functions.providers.connections import Connections
from shared.ai.port import Connection, ModelRefused
from shared.auth.roles import Role
from shared.errors import Invalid, NotFound
from shared.ids import PLATFORM_TENANT_ID
from shared.settings import Settings
from shared.work.kept_secrets import RECORD, KeptSecrets
from tests.unit.world import STAFF, Answer, World, admin, person

SECRET = "sk-top-secret-1234567890"
ANOTHER = "sk-top-secret-0987654321"
OURS = {"name": "ours", "wire": "openai", "models": ["gpt-5", "gpt-5-mini"], "key": SECRET}
AZURE = {"name": "azure", "wire": "azure_openai", "base_url": "https://acme.openai.azure.com", "models": ["chat"]}


@pytest.fixture
async def acme(world: World) -> str:
    return str((await world.onboard("acme"))["id"])


async def made(world: World, tenant_id: str, **fields: Any) -> dict[str, Any]:
    answer = await world.call("create_provider", admin(tenant_id), {**OURS, **fields})
    assert answer.status == 201, answer.raw
    provider: dict[str, Any] = answer.json
    return provider


async def secrets_of(world: World, tenant_id: str) -> list[str]:
    """Every key that there is, from the records; each of them can be read."""
    session = await world.session(tenant_id)
    names = [stored.body["id"] for stored in (await session.store.query(RECORD)).items]
    space = world.core.adapters.secrets.space(tenant_id)
    folder = world.core.settings.flowgrid_data_dir / "secrets" / tenant_id
    assert sorted(names) == sorted(path.name for path in folder.iterdir()) if folder.exists() else names == []
    return [await space.get(f"secret:{name}") for name in names]


async def left(world: World, tenant_id: str) -> list[str]:
    """The keys that there are after two hours, each with its round."""
    for _ in range(2):
        world.clock.advance(minutes=61)
        await KeptSecrets(world.core.adapters.secrets).compare(await world.session(tenant_id))
    return await secrets_of(world, tenant_id)


def patched(world: World, tenant_id: str, id: str, body: Any, **headers: str) -> Awaitable[Answer]:
    return world.call("patch_provider", admin(tenant_id), body, params={"provider_id": id}, headers=headers)


# Who, and what


@pytest.mark.parametrize("role", [Role.VIEWER, Role.USER])
async def test_viewers_and_users_see_providers_and_admins_set_them(world: World, acme: str, role: Role) -> None:
    provider, who = await made(world, acme), person(acme, role)
    one = {"provider_id": provider["id"]}
    assert (await world.call("get_provider", who, params=one)).json == provider
    assert (await world.call("list_providers", who)).json["items"] == [provider]
    refused = [
        await world.call("create_provider", who, {**OURS, "name": "other"}),
        await world.call("replace_provider", who, OURS, params=one, headers={"if-match": "*"}),
        await world.call("patch_provider", who, {"key": ANOTHER}, params=one),
        await world.call("delete_provider", who, params=one),
    ]
    assert [answer.status for answer in refused] == [403] * 4


async def test_a_name_is_one_providers_also_after_it_was_deleted(world: World, acme: str) -> None:
    first = await made(world, acme)
    again = await world.call("create_provider", admin(acme), OURS)
    assert (again.status, again.json["code"]) == (409, "taken")
    await world.call("delete_provider", admin(acme), params={"provider_id": first["id"]})
    second = await made(world, acme)
    assert (second["id"], second["revision"]) == (first["id"], 3)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": "offline"}, "name"),
        ({"name": "platform"}, "name"),
        ({"name": "Ours"}, "name"),
        ({"base_url": "http://api.example.com/v1"}, "base_url"),
        ({"base_url": "https://127.0.0.1/v1"}, "base_url"),
        ({"base_url": "https://169.254.169.254/"}, "base_url"),
        ({"base_url": "https://user:key@api.example.com/"}, "base_url"),
        ({"base_url": "https://2130706433/"}, "base_url"),
        ({"wire": "azure_openai"}, "base_url"),
        ({"wire": "offline"}, "wire"),
        ({"api_version": "2025-04-01-preview"}, "api_version"),
        ({"models": []}, "models"),
        ({"models": [f"m-{n}" for n in range(51)]}, "models"),
        ({"models": ["gpt-5", "gpt-5"]}, "models"),
        ({"models": ["../etc"]}, "models.0"),
        ({"default_model": "gpt-4"}, "default_model"),
        ({"key": None}, "key"),
        ({"key": ""}, "key"),
        ({"key": "two\nlines"}, "key"),
        ({"key": "x" * 4097}, "key"),
    ],
)
async def test_what_is_wrong_with_a_provider_is_told_before_any_key_is_kept(
    world: World, acme: str, changed: dict[str, Any], field: str
) -> None:
    answer = await world.call("create_provider", admin(acme), {**OURS, **changed})
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, field)
    assert await secrets_of(world, acme) == []


async def test_a_wrong_key_is_not_repeated(world: World, acme: str) -> None:
    answer = await world.call("create_provider", admin(acme), {**OURS, "key": f"{SECRET}\n"})
    assert answer.status == 400 and SECRET not in answer.raw.decode()


async def test_an_address_on_this_machine_is_taken_where_the_settings_allow_it(tmp_path: Path) -> None:
    world = World.over(tmp_path, flowgrid_outgoing_allowed="127.0.0.1:8931")
    acme = str((await world.onboard("acme"))["id"])
    assert (await made(world, acme, base_url="http://127.0.0.1:8931/v1"))["base_url"] == "http://127.0.0.1:8931/v1"
    refused = await world.call("create_provider", admin(acme), {**OURS, "base_url": "http://127.0.0.1:8932/v1"})
    assert refused.status == 400
    await world.close()


# The key


async def test_a_key_is_in_no_answer_no_audit_no_export_and_no_backup(world: World, acme: str) -> None:
    provider = await made(world, acme)
    await patched(world, acme, provider["id"], {"key": ANOTHER})
    backup = await world.backed_up(acme)
    assert backup["counts"]["provider"] == 1 and RECORD not in backup["counts"]
    shown = [
        await world.call("get_provider", admin(acme), params={"provider_id": provider["id"]}),
        await world.call("list_providers", admin(acme)),
        await world.call("list_audit", admin(acme), query={"limit": "200"}),
        await world.call("export_tenant", admin(acme)),
    ]
    assert all(answer.status == 200 for answer in shown)
    said = b"".join(answer.raw for answer in shown).decode()
    assert "sk-top-secret" not in said and provider["id"] in said
    kept = [path for path in world.core.settings.flowgrid_data_dir.rglob("*") if path.is_file()]
    assert [path for path in kept if b"sk-top-secret" in path.read_bytes()] == []


async def test_a_new_key_takes_the_place_of_the_old_one(world: World, acme: str) -> None:
    provider = await made(world, acme)
    changed = (await patched(world, acme, provider["id"], {"key": ANOTHER})).json
    assert changed["key_reference"] != provider["key_reference"]
    assert await left(world, acme) == [ANOTHER]


async def test_who_sends_no_key_keeps_the_one_there_is(world: World, acme: str) -> None:
    provider = await made(world, acme)
    changed = (await patched(world, acme, provider["id"], {"default_model": "gpt-5-mini"})).json
    assert (changed["default_model"], changed["key_reference"]) == ("gpt-5-mini", provider["key_reference"])
    assert await secrets_of(world, acme) == [SECRET]


@pytest.mark.parametrize("moved", [{"base_url": "https://evil.example/v1"}, {"wire": "anthropic"}])
async def test_a_key_does_not_move_to_another_address(world: World, acme: str, moved: dict[str, str]) -> None:
    """Who may set a provider may not read its key, and could at an address of his own."""
    provider = await made(world, acme)
    refused = await patched(world, acme, provider["id"], moved)
    assert (refused.status, refused.json["errors"][0]["field"]) == (400, "key")
    assert (await patched(world, acme, provider["id"], {**moved, "key": ANOTHER})).status == 200


async def test_a_name_is_for_ever(world: World, acme: str) -> None:
    provider = await made(world, acme)
    refused = await patched(world, acme, provider["id"], {"name": "theirs"})
    assert (refused.status, refused.json["errors"][0]["field"]) == (400, "name")


async def test_a_key_goes_with_its_provider(world: World, acme: str) -> None:
    provider = await made(world, acme)
    await world.call("delete_provider", admin(acme), params={"provider_id": provider["id"]})
    assert await left(world, acme) == []


async def test_a_change_that_is_refused_keeps_no_key(world: World, acme: str) -> None:
    provider = await made(world, acme)
    stale = await patched(world, acme, provider["id"], {"key": ANOTHER}, **{"if-match": '"7-0"'})
    assert stale.status == 412
    assert await secrets_of(world, acme) == [SECRET]


async def test_of_two_who_set_a_key_one_after_the_other_the_last_one_counts(
    world: World, twin: World, acme: str
) -> None:
    provider = await made(world, acme)
    first = await patched(world, acme, provider["id"], {"key": ANOTHER})
    second = await patched(twin, acme, provider["id"], {"key": "third"})
    assert (first.status, second.status) == (200, 200)
    assert await left(world, acme) == ["third"]


# Restores (what the round does with all that they leave behind: test_kept_secrets.py)


async def restored(world: World, acme: str, backup: dict[str, Any], **target: Any) -> dict[str, Any]:
    asked = target or {"target": "in_place", "confirm": "acme"}
    begun = await world.call("create_restore", admin(acme), {"backup_id": backup["id"], **asked})
    assert begun.status == 202, begun.raw
    restore = await world.settled("get_restore", acme, {"restore_id": begun.json["id"]})
    assert restore["status"] == "succeeded", restore
    return restore


async def key_of(world: World, tenant_id: str) -> str | None:
    """What agents would use."""
    connections = Connections(world.core.adapters.secrets, world.core.settings)
    return (await connections.resolve(await world.session(tenant_id), "ours", ""))[0].key


async def test_a_restore_within_the_hour_brings_the_key_back_for_good(world: World, acme: str) -> None:
    provider = await made(world, acme)
    backup = await world.backed_up(acme)
    await patched(world, acme, provider["id"], {"key": ANOTHER})
    await restored(world, acme, backup)
    assert (await left(world, acme), await key_of(world, acme)) == ([SECRET], SECRET)


async def test_what_a_later_restore_brings_back_has_no_key_until_one_is_sent(world: World, acme: str) -> None:
    provider = await made(world, acme)
    backup = await world.backed_up(acme)
    await patched(world, acme, provider["id"], {"key": ANOTHER})
    assert await left(world, acme) == [ANOTHER]
    await restored(world, acme, backup)
    with pytest.raises(ModelRefused, match="no key any more; send it again"):
        await key_of(world, acme)
    assert await left(world, acme) == []
    assert (await patched(world, acme, provider["id"], {"key": "third"})).status == 200
    assert (await left(world, acme), await key_of(world, acme)) == (["third"], "third")


async def test_a_provider_that_a_restore_takes_away_leaves_no_key(world: World, acme: str) -> None:
    backup = await world.backed_up(acme)
    await made(world, acme)
    await restored(world, acme, backup)
    assert await left(world, acme) == []


async def test_a_copy_finds_its_providers_and_has_none_of_their_keys(world: World) -> None:
    acme = str((await world.onboard("acme", tier="enterprise"))["id"])
    provider = await made(world, acme)
    backup = await world.backed_up(acme)
    new = {"name": "Copy", "slug": "copy", "admin_email": "ada@copy.example"}
    copy = (await restored(world, acme, backup, target="new_tenant", new_tenant=new))["report"]
    with pytest.raises(ModelRefused, match="no key any more; send it again"):
        await key_of(world, copy["tenant_id"])
    assert (await patched(world, copy["tenant_id"], provider["id"], {"key": ANOTHER})).status == 200
    assert (await left(world, copy["tenant_id"]), await key_of(world, copy["tenant_id"])) == ([ANOTHER], ANOTHER)
    assert (await left(world, acme), await key_of(world, acme)) == ([SECRET], SECRET)


# What agents get


@pytest.fixture
def resolved(world: World, acme: str) -> Callable[..., Awaitable[tuple[Connection, str]]]:
    async def resolve(provider: str, model: str = "", **settings: Any) -> tuple[Connection, str]:
        given = Settings.model_validate({**world.core.settings.model_dump(), **settings})
        return await Connections(world.core.adapters.secrets, given).resolve(await world.session(acme), provider, model)

    return resolve


async def test_a_name_stands_for_the_tenants_own_connection(world: World, acme: str, resolved: Any) -> None:
    await made(world, acme, base_url="https://gateway.example/v1", default_model="gpt-5-mini")
    connection, model = await resolved("ours")
    assert connection == Connection("openai", "ours", "https://gateway.example/v1", SECRET)
    assert (model, (await resolved("ours", "gpt-5"))[1]) == ("gpt-5-mini", "gpt-5")
    assert SECRET not in repr(connection)


async def test_the_first_model_is_the_default_where_none_is_named(world: World, acme: str, resolved: Any) -> None:
    await made(world, acme)
    assert (await resolved("ours"))[1] == "gpt-5"


async def test_another_tenants_name_stands_for_nothing(world: World, acme: str, resolved: Any) -> None:
    await made(world, str((await world.onboard("globex"))["id"]))
    with pytest.raises(Invalid, match="neither offline, platform, nor the name"):
        await resolved("ours")


async def test_a_model_that_is_not_on_the_list_is_refused_with_those_that_are(
    world: World, acme: str, resolved: Any
) -> None:
    await made(world, acme)
    with pytest.raises(Invalid, match="it has gpt-5, gpt-5-mini"):
        await resolved("ours", "gpt-4")


async def test_offline_needs_nothing(resolved: Any) -> None:
    assert await resolved("offline") == (Connection("offline", "offline"), "offline")
    assert (await resolved("offline", "tiny"))[1] == "tiny"


PLATFORM: dict[str, Any] = {"flowgrid_ai_wire": "openai", "flowgrid_ai_models": "gpt-5, gpt-5-mini"}


async def test_the_platforms_provider_is_that_of_the_settings(world: World, resolved: Any) -> None:
    await world.core.adapters.secrets.space(PLATFORM_TENANT_ID).put("openai", SECRET)
    connection, model = await resolved("platform", **PLATFORM, flowgrid_ai_key_secret="openai")
    assert (connection, model) == (Connection("openai", "platform", None, SECRET), "gpt-5")
    with pytest.raises(Invalid, match="it has gpt-5, gpt-5-mini"):
        await resolved("platform", "gpt-4", **PLATFORM, flowgrid_ai_key_secret="openai")


async def test_the_platforms_azure_needs_no_key(resolved: Any) -> None:
    url = "https://flowgrid.openai.azure.com"
    azure = {"flowgrid_ai_wire": "azure_openai", "flowgrid_ai_models": "chat", "flowgrid_ai_base_url": url}
    assert await resolved("platform", **azure) == (Connection("azure_openai", "platform", url), "chat")


async def test_where_the_platform_has_none_it_says_so(resolved: Any) -> None:
    with pytest.raises(Invalid, match="not set up here"):
        await resolved("platform")
    with pytest.raises(ModelRefused, match="no key any more"):
        await resolved("platform", **PLATFORM, flowgrid_ai_key_secret="gone")


@pytest.mark.parametrize(("allowed", "names"), [([], []), (["offline"], ["offline"]), (["ours"], ["ours"])])
async def test_a_tenant_uses_the_providers_that_its_settings_allow(
    world: World, acme: str, resolved: Any, allowed: list[str], names: list[str]
) -> None:
    await made(world, acme)
    settings = {"settings": {"ai_providers": allowed}}
    changed = await world.call("patch_tenant", STAFF, settings, params={"tenant_id": acme})
    assert changed.status == 200, changed.raw
    world.core.directory.forget(acme)
    for name in ("offline", "ours"):
        if name in names:
            assert (await resolved(name))[0].name == name
        else:
            with pytest.raises(Invalid, match="may not be used by this tenant"):
                await resolved(name)


async def test_a_providers_key_is_opened_in_its_tenants_space_alone(world: World, acme: str) -> None:
    provider = await made(world, acme)
    other = str((await world.onboard("globex"))["id"])
    with pytest.raises(NotFound):
        await world.core.adapters.secrets.space(other).get(provider["key_reference"])


async def test_azure_is_made_with_its_address_and_version(world: World, acme: str, resolved: Any) -> None:
    body = {**AZURE, "key": SECRET, "api_version": "2025-04-01-preview"}
    answer = await world.call("create_provider", admin(acme), json.loads(json.dumps(body)))
    assert answer.status == 201, answer.raw
    assert (await resolved("azure"))[0].api_version == "2025-04-01-preview"
