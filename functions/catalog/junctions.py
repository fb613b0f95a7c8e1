"""The relationships at a junction are all of one type (ArchiMate 3.2, chapter 5.5.1)."""

from collections.abc import Container, Iterable, Mapping, Sequence

from functions.catalog.exchange import FoundElement, FoundRelationship
from functions.catalog.graph import ENDS, meeting
from functions.catalog.models import Relationship
from shared.database.port import Document
from shared.errors import Invalid
from shared.work.change import Change
from shared.work.session import TenantSession


async def keep_one_type(
    tenant: TenantSession,
    change: Change,
    new: Sequence[Relationship],
    ends: Mapping[str, Document],
    *,
    besides: Container[str] = (),
) -> None:
    """`Invalid` where a junction would have relationships of two types; `ends`: what these are at, by id.

    The junctions are touched so that of two who join one at the same time, one looks again (`Stale`). `besides`: ids of
    relationships that do not count, as they are changed too.
    """
    junctions = {id for id, end in ends.items() if end.get("type") == "Junction"}
    arms = [one for one in new if junctions & {one.source_id, one.target_id}]
    if not arms:
        return
    at = {id: ends[id] for one in arms for id in (one.source_id, one.target_id) if id in junctions}
    types: dict[str, set[str]] = {id: set() for id in at}
    ours = {one.id for one in arms}
    for id, stored in (await meeting(tenant, at)).items():
        if id not in ours and id not in besides:
            _add(types, stored.body["type"], (stored.body[end] for end in ENDS))
    for one in arms:
        _add(types, one.type, (one.source_id, one.target_id))
    for one in arms:
        for id in (one.source_id, one.target_id):
            if len(types.get(id, ())) > 1:
                others = ", ".join(sorted(types[id] - {one.type})) or ", ".join(sorted(types[id]))
                raise Invalid.of("type", f"the junction {id} joins relationships of another type: {others}", one.type)
    for id, end in at.items():
        change.touch(change.kinds.named(end["kind"]), id, "ends", revision=end["revision"], alone=end)


def mixed(elements: Iterable[FoundElement], arrows: Iterable[FoundRelationship]) -> dict[str, str]:
    """The relationships of a file that are not of the type of the first at their junction: why, by identifier."""
    first: dict[str, str] = {one.identifier: "" for one in elements if one.type == "Junction"}
    found: dict[str, str] = {}
    for one in arrows if first else ():
        at = [end for end in (one.source, one.target) if end in first]
        for end in at:
            if first[end] not in ("", one.type):
                found[one.identifier] = f"all at the junction {end} are {first[end]}, as the first one is"
        if one.identifier not in found:
            first.update(dict.fromkeys(at, one.type))
    return found


def _add(types: dict[str, set[str]], type: str, ids: Iterable[str]) -> None:
    for id in ids:
        if id in types:
            types[id].add(type)
