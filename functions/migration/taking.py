"""Taking rows: as new ones, in one batch with the record of what it made; whoever is there already is looked at then.

Ids are derived from tenant, table and old key, so the same row is the same item, whichever run brings it.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from functions.agents.models import Agent, AgentFields
from functions.agents.service import AgentService
from functions.catalog.archimate import allowed_types, is_allowed
from functions.catalog.graph import by_ids, concept_of, keep_shallow
from functions.catalog.junctions import keep_one_type
from functions.catalog.models import Element, Relationship, RelationshipFields
from functions.catalog.naming import origins
from functions.catalog.values import element_values, relationship_values
from functions.migration.models import MODELS, OPEN, Migration, Outcome, Row, Table
from functions.migration.records import fingerprint, of_changed, of_gone, record
from shared.database.port import Document, Read, Where
from shared.errors import Conflict, Invalid, QuotaReached, Stale, TooLarge, WrongState
from shared.ids import derived_id
from shared.tenancy.fence import Overtaken
from shared.work.change import Change
from shared.work.resources import Versioned
from shared.work.session import TRIES_AT_A_RACE, TenantSession

AT_ONCE: Final[Mapping[Table, int]] = {"elements": 48, "relationships": 24, "agents": 23}
"""Rows of a batch of a hundred operations: each is an item and its entry, and touches what it names."""
CREATED: Final = Outcome(outcome="created")
UNCHANGED: Final = Outcome(outcome="unchanged")
CHANGED: Final = Outcome(outcome="kept", reason="it was changed here since it was migrated")
UNKNOWN: Final = Outcome(outcome="refused", reason="an item of this key is here, and nothing says that it was this row")
DELETED: Final = Outcome(outcome="kept", reason="it was deleted here since it was migrated")
OTHER: Final = Outcome(
    outcome="refused", reason="another row of this key was migrated before, and it says something else"
)
STOPPED: Final = "This migration was undone, or is being undone; begin it again."


@dataclass
class Wanted:
    """A row as the item that it is to be: its ends are looked up, or its outcome says what is wrong with them."""

    row: Row[Any]
    id: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    named: Sequence[Document] = ()
    outcome: Outcome | None = None


def item_id(tenant_id: str, table: Table, legacy_id: str) -> str:
    """The id here of a row there, whichever file it comes from."""
    return derived_id("legacy", tenant_id, table, legacy_id)


def item_ids(tenant: TenantSession, table: Table, legacy_id: str) -> list[str]:
    """The ids that a row may have here: a copy of a tenant keeps those derived there. New items get the first."""
    return [item_id(origin, table, legacy_id) for origin in origins(tenant)]


def among(ids: Iterable[str], there: Mapping[str, Document]) -> Document | None:
    """The first of these that is there."""
    return next((there[id] for id in ids if id in there), None)


class Taking:
    """`agents`: what a new agent brings about is the same as for any other."""

    def __init__(self, agents: AgentService) -> None:
        self._agents = agents
        self._prepare: Mapping[Table, Callable[[TenantSession, Sequence[Row[Any]]], Awaitable[list[Wanted]]]] = {
            "elements": _elements,
            "relationships": _relationships,
            "agents": _agents,
        }

    async def take(
        self, tenant: TenantSession, run: Migration, table: Table, rows: Sequence[Row[Any]]
    ) -> list[Outcome]:
        """What became of each. Those of one call are of different keys; `WrongState` once the run is undone."""
        outcomes: list[Outcome] = []
        for start in range(0, len(rows), AT_ONCE[table]):
            outcomes += await self._batch(tenant, run, table, rows[start : start + AT_ONCE[table]])
        return outcomes

    async def _batch(
        self, tenant: TenantSession, run: Migration, table: Table, rows: Sequence[Row[Any]]
    ) -> list[Outcome]:
        """Again when others were faster, in halves when it cannot be as a whole."""
        # in a copy, what is there may have another id than what would be made
        looked, refusal = tenant.entry.copy_of is not None, "others kept changing what it names"
        for _ in range(TRIES_AT_A_RACE):
            try:
                return await self._commit(tenant, run, table, rows, looked=looked)
            except WrongState:
                raise
            except (QuotaReached, TooLarge, Invalid) as error:
                refusal = error.message
                break
            except (Conflict, Stale, Overtaken) as error:
                looked, refusal = True, error.message
        if len(rows) == 1:
            return [Outcome(outcome="refused", reason=refusal)]
        middle = len(rows) // 2
        halves = (rows[:middle], rows[middle:])
        return [one for half in halves for one in await self._batch(tenant, run, table, half)]

    async def _commit(
        self, tenant: TenantSession, run: Migration, table: Table, rows: Sequence[Row[Any]], *, looked: bool
    ) -> list[Outcome]:
        """All rows are held for new at first, which most are; `looked`: what is there is read before."""
        prepared = await self._prepare[table](tenant, rows)
        found = [one for one in prepared if one.outcome is None]
        if not found:
            return [one.outcome for one in prepared if one.outcome is not None]
        there: dict[str, Versioned[Any]] = {}
        buried: dict[str, Any] = {}
        known: dict[str, str] = {}
        if looked:
            there, buried, known = await _there(tenant, run, table, found)
        change = tenant.change(
            *(buried[one.id] for one in found if one.id in buried), after=run.updated_at
        )  # later than the run began, on any clock
        made: list[list[Any]] = []
        joined: list[tuple[Relationship, Sequence[Document]]] = []
        for one in found:
            if one.id in there:
                one.outcome = _compared(table, there[one.id].value, one, known)
            elif one.id in known:
                one.outcome = DELETED if known[one.id] == fingerprint(table, one.row) else OTHER
            else:
                new = self._create(change, table, one, buried)
                made.append([one.id, new.revision, fingerprint(table, one.row)])
                if isinstance(new, Relationship):
                    joined.append((new, one.named))
                one.outcome = CREATED
        if made:
            await _join(tenant, change, joined)
            for named in (named for one in found if one.outcome is CREATED for named in one.named):
                change.touch(change.kinds.named(named["kind"]), named["id"], "named", revision=named["revision"])
            if table == "agents":
                change.count("agents", len(made), limit=tenant.plan.quota("agents"))
            change.write(record(run, table, made, change.at))
            # the run's permit: an undo that has begun lets nothing in any more
            change.write(Read(OPEN, run.generation), lambda _: WrongState(STOPPED))
            await change.commit(None)
        return [one.outcome for one in prepared if one.outcome is not None]

    def _create(
        self, change: Change, table: Table, one: Wanted, buried: Mapping[str, Any]
    ) -> Element | Relationship | Agent:
        fields = {**one.fields, "legacy_id": one.row.legacy_id}
        new = change.create(MODELS[table], fields, id=one.id, buried=buried.get(one.id))
        if isinstance(new, Agent):
            self._agents.created(change, new)
        return new


async def _join(
    tenant: TenantSession, change: Change, joined: Sequence[tuple[Relationship, Sequence[Document]]]
) -> None:
    """Junctions have arms of one type, and no chain is too long; before what is touched for less."""
    ends = {end["id"]: end for _, named in joined for end in named}
    await keep_one_type(tenant, change, [new for new, _ in joined], ends)
    for new, named in joined:
        await keep_shallow(tenant, change, named, new, None)


async def _elements(tenant: TenantSession, rows: Sequence[Row[Any]]) -> list[Wanted]:
    return [_of(tenant, "elements", row, element_values) for row in rows]


async def _agents(tenant: TenantSession, rows: Sequence[Row[AgentFields]]) -> list[Wanted]:
    keys = {row.fields.element_id for row in rows if row.fields.element_id}
    ids = {key: item_ids(tenant, "elements", key) for key in keys}
    there = await by_ids(tenant, Element.KIND, chain(*ids.values()))
    prepared: list[Wanted] = []
    for row in rows:
        key = row.fields.element_id
        element = among(ids[key], there) if key else None
        one = Wanted(row, item_id(tenant.id, "agents", row.legacy_id))
        if key and element is None:
            one.outcome = _waiting("element", key)
        else:
            one.fields = {**row.fields.model_dump(), "element_id": element["id"] if element else None}
            one.named = [element] if element else []
        prepared.append(one)
    return prepared


async def _relationships(tenant: TenantSession, rows: Sequence[Row[RelationshipFields]]) -> list[Wanted]:
    """An end is the element of that key; where there is none, the relationship."""
    keys = {key for row in rows for key in (row.fields.source_id, row.fields.target_id)}
    ends: dict[str, Document | None] = dict.fromkeys(keys)
    for table in ("elements", "relationships"):
        ids = {key: item_ids(tenant, table, key) for key, end in ends.items() if end is None}
        there = await by_ids(tenant, MODELS[table].KIND, chain(*ids.values()))
        ends |= {key: among(some, there) for key, some in ids.items()}
    return [_joined(tenant, row, ends) for row in rows]


def _joined(tenant: TenantSession, row: Row[RelationshipFields], ends: Mapping[str, Document | None]) -> Wanted:
    id = item_id(tenant.id, "relationships", row.legacy_id)
    found: list[Document] = []
    for key in (row.fields.source_id, row.fields.target_id):
        end = ends[key]
        if end is None:
            return Wanted(row, id, outcome=_waiting("end", key))
        found.append(end)
    source, target = (concept_of(end) for end in found)
    if not is_allowed(row.fields.type, source, target):
        allowed = ", ".join(allowed_types(source, target)) or "none"
        said = f"ArchiMate 3.2 knows no {row.fields.type} from {source} to {target}; it allows: {allowed}"
        return Wanted(row, id, outcome=Outcome(outcome="refused", reason=said))
    named = row.fields.model_copy(update={"source_id": found[0]["id"], "target_id": found[1]["id"]})
    return _of(tenant, "relationships", row, lambda _: relationship_values(named), found)


def _of(
    tenant: TenantSession,
    table: Table,
    row: Row[Any],
    values: Callable[[Any], Mapping[str, Any]],
    named: Sequence[Document] = (),
) -> Wanted:
    one = Wanted(row, item_id(tenant.id, table, row.legacy_id), named=named)
    try:
        one.fields = values(row.fields)
    except (Invalid, TooLarge) as error:
        one.outcome = Outcome(outcome="refused", reason=error.message)
    return one


def _waiting(what: str, key: str) -> Outcome:
    return Outcome(outcome="waiting", reason=f"its {what} {key[:100]!r} is not there, or was not taken")


async def _there(
    tenant: TenantSession, run: Migration, table: Table, wanted: Sequence[Wanted]
) -> tuple[dict[str, Versioned[Any]], dict[str, Any], dict[str, str]]:
    """What is there, by the id that it would get, and what was; and the fingerprints of what was changed or deleted."""
    model = MODELS[table]
    await tenant.store.catch_up()
    ids = {one.id: item_ids(tenant, table, one.row.legacy_id) for one in wanted}
    page = await tenant.store.query(model.KIND, [Where("id", "in", [*chain(*ids.values())])])
    found = {one.body["id"]: Versioned.of(model, one) for one in page.items}
    there: dict[str, Versioned[Any]] = {
        own: found[id] for own, some in ids.items() for id in reversed(some) if id in found
    }
    changed = [one.value.created_at for one in there.values() if one.value.updated_at != one.value.created_at]
    known = await of_changed(tenant, table, changed)
    gone = {own: some for own, some in ids.items() if own not in there}
    buried = await tenant.buried(model.KIND, [*chain(*gone.values())]) if gone else {}
    if buried.keys() & gone.keys():
        begun = await tenant.store.get(OPEN, run.generation)
        if begun is None:
            raise WrongState(STOPPED)
        # what went before the run began went with another one
        since = [id for id in buried.keys() & gone.keys() if buried[id].value.updated_at > begun.body["created_at"]]
        known |= await of_gone(tenant, run, table, since)
    # no run of a copy has made, or takes away, what came with it
    known |= {one.id: fingerprint(table, one.row) for one in wanted if buried.keys() & {*gone.get(one.id, ())[1:]}}
    return there, buried, known


def _compared(table: Table, stored: Element | Relationship | Agent, one: Wanted, known: Mapping[str, str]) -> Outcome:
    now = stored.model_dump(mode="json")
    fields = {**one.fields, "legacy_id": one.row.legacy_id}
    wanted = type(stored).model_validate({**now, **fields}).model_dump(mode="json")
    if json.dumps(now, sort_keys=True) == json.dumps(wanted, sort_keys=True):
        return UNCHANGED
    if stored.updated_at == stored.created_at:
        return OTHER
    if stored.id not in known:
        return UNKNOWN
    return CHANGED if known[stored.id] == fingerprint(table, one.row) else OTHER
