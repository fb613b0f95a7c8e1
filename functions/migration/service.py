"""Migrations of a tenant: begun for a source file, fed with rows, compared, finished, undone (decision 0051)."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

from functions.agents.service import AgentService
from functions.catalog.graph import by_ids
from functions.catalog.models import Element, Relationship
from functions.migration.digests import NAMING, digest
from functions.migration.models import (
    MODELS,
    OPEN,
    Digests,
    Finished,
    Look,
    Migration,
    NewMigration,
    Outcomes,
    Rows,
)
from functions.migration.taking import STOPPED, Taking, among, item_ids
from functions.migration.undoing import undo, write_run
from shared.database.port import Create
from shared.errors import Conflict, Contended, Stale, WrongState
from shared.ids import derived_id
from shared.tenancy.fence import Overtaken
from shared.work.resources import Listing, PageRequest, Versioned, find, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession


class MigrationService:
    """Runs that bring an old file's rows in, and take them out again."""

    def __init__(self, agents: AgentService) -> None:
        self._taking = Taking(agents)

    async def begin(self, tenant: TenantSession, new: NewMigration) -> Migration:
        """The run of this source: begun, or as it is. One that is undone is begun anew; `WrongState` while it is."""
        id = derived_id(Migration.KIND, tenant.id, new.source_sha256)
        await tenant.store.catch_up()
        for _ in range(TRIES_AT_A_RACE):
            stored = await tenant.store.get(Migration.KIND, id)
            if stored is None:
                held = None
            else:
                held = Versioned.of(Migration, stored)
                if held.value.status == "deleting":
                    raise WrongState("This migration is being undone; undo it to its end, then begin it again.")
                if held.value.status != "ended":
                    return held.value
            try:
                return await self._begin(tenant, id, new, held)
            except (Conflict, Stale, Overtaken):
                continue
        raise Contended("Others keep beginning and undoing this migration; try again.")

    async def get(self, tenant: TenantSession, id: str) -> Migration:
        """`NotFound` for what never was and for another tenant's."""
        return (await load(tenant, Migration, id)).value

    async def list(self, tenant: TenantSession, page: PageRequest) -> Listing[Migration]:
        """One page."""
        return await find(tenant, Migration, {}, page)

    async def take(self, tenant: TenantSession, id: str, rows: Rows) -> Outcomes:
        """Elements, then relationships, then agents. The same rows again change nothing."""
        run = await self.get(tenant, id)
        if run.status not in ("running", "succeeded"):
            raise WrongState(STOPPED)
        tenant = tenant.without_key()  # a row again is known by its id
        return Outcomes(
            elements=await self._taking.take(tenant, run, "elements", rows.elements),
            relationships=await self._taking.take(tenant, run, "relationships", rows.relationships),
            agents=await self._taking.take(tenant, run, "agents", rows.agents),
        )

    async def look(self, tenant: TenantSession, id: str, asked: Look) -> Digests:
        """What is stored of these rows, read anew, as digests; three queries at most."""
        await self.get(tenant, id)
        kind, table = MODELS[asked.table].KIND, asked.table
        ids = [item_ids(tenant, table, legacy_id) for legacy_id in asked.legacy_ids]
        there = await by_ids(tenant, kind, chain(*ids))
        named = {body[field] for body in there.values() for field in NAMING[table] if body[field] is not None}
        keys: dict[str, str | None] = {}
        for end in (Element.KIND, Relationship.KIND) if named else ():
            keys |= {id: body.get("legacy_id") for id, body in (await by_ids(tenant, end, named)).items()}
        return Digests(digests=[_digest(asked, among(some, there), keys) for some in ids])

    async def finish(self, tenant: TenantSession, id: str, ended: Finished) -> Migration:
        """The run with its numbers; the same numbers again change nothing."""
        for _ in range(TRIES_AT_A_RACE):
            held = await load(tenant, Migration, id)
            if held.value.status not in ("running", "succeeded"):
                raise WrongState(STOPPED)
            old = held.value
            if (old.status, old.tables, old.checksum) == ("succeeded", ended.tables, ended.checksum):
                return old
            change = tenant.change(held)
            new = write_run(change, held, {"status": "succeeded", **ended.model_dump()}, tenant.user_id)
            told = [one.model_dump(mode="json") for one in (old, new)]
            change.audit("finished", Migration.KIND, id, new.revision, *told)
            try:
                return await change.commit(new)
            except (Stale, Overtaken):
                continue
        raise Contended("Others keep changing this migration; try again.")

    async def undo(self, tenant: TenantSession, id: str) -> Migration:
        """As much as one call can; `deleting`: again. `NotFound` when nothing is left of it."""
        return await undo(tenant.without_key(), id)

    async def _begin(
        self, tenant: TenantSession, id: str, new: NewMigration, held: Versioned[Migration] | None
    ) -> Migration:
        change = tenant.change(*([held] if held else []))
        generation = tenant.services.ids.new()
        if held is not None:
            told: dict[str, Any] = {"tables": None, "checksum": None, "removed": 0, "kept": 0, "kept_items": []}
            fresh = {"status": "running", "generation": generation, **told}
            run = write_run(change, held, fresh, tenant.user_id)
        else:
            run = Migration(
                id=id,
                tenant_id=tenant.id,
                revision=1,
                created_at=change.at,
                updated_at=change.at,
                created_by=tenant.user_id,
                updated_by=tenant.user_id,
                status="running",
                generation=generation,
                **new.model_dump(),
            )
            change.write(Create(Migration.KIND, id, run.model_dump(mode="json")))
        change.write(Create(OPEN, generation, {"created_at": change.at}))
        change.audit("begun", Migration.KIND, id, run.revision, None, run.model_dump(mode="json"))
        return await change.commit(run)


def _digest(asked: Look, body: Mapping[str, Any] | None, keys: Mapping[str, str | None]) -> str | None:
    """Of a stored item, with the old keys of what it names; what it names and is not there has none."""
    if body is None:
        return None
    old = {field: keys.get(body[field]) for field in NAMING[asked.table] if body[field] is not None}
    return digest(asked.table, body["legacy_id"], {**body, **old})
