"""Imported models: found or made for a file, listed, deleted with all that is theirs."""

import json
from collections.abc import Mapping
from typing import Any, Final

from functions.catalog.deleting import OutOfTime, delete_model
from functions.catalog.exchange import ItemKind, ModelHeader
from functions.catalog.exchange_xml import xml_id
from functions.catalog.graph import by_ids
from functions.catalog.import_models import ImportCounts, Mode
from functions.catalog.making import Making
from functions.catalog.models import Model
from functions.catalog.naming import MODELS, OURS, Naming, came_with, origins, whole_of
from functions.catalog.values import MAX_FIELDS_BYTES, MAX_IDENTIFIER, MAX_NAME, settled_texts
from shared.clock import rfc3339
from shared.errors import Invalid, NotFound, TooLarge, Unavailable
from shared.ids import derived_id, is_uuid
from shared.work.resources import Listing, PageRequest, Tombstone, Versioned, find, load
from shared.work.session import TenantSession

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


async def naming_of(tenant: TenantSession, header: ModelHeader, named: str | None) -> tuple[Naming, Making | None]:
    """What a file's identifiers mean, and its model where that is still to be made. Whoever asks has caught up.

    `Invalid` for a file without an identifier when no model is `named`, `NotFound` when there is none of the id named.
    """
    wanted = named or header.identifier
    if not wanted:
        raise Invalid.of("body", NAMELESS)
    identifier = xml_id(wanted)
    if len(identifier) > MAX_IDENTIFIER:
        raise Invalid.of("model", f"as an XML name, its identifier is longer than {MAX_IDENTIFIER}", wanted)
    if identifier in map(whole_of, origins(tenant)):
        came = await came_with(tenant, header.properties.get(MODELS))
        return Naming(None, whole_of(tenant.id), came_with=came), None
    own, ids = [named] if named and is_uuid(named) else [], _ids(tenant, identifier)
    traces = await tenant.store.traces(Model.KIND, [*own, *ids])
    there = {stored.body["id"]: Model.model_validate(stored.body) for stored in traces.there}
    model = next((there[id] for id in (*own, *ids) if id in there), None)
    if model is not None:
        return Naming(model, model.id, origins(tenant)), None
    if own:
        raise NotFound(NO_SUCH)
    buried = {stored.body["id"]: Versioned.of(Tombstone, stored) for stored in traces.buried}
    making = Making(ids[0], identifier, header.name[:MAX_NAME] or identifier, buried.get(ids[0]))
    return Naming(making.put(tenant.change(*making.versions)), making.id, origins(tenant)), making


def conclusion(
    tenant: TenantSession,
    model: Model,
    header: ModelHeader,
    counts: Mapping[ItemKind, ImportCounts],
    parts: ImportCounts,
    *,
    mode: Mode,
    digest: str,
) -> dict[str, Any]:
    """What the model says of itself from now on: as its file has it, and what was imported last, unless that has
    changed nothing.

    `merge`: what the file does not say of the model stays.
    """
    last = {
        "at": rfc3339(tenant.services.clock.now()),
        "by": tenant.user_id,
        "identifier": xml_id(header.identifier) if header.identifier else model.identifier,
        "file_sha256": digest,
        "elements": counts["element"].taken,
        "relationships": counts["relationship"].taken,
    }
    changed = any(one.changed for one in (*counts.values(), parts))
    said = own_texts(header, model, keep=mode == "merge")
    known = model.last_import and last["identifier"] in (model.identifier, model.last_import.identifier)
    same = known and all(getattr(model, name) == value for name, value in said.items())
    return said if same and not changed else {**said, "last_import": last}


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
