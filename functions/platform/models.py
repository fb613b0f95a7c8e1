"""What the lists about the platform itself are filtered by."""

from pydantic import Field

from shared.http.pagination import ResourceQuery
from shared.jobs.jobs import JobStatus


class JobQuery(ResourceQuery):
    """The filters of the list of jobs, all of them equality."""

    status: JobStatus | None = None
    type: str | None = Field(None, max_length=100, examples=["backup"])
