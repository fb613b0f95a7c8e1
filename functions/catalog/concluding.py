"""The end of an import: what is left of the file, the model's parts and what it says of itself, in one batch.

Where that cannot be, piece by piece, each again when others come in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from functions.catalog.exchange import KIND_NAMES, ModelHeader
from functions.catalog.import_models import Asked, ImportCounts
from functions.catalog.model_service import conclusion
from functions.catalog.models import Model
from functions.catalog.parts import AT_ONCE, Parts, Stretches, stretches_of, take_parts
from functions.catalog.taking import Portion, Progress, check_in_time, made_by_others, put, take
from shared.database.port import Stored
from shared.errors import Conflict, Contended, Invalid, NotFound, Stale, Taken, TooLarge
from shared.tenancy.fence import Overtaken
from shared.work.change import Change
from shared.work.fencing import closed_meanwhile
from shared.work.resources import Versioned, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession

RESTORED: Final = "This tenant was restored while the file was imported; send it again."
DELETED: Final = "The model was deleted while this was imported; send the file again."


@dataclass(frozen=True)
class Ending:
    """What an import ends with. `before`: what earlier parts of it have made and changed; `opened`: as it began."""

    header: ModelHeader
    parts: Parts
    asked: Asked
    digest: str
    before: Mapping[str, Mapping[str, int]]
    opened: Stored

    async def check_not_restored(self, tenant: TenantSession) -> None:
        """`Conflict`, where that is so by the permit that is known."""
        if await closed_meanwhile(tenant.store, self.opened):
            raise Conflict(RESTORED)

    def said(self, tenant: TenantSession, model: Model, progress: Progress, parts: ImportCounts) -> dict[str, Any]:
        """What the model says from now on; the progress has what was done before."""
        counts = {kind: progress.tally(kind) for kind in KIND_NAMES}
        return conclusion(tenant, model, self.header, counts, parts, mode=self.asked.mode, digest=self.digest)


@dataclass(frozen=True)
class Ended:
    """What is known at the end, counts of the model's parts, and whether all of it ended with a batch."""

    progress: Progress
    parts: ImportCounts
    written: bool


async def finish(
    tenant: TenantSession, model: Model, last: Portion | None, progress: Progress, ending: Ending
) -> Ended:
    """`last` is what is left of the file. `OutOfTime` where that is too late, `Conflict` without the model."""
    try:
        return await _finish(tenant, model, last, progress, ending)
    except NotFound as gone:
        raise Conflict(DELETED) from gone


async def _finish(
    tenant: TenantSession, model: Model, last: Portion | None, progress: Progress, ending: Ending
) -> Ended:
    if last is not None:
        check_in_time(progress)
        await ending.check_not_restored(tenant)
        try:
            return await _at_once(tenant, model, last, progress, ending)
        except Conflict as conflict:
            await made_by_others(tenant, conflict, progress)
        except (Stale, Invalid, Overtaken, TooLarge):
            pass
        await take(tenant, replace(last, known=None), progress)
    for _ in range(TRIES_AT_A_RACE):
        await ending.check_not_restored(tenant)
        try:
            return await _at_once(tenant, model, None, progress, ending)
        except (Stale, Overtaken):
            continue
        except Taken as taken:
            progress.bare = False
            await made_by_others(tenant, taken, progress)
        except TooLarge:
            break
    parts = await take_parts(tenant, model, ending.parts, ending.asked.mode, progress)
    return await conclude(tenant, model, progress, parts, ending)


async def conclude(
    tenant: TenantSession, model: Model, progress: Progress, parts: ImportCounts, ending: Ending
) -> Ended:
    """The model says what its file says of it, once all else is done."""
    progress.add(ending.before)
    await ending.check_not_restored(tenant)
    for _ in range(TRIES_AT_A_RACE):
        making, said = progress.making, ending.said(tenant, model, progress, parts)
        try:
            if making is not None:
                change = tenant.change(*making.versions)
                making.put(change, **said)
                await change.commit(None)
            elif _is_news(said):
                told = partial(ending.said, tenant, progress=progress, parts=parts)
                await tenant.modify(Model, model.id, told, if_match=None)
        except NotFound as gone:
            raise Conflict(DELETED) from gone
        except Overtaken:
            continue
        except Taken as taken:
            await made_by_others(tenant, taken, progress)
            continue
        return Ended(progress, parts, written=False)
    raise Contended("Others keep changing this model at the same time; import again.")


async def _at_once(
    tenant: TenantSession, model: Model, last: Portion | None, progress: Progress, ending: Ending
) -> Ended:
    """In one batch, which fails where anything of it has changed meanwhile; none where there is nothing to write."""
    trial = progress.tried()
    if last is not None:
        last = await last.looked_up(tenant, progress.naming)
        trial.expect(last)
    stretches = await stretches_of(tenant, model, ending.parts, ending.asked.mode, trial)
    if len(stretches.ids) > AT_ONCE:
        raise TooLarge("What this model is beside its items takes several batches.")
    trial.add(ending.before)
    held: Versioned[Model] | None = None
    if progress.making is None and _is_news(ending.said(tenant, model, trial, ImportCounts())):
        held = await load(tenant, Model, model.id)
    ended, change = await _put(tenant, model, last, stretches, progress, ending, held)
    if progress.making is None and held is None:
        if not ended.written:
            if progress.refused:  # perhaps all of it, as there is no model any more
                await load(tenant, Model, model.id)
            return ended
        held = await load(tenant, Model, model.id)  # what is last has shown that it changes something
        ended, change = await _put(tenant, model, last, stretches, progress, ending, held)
    await change.commit(None)
    ended.progress.making = None
    return ended


async def _put(
    tenant: TenantSession,
    model: Model,
    last: Portion | None,
    stretches: Stretches,
    progress: Progress,
    ending: Ending,
    held: Versioned[Model] | None,
) -> tuple[Ended, Change]:
    """All of it in a change, which makes the model or changes it as it is `held`; None: to see whether it need be."""
    known, stretches = progress.tried(), replace(stretches, counts=stretches.counts.model_copy())
    making, ids = progress.making, stretches.ids
    versions = [*(last.versions if last else []), *stretches.versions(ids), *progress.versions]
    change = tenant.change(*versions, *([held] if held else []))
    modelled = making is not None or held is not None
    if last is not None:
        known.settle(last, await put(tenant, change, last, progress, trusted=True, modelled=modelled))
    await stretches.put(change, ids, modelled=modelled)
    known.add(ending.before)
    said = ending.said(tenant, held.value if held else model, known, stretches.counts)
    if making is not None:
        making.put(change, **said)
    elif held is not None and change.update(held, said) is held.value:
        change.touch(Model.KIND, held.value.id, "model")
    return Ended(known, stretches.counts, _is_news(said)), change


def _is_news(said: Mapping[str, Any]) -> bool:
    return "last_import" in said
