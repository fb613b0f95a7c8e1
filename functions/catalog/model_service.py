"""Imported models: found or made for a file, listed, deleted with all that is theirs."""

import json
from collections.abc import Mapping
from typing import Any, Final

from functions.catalog.deleting import OutOfTime, delete_model
from functions.catalog.exchange import ModelHeader
from functions.catalog.exchange_xml import xml_id
from functions.catalog.graph import by_ids
from functions.catalog.import_models import ImportReport
from functions.catalog.models import Model
from functions.catalog.naming import MODELS, OURS, Naming, came_with, origins, whole_of
from functions.catalog.values import MAX_FIELDS_BYTES, MAX_IDENTIFIER, MAX_NAME, settled_texts
from shared.clock import rfc3339
from shared.errors import Conflict, Contended, Invalid, NotFound, Stale, TooLarge, Unavailable
from shared.ids import derived_id, is_uuid
from shared.tenancy.fence import Overtaken
from shared.work.resources import Listing, PageRequest, find, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession

NAMELESS: Final = 'its <model> has no identifier; give it one (identifier="id-…"), or say which model it is: ?model=…'
NO_SUCH: Final = "There is no such model."  # in the words of `load`


class ModelService:
    """Imported models, as wholes."""

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[Model]:
        """One page. `filters`: field -> value, None: any."""
        return await find(tenant, Model, filters, page)

    async def get(self, tenant: TenantSession, id: str) -> Model:
        """`NotFound` for what never was and for another tenant's."""
        return (await load(tenant, Model, id)).value

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None, *, cascade: bool) -> None:
        """As `delete_model`; `Unavailable` when it takes too long."""
        try:
            await delete_model(tenant, id, if_match, cascade=cascade)
        except OutOfTime as late:
            raise Unavailable(late.message) from late


async def find_model(tenant: TenantSession, named: str, *, or_id: bool = True) -> Model | None:
    """The model of this id (unless a file calls itself so), or of this identifier."""
    ids = [*([named] if or_id and is_uuid(named) else []), *_ids(tenant, xml_id(named))]
    there = await by_ids(tenant, Model.KIND, ids)
    return next((Model.model_validate(there[id]) for id in ids if id in there), None)


async def naming_of(tenant: TenantSession, header: ModelHeader, named: str | None, *, dry_run: bool = False) -> Naming:
    """What a file's identifiers mean; its model is made when there is none yet, of a `dry_run` only in thought.

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
            model = model or await _begin(tenant, identifier, header.name[:MAX_NAME] or identifier, dry_run)
        except (Conflict, Stale, Overtaken):
            continue
        return Naming(model, model.id, origins(tenant))
    raise Contended("Others keep making and deleting this model at the same time; try again.")


async def conclude(tenant: TenantSession, model: Model, header: ModelHeader, report: ImportReport) -> None:
    """The model says what its file says of it, and what was imported last, unless that has changed nothing.

    `merge`: what the file does not say of the model stays.
    """
    last = {
        "at": rfc3339(tenant.services.clock.now()),
        "by": tenant.user_id,
        "identifier": xml_id(header.identifier) if header.identifier else model.identifier,
        "file_sha256": report.file_sha256,
        "elements": report.elements.taken,
        "relationships": report.relationships.taken,
    }
    counts = (report.elements, report.relationships, report.views, report.parts)
    changed = any(one.changed for one in counts)

    def fields(model: Model) -> dict[str, Any]:
        said = own_texts(header, model, keep=report.mode == "merge")
        known = model.last_import and last["identifier"] in (model.identifier, model.last_import.identifier)
        same = known and all(getattr(model, name) == value for name, value in said.items())
        return said if same and not changed else {**said, "last_import": last}

    try:
        await tenant.modify(Model, model.id, fields, if_match=None)
    except NotFound as gone:
        raise Conflict("The model was deleted while this was imported; send the file again.") from gone


def check_texts(header: ModelHeader, model: Model, *, keep: bool) -> None:
    """`TooLarge` where the model would say more of itself than an import takes back: before any item is taken."""
    said = len(json.dumps(own_texts(header, model, keep=keep), ensure_ascii=False).encode())
    if said > MAX_FIELDS_BYTES // 2:
        raise TooLarge(
            f"With what it says already, the model would say {said:,} bytes of JSON of itself; at most "
            f"{MAX_FIELDS_BYTES // 2:,} can be kept. A mirror removes what the file does not say."
        )


def own_texts(header: ModelHeader, model: Model, *, keep: bool) -> dict[str, Any]:
    """What a file says of its model; `keep`: what it does not say stays. Our own remarks are none of it (`OURS`)."""
    texts = settled_texts(header)
    texts["properties"] = {key: text for key, text in texts["properties"].items() if not key.startswith(OURS)}
    said = {**texts, "name": texts["name"][:MAX_NAME] or model.name, "version": header.version}
    if keep:
        said |= {name: getattr(model, name) for name in ("description", "version") if not said[name]}
        said["properties"] = {**model.properties, **texts["properties"]}
        said["languages"] = {**model.languages, **texts["languages"]}
        said["translations"] = {
            language: {**model.translations.get(language, {}), **texts["translations"].get(language, {})}
            for language in {**model.translations, **texts["translations"]}
        }
    return said


def _ids(tenant: TenantSession, identifier: str) -> list[str]:
    return [derived_id(Model.KIND, origin, identifier) for origin in origins(tenant)]


async def _begin(tenant: TenantSession, identifier: str, name: str, dry_run: bool) -> Model:
    """A model is there before anything that names it."""
    id = _ids(tenant, identifier)[0]
    buried = (await tenant.buried(Model.KIND, [id])).get(id)
    change = tenant.change(*([buried] if buried else []))
    model = change.create(Model, {"identifier": identifier, "name": name}, id=id, buried=buried)
    return model if dry_run else await change.commit(model)
