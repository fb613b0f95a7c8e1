"""The design wizard: a session goes from a brief over questions to a proposal, which is accepted whole or not."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from functions.agents.models import Pattern
from functions.catalog.additions import AddedElement, AddedRelationship, Key
from shared.http.pagination import ResourceQuery
from shared.kinds import Kind
from shared.work.resources import Answer, Body, Id, Name, Resource

Status = Literal["asking", "proposed", "accepted"]
Prose = Annotated[str, Field(max_length=5000)]

MAX_AGENTS = 8
MAX_ITEMS = 30
"""Agents, elements and relationships of one proposal: with what they touch they are one batch (decision 0040)."""
MAX_QUESTIONS = 5


class Question(Body):
    """What the wizard wants to know before it proposes."""

    key: Key = Field(description="What its answer is sent under.")
    text: Annotated[str, StringConstraints(min_length=1, max_length=500)] = Field(description="What is asked.")
    choices: list[Annotated[str, StringConstraints(min_length=1, max_length=200)]] = Field(
        [], max_length=10, description="Some likely answers; any other text is taken as well."
    )


class Questions(Body):
    """What a model answers first."""

    questions: list[Question] = Field(max_length=MAX_QUESTIONS, description="What is asked.")


class ProposedAgent(Body):
    """A new agent. Its `tools` may name others of the proposal as `agent:<key>`."""

    key: Key = Field(description="What the rest of the proposal calls it.")
    name: Name = Field(description="What it is called.")
    description: Prose = Field("", description="What it is for.")
    pattern: Pattern = Field(description="Its part among the agents.")
    instructions: Prose = Field(description="What it is told before each task.")
    tools: list[Annotated[str, StringConstraints(min_length=1, max_length=200)]] = Field(
        [], max_length=20, description="What it may use."
    )
    judges: Key | None = Field(None, description="Of an Evaluator: key of the agent whose work it judges.")
    criteria: Prose = Field("", description="Of an Evaluator: what it judges by.")
    rounds: Annotated[int, Field(ge=1, le=5)] = Field(2, description="Of an Evaluator: how often it has work mended.")
    watches: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="Of a Monitor: how the names of the elements begin that it looks for in the catalog."
    )
    trips: Literal["nonempty", "empty"] = Field(
        "nonempty",
        description="Of a Monitor: whether it is asked when there are such elements, or when there is none.",
    )
    element: Key | None = Field(None, description="Key of the element that it works on.")
    schedule: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="When it runs by itself: cron of five fields, UTC; null: when it is asked to."
    )


class Proposal(Body):
    """What would be made: agents, and the elements and relationships that they stand among."""

    summary: Prose = Field(description="What is proposed, and why, in words.")
    agents: list[ProposedAgent] = Field(min_length=1, max_length=MAX_AGENTS, description="New agents.")
    elements: list[AddedElement] = Field([], max_length=MAX_ITEMS, description="What they work on, and what they are.")
    relationships: list[AddedRelationship] = Field([], max_length=MAX_ITEMS, description="New ones between these.")


class Made(Answer):
    """What acceptance has made, by the proposal's keys."""

    agents: dict[str, Id] = Field(description="Key -> id.")
    elements: dict[str, Id] = Field(description="Key -> id, those that were there included.")
    relationships: list[Id] = Field(description="In the proposal's order.")


class Design(Resource):
    """A session of the wizard."""

    KIND: ClassVar[Kind] = Kind(
        "design",
        filtered=("status",),
        sorted=("updated_at",),
        backup="restored",
        journalled=True,
        exported=True,
        told=("created", "designed", "accepted", "deleted"),
        path="design/sessions",
    )

    brief: str = Field(description="What is wanted, in words.")
    provider: str = Field(description="The AI provider that designs.")
    model: str = Field(description="The provider's model; empty: its default.")
    status: Status = Field(description="What it waits for: answers, acceptance or revision, nothing more.")
    questions: list[Question] = Field([], description="What is asked.")
    answers: dict[str, str] = Field({}, description="By the questions' keys.")
    feedback: list[str] = Field([], description="What was to be changed, the last at the end.")
    proposal: Proposal | None = Field(None, description="What would be made; null until it is proposed.")
    made: Made | None = Field(None, description="What acceptance has made.")
    execution_id: Id | None = Field(None, description="The run that works, or has worked last, on it.")


class DesignView(Design):
    """A session, and how far its run is."""

    BESIDE = ("working", "error")

    working: bool = Field(description="Whether its run is under way: read it again in a moment.")
    error: str | None = Field(description="Why its last run has come to nothing; ask again.")


class NewDesign(Body):
    """What a design begins with."""

    brief: Annotated[str, StringConstraints(strip_whitespace=True, min_length=10, max_length=10_000)] = Field(
        description="What the agents are to do, in a sentence or more.",
        examples=["Triage incoming claims and assess the damage. Alert the team when claims stay open for a week."],
    )
    provider: str = Field("offline", min_length=1, max_length=50, description="AI provider that designs.")
    model: str = Field("", max_length=200, description="The provider's model; empty: its default.")


class Answers(Body):
    """Answers to the questions; those that are left out are up to the wizard."""

    answers: dict[Key, Annotated[str, Field(max_length=2000)]] = Field(
        {}, max_length=MAX_QUESTIONS, description="By the questions' keys."
    )


class Feedback(Body):
    """What is to be changed of the proposal."""

    feedback: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=5000)] = Field(
        description="In words.", examples=["Leave the alerts out, and let a second agent check the assessment."]
    )


class DesignQuery(ResourceQuery):
    """The filters of the list of sessions."""

    status: Status | None = None
