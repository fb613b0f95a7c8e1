"""No secret of a hook is anywhere but in the store of secrets: not in what is kept, logged, backed up or shown."""

import pytest

from tests.unit.hooks_world import OTHER, SECRETS, delivered, hook_of, member, sent
from tests.unit.world import World, admin


async def test_nothing_holds_a_secret_of_a_hook(world: World, log: pytest.LogCaptureFixture) -> None:
    tenant = str((await world.onboard(tier="enterprise"))["id"])
    grace = await member(world, tenant, role="admin")
    made = await world.call("create_agent", grace, {"name": "Clerk", "pattern": "Specialist"})
    params, answers = {"agent_id": made.json["id"]}, []
    for style, secret in SECRETS.items():
        body, key = {"name": style, "style": style, "secret": secret}, {"idempotency-key": style}
        answers += [
            await world.call("create_hook", grace, body, params=params, headers=key),
            await world.call("create_hook", grace, body, params=params, headers=key),
            await world.call("create_hook", grace, {**body, "style": "nobody's"}, params=params),
            await world.call("create_hook", grace, {**body, "secrets": secret}, params=params),
            await world.call("create_hook", grace, {**body, "secret": f"{secret}\n"}, params=params),
        ]
        hook = await hook_of(world, grace, made.json["id"], style)
        rotation, named = {"secret": OTHER[style]}, {"hook_id": hook["id"]}
        answers += [
            await delivered(world, hook),
            await world.call("rotate_hook", grace, rotation, params=named, headers=key),
            await world.call("rotate_hook", grace, {**rotation, "overlap_hours": -1}, params=named),
            await sent(world, hook, b"not signed", {}),
        ]
    await world.backed_up(tenant)
    for name in ("export_tenant", "list_audit", "list_hooks", "list_executions", "list_jobs"):
        answers.append(await world.call(name, admin(tenant)))
    await world.core.services.outbox.flush()

    kept = {str(path): path.read_bytes() for path in world.core.settings.flowgrid_data_dir.rglob("*") if path.is_file()}
    secrets = {one for both in (SECRETS, OTHER) for one in both.values()}
    logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in log.records)
    told = b"\n".join([*(answer.raw for answer in answers), logged.encode(), *kept.values()])
    assert "a delivery was refused" in logged and len(answers) == 9 * len(SECRETS) + 5
    assert [secret for secret in secrets if secret.encode() in told] == []
    assert any("secret" in path for path in kept)
