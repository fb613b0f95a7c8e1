"""What a model is beside its items (folders, definitions of properties, metadata, viewpoints), in stretches of rows."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, get_args

from functions.catalog.exchange import FoundPart, ModelHeader, PropertyDefinition, Rows, Section
from functions.catalog.exchange_parse import MAX_CHARACTERS
from functions.catalog.exchange_room import MAX_DEFINITIONS
from functions.catalog.graph import of_model
from functions.catalog.import_models import ImportCounts, Mode
from functions.catalog.models import Model
from functions.catalog.naming import OURS
from functions.catalog.taking import Progress, made_by_others
from functions.catalog.values import MAX_FIELDS_BYTES
from functions.catalog.view_models import ModelPart, View
from shared.errors import Contended, Stale, Taken, TooLarge
from shared.ids import derived_id
from shared.tenancy.fence import Overtaken
from shared.work.change import Change
from shared.work.resources import Tombstone, Versioned
from shared.work.session import TRIES_AT_A_RACE, TenantSession

MOST_ROWS: Final = 1000
MOST_BYTES: Final = 120 * 1024
AT_ONCE: Final = 5
SAID: Final = ("names", "descriptions")
SECTIONS: Final[tuple[Section, ...]] = get_args(Section)
Parts = Mapping[Section, Rows]


def parts_of_file(header: ModelHeader, found: Iterable[FoundPart]) -> dict[Section, Rows]:
    """All rows of each section; those of folders still name what is in them as the file does.

    `TooLarge` where one row, or what the file says of its model, is more than an item can hold.
    """
    parts: dict[Section, Rows] = {section: [] for section in SECTIONS}
    for one in found:
        parts[one.section] += one.rows
    parts["definitions"] = [asdict(one) for one in header.definitions if not one.key.startswith(OURS)]
    for section, rows in parts.items():
        if any(_size(row) > MOST_BYTES for row in rows):
            raise TooLarge(f"One of the {section} has more than {MOST_BYTES:,} bytes of JSON; make it shorter.")
    if _size(asdict(replace(header, definitions=()))) > MAX_FIELDS_BYTES // 2:
        raise TooLarge(f"What the file says of its model has more than {MAX_FIELDS_BYTES // 2:,} bytes of JSON.")
    return parts


def _size(value: Mapping[str, Any]) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())


def resolved_folders(rows: Rows, progress: Progress) -> Rows:
    """Folders name what is in them by kind and id; what was not taken is in none."""
    named: dict[str, tuple[str, str]] = {identifier: (View.KIND.name, id) for identifier, id in progress.views.items()}
    for identifier, id in progress.ids.items():
        kind = "relationship" if progress.concepts[identifier] == "Relationship" else "element"
        named[identifier] = (kind, id)
    kept: Rows = []
    for number, row in enumerate(rows):
        ref = row.get("ref")
        if ref is None:
            kept.append(row)
            continue
        bare = {name: value for name, value in row.items() if name != "ref"}
        inner = rows[number + 1]["depth"] > row["depth"] if number + 1 < len(rows) else False
        if ref in named:
            kind, id = named[ref]
            kept.append({**bare, "kind": kind, "id": id})
        elif inner or bare.keys() > {"depth"}:
            kept.append(bare)
    return kept


async def parts_of(tenant: TenantSession, model_id: str) -> dict[Section, Rows]:
    """All rows of each section of a model."""
    held = [one.value async for one in _held(tenant, model_id)]
    held.sort(key=lambda one: one.number)
    return {section: [row for one in held if one.section == section for row in one.rows] for section in SECTIONS}


@dataclass
class Stretches:
    """The model's parts as they are to be, and as they are; `counts` of what was put into changes."""

    model: Model
    wanted: Mapping[str, Mapping[str, Any]]
    held: Mapping[str, Versioned[ModelPart]]
    buried: Mapping[str, Versioned[Tombstone]]
    counts: ImportCounts

    @property
    def ids(self) -> list[str]:
        return sorted(self.wanted.keys() | self.held.keys())

    def versions(self, ids: Iterable[str]) -> list[Versioned[Any]]:
        return [among[id] for id in ids for among in (self.held, self.buried) if id in among]

    async def put(self, change: Change, ids: Iterable[str], *, modelled: bool) -> None:
        """Those of these ids that differ into the change. `modelled`: it proves that the model is there."""
        for id in ids:
            await asyncio.sleep(0)  # a stretch is compared as JSON
            if id not in self.wanted:
                change.delete(self.held[id])
                self.counts.removed += 1
            elif id not in self.held:
                change.create(ModelPart, self.wanted[id], id=id, buried=self.buried.get(id))
                if not modelled:
                    change.touch(Model.KIND, self.model.id, "model")
                self.counts.created += 1
                self.counts.unchanged -= 1
            elif change.update(self.held[id], self.wanted[id]) is not self.held[id].value:
                self.counts.updated += 1
                self.counts.unchanged -= 1


async def take_parts(tenant: TenantSession, model: Model, parts: Parts, mode: Mode, progress: Progress) -> ImportCounts:
    """The model's parts as the file has them. `merge`: what the file does not have at all, stays."""
    for _ in range(TRIES_AT_A_RACE):
        try:
            stretches = await stretches_of(tenant, model, parts, mode, progress)
            await _write(tenant, stretches, progress)
        except (Stale, Overtaken):
            continue
        except Taken as taken:
            progress.bare = False
            await made_by_others(tenant, taken, progress)
            continue
        return stretches.counts
    raise Contended("Others keep changing this model at the same time; import again.")


async def stretches_of(tenant: TenantSession, model: Model, parts: Parts, mode: Mode, progress: Progress) -> Stretches:
    """What is there is asked for, unless the model had nothing."""
    rows = {**parts, "organizations": await asyncio.to_thread(resolved_folders, parts["organizations"], progress)}
    sections = [one for one in SECTIONS if rows[one] or mode == "mirror"]
    there = [] if progress.bare else [one async for one in _held(tenant, model.id)]
    held = {one.value.id: one for one in there if one.value.section in sections}
    wanted = await asyncio.to_thread(_wanted, model.id, sections, rows, held, mode)
    new = sorted(wanted.keys() - held.keys())
    buried = {} if progress.bare or not new else await tenant.buried(ModelPart.KIND, new)
    counts = ImportCounts(unchanged=len(wanted) + len(there) - len(held))
    return Stretches(model, wanted, held, buried, counts)


def _wanted(
    model_id: str, sections: Iterable[Section], parts: Parts, held: Mapping[str, Versioned[ModelPart]], mode: Mode
) -> dict[str, dict[str, Any]]:
    return {
        derived_id(ModelPart.KIND, model_id, f"{section}:{number}"): {
            "model_id": model_id,
            "section": section,
            "number": number,
            "rows": rows,
        }
        for section in sections
        for number, rows in enumerate(_stretches(_merged(section, parts[section], held, mode)))
    }


async def _write(tenant: TenantSession, stretches: Stretches, progress: Progress) -> None:
    ids = stretches.ids
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        change = tenant.change(*stretches.versions(some), *progress.versions)
        if progress.making is not None:
            progress.making.put(change)
        before = stretches.counts.changed
        await stretches.put(change, some, modelled=progress.making is not None)
        if stretches.counts.changed > before and not progress.dry_run:
            await change.commit(None)
            progress.making = None


async def check_definitions(tenant: TenantSession, model: Model, parts: Parts, mode: Mode) -> None:
    """`TooLarge` where the model would have more definitions than an import takes back: before any item is taken."""
    if mode == "merge" and parts["definitions"]:
        held = {one.value.id: one async for one in _held(tenant, model.id) if one.value.section == "definitions"}
        await asyncio.to_thread(_merged, "definitions", parts["definitions"], held, mode)


def _merged(section: Section, rows: Rows, held: Mapping[str, Versioned[ModelPart]], mode: Mode) -> Rows:
    if mode == "mirror" or section != "definitions":
        return rows
    old = sorted((one.value for one in held.values() if one.value.section == section), key=lambda one: one.number)
    there = [row for one in old for row in one.rows]
    merged = {row["key"]: row for row in (*there, *rows)}
    said = sum(len(text) for row in merged.values() for name in SAID for text in row[name].values())
    if len(merged) > MAX_DEFINITIONS or said > MAX_CHARACTERS:
        raise TooLarge(
            f"With those that it has, the model would have {len(merged):,} property definitions, of {said:,} "
            f"characters; at most {MAX_DEFINITIONS:,} can be kept, of {MAX_CHARACTERS:,}. A mirror removes what the "
            "file does not have."
        )
    return list(merged.values())


def _stretches(rows: Rows) -> Iterator[Rows]:
    stretch: Rows = []
    room = MOST_BYTES
    for row in rows:
        size = _size(row)
        if stretch and (len(stretch) == MOST_ROWS or size > room):
            yield stretch
            stretch, room = [], MOST_BYTES
        stretch.append(row)
        room -= size
    if stretch:
        yield stretch


async def _held(tenant: TenantSession, model_id: str) -> AsyncIterator[Versioned[ModelPart]]:
    async for page in of_model(tenant, ModelPart.KIND, model_id, AT_ONCE):
        for stored in page:
            yield Versioned.of(ModelPart, stored)


def definitions_of(rows: Rows) -> tuple[PropertyDefinition, ...]:
    return tuple(PropertyDefinition(**row) for row in rows)
