"""Whether rollups are what their parts add up to: hours rebuilt from their blocks, days from their hours."""

from datetime import timedelta

from functions.usage.blocks import Sums, bounded
from functions.usage.periods import start_of
from functions.usage.rollups import DUE, ROLLUP, all_of, between, blocks_of, made, open_hours, tally_of
from functions.usage.tally import merged
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Where
from shared.work.session import TenantSession

LOOKED_AT = timedelta(days=2)


async def rollups_as_rebuilt(session: TenantSession) -> list[str]:
    """What does not add up, of the day before yesterday and since; one query an hour, and six.

    What is open, or due, is not made yet; what is opened or closed meanwhile is left to the next look.
    """
    store = session.store
    await store.catch_up("usage")
    now = session.services.clock.now()
    start = start_of("day", now - LOOKED_AT)
    unmade = await open_hours(store, start, now)
    stored = await all_of(store, ROLLUP, [Where("period", "=", "hour"), *between(start, now)])
    hours = {one.body["start"]: one.body["metrics"] for one in stored}
    found: list[str] = []
    for body in (one.body for one in stored if one.body["start"] not in unmade):
        blocks = await blocks_of(store, body["start"], opening=body["opening"])
        if not _same(body["metrics"], bounded((await tally_of(blocks)).sums)):
            found.append(f"The rollup of the hour {body['start']} is not what its blocks add up to.")
    due = {one.body["start"] for one in await all_of(store, DUE, [Where("period", "=", "day")])}
    for day, sums in (await made(store, "day", start, now)).items():
        own = [one for hour, one in hours.items() if rfc3339(start_of("day", parse_rfc3339(hour))) == day]
        if day not in due and not _same(sums, bounded(merged(own))):
            found.append(f"The rollup of the day {day} is not what its hours add up to.")
    return found if await made(store, "hour", start, now) == hours else []


def _same(stored: Sums, rebuilt: Sums) -> bool:
    """But for details that a release has not stored which knew none."""
    known = {
        metric: one if "details" in stored.get(metric, {}) else {key: one[key] for key in one if key != "details"}
        for metric, one in rebuilt.items()
    }
    return stored == known
