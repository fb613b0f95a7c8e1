"""An old database goes into a running Flowgrid over its API, as `python -m cli migrate --api` sends it."""

from pathlib import Path

from cli.legacy.report import Report
from cli.migrate import Options, migrate, undone
from shared.auth.roles import Role
from shared.ids import DEFAULT_TENANT_ID
from tests.e2e.api import Flowgrid, Tenant
from tests.unit.legacy_world import old_file


async def _run(flowgrid: Flowgrid, token: str | None, folder: Path) -> Report:
    options = Options(tenant="default", api=flowgrid.host.url, token=token)
    old, lines = folder / "old.db", folder / "lines.jsonl"
    return await migrate(old, options, dry_run=False, quarantine=lines, advance=lambda *_: None)


async def test_an_admin_migrates_into_the_tenant_of_the_token_again_without_effect_and_back(
    flowgrid: Flowgrid, acme: Tenant, tmp_path: Path
) -> None:
    old_file(tmp_path / "old.db")
    report = await _run(flowgrid, acme.admin.token, tmp_path)
    assert report.complete and [one.created for one in report.tables.values()] == [60, 31, 3]
    elements = await acme.viewer.every("elements")
    assert {one["legacy_id"] for one in elements} == {f"e{number}" for number in range(60)}
    entries = await acme.admin.every("audit", action="element.created")
    assert {one["resource_id"] for one in entries} == {one["id"] for one in elements}
    again = await _run(flowgrid, acme.admin.token, tmp_path)
    assert again.complete and [one.unchanged for one in again.tables.values()] == [60, 31, 3]
    assert await acme.viewer.every("elements") == elements
    options = Options(tenant="default", api=flowgrid.host.url, token=acme.admin.token)
    found = await undone(report.runs["default"], options)
    assert (found["removed"], found["kept"]) == (94, 0)
    for path in ("elements", "relationships", "agents"):
        assert await acme.viewer.every(path) == []
    assert await acme.admin.every("migrations") == []


async def test_staff_make_the_default_tenant_and_migrate_into_it_on_record(flowgrid: Flowgrid, tmp_path: Path) -> None:
    old_file(tmp_path / "old.db")
    report = await _run(flowgrid, flowgrid.token(Role.PLATFORM), tmp_path)
    assert report.complete and report.tables["elements"].created == 60
    made = await flowgrid.staff.ok("GET", f"platform/tenants/{DEFAULT_TENANT_ID}")
    assert (made["name"], made["slug"], made["tier"]) == ("Default", "default", "enterprise")
    grants = await flowgrid.staff.every(f"platform/tenants/{DEFAULT_TENANT_ID}/staff-access")
    assert "migrated" in grants[0]["reason"]
