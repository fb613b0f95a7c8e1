"""One claimed run at work: step after step, each begun in the batch that ends the one before."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from functions.executions import children
from functions.executions.acting import Asking, Stop, Undecided, tokens_at_most, use, watched
from functions.executions.answers import counted, kept, named
from functions.executions.conversing import Conversing
from functions.executions.ending import MAX_ERROR
from functions.executions.holding import Pause
from functions.executions.models import MAX_CHILDREN_AT_ONCE, Execution, Snapshot, Step, StepError
from functions.executions.patterns import decide
from functions.executions.patterns.next import AskModel, Finish, Next, RunChildren, UseTool, Wait
from functions.executions.progress import Progress
from functions.executions.questions import Resolve, question_of
from functions.tools.port import Tool, Toolbox, Toolboxes, ToolFailed
from shared.ai.port import Connection, Message, ModelFailed, Models, Question, TokenUsage, ToolCall
from shared.auth.roles import Role
from shared.clock import rfc3339
from shared.errors import FlowgridError, Unavailable
from shared.work.session import TenantSession

SLICE_SECONDS = 120.0
APPROVAL_LASTS = timedelta(days=3)
MAX_ATTEMPTS = 10  # at one step: what takes its runner with it takes no more
TOO_OFTEN = "Step {step} was begun {attempts} times, and whoever did it has died each time."
ANOTHER_TOOL = "This tool was changed after it was asked for, and has not been used again; ask for it anew."
NO_TOOL = "There is no such tool; use those that you were told of."
UNKNOWN_PRICE = "The price of {model} is not known, so a limit of the cost cannot be held."
Look = Callable[[Execution], Awaitable[Stop | None]]


@dataclass(frozen=True)
class World:
    """What runs work with. `resolve`: where a provider's model answers; `queue`: of the messages that they send.

    `toolbox`: what agents may use; `own`: what else Flowgrid's own runs do.
    """

    toolbox: Toolbox
    models: Models
    resolve: Resolve
    own: Toolbox = field(default_factory=Toolboxes)
    pause: Pause = asyncio.sleep
    queue: str = "executions"


class Work:
    """`session` goes through the tenant's fence, for tools; `tools` by what a model calls them.

    `look`: why the run has to end, if it has to.
    """

    def __init__(
        self,
        world: World,
        session: TenantSession,
        look: Look,
        conversing: Conversing,
        snapshot: Snapshot,
        tools: dict[str, Tool],
        progress: Progress,
    ) -> None:
        self._world = world
        self._session = session
        self._look = look
        self._conversing = conversing
        self._snapshot = snapshot
        self._tools = tools
        self._at = progress
        self._clock = session.services.clock
        self._ready: tuple[Connection, Question] | None = None  # what the step that is being begun will ask

    async def go(self) -> None:
        """Work until the run is over, waits, or a slice is done. Raises `Lost`, and what the store does."""
        until = self._clock.monotonic() + SLICE_SECONDS
        if stop := await self._stopped():
            await self._at.conclude(stop)
            return
        current = await self._taken_up()
        while not self._at.given_away:
            if current is not None and not await self._acted(current):
                return
            if self._clock.monotonic() >= until:
                await self._at.continue_later()
                return
            current = await self._entered(self._next())

    async def _stopped(self) -> Stop | None:
        return Stop("", "", lost=True) if self._at.hold.lost else await self._look(self._at.run)

    def _next(self) -> Next:
        failed = self._at.failed
        if failed is not None and failed.error is not None:
            return Finish("failed", self._at.partial(), reason=failed.error.code, error=failed.error.message)
        return decide(self._snapshot, self._at.over)

    async def _taken_up(self) -> Step | None:
        """What another attempt had begun: to be done again, where that does no harm."""
        begun = [step for step in self._at.steps if not step.over]
        for step in (one for one in begun if one.type == "child"):
            store, now = self._at.hold.session.store, self._at.now
            over = await children.collected(store, self._conversing, step, now, self._at.revision)
            if over is None:
                await self._at.wait("children")
                return None
            await self._at.note(over)
        if any(step.type == "approval" for step in begun):
            await self._at.wait("approval")
            return None
        again = next((step for step in begun if step.type in ("model", "tool")), None)
        if again is None:
            return None
        if again.type == "tool" and again.told != "repeat" and not self._repeatable(again):
            await self._at.wait("decision")
            return None
        if again.attempts >= MAX_ATTEMPTS:
            why = TOO_OFTEN.format(step=again.number, attempts=again.attempts)
            await self._at.conclude(Stop("failed", "attempts", why))
            return None
        return await self._at.begin_again(again)

    def _repeatable(self, step: Step) -> bool:
        tool = self._tools.get(step.call.name) if step.call else None
        return tool is None or tool.idempotent  # what is not there is not called

    async def _acted(self, step: Step) -> bool:
        """Do what the step says; False when the run is over, or waits."""
        try:
            found = await (self._asked(step) if step.type == "model" else self._used(step))
        except Undecided:
            await self._at.wait("decision")
            return False
        if isinstance(found, Stop):
            await self._at.conclude(found)
            return False
        await self._at.note(found)
        return True

    async def _asked(self, step: Step) -> Step | Stop:
        try:
            connection, question = self._ready or await self._asked_before(step)
        except Unavailable:
            raise
        except FlowgridError as error:
            return self._not_answered(step, error)
        self._ready = None
        asking = Asking(self._world.models, connection, question, self._world.pause)
        try:
            found = await watched(asking.answer(), self._stopped, self._world.pause)
        except ModelFailed as error:
            return self._not_answered(_tried(step, asking), error)
        step = _tried(step, asking)
        if isinstance(found, Stop):
            self._at.tried(step)
            return found
        message, unkept = kept(found)
        usage, cost = counted(found)
        said = {"messages": [] if message is None else [message], "model": named(found.model), "finish": found.finish}
        return self._at.ended_form(step, {**said, "usage": usage, "cost": cost, "error": unkept})

    async def _asked_before(self, step: Step) -> tuple[Connection, Question]:
        """What a step of another attempt asks."""
        wanted = decide(self._snapshot, self._at.over)
        if not isinstance(wanted, AskModel):
            raise TypeError(f"step {step.number} asks a model, and its pattern {self._snapshot.pattern} would not")
        return await self._question(wanted)

    def _not_answered(self, step: Step, error: FlowgridError) -> Step:
        failed = StepError(code=error.code, message=error.message[:MAX_ERROR])
        return self._at.ended_form(step, {"error": failed})

    async def _used(self, step: Step) -> Step | Stop:
        call = step.call
        assert call is not None  # noqa: S101 - a step of this kind has one
        tool, key = self._tools.get(call.name), f"{step.execution_id}:{step.number}"
        if tool is None:
            return self._refused(step, call, NO_TOOL)
        if step.fingerprint and step.fingerprint != tool.fingerprint:  # begun by another attempt
            return self._refused(step, call, ANOTHER_TOOL)
        try:
            using = use(tool, self._session, call.arguments, key, self._world.pause)
            found = await watched(using, self._stopped, self._world.pause)
        except ToolFailed as error:
            return self._refused(step, call, str(error), error.code)
        return found if isinstance(found, Stop) else self._at.ended_form(step, {"messages": [_result(call, found)]})

    def _refused(self, step: Step, call: ToolCall, why: str, code: str = "tool_failed") -> Step:
        error = StepError(code=code, message=why)
        return self._at.ended_form(step, {"messages": [_result(call, why)], "error": error})

    async def _entered(self, wanted: Next) -> Step | None:
        """End what has ended and begin what is wanted, in one batch; the step to be done now, if there is one."""
        stop = None if isinstance(wanted, Finish) else await self._stopped()
        if isinstance(wanted, UseTool) and (role := self._approver(wanted.call)):
            wanted = Wait(wanted.call, role)
        if stop is not None:
            await self._at.conclude(stop)
        elif isinstance(wanted, Finish):
            await self._at.finish(wanted)
        elif isinstance(wanted, RunChildren):
            await self._run_children(wanted)
        elif isinstance(wanted, Wait):
            await self._wait_for_approval(wanted)
        else:
            return await self._begun(wanted)
        return None

    async def _begun(self, wanted: AskModel | UseTool) -> Step | None:
        try:
            step = await self._model_step(wanted) if isinstance(wanted, AskModel) else self._tool_step(wanted)
        except Unavailable:
            raise
        except FlowgridError as error:
            step = Stop("failed", error.code, error.message)
        if isinstance(step, Stop):
            await self._at.conclude(step)
            return None
        begun = await self._at.begin([step])
        return step if begun and not step.over else None

    def _approver(self, call: ToolCall) -> Role | None:
        """Who has still to approve this call. What was approved is one call of one answer, whatever its id is worth, of
        a tool that means the same still and asks for no higher role."""
        tool, over = self._tools.get(call.name), self._at.over
        role = None if tool is None else tool.approval
        if tool is None or role is None:
            return None
        asked = max((step.number for step in over if step.type == "model"), default=0)
        approved = any(
            step.type == "approval"
            and step.number > asked
            and step.call == call
            and step.told == "approved"
            and step.fingerprint == tool.fingerprint
            and (step.role or Role.USER).includes(role)
            for step in over
        )
        return None if approved else role

    async def _model_step(self, wanted: AskModel) -> Step | Stop:
        connection, question = self._ready = await self._question(wanted)
        tokens = tokens_at_most(question)
        usage = TokenUsage(tokens - question.max_tokens, question.max_tokens)
        cost = self._world.models.price(connection, question.model, usage)
        if cost is None and self._at.run.limits.cost is not None:
            return Stop("failed", "cost", UNKNOWN_PRICE.format(model=question.model))
        own = {"provider": connection.name, "model": question.model, "reserved": (tokens, cost or 0)}
        return self._at.step("model", question.model, label=wanted.label, **own)

    def _tool_step(self, wanted: UseTool) -> Step:
        call = wanted.call
        name = self._name_of(call)
        tool = self._tools.get(call.name)
        # of whoever decides of it later, and of what
        own = {} if tool is None else {"role": tool.approval, "fingerprint": tool.fingerprint}
        step = self._at.step("tool", name or named(call.name), label=wanted.label, call=call, **own)
        return step if name is not None else self._refused(step, call, NO_TOOL)

    def _name_of(self, call: ToolCall) -> str | None:
        return next((one.name for one in self._snapshot.tools if one.called == call.name), None)

    async def _question(self, wanted: AskModel) -> tuple[Connection, Question]:
        snapshot = self._snapshot
        connection, model = await self._world.resolve(self._session, snapshot.provider, snapshot.model)
        return connection, question_of(wanted, model, snapshot, self._at.run, self._tools, self._clock.now())

    async def _run_children(self, wanted: RunChildren) -> None:
        few = replace(wanted, calls=wanted.calls[:MAX_CHILDREN_AT_ONCE])
        parent = self._at.run.model_copy(update={"revision": self._at.revision})
        made = await children.prepared(self._at.hold.session, parent, few, self._at.now)
        if made.runs:
            await self._at.wait("children", made.steps, len(made.runs), made.write)
        else:
            await self._at.begin(made.steps)

    async def _wait_for_approval(self, wanted: Wait) -> None:
        until = min(rfc3339(self._clock.now() + APPROVAL_LASTS), self._at.run.deadline_at)
        own: dict[str, Any] = {"call": wanted.call, "role": wanted.role, "until": until}
        own["fingerprint"] = self._tools[wanted.call.name].fingerprint
        await self._at.wait(
            "approval", [self._at.step("approval", self._name_of(wanted.call) or named(wanted.call.name), **own)]
        )


def _result(call: ToolCall, text: str) -> Message:
    return Message("tool", text, call_id=call.id, name=call.name)


def _tried(step: Step, asking: Asking) -> Step:
    """Each try is an attempt: its provider may have billed it."""
    return step.model_copy(update={"attempts": step.attempts + max(0, asking.tried - 1)})
