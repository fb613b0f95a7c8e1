"""The reports of imports, kept in the tenant's blobs: whole lists, in parts of which a page reads one."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, get_args

from functions.catalog.import_models import ImportedItem, ImportReport, What
from shared.blobs.port import Blobs, BlobSpace
from shared.errors import NotFound
from shared.ids import is_uuid
from shared.work.resources import Listing, PageRequest
from shared.work.session import TenantSession

AREA = "imports"
FOLDER: Final = "reports"
PREVIEWS: Final = "previews"  # of dry runs, which push out no report of what was done
PLANS: Final = "removing"
PART: Final = 1000
KEPT: Final = 20
NO_SUCH: Final = "There is no such report of an import; the last 20 are kept."
Items = Mapping[What, Sequence[ImportedItem]]


class Reports:
    """Of each tenant the last `KEPT`, and as many of dry runs."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def keep(self, tenant: TenantSession, report: ImportReport, items: Items) -> None:
        """The lists first, the report last: what is found is whole. The oldest go."""
        space, folder = self._space(tenant), _folder(report)
        for what, listed in items.items():
            for start in range(0, len(listed), PART):
                body = json.dumps([one.model_dump() for one in listed[start : start + PART]], ensure_ascii=False)
                await space.write(_part(report, what, start), _bytes(body))
        await space.write(f"{folder}/{report.id}/report.json", _bytes(report.model_dump_json()))
        await self._prune(space, folder)
        await self._prune(space, PLANS)

    def plan(self, tenant: TenantSession, id: str) -> "Plan":
        """Of the import whose report has this id."""
        return Plan(self._space(tenant), id)

    async def get(self, tenant: TenantSession, id: str) -> ImportReport:
        """`NotFound` for one that never was, or is not kept any more."""
        try:
            report = await self._read(tenant, id, f"{FOLDER}/{id}/report.json")
        except NotFound:
            report = await self._read(tenant, id, f"{PREVIEWS}/{id}/report.json")
        return ImportReport.model_validate_json(report)

    async def items(self, tenant: TenantSession, id: str, what: What, page: PageRequest) -> Listing[ImportedItem]:
        """A page, which ends where a part does."""
        report = await self.get(tenant, id)
        start = int(page.after[0]) if page.after else 0
        whole = _total(report, what)
        if start >= whole:
            return Listing([], None)
        first = start - start % PART
        part = json.loads(await self._read(tenant, id, _part(report, what, first)))
        found = part[start - first : start - first + page.limit]
        end = start + len(found)
        return Listing([ImportedItem.model_validate(one) for one in found], (str(end), "") if end < whole else None)

    def _space(self, tenant: TenantSession) -> BlobSpace:
        return self._blobs.space(AREA, tenant.id)

    async def _read(self, tenant: TenantSession, id: str, name: str) -> bytes:
        if not is_uuid(id):
            raise NotFound(NO_SUCH)
        try:
            return b"".join([chunk async for chunk in self._space(tenant).read(name)])
        except NotFound as gone:
            raise NotFound(NO_SUCH) from gone

    async def _prune(self, space: BlobSpace, folder: str) -> None:
        """Ids grow with time; of what goes, the report goes first."""
        names = [info.name async for info in space.list(f"{folder}/")]
        kept = set(sorted({name.split("/")[1] for name in names}, reverse=True)[:KEPT])
        for name in sorted(names, key=lambda one: not one.endswith("report.json")):
            if name.split("/")[1] not in kept:
                await space.delete(name)


class Plan:
    """What a mirror is about to remove, by id, on record before it does: whoever goes on after a crash tells it all."""

    def __init__(self, space: BlobSpace, id: str) -> None:
        self._space = space
        self._folder = f"{PLANS}/{id}/"

    async def with_these(self, items: Mapping[str, ImportedItem]) -> dict[str, ImportedItem]:
        """All that is on record, these among it from now on."""
        planned: dict[str, ImportedItem] = {}
        for name in sorted([info.name async for info in self._space.list(self._folder)]):
            kept = json.loads(b"".join([chunk async for chunk in self._space.read(name)]))
            planned |= {id: ImportedItem.model_validate(item) for id, item in kept.items()}
        new = [id for id in items if id not in planned]
        for start in range(0, len(new), PART):
            body = {id: items[id].model_dump() for id in new[start : start + PART]}
            number = len(planned) + start
            await self._space.write(f"{self._folder}{number:06}.json", _bytes(json.dumps(body, ensure_ascii=False)))
        return {**planned, **items}


def _folder(report: ImportReport) -> str:
    return PREVIEWS if report.dry_run else FOLDER


def _total(report: ImportReport, what: What) -> int:
    """How many there are of what is listed; what is made and changed is listed of a dry run only."""
    if what in get_args(What)[2:] and not report.dry_run:
        return 0
    return int(getattr(report, what))


def _part(report: ImportReport, what: What, start: int) -> str:
    return f"{_folder(report)}/{report.id}/{what}-{start:06}.json"


async def _bytes(text: str) -> AsyncIterator[bytes]:
    yield text.encode()
