"""Long jobs as they are shown, and which dead letters are meant."""

from typing import Any, ClassVar

from pydantic import Field

from shared.http.pagination import ListQuery, ResourceQuery
from shared.http.times import Time
from shared.jobs.jobs import Job as StoredJob
from shared.jobs.jobs import JobStatus, Progress
from shared.kinds import Kind
from shared.work.resources import Body, Resource


class Job(Resource):
    """A long job. What it goes on from is its own business, and so is who runs it."""

    KIND: ClassVar[Kind] = StoredJob.KIND

    type: str = Field(examples=["backup"], description="What it does.")
    status: JobStatus = Field(description="How far it is.")
    progress: Progress = Field(description="What it does now, and how much of it is done.")
    input: dict[str, Any] = Field(description="What it was asked to do.")
    result: dict[str, Any] | None = Field(description="What it has come to, once it has succeeded.")
    error: str | None = Field(description="Why it failed, or why it is being tried again.")
    attempts: int = Field(description="Tries of what it is doing now.")

    @classmethod
    def of(cls, job: StoredJob) -> "Job":
        return cls.model_validate(job.model_dump())


class JobQuery(ResourceQuery):
    """The filters of the list of jobs, all of them equality."""

    status: JobStatus | None = None
    type: str | None = Field(None, max_length=100, examples=["backup"])


class DeadLetterQuery(ListQuery):
    """The filters of the dead letters, all of them equality."""

    queue: str | None = Field(None, max_length=260, examples=["usage-events"])
    tenant: str | None = Field(None, max_length=1000)
    reason: str | None = Field(None, max_length=1000, examples=["MaxDeliveryCountExceeded"])


class WhichLetters(Body):
    """Those for which all of this is so; nothing said: all."""

    queue: str | None = Field(None, max_length=260, description="The queue that they came from.")
    tenant: str | None = Field(None, max_length=1000, description="The tenant that they named.")
    reason: str | None = Field(None, max_length=1000, description="Why they cannot be handled.")
    created_from: Time | None = Field(None, description="Moved aside at this time or later.")
