"""The invariant of admission: the tenant's counter says how many of its runs are admitted."""

from functions.executions.admission import RUNS
from functions.executions.models import ACTIVE, Execution
from shared.database.port import Where
from shared.work.change import COUNTER
from shared.work.session import TenantSession

LOOKS = 3  # before a difference is believed: none may have begun or ended between


async def admitted_as_counted(session: TenantSession) -> list[str]:
    """What is wrong with it. Nothing is said of a counter that moves all the time."""
    found: set[tuple[int, int]] = set()
    for _ in range(LOOKS):
        before = await session.store.get(COUNTER, RUNS)
        if before is None:
            return []
        admitted = await _admitted(session)
        after = await session.store.get(COUNTER, RUNS)
        if after is None or before.etag != after.etag:
            continue
        if before.body["value"] == admitted:
            return []
        found.add((before.body["value"], admitted))
    if len(found) != 1:
        return []
    ((value, admitted),) = found
    return [f"the counter `{RUNS}` is {value}, and {admitted} runs are admitted"]


async def _admitted(session: TenantSession) -> int:
    admitted = 0
    after: tuple[str, str] | None = None
    where = [Where("status", "in", list(ACTIVE))]
    while True:
        page = await session.store.query(Execution.KIND, where, after=after)
        admitted += sum(bool(stored.body["admitted"]) for stored in page.items)
        after = page.next
        if after is None:
            return admitted
