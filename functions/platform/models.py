"""Long jobs as they are shown."""

from typing import Any, ClassVar

from pydantic import Field

from shared.http.pagination import ResourceQuery
from shared.jobs.jobs import Job, JobStatus, Progress
from shared.kinds import Kind
from shared.work.resources import Resource


class JobView(Resource):
    """A long job. What it goes on from is its own business, and so is who runs it."""

    KIND: ClassVar[Kind] = Job.KIND

    type: str = Field(examples=["backup"])
    status: JobStatus
    progress: Progress
    input: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None = Field(description="Why it failed, or why it is being tried again.")
    attempts: int = Field(description="Tries of what it is doing now.")

    @classmethod
    def of(cls, job: Job) -> "JobView":
        return cls.model_validate(job.model_dump())


class JobQuery(ResourceQuery):
    """The filters of the list of jobs, all of them equality."""

    status: JobStatus | None = None
    type: str | None = Field(None, max_length=100, examples=["backup"])
