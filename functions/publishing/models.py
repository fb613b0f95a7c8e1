"""Publications: a revision of an agent against its cases, and whether it became active by them."""

from typing import ClassVar

from pydantic import Field

from shared.http.pagination import ResourceQuery
from shared.jobs.jobs import Job, JobStatus
from shared.kinds import Kind
from shared.work.resources import Answer, Id, Resource

TYPE = "publish"


class CaseResult(Answer):
    """How a case went."""

    case_id: Id = Field(description="The case.")
    name: str = Field(description="What it is called.")
    execution_id: Id = Field(description="The run that it was.")
    passed: bool = Field(description="Whether its answer is all that it must be like.")
    reason: str | None = Field(description="Why not.")


class Publication(Resource):
    """A try to make a revision active: its cases are run, and it becomes active if all of them pass."""

    KIND: ClassVar[Kind] = Job.KIND

    agent_id: Id = Field(description="The agent.")
    agent_revision: int = Field(description="The revision that is tried.")
    status: JobStatus = Field(description="How far it is; failed: it could not be tried.")
    published: bool | None = Field(description="Whether it became active; null: that is not known yet.")
    cases: list[CaseResult] = Field(description="How each case went, once all have.")
    error: str | None = Field(description="Why it failed, or what it waits for.")

    @classmethod
    def of(cls, job: Job) -> "Publication":
        result = job.result or {}
        shown = {"published": result.get("published"), "cases": result.get("cases", []), **job.input}
        return cls.model_validate({**job.model_dump(exclude={"input", "result"}), **shown})


class PublicationQuery(ResourceQuery):
    """The filters of the list of publications."""

    status: JobStatus | None = None
