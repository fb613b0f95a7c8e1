"""The wizard: each thing that it works out is a run of its own, metered and bounded as any other."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

from pydantic import BaseModel

from functions.agents.service import AgentService
from functions.catalog.additions import types_of
from functions.design.accepting import make
from functions.design.judging import wrong_with
from functions.design.landscape import known_elements
from functions.design.models import Answers, Design, DesignView, Feedback, NewDesign
from functions.design.prompts import INSTRUCTIONS, asking, proposing, schema_of
from functions.design.tools import Draft, Keep, Phase
from functions.executions.models import Execution, RunLimits
from functions.executions.snapshots import OwnAgent
from functions.executions.starting import Asked
from shared.errors import SHOWN_ERRORS, Conflict, Contended, FieldError, Invalid, Stale, WrongState
from shared.work.change import Change
from shared.work.resources import Listing, PageRequest, Versioned, find, load
from shared.work.session import TRIES_AT_A_RACE, TenantSession

MAX_FEEDBACK = 20
NAME = "Design wizard"
LIMITS = RunLimits(steps=8, tokens=400_000, seconds=900, depth=0, children=0)


class Unmakable(Conflict):
    """What is proposed would be no agents that work, as things are now: `errors` says why, by the proposal's fields."""

    code = "unmakable"
    meaning = "What is proposed cannot be made as things are now; `errors` lists what is wrong with it."
    remedy = "Have it changed (`POST v1/design/sessions/{id}/revise`), then accept it."

    def __init__(self, wrong: Sequence[FieldError]) -> None:
        first, shown = wrong[0], [asdict(error) for error in wrong[:SHOWN_ERRORS]]
        super().__init__(f"The proposal cannot be made: {first.field} {first.message}. Have it changed.", errors=shown)


Also = Callable[[Change], None]
Fields = Callable[[Design], Mapping[str, Any]]


class Runs(Protocol):
    """What starts a run, in one batch with the change of the session that it is for."""

    async def start_own(
        self,
        tenant: TenantSession,
        agent: OwnAgent,
        asked: Asked,
        *,
        id: str,
        also: Also,
        shown: Callable[[Execution], BaseModel],
    ) -> Execution:
        """The run with this id, begun; `also` adds to its change, `shown` is what the request answers with."""
        ...


@dataclass(frozen=True)
class Turn:
    """What the wizard is to work out next."""

    design_id: str
    execution_id: str
    provider: str
    model: str
    phase: Phase
    prompt: str


class DesignService:
    """Sessions of the wizard. One run of each at a time."""

    def __init__(self, runs: Runs, agents: AgentService) -> None:
        self._runs = runs
        self._agents = agents

    async def create(self, tenant: TenantSession, new: NewDesign) -> DesignView:
        """A session whose questions are being worked out. `Invalid` where the provider or its model is none."""
        id = tenant.repeatable_id(Design.KIND)
        prompt = await asyncio.to_thread(asking, new.brief, await known_elements(tenant))
        turn = Turn(id, tenant.services.ids.new(), new.provider, new.model, "asking", prompt)
        fields = {**new.model_dump(), "status": "asking", "execution_id": turn.execution_id}
        return await self._begin(tenant, turn, lambda change: change.create(Design, fields, id=id))

    async def get(self, tenant: TenantSession, id: str) -> DesignView:
        """Two point reads."""
        return await self._viewed(tenant, (await load(tenant, Design, id)).value)

    async def list(self, tenant: TenantSession, filters: Mapping[str, Any], page: PageRequest) -> Listing[Design]:
        """One page. `filters`: field -> value, None: any."""
        return await find(tenant, Design, filters, page)

    async def answer(self, tenant: TenantSession, id: str, sent: Answers) -> DesignView:
        """The proposal is being worked out. `Invalid` for an answer to what was not asked."""

        def answered(old: Design) -> Mapping[str, Any]:
            known = {one.key for one in old.questions}
            unasked = [
                FieldError(f"answers.{key}", "answers no question", key) for key in sent.answers if key not in known
            ]
            if unasked:
                raise Invalid(unasked)
            return {"answers": {**old.answers, **sent.answers}}

        return await self._propose(tenant, id, answered)

    async def revise(self, tenant: TenantSession, id: str, sent: Feedback) -> DesignView:
        """The proposal is being changed."""

        def told(old: Design) -> Mapping[str, Any]:
            if old.proposal is None:
                raise WrongState("There is no proposal to change yet; answer the questions first.")
            if len(old.feedback) >= MAX_FEEDBACK:
                raise WrongState(f"A session is revised {MAX_FEEDBACK} times at most; begin a new one.")
            return {"feedback": [*old.feedback, sent.feedback]}

        return await self._propose(tenant, id, told)

    async def accept(self, tenant: TenantSession, id: str) -> Design:
        """Make all that is proposed, in one batch, or nothing. Again, the same answer.

        `Unmakable` where an element that it means has gone, `QuotaReached` where the plan has no room for the agents.
        """
        for _ in range(TRIES_AT_A_RACE):
            held = await load(tenant, Design, id)
            design = held.value
            if design.status == "accepted":
                return design
            await self._check_idle(tenant, design)
            if design.proposal is None:
                raise WrongState("There is nothing to accept yet; answer the questions first.")
            wrong = wrong_with(design.proposal, await types_of(tenant, design.proposal.elements))
            if wrong:
                raise Unmakable(wrong)
            change = tenant.change(held)
            made = await make(tenant, change, design, design.proposal, self._agents)
            accepted = change.update(held, {"made": made, "status": "accepted"}, action="accepted")
            try:
                return await change.commit(accepted)
            except (Stale, Conflict):
                continue
        raise Contended("Others keep changing what this is about; try again.")

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None) -> None:
        """The session; what it has made stays. `Stale` by `if_match`: of what is shown."""
        if if_match is not None:
            design = (await load(tenant, Design, id)).value
            (await self._viewed(tenant, design)).check(if_match)
            if_match = design.etag
        await tenant.remove(Design, id, if_match=if_match)

    async def _propose(
        self, tenant: TenantSession, id: str, fields: Callable[[Design], Mapping[str, Any]]
    ) -> DesignView:
        for _ in range(TRIES_AT_A_RACE):
            held = await load(tenant, Design, id)
            old = held.value
            if old.status == "accepted":
                raise WrongState("This session is accepted; begin a new one.")
            await self._check_idle(tenant, old)
            changes = {**fields(old), "execution_id": tenant.services.ids.new()}
            given = Design.model_validate({**old.model_dump(), **changes})
            prompt = await asyncio.to_thread(proposing, given, await known_elements(tenant))
            turn = Turn(id, changes["execution_id"], old.provider, old.model, "proposing", prompt)
            try:
                return await self._begin(tenant, turn, partial(_updated, held, changes))
            except Stale:
                continue
        raise Contended("Others keep changing this session; try again.")

    async def _begin(self, tenant: TenantSession, turn: Turn, write: Callable[[Change], Design]) -> DesignView:
        """The run of a turn, in one batch with what `write` makes of the session."""
        agent = OwnAgent(
            name=NAME,
            provider=turn.provider,
            model=turn.model,
            instructions=INSTRUCTIONS,
            tools=[Keep.NAME, Draft.NAME],
            config={
                "schema": schema_of(turn.phase),
                "keep": Keep.NAME,
                "draft": Draft.NAME,
                "arguments": {"design_id": turn.design_id, "execution_id": turn.execution_id, "phase": turn.phase},
            },
        )
        written: list[Design] = []
        run = await self._runs.start_own(
            tenant,
            agent,
            Asked(turn.prompt, {}, LIMITS, "design"),
            id=turn.execution_id,
            also=lambda change: written.append(write(change)),
            shown=lambda run: _view(written[-1], run),
        )
        return _view(written[-1], run)

    async def _check_idle(self, tenant: TenantSession, design: Design) -> None:
        if (await self._viewed(tenant, design)).working:
            raise WrongState("The wizard is at work on this session; read it again in a moment.")

    async def _viewed(self, tenant: TenantSession, design: Design) -> DesignView:
        if design.execution_id is None:
            return _view(design, None)
        stored = await tenant.store.get(Execution.KIND, design.execution_id)
        return _view(design, None if stored is None else Execution.model_validate(stored.body))


def _updated(held: Versioned[Design], changes: Mapping[str, Any], change: Change) -> Design:
    return change.update(held, changes)


def _view(design: Design, run: Execution | None) -> DesignView:
    """A session whose run is gone (it was restored, or copied) is one whose run came to nothing.

    Of one that is accepted nothing is to be asked again: it is told as acceptance has told it.
    """
    if design.status == "accepted":
        return DesignView.model_validate({**design.model_dump(), "working": False, "error": None})
    if run is None:
        gone = design.execution_id is not None and design.proposal is None and not design.questions
        error = "Its run is not there any more; ask again." if gone else None
        return DesignView.model_validate({**design.model_dump(), "working": False, "error": error})
    error = run.error or run.stop_reason if run.status in ("failed", "cancelled") else None
    return DesignView.model_validate({**design.model_dump(), "working": not run.ended, "error": error})
