"""Runs as they are stored: the run, the agent as it was, each step, what a whole tree has used, and who waits."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from functions.agents.models import Pattern
from shared.ai.port import Message, ToolCall
from shared.auth.roles import Role
from shared.ids import derived_id
from shared.kinds import Kind
from shared.work.resources import Resource

Status = Literal["queued", "running", "waiting", "succeeded", "failed", "cancelled"]
Purpose = Literal["task", "case", "design", "schedule", "hook"]
RunPattern = Pattern | Literal["Former"]
"""An agent's, or that of Flowgrid's own runs (functions/executions/patterns/former.py)."""
WaitingFor = Literal["children", "approval", "decision"]
ACTIVE = ("queued", "running", "waiting")
LEASE = timedelta(seconds=90)
RENEW_SECONDS = 30.0
LOOK_WITHIN = timedelta(minutes=1)  # at one whose message is under way
LONGEST_LEASE = timedelta(hours=1)  # nobody looks at one that waits before that
MAX_INPUT_BYTES = 64 * 1024
MAX_SNAPSHOT_BYTES = 192 * 1024  # eight of them fit into one batch
MAX_CHILDREN_AT_ONCE = 8
MAX_INLINE_BYTES = 32 * 1024  # of a step's messages; what is larger is a blob
AREA = "executions"
MAX_CONTEXT_BYTES = 16 * 1024
BY_A2A = "a2a"  # in a run's context: which message has begun it; nobody else may say so


class RunLimits(BaseModel):
    """What a run and all that it starts may use, together."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    steps: int = Field(100, description="Steps begun.")
    tokens: int = Field(500_000, description="AI tokens, those reserved for a call under way included.")
    cost: int | None = Field(None, description="Micro-USD; null: as much as the plan allows.")
    seconds: int = Field(3600, description="From its start to its end.")
    depth: int = Field(3, description="Agents below each other, the first one not counted.")
    children: int = Field(20, description="Runs that it may start, those of its children included.")


class Tokens(BaseModel):
    """AI tokens; `cached` are those of `input` that the provider had in its cache."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    input: int = Field(0, description="Tokens read.")
    output: int = Field(0, description="Tokens written.")
    cached: int = Field(0, description="Of those read, how many were in the provider's cache.")

    @property
    def total(self) -> int:
        return self.input + self.output

    def plus(self, other: "Tokens") -> "Tokens":
        return Tokens(
            input=self.input + other.input, output=self.output + other.output, cached=self.cached + other.cached
        )


class Execution(Resource):
    """A run. Whoever changes it replaces it by its ETag, and so nobody goes on who has lost it.

    `admitted`: it is one of those that the tenant's counter `runs` counts. `lease_until`: when somebody has to look at
    it, whatever it does. `runner`: the one attempt that has it now, None between two. `mark`: of the write that made it
    what it is, for whose answer was lost. `full`: the partition took no more. Its `tokens` and `cost` are its own,
    without its children's; a cost is None once a part of it is not known. `api_key_id`: what it was started with.
    """

    KIND: ClassVar[Kind] = Kind(
        "execution",
        filtered=("agent_id", "status", "root_id", "lease_until"),
        sorted=("updated_at",),
        backup="history",
        exported=True,
        told=("started", "succeeded", "failed", "cancelled"),
        path="executions",
    )

    agent_id: str
    agent_name: str
    agent_revision: int
    pattern: RunPattern
    purpose: Purpose = "task"
    api_key_id: str | None = None
    status: Status = "queued"
    stop_reason: str | None = None
    error: str | None = None
    waiting_for: WaitingFor | None = None
    root_id: str
    root_created_at: str
    parent_id: str | None = None
    parent_step: int | None = None
    parent_revision: int = 0
    depth: int = 0
    ancestors: list[str] = Field([])
    steps: int = 0
    tokens: Tokens = Field(default_factory=Tokens)
    cost: int | None = 0
    limits: RunLimits
    deadline_at: str
    output_step: int | None = None
    result: dict[str, Any] | None = None
    admitted: bool = False
    epoch: int = 0
    runner: str | None = None
    mark: str = ""
    lease_until: str
    full: bool = False

    @property
    def ended(self) -> bool:
        return self.status not in ACTIVE

    @property
    def ticket(self) -> str:
        """The id of its ticket, while it waits for admission: that of the oldest tree comes first."""
        return f"{self.root_created_at}:{self.id}"


class Offered(BaseModel):
    """A tool of an agent: its `name` here, and what a model calls it."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    name: str
    called: str


class Callee(BaseModel):
    """An agent that an agent may run, and what a model calls it."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    id: str
    name: str
    called: str
    description: str = ""


class Snapshot(BaseModel):
    """The agent's revision as it was when the run began, and what the run was given. It never changes."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    KIND: ClassVar[Kind] = Kind("execution_snapshot", append_only=True)

    id: str
    created_at: str
    agent_id: str
    agent_name: str
    agent_revision: int
    pattern: RunPattern
    provider: str
    model: str
    instructions: str
    tools: list[Offered] = []
    agents: list[Callee] = []
    config: dict[str, Any] = {}
    input: str
    context: dict[str, Any] = {}


class StepError(BaseModel):
    """Why a step came to nothing; `code` as in the catalogue of problems."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    code: str = Field(description="As in the catalogue of problems.")
    message: str = Field(description="In words.")


StepType = Literal["model", "tool", "child", "approval"]
StepStatus = Literal["begun", "ended", "cancelled"]
Told = Literal["approved", "rejected", "expired", "repeat", "skipped"]


class Step(BaseModel):
    """One thing that a run does. `messages`: what it adds to the conversation; in the blob `blob` where they are large.

    `begun_in`, `ended_in`: the run's revision in which it was. `reserved`: AI tokens and micro-USD, until it has ended.
    `told`: what a person has decided of it. `fingerprint`: of the tool that is to be approved, or used. `attempts`
    counts what was begun; only the last one's usage is known.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    KIND: ClassVar[Kind] = Kind("execution_step")

    id: str
    created_at: str
    execution_id: str
    number: int
    type: StepType
    name: str
    label: str = ""
    status: StepStatus = "begun"
    attempts: int = 1
    begun_at: str
    ended_at: str | None = None
    begun_in: int
    ended_in: int | None = None
    call: ToolCall | None = None
    child_id: str | None = None
    role: Role | None = None
    fingerprint: str = ""
    until: str | None = None
    told: Told | None = None
    told_by: str | None = None
    comment: str | None = None
    messages: list[Message] = []
    blob: str | None = None
    reserved: tuple[int, int] | None = None
    provider: str | None = None
    model: str | None = None
    finish: str | None = None
    usage: Tokens | None = None
    cost: int | None = None
    error: StepError | None = None

    @property
    def over(self) -> bool:
        return self.status != "begun"


TREE = Kind("execution_tree")  # of a root run: steps, tokens, cost and runs of all of it; `cancelled` above 0: no more
TICKET = Kind("execution_ticket", transient=True)


def step_id(execution_id: str, number: int) -> str:
    return f"{execution_id}.{number:05}"


def child_id(execution_id: str, number: int) -> str:
    """The run that a step starts: the same again, however often it is started."""
    return derived_id("execution", execution_id, str(number))


def stored(model: BaseModel) -> dict[str, Any]:
    """As a document."""
    body: Mapping[str, Any] = model.model_dump(mode="json")
    return dict(body)
