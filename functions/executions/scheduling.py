"""Schedules: agents that run by themselves. The run of a slot has an id made of agent and slot, so there is one.

A slot that nobody was there for is made up once, by the last of those that were missed; one whose agent still runs is
left out.
"""

import logging
from datetime import datetime, timedelta

from functions.agents.models import Agent
from functions.executions.admission import RUNS
from functions.executions.models import ACTIVE, Execution, RunLimits
from functions.executions.starting import Asked, Starting
from shared.apart import apart
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Database, Where
from shared.database.sweeps import tenants_with
from shared.errors import Taken
from shared.ids import derived_id
from shared.jobs.tenant_sweep import TenantSweep
from shared.work.change import COUNTER
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.executions")
CAUGHT_UP = timedelta(days=1)
PAGE = 200
PAGES = 20  # of agents with schedules, over all tenants
DUE = [Where("status", "=", "active"), Where("schedule", ">", "")]
INPUT = "It is time: do what your instructions say."


class Scheduling:
    """Starts what is due, tenant by tenant: nobody's many schedules keep another's from their slots."""

    def __init__(self, starting: Starting, each: TenantSweep, database: Database) -> None:
        self._starting = starting
        self._each = each
        self._database = database

    async def sweep(self) -> int:
        """How many runs were started.

        A query over all says which tenants have schedules, as most have none. Where there are more than it tells, each
        is asked.
        """
        only = await tenants_with(self._database, Agent.KIND, DUE, page=PAGE, pages=PAGES)
        return int((await self._each.each(self.of_tenant, only=only))["done"])

    async def of_tenant(self, session: TenantSession) -> int:
        """The tenant's agents in use that have a schedule: one query for each two hundred. One's trouble is its own."""
        if session.entry.status not in ("active", "trial"):
            return 0
        started, now = 0, session.services.clock.now()
        after: tuple[str, str] | None = None
        while True:
            page = await session.store.query(Agent.KIND, DUE, limit=PAGE, after=after)
            for stored in page.items:
                with apart(logger, "a scheduled run was not started", agent_id=stored.body["id"]):
                    started += await self._run(session, Agent.model_validate(stored.body), now)
            after = page.next
            if after is None:
                return started

    async def _run(self, session: TenantSession, agent: Agent, now: datetime) -> bool:
        slot = last_slot(agent.schedule or "", now)
        if slot is None or slot <= max(parse_rfc3339(agent.updated_at), now - CAUGHT_UP):
            return False  # it has this schedule since
        id = derived_id(Execution.KIND, "schedule", session.id, agent.id, rfc3339(slot))
        if await session.store.get(Execution.KIND, id) is not None or await _hindered(session, agent.id):
            return False
        asked = Asked(_input(agent), {"scheduled_for": rfc3339(slot)}, RunLimits(), "schedule")
        try:
            await self._starting.start(session, agent.id, asked, id=id)
        except Taken:  # another instance was faster
            return False
        return True


def last_slot(schedule: str, now: datetime) -> datetime | None:
    """The last instant of a cron schedule (five fields, UTC) that is not after now; None: never (30 February)."""
    from croniter import CroniterBadDateError, croniter  # only who has schedules waits for it

    try:
        found: datetime = croniter(schedule, now + timedelta(microseconds=1), ret_type=datetime).get_prev(datetime)
    except CroniterBadDateError:
        return None
    return found


async def _hindered(session: TenantSession, agent_id: str) -> bool:
    """Whether the tenant's runs are paused, or the agent's last one by schedule is not over."""
    counter = await session.store.get(COUNTER, RUNS)
    if session.entry.copy_of is not None if counter is None else counter.body["paused"]:
        return True
    where = [Where("agent_id", "=", agent_id), Where("status", "in", list(ACTIVE))]
    page = await session.store.query(Execution.KIND, where, limit=PAGE)
    return any(one.body["purpose"] == "schedule" for one in page.items)


def _input(agent: Agent) -> str:
    given = agent.config.get("input")
    return given if isinstance(given, str) and given else INPUT
