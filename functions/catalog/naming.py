"""Which item here an identifier of an exchange file means: docs/decisions/0029.

An identifier means something in its model only, so ids are derived from both. An export of the whole catalog is no
model; in it an identifier means whatever came with it, in whichever model.
"""

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from functions.catalog.exchange import MAX_ITEMS
from functions.catalog.models import Element, Imported, Model, Relationship
from functions.catalog.view_models import View
from shared.errors import TooLarge
from shared.ids import derived_id
from shared.kinds import Kind
from shared.work.session import TenantSession

OURS: Final = "flowgrid:"
"""How properties begin that our exports say of themselves."""
MODELS: Final = f"{OURS}models"
"""A property of an export of the whole catalog: the ids of the models that it holds items of."""
MODELS_CHARACTERS: Final = 20_000  # of one text in a file
CameWith = Mapping[tuple[str, str], list[str]]
_OWN_ID = re.compile(r"id-([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\Z")


@dataclass(frozen=True, slots=True)
class Meant:
    """What one identifier may mean: items of the `likely` ids, the first first, or of `old` ones; else a `new` one."""

    likely: tuple[str, ...]
    old: tuple[str, ...]
    new: str
    model_id: str | None

    @property
    def ids(self) -> tuple[str, ...]:
        return (*self.likely, self.new, *self.old)

    def among(self, there: Mapping[str, Imported]) -> str:
        """Which it is of those that are there. One of an older import is not another model's by now."""
        for id in self.ids:
            if id in there and (id not in self.old or there[id].model_id in (None, self.model_id)):
                return id
        return self.new

    def part_of(self, id: str, old: Imported | None) -> str | None:
        """The model that the item belongs to from now on: one of an older import becomes this model's."""
        if old is None or (old.model_id is None and id in self.old):
            return self.model_id
        return old.model_id


@dataclass(frozen=True)
class Naming:
    """What a file's identifiers mean here. `model` is None for an export of the whole catalog.

    New ids are derived from `scope`; `old_scopes` are what they were derived from before models had names. `came_with`:
    the ids of what there is, by kind and the identifier that it came with.
    """

    model: Model | None
    scope: str
    old_scopes: Sequence[str] = ()
    came_with: CameWith = field(default_factory=dict)

    @property
    def model_id(self) -> str | None:
        return self.model.id if self.model else None

    def meant(self, kind: Kind, identifier: str) -> Meant:
        """By an identifier of the file: four ids at most, or two and those of `came_with`."""
        own = [match[1]] if (match := _OWN_ID.match(identifier)) else []
        old = tuple(derived_id(kind, scope, identifier) for scope in self.old_scopes)
        likely = (*own, *self.came_with.get((kind, identifier), []))
        return Meant(likely, old, derived_id(kind, self.scope, identifier), self.model_id)

    def several(self, kind: Kind, identifier: str) -> bool:
        """Whether several items are called so by now: which of them is meant cannot be told."""
        return len(self.came_with.get((kind, identifier), [])) > 1


def origins(tenant: TenantSession) -> list[str]:
    """The tenant, and the one that it is a copy of: a copy keeps the ids that were derived there."""
    return [tenant.id, *([tenant.entry.copy_of] if tenant.entry.copy_of else [])]


def whole_of(tenant_id: str) -> str:
    """What an export of the whole catalog calls its model."""
    return f"id-{tenant_id}"


async def came_with(tenant: TenantSession, models: str | None) -> CameWith:
    """What is here by what it came with, in `models` (as `models_in` says them) or none; None: in any.

    What came before models had names may be in a model since, and is meant all the same. One scan, as an export is one.
    `TooLarge` for what no export would hold.
    """
    found: dict[tuple[str, str], list[str]] = {}
    kinds = [Element.KIND, Relationship.KIND, View.KIND]
    known = None if models is None else {None, *models.split()}
    count = 0
    async for page in tenant.store.scan(kinds):
        count += len(page)
        if count > MAX_ITEMS:
            raise TooLarge(f"The catalog has more than {MAX_ITEMS:,} items; import one model at a time: ?model=…")
        for body in (stored.body for stored in page):
            kind, id, identifier = body["kind"], body["id"], body.get("source_identifier")
            if identifier is None:
                continue
            if known is None or body.get("model_id") in known or id in _ids_before(tenant, kind, identifier):
                found.setdefault((kind, identifier), []).append(id)
    return found


def _ids_before(tenant: TenantSession, kind: str, identifier: str) -> list[str]:
    return [derived_id(kind, scope, identifier) for scope in origins(tenant)]


def child_of(view_id: str, identifier: str | None) -> str | None:
    """What a box or line is called in its view, without what `children_in_file` had to put before it."""
    return None if identifier is None else identifier.removeprefix(f"id-{view_id}.")


def children_in_file(view_id: str, identifiers: Iterable[str], taken: set[str]) -> dict[str, str]:
    """What an export calls a view's boxes and lines; where that is taken in the file, with the view's id before it."""
    names = {one: f"id-{view_id}.{one}" if one in taken else one for one in identifiers}
    taken.update(names.values())
    return names


def models_in(items: Iterable[Imported]) -> dict[str, str]:
    """The property of an export of the whole catalog that says whose items it holds, whatever is imported later."""
    text = " ".join(sorted({one.model_id for one in items if one.model_id}))
    return {MODELS: text} if len(text) <= MODELS_CHARACTERS else {}


def names_in_file(items: Sequence[Imported], beyond: Container[str] = ()) -> dict[str, str]:
    """What an export calls its items, by id, so that an import finds each again; no two alike.

    The identifier that it came with, if no other of its kind came with that and it is not `beyond` the model that is
    exported; else its id.
    """
    own = {one.id: f"id-{one.id}" for one in items}
    taken = set(own.values())
    came = Counter((one.KIND, one.source_identifier) for one in items)
    names = {}
    for one in items:
        name = one.source_identifier
        if name is None or name in taken or one.id in beyond or came[one.KIND, name] > 1:
            name = own[one.id]
        taken.add(name)
        names[one.id] = name
    return names
