"""Cases: tasks with what their answers must be like, which an agent passes before a revision of it is published."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from shared.database.port import Where
from shared.errors import Conflict
from shared.http.pagination import NamedQuery
from shared.kinds import Kind
from shared.work.resources import Body, Id, Name, Resource
from shared.work.service import ResourceService
from shared.work.session import TenantSession

MAX_CASES = 50
"""Of one agent, that count: the oldest."""


class Expected(Body):
    """One thing that an answer must be like."""

    op: Literal["contains", "lacks", "equals"] = Field(description="Without regard to case, and to blanks at the ends.")
    value: Annotated[str, StringConstraints(min_length=1, max_length=5000)] = Field(description="What it is held to.")

    def holds(self, answer: str) -> bool:
        said, wanted = answer.strip().casefold(), self.value.strip().casefold()
        match self.op:
            case "contains":
                return wanted in said
            case "lacks":
                return wanted not in said
            case "equals":
                return wanted == said


class CaseFields(Body):
    """What a client may set of a case."""

    agent_id: Id
    name: Name = Field(examples=["A broken roof"])
    input: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
    expected: list[Expected] = Field(min_length=1, max_length=20)


class Case(Resource):
    """A task of an agent, with what its answer must be like."""

    KIND: ClassVar[Kind] = Kind(
        "case",
        filtered=("name", "agent_id"),
        sorted=("updated_at", "name"),
        refers={"agent_id": ("agent",)},
        backup="restored",
        journalled=True,
        exported=True,
    )

    agent_id: Id = Field(description="The agent whose case it is.")
    name: str = Field(description="What it is called.")
    input: str = Field(description="The task.")
    expected: list[Expected] = Field(description="All that its answer must be like.")


class CaseQuery(NamedQuery):
    """The filters of the list of cases, all of them equality."""

    name: str | None = Field(None, max_length=255)
    agent_id: str | None = Field(None, max_length=100)


class CaseService(ResourceService[Case, CaseFields]):
    """A case's agent must be there (`Case.KIND.refers`)."""

    model = Case


class Unproved(Conflict):
    code = "unproved"
    meaning = "The agent has cases, so that a revision of it becomes active by passing them and in no other way."
    remedy = "Publish it (`POST v1/agents/{id}/publish`), or set its status to `draft` with the change."


async def cases_of(tenant: TenantSession, agent_id: str) -> list[Case]:
    """The oldest, fifty at most; one query."""
    page = await tenant.store.query(Case.KIND, [Where("agent_id", "=", agent_id)], limit=MAX_CASES)
    return [Case.model_validate(stored.body) for stored in page.items]


async def has_cases(tenant: TenantSession, agent_id: str) -> bool:
    """One query."""
    return bool((await tenant.store.query(Case.KIND, [Where("agent_id", "=", agent_id)], limit=1)).items)
