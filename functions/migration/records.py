"""What each batch of a run has made: a record, written with it, that nothing but an undo ever changes.

Its items are `[id, revision, digest of the row]`. Its id comes of the first item that it names, which no other record
of the same generation does; its instant is that of its items.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Final

from functions.migration.digests import digest
from functions.migration.models import BATCH, Migration, Row, Table
from shared.database.port import Create, Stored, Where
from shared.ids import derived_id
from shared.work.session import TenantSession

DIGITS: Final = 32
"""Of a row's digest: 128 bits tell any two rows apart."""


def fingerprint(table: Table, row: Row[Any]) -> str:
    """What a record keeps of a row, by which the same one is known again."""
    return digest(table, row.legacy_id, vars(row.fields))[:DIGITS]


def record(run: Migration, table: Table, made: Sequence[Sequence[Any]], at: str) -> Create:
    """The write of a batch's record; of at least one item."""
    body = {"created_at": at, "resource_id": run.generation, "resource_type": table, "table": table, "items": made}
    return Create(BATCH, _record_id(run, made[0][0]), body)


async def of_changed(tenant: TenantSession, table: Table, instants: Collection[str]) -> dict[str, str]:
    """Id -> fingerprint of what was made at these instants, by whichever run. At most 200 instants."""
    if not instants:
        return {}
    where = [Where("resource_type", "=", table), Where("created_at", "in", sorted(set(instants)))]
    return {id: found async for items in _items(tenant, where) for id, found in items.items()}


async def of_gone(tenant: TenantSession, run: Migration, table: Table, ids: Collection[str]) -> dict[str, str]:
    """The same of ids that are gone, if this run has made them: at most 200, by all records of its generation.

    The rows of a batch mostly come together again, so the record that begins with one of them is looked at first.
    """
    left, known = set(ids), dict[str, str]()
    likely = [Where("id", "in", [_record_id(run, id) for id in sorted(left)])]
    for where in (likely, [Where("resource_id", "=", run.generation), Where("resource_type", "=", table)]):
        if not left:
            break
        async for items in _items(tenant, where):
            known |= {id: items[id] for id in left & items.keys()}
            left -= items.keys()
            if not left:
                break
    return known


async def _items(tenant: TenantSession, where: Sequence[Where]) -> AsyncIterator[Mapping[str, str]]:
    after: tuple[str, str] | None = None
    while True:
        page = await tenant.store.query(BATCH, where, after=after)
        for stored in page.items:
            yield {id: found for id, _, found in stored.body["items"]}
        if page.next is None:
            return
        after = page.next


def revisions(batch: Stored) -> dict[str, int]:
    """Id -> revision at which it was made, of a record's items."""
    return {id: revision for id, revision, _ in batch.body["items"]}


def _record_id(run: Migration, first: str) -> str:
    return derived_id("batch", run.generation, first)
