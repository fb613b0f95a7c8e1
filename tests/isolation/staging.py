"""A stage set up: tenants, callers, cursors, and the victim's used key."""

from dataclasses import replace
from pathlib import Path

from shared.auth.roles import Role
from shared.http.pagination import PageQuery
from shared.ids import PLATFORM_TENANT_ID
from tests.doubles.cosmos import CosmosDouble
from tests.isolation.api_keys import furnish as with_key
from tests.isolation.asking import set_up
from tests.isolation.cases import KEYED, Stage, key_of, own_body
from tests.isolation.credentials import credentials, grants, outcasts
from tests.isolation.people import Tenant, furnish, onboard, token
from tests.isolation.site import Site


async def stage(folder: Path, double: CosmosDouble | None = None) -> Stage:
    """Two tenants with something of everything, one database, nothing under way; the clock stands from here on."""
    site = Site.over(folder, double)
    await set_up(site)
    victim, home = await onboard(site, trial_days=3), await onboard(site, trial_days=3)
    spare = await onboard(site)
    for tenant in (victim, home):
        await furnish(site, tenant)
        await with_key(site, tenant)
    out, cursors = await outcasts(site), await cursors_of(site, victim)
    nobody = Stage(site, victim, home, spare, {}, cursors)
    await used_keys(nobody)
    await grants(site, home, victim)
    await site.settle()
    named = {one.name: one for one in await credentials(site, home, victim, out)}
    return replace(nobody, credentials=named)


async def used_keys(stage: Stage) -> None:
    """What the victim has asked for under keys, once more or for the first time; what it was answered is its own."""
    site, victim = stage.site, stage.victim
    for key in KEYED:
        body, headers = own_body(stage, site.routes[key]), {"idempotency-key": key_of(key)}
        made = await site.ok(key, token(site, victim, Role.ADMIN), body, headers=headers)
        victim.words[f"answer to {key}"] = made.get("id") or made["agents"][0]["id"]


async def cursors_of(site: Site, victim: Tenant) -> dict[str, str]:
    """One that the victim was given for each of its lists, or would have been, were they longer."""
    cursors = site.core.endpoint.cursors
    await cursors.ready()
    found: dict[str, str] = {}
    for key, route in site.routes.items():
        if issubclass(route.query, PageQuery):
            owner = PLATFORM_TENANT_ID if route.platform else victim.id
            position = ("2026-01-01T00:00:00.000000Z", victim.ids["agent_id"])
            if key == "GET v1/catalog/imports/{import_id}/items":  # which counts
                position = ("50", "")
            named = {**victim.ids, "tenant_id": victim.id}
            signed = cursors.sign(position, route.list_of(owner, named), route.query.model_validate({}).asked())
            assert signed is not None
            found[key] = signed
    return found
