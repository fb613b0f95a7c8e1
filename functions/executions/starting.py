"""The start of a run: the run, the agent as it is now, the tree's sums and the audit entry, in one batch.

The same batch admits the run, or gives it a ticket.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from functions.agents.models import Agent
from functions.executions.admission import NoRoom, admit, call, hand_in, look_at, open_counter, take, waiting
from functions.executions.holding import Pause
from functions.executions.models import (
    LONGEST_LEASE,
    MAX_CONTEXT_BYTES,
    MAX_INPUT_BYTES,
    TREE,
    Execution,
    Purpose,
    RunLimits,
    Snapshot,
    stored,
)
from functions.executions.snapshots import OwnAgent, all_there, snapshot_of_agent, tools_of
from functions.tools.port import Toolbox
from shared.clock import parse_rfc3339, rfc3339
from shared.database.port import Create
from shared.errors import Taken, TooLarge, WrongState
from shared.work.change import Change
from shared.work.resources import load
from shared.work.session import TenantSession


@dataclass(frozen=True)
class Asked:
    """What a run is given."""

    input: str
    context: Mapping[str, Any]
    limits: RunLimits
    purpose: Purpose = "task"


class Starting:
    """`queue`: of the messages that have runs worked on."""

    def __init__(self, toolbox: Toolbox, queue: str, pause: Pause) -> None:
        self._toolbox = toolbox
        self._queue = queue
        self._pause = pause

    async def start(
        self,
        tenant: TenantSession,
        agent_id: str,
        asked: Asked,
        *,
        id: str | None = None,
        shown: Callable[[Execution], BaseModel] = lambda run: run,
    ) -> Execution:
        """A run of the agent as it is now, waiting or under way. `Taken` where there is a run of this `id` already.

        `shown`: the answer of the request, for when it comes again.

        `WrongState` for an agent that is retired, or names (`missing`) what is not there; `TooLarge` says what is.
        """
        agent = (await load(tenant, Agent, agent_id)).value
        if agent.status == "retired":
            raise WrongState("This agent is retired; make it active again, or run another one.")
        _check(asked)
        names = tools_of(agent)
        found = await self._toolbox.find(tenant, names)
        all_there([name for name in names if name not in found])

        async def seen(change: Change, id: str) -> Snapshot:
            return await snapshot_of_agent(tenant, agent, asked.input, asked.context, id, change.at, strict=True)

        return await self._start(tenant, asked, seen, id or tenant.repeatable_id(Execution.KIND), shown)

    async def start_own(
        self,
        tenant: TenantSession,
        agent: OwnAgent,
        asked: Asked,
        *,
        id: str,
        also: Callable[[Change], None],
        shown: Callable[[Execution], BaseModel],
    ) -> Execution:
        """A run of an agent of Flowgrid's own, begun in one batch with what `also` adds to the change.

        Raises what that raises at commit.
        """

        async def seen(change: Change, id: str) -> Snapshot:
            also(change)
            return agent.snapshot(asked.input, asked.context, id, change.at)

        return await self._start(tenant, asked, seen, id, shown)

    async def _start(
        self,
        tenant: TenantSession,
        asked: Asked,
        seen: Callable[[Change, str], Awaitable[Snapshot]],
        id: str,
        shown: Callable[[Execution], BaseModel],
    ) -> Execution:
        """`seen`: the agent as it is, made with the change that begins the run, to which it may add."""
        await open_counter(tenant)
        at_once = not await waiting(tenant)
        for admitted in (True, False) if at_once else (False,):
            change = tenant.change()
            snapshot = await seen(change, id)
            run = _root(change, tenant, snapshot, asked, admitted)
            self._write(change, tenant, run, snapshot)
            try:
                await change.commit(shown(run))
            except NoRoom:
                continue
            if not admitted:
                await admit(tenant, self._queue, self._pause)
            return run
        raise AssertionError("a ticket is never refused")

    def _write(self, change: Change, tenant: TenantSession, run: Execution, snapshot: Snapshot) -> None:
        # first, so that one of this id that is there already is what is told
        change.write(Create(Execution.KIND, run.id, stored(run)), lambda _: _taken(run.id))
        change.write(Create(Snapshot.KIND, run.id, stored(snapshot)))
        zero = {"steps": 0, "tokens": 0, "cost": 0, "runs": 0, "cancelled": 0}
        change.write(Create(TREE, run.id, {"created_at": run.created_at, **zero}))
        change.audit("started", Execution.KIND, run.id, 1, None, run.model_dump(mode="json"))
        if run.admitted:
            take(change, tenant)
            call(change, run, self._queue)
        else:
            hand_in(change, run)


def _root(change: Change, tenant: TenantSession, agent: Snapshot, asked: Asked, admitted: bool) -> Execution:
    now = tenant.services.clock.now()
    return Execution(
        id=agent.id,
        tenant_id=tenant.id,
        revision=1,
        created_at=change.at,
        updated_at=change.at,
        created_by=tenant.user_id,
        updated_by=tenant.user_id,
        agent_id=agent.agent_id,
        agent_name=agent.agent_name,
        agent_revision=agent.agent_revision,
        pattern=agent.pattern,
        purpose=asked.purpose,
        api_key_id=tenant.caller.key.id if tenant.caller.key else None,
        root_id=agent.id,
        root_created_at=change.at,
        limits=asked.limits,
        deadline_at=rfc3339(parse_rfc3339(change.at) + timedelta(seconds=asked.limits.seconds)),
        admitted=admitted,
        mark=tenant.services.ids.new(),
        lease_until=look_at(now) if admitted else rfc3339(now + LONGEST_LEASE),
    )


def child_of(parent: Execution, at: str, parent_step: int, agent: Agent, id: str, mark: str) -> Execution:
    """A run that another starts: of its tree, with its limits and its deadline. `parent` as it is from then on."""
    return Execution(
        id=id,
        tenant_id=parent.tenant_id,
        revision=1,
        created_at=at,
        updated_at=at,
        created_by=parent.created_by,
        updated_by=parent.created_by,
        agent_id=agent.id,
        agent_name=agent.name,
        agent_revision=agent.revision,
        pattern=agent.pattern,
        purpose=parent.purpose,
        api_key_id=parent.api_key_id,
        root_id=parent.root_id,
        root_created_at=parent.root_created_at,
        parent_id=parent.id,
        parent_step=parent_step,
        parent_revision=parent.revision,
        depth=parent.depth + 1,
        ancestors=[*parent.ancestors, parent.agent_id],
        limits=parent.limits,
        deadline_at=parent.deadline_at,
        mark=mark,
        lease_until=rfc3339(parse_rfc3339(at) + LONGEST_LEASE),
    )


def _check(asked: Asked) -> None:
    size = len(asked.input.encode(errors="replace"))
    if size > MAX_INPUT_BYTES:
        raise TooLarge(f"The input is {size} bytes; a run takes {MAX_INPUT_BYTES}.")
    size = len(json.dumps(dict(asked.context), ensure_ascii=False).encode(errors="replace"))
    if size > MAX_CONTEXT_BYTES:
        raise TooLarge(f"The context is {size} bytes of JSON; a run takes {MAX_CONTEXT_BYTES}.")


def _taken(id: str) -> Taken:
    return Taken("There is such a run already.", id=id)
