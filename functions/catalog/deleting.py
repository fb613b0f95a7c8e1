"""Deleting elements, relationships and whole models, with what depends on them: in batches, valid after each one."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from functions.catalog.graph import depending_on, of_model
from functions.catalog.models import Element, Model, Relationship
from functions.catalog.view_models import ModelPart, View
from shared.database.port import Order, Where
from shared.errors import Conflict, Contended, InUse, Stale
from shared.kinds import Kind
from shared.tenancy.fence import Overtaken, newest
from shared.work.fencing import closed_since
from shared.work.resources import Resource, Versioned, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession

BATCH: Final = 40
BATCH_BYTES: Final = 1024 * 1024
LISTED: Final = 100
SECONDS: Final = 200.0  # Azure's load balancer gives a call up after 230


class OutOfTime(Exception):
    """There was more to do than time; `done`: items that were, which stays so."""

    def __init__(self, message: str, done: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.done = done


async def delete(
    tenant: TenantSession,
    model: type[Element] | type[Relationship],
    id: str,
    if_match: str | None,
    *,
    cascade: bool,
) -> None:
    """What depends on the item first, the item last, in as few batches as hold them; a race is run again.

    Once a batch is committed it goes on, as often as it gets further, whatever becomes of the version that If-Match
    named: a refusal would say that nothing was done. An agent that comes meanwhile ends it; the refusal says so.
    """
    lost = gone = 0
    while lost < TRIES_AT_A_RACE:
        held: Versioned[Any] = await load(tenant, model, id)
        if not gone:
            held.value.check(if_match)
        await _check_nothing_else(tenant, model.KIND, [id], _already(gone, "relationships"))
        depending = await depending_on(tenant, [id])
        if depending and not cascade:
            raise InUse(
                f"{len(depending)} relationships would lose an end; delete them first, or with ?cascade=true.",
                relationships=[shown(one.value) for one in depending[:LISTED]],
                total=len(depending),
            )
        try:
            for batch in batches([*depending, held]):
                await delete_all(tenant, batch)
                lost, gone = 0, gone + len(batch)
            return
        except Stale:
            lost += 1
    raise Contended(f"Others keep changing this at the same time; try again.{_already(gone, 'relationships')}")


async def delete_model(
    tenant: TenantSession, id: str, if_match: str | None, *, cascade: bool, seconds: float = SECONDS
) -> None:
    """The model's views, its elements with what depends on them, its relationships, itself: the last only when none is
    left.

    `Conflict` while it has any (without `cascade`), or others refer to them, and when a restore has brought it back in
    the midst; `OutOfTime` when it takes longer than `seconds`: what is deleted stays so, and the same call again goes
    on from there.
    """
    began = await newest(tenant.store)
    clock = tenant.services.clock
    until = clock.monotonic() + seconds
    if cascade:
        async for page in of_model(tenant, Element.KIND, id):
            await _check_nothing_else(tenant, Element.KIND, [stored.body["id"] for stored in page], "")
    lost = gone = 0
    while lost < TRIES_AT_A_RACE:
        held = await load(tenant, Model, id)
        if not gone:
            held.value.check(if_match)
        elif await closed_since(tenant.store, began):
            raise Conflict("This tenant was restored while the model was deleted; look again.")
        try:
            batch = await _next_of_model(tenant, id)
            if not batch:
                return await delete_all(tenant, [held])
            if not cascade and not isinstance(batch[0].value, ModelPart):
                raise InUse("It has elements, relationships or views; delete them first, or with ?cascade=true.")
            if gone and clock.monotonic() > until:
                raise OutOfTime("This takes long; what is deleted stays so. Send it again: it goes on there.", gone)
            depending: list[Versioned[Relationship]] = []
            if isinstance(batch[0].value, Element | Relationship):
                ids = [one.value.id for one in batch]
                await _check_nothing_else(tenant, batch[0].value.KIND, ids, _already(gone, "items"))
                depending = await depending_on(tenant, ids)
            for some in batches([*depending, *batch]):
                await delete_all(tenant, some)
                lost, gone = 0, gone + len(some)
        except (Stale, Overtaken):
            lost += 1
    raise Contended(f"Others keep changing this at the same time; try again.{_already(gone, 'items')}")


def shown(relationship: Relationship) -> dict[str, str]:
    """What a refusal tells of a relationship that stands in the way."""
    return relationship.model_dump(include={"id", "type", "source_id", "target_id"})


async def _next_of_model(tenant: TenantSession, id: str) -> list[Versioned[Any]]:
    """Some of its views, then elements, then one of its relationships, which are all between others' then; folders
    and the like are the last."""
    kinds: list[tuple[type[Resource], int]] = [(View, BATCH), (Element, BATCH), (Relationship, 1), (ModelPart, BATCH)]
    for model, limit in kinds:
        page = await tenant.store.query(model.KIND, [Where("model_id", "=", id)], order=Order("id"), limit=limit)
        if page.items:
            return [Versioned.of(model, stored) for stored in page.items]
    return []


def batches(items: Sequence[Versioned[Any]]) -> Iterator[list[Versioned[Any]]]:
    """In order, as many together as one batch holds with their audit entries."""
    batch: list[Versioned[Any]] = []
    room = BATCH_BYTES
    for one in items:
        size = len(one.value.model_dump_json().encode())
        if batch and (len(batch) == BATCH or size > room):
            yield batch
            batch, room = [], BATCH_BYTES
        batch.append(one)
        room -= size
    if batch:
        yield batch


async def delete_all(tenant: TenantSession, held: list[Versioned[Any]]) -> None:
    """One batch."""
    change = tenant.change(*held)
    for one in held:
        change.delete(one)
    await change.commit(None)


def _already(gone: int, of: str) -> str:
    return f" ({gone} of its {of} had been deleted before.)" if gone else ""


async def _check_nothing_else(tenant: TenantSession, kind: Kind, ids: list[str], already: str) -> None:
    """`Conflict`, listing them, while anything but relationships refers to one of these."""
    for referring, field in tenant.services.kinds.referring(kind):
        if referring == Relationship.KIND:
            continue
        found = (await tenant.store.query(referring, [Where(field, "in", ids)], limit=LISTED)).items
        if found:
            listed = [{"id": stored.body["id"], "name": stored.body.get("name", "")} for stored in found]
            what = f"this {kind}" if len(ids) == 1 else f"these {kind}s"
            raise InUse(
                f"{referring.capitalize()}s refer to {what}; give them another one, or none, first.{already}",
                **{f"{referring}s": listed},
            )
