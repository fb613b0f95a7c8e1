"""Imported models: found or made for a file, listed, deleted with all that is theirs."""

from collections.abc import Mapping
from typing import Any, Final

from functions.catalog.deleting import delete_model
from functions.catalog.exchange import ModelHeader
from functions.catalog.exchange_write import xml_id
from functions.catalog.graph import by_ids
from functions.catalog.models import ImportCounts, Model
from functions.catalog.naming import MODELS, Naming, came_with, origins, whole_of
from functions.catalog.values import MAX_IDENTIFIER, MAX_NAME
from shared.clock import rfc3339
from shared.errors import Conflict, Contended, Invalid, NotFound, Stale
from shared.ids import derived_id, is_uuid
from shared.tenancy.fence import Overtaken
from shared.work.resources import Listing, PageRequest, find, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession

NAMELESS: Final = 'its <model> has no identifier; give it one (identifier="id-…"), or say which model it is: ?model=…'
NO_SUCH: Final = "There is no such model."  # in the words of `load`


class ModelService:
    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[Model]:
        return await find(tenant, Model, filters, page)

    async def get(self, tenant: TenantSession, id: str) -> Model:
        return (await load(tenant, Model, id)).value

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None, *, cascade: bool) -> None:
        """As `delete_model`."""
        await delete_model(tenant, id, if_match, cascade=cascade)


async def find_model(tenant: TenantSession, named: str, *, or_id: bool = True) -> Model | None:
    """The model of this id (unless a file calls itself so), or of this identifier."""
    ids = [*([named] if or_id and is_uuid(named) else []), *_ids(tenant, xml_id(named))]
    there = await by_ids(tenant, Model.KIND, ids)
    return next((Model.model_validate(there[id]) for id in ids if id in there), None)


async def naming_of(tenant: TenantSession, header: ModelHeader, named: str | None) -> Naming:
    """What a file's identifiers mean; its model is made when there is none yet.

    `Invalid` for a file without an identifier when no model is `named`, `NotFound` when there is none of the id named.
    """
    wanted = named or header.identifier
    if not wanted:
        raise Invalid.of("body", NAMELESS)
    identifier = xml_id(wanted)
    if len(identifier) > MAX_IDENTIFIER:
        raise Invalid.of("model", f"as an XML name, its identifier is longer than {MAX_IDENTIFIER}", wanted)
    await tenant.store.catch_up()  # what is not there, is made
    if identifier in map(whole_of, origins(tenant)):
        return Naming(None, whole_of(tenant.id), came_with=await came_with(tenant, header.properties.get(MODELS)))
    for _ in range(TRIES_AT_A_RACE):
        model = await find_model(tenant, wanted, or_id=named is not None)
        if model is None and named and is_uuid(named):
            raise NotFound(NO_SUCH)
        try:
            model = model or await _begin(tenant, identifier, header.name[:MAX_NAME] or identifier)
        except (Conflict, Stale, Overtaken):
            continue
        return Naming(model, model.id, origins(tenant))
    raise Contended("Others keep making and deleting this model at the same time; try again.")


async def conclude(
    tenant: TenantSession,
    model: Model,
    header: ModelHeader,
    digest: str,
    elements: ImportCounts,
    relationships: ImportCounts,
) -> None:
    """The model says what was imported last, unless that has changed nothing."""
    last = {
        "at": rfc3339(tenant.services.clock.now()),
        "by": tenant.user_id,
        "identifier": xml_id(header.identifier) if header.identifier else model.identifier,
        "file_sha256": digest,
        "elements": elements.taken,
        "relationships": relationships.taken,
    }
    changed = elements.changed + relationships.changed

    def fields(model: Model) -> dict[str, Any]:
        name = {"name": header.name[:MAX_NAME] or model.name}
        return name if model.last_import and not changed else {**name, "last_import": last}

    try:
        await tenant.modify(Model, model.id, fields, if_match=None)
    except NotFound as gone:
        raise Conflict("The model was deleted while this was imported; send the file again.") from gone


def _ids(tenant: TenantSession, identifier: str) -> list[str]:
    return [derived_id(Model.KIND, origin, identifier) for origin in origins(tenant)]


async def _begin(tenant: TenantSession, identifier: str, name: str) -> Model:
    """A model is there before anything that names it."""
    id = _ids(tenant, identifier)[0]
    buried = (await tenant.buried(Model.KIND, [id])).get(id)
    change = tenant.change(*([buried] if buried else []))
    return await change.commit(change.create(Model, {"identifier": identifier, "name": name}, id=id, buried=buried))
