"""Imports and deletions that are too large for one call: jobs, their progress, and reports that are read in pages."""

from itertools import count
from typing import Any

import pytest

from functions.catalog import long_work
from functions.catalog.import_models import Asked
from functions.catalog.importing import CatalogImport
from functions.catalog.long_work import LongWork
from functions.catalog.models import Element
from functions.catalog.reading import Uploads
from functions.catalog.reports import KEPT
from shared.auth.roles import Role
from shared.jobs.jobs import Continue, Done, Job
from shared.work.resources import PageRequest, load
from tests.unit.catalog_world import Catalog, arrow, file_of, process
from tests.unit.exchange_samples import EVERYTHING
from tests.unit.world import World, admin, person

XML = {"content-type": "application/xml"}


@pytest.fixture
async def tenant(world: World) -> str:
    return str((await world.onboard())["id"])


async def imported(world: World, tenant: str, file: bytes, **query: str) -> dict[str, Any]:
    """By a job, to its end."""
    begun = await world.call("begin_import", admin(tenant), file, headers=XML, query=query)
    assert begun.status == 202, begun.raw
    assert begun.headers["Location"] == f"/api/v1/catalog/imports/{begun.json['id']}"
    return await world.settled("get_import", tenant, {"import_id": begun.json["id"]})


async def test_a_file_is_imported_as_a_job_and_its_report_read_where_it_was_begun(world: World, tenant: str) -> None:
    run = await imported(world, tenant, EVERYTHING)
    assert (run["status"], run["report"]["created"], run["report"]["id"]) == ("succeeded", 10, run["id"])
    again = await world.call("import_catalog", admin(tenant), EVERYTHING, headers=XML)
    assert again.json["unchanged"] == 10
    read = await world.call("get_import", admin(tenant), params={"import_id": again.json["id"]})
    assert read.json["report"] == again.json


async def test_a_job_goes_on_slice_by_slice_and_counts_each_item_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a slice is over at once; each takes one batch further all the same."""
    monkeypatch.setattr(long_work, "SLICE_SECONDS", 0.0)
    catalog, ticks = await Catalog.of(world), count()
    uploads = Uploads(monotonic=lambda: next(ticks) / 1000)
    work = LongWork(CatalogImport(world.core.adapters.blobs, uploads), "jobs")
    elements = [process(f"e{number}") for number in range(100)]
    begun = await work.begin_import(catalog.tenant, file_of(*elements, arrow("r", "e0", "e1")), Asked())
    job = (await load(catalog.tenant, Job, begun.id)).value
    told: list[tuple[int, int | None]] = []
    while isinstance(outcome := await work.run_import(catalog.tenant, job), Continue):
        told.append((outcome.progress.done, outcome.progress.total))
        job = job.model_copy(update={"checkpoint": outcome.checkpoint})
    assert told == [(40, 102), (80, 102), (100, 102)]
    report = outcome.result
    assert (report["elements"]["created"], report["relationships"]["created"], report["unchanged"]) == (100, 1, 0)


async def test_a_mirror_goes_on_slice_by_slice_and_tells_all_that_it_removed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each removes one batch. The second is killed before its end is stored, and so is the last."""
    monkeypatch.setattr(long_work, "SLICE_SECONDS", 0.0)
    catalog, ticks = await Catalog.of(world), count()
    await catalog.read(file_of(process("keep"), *[process(f"e{number}") for number in range(100)]))
    work = LongWork(CatalogImport(world.core.adapters.blobs, Uploads(monotonic=lambda: next(ticks) / 1000)), "jobs")
    begun = await work.begin_import(catalog.tenant, file_of(process("keep")), Asked(mode="mirror"))
    job = (await load(catalog.tenant, Job, begun.id)).value
    left: list[int] = []
    while isinstance(outcome := await work.run_import(catalog.tenant, job), Continue):
        left.append(len(await catalog.stored(Element.KIND)))
        if len(left) != 2:
            job = job.model_copy(update={"checkpoint": outcome.checkpoint})
    assert left == [61, 21]
    again = await work.run_import(catalog.tenant, job)  # killed before its end was stored
    for report in (outcome.result, again.result if isinstance(again, Done) else {}):
        assert (report["removed"], report["elements"]["removed"], report["unchanged"]) == (100, 100, 1)
        assert len(report["removed_items"]) == 100
    listed = await work._imports.reports.items(catalog.tenant, job.id, "removed", PageRequest(200))
    assert {one.identifier for one in listed.items} == {f"e{number}" for number in range(100)}


async def test_a_file_that_is_too_large_for_a_call_is_told_where_to_go(
    world: World, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_work, "MAX_AT_ONCE_BYTES", 1000)
    answer = await world.call("import_catalog", admin(tenant), EVERYTHING, headers=XML)
    assert (answer.status, "catalog/imports" in answer.json["detail"]) == (413, True)


async def test_all_that_was_skipped_is_listed_in_pages(world: World, tenant: str) -> None:
    wrong = [arrow(f"r{number:04}", "a", f"nowhere{number}") for number in range(1205)]
    report = await world.call("import_catalog", admin(tenant), file_of(process("a"), *wrong), headers=XML)
    assert (report.json["skipped"], len(report.json["skipped_items"])) == (1205, 200)
    listed: list[str] = []
    query: dict[str, str] = {"limit": "200"}
    while True:
        page = await world.call(
            "list_import_items", admin(tenant), params={"import_id": report.json["id"]}, query=query
        )
        listed += [one["identifier"] for one in page.json["items"]]
        if page.json["next_cursor"] is None:
            break
        query["cursor"] = page.json["next_cursor"]
    assert listed == [one.identifier for one in wrong]


async def test_a_dry_run_lists_what_it_would_make(world: World, tenant: str) -> None:
    report = await world.call("import_catalog", admin(tenant), EVERYTHING, headers=XML, query={"dry_run": "true"})
    params = {"import_id": report.json["id"]}
    page = await world.call("list_import_items", admin(tenant), params=params, query={"what": "created"})
    assert len(page.json["items"]) == 10
    assert {"identifier": "main", "kind": "view", "reason": "Main"} in page.json["items"]
    assert (await world.call("list_models", admin(tenant))).json["items"] == []


async def test_only_the_last_reports_are_kept(world: World, tenant: str) -> None:
    ids = []
    for _ in range(KEPT + 1):
        answer = await world.call("import_catalog", admin(tenant), EVERYTHING, headers=XML)
        ids.append(answer.json["id"])
        world.clock.advance(seconds=1)
    for _ in range(KEPT):  # what was only tried pushes out none of them
        await world.call("import_catalog", admin(tenant), EVERYTHING, headers=XML, query={"dry_run": "true"})
    read = [(await world.call("get_import", admin(tenant), params={"import_id": id})).status for id in ids]
    assert read == [404, *[200] * KEPT]


async def test_only_an_admin_mirrors_and_anybody_who_imports_may_look_what_it_would_do(
    world: World, tenant: str
) -> None:
    user = person(tenant, Role.USER)
    for name, status in (("import_catalog", 200), ("begin_import", 202)):
        mirror = {"mode": "mirror"}
        refused = await world.call(name, user, EVERYTHING, headers=XML, query=mirror)
        assert (refused.status, refused.json["code"]) == (403, "role_needed")
        tried = await world.call(name, user, EVERYTHING, headers=XML, query={**mirror, "dry_run": "true"})
        assert tried.status == status
        assert (await world.call(name, admin(tenant), EVERYTHING, headers=XML, query=mirror)).status == status


async def test_a_model_of_no_id_begins_no_job(world: World, tenant: str) -> None:
    query = {"model": "01900000-0000-7000-8000-00000000dead"}
    answer = await world.call("begin_import", admin(tenant), EVERYTHING, headers=XML, query=query)
    assert answer.status == 404


async def test_a_large_model_is_deleted_by_a_job(world: World, tenant: str) -> None:
    report = await world.call("import_catalog", admin(tenant), EVERYTHING, headers=XML)
    params = {"model_id": report.json["model_id"]}
    begun = await world.call("begin_model_deletion", admin(tenant), params=params)
    assert begun.status == 202
    done = await world.settled("get_job", tenant, {"job_id": begun.json["id"]})
    assert done["status"] == "succeeded"
    assert (await world.call("get_model", admin(tenant), params=params)).status == 404
    session = await world.session(tenant)
    assert [page async for page in session.store.scan([Element.KIND])] == []
