"""Usage, as it is shown."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from functions.usage.periods import Period
from functions.usage.tally import Standing
from shared.http.pagination import PageQuery, Query
from shared.http.times import Time
from shared.work.events import Metric
from shared.work.resources import Answer, Timestamp

Told = Literal[
    Metric.API_CALLS, Metric.AGENTS_CREATED, Metric.AI_TOKENS, Metric.EXECUTIONS, Metric.STORAGE_BYTES
]  # the request units of a tenant are ours to pay


class UsageEvent(BaseModel):
    """One counted thing."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    id: str = Field(description="The event's id; with its source, it is one event of its hour.")
    source: str = Field(description="Who has told of it.")
    time: Timestamp = Field(description="When it happened.")
    metric: Metric = Field(description="What was counted.")
    value: int = Field(description="How much of it.")
    name: str | None = Field(description="The name that it counts under in `dimensions`.")
    data: dict[str, Any] = Field(description="More about it.")
    standing: Standing = Field(
        description="Whether it counts: one that was voided does not, nor one whose id has come with other content."
    )


class Bucket(BaseModel):
    """What one period saw of one metric; `dimensions` says of which kinds."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    start: Timestamp = Field(description="When the period begins.")
    value: int = Field(description="The sum of what was counted.")
    count: int = Field(description="Events.")
    dimensions: dict[str, int] = Field(
        {},
        description="By name, the 100 largest of a period and `other`; `%2F` and `%25` are `/` and `%` in a part.",
    )


class Usage(Answer):
    """A metric over time; periods in which nothing happened are left out."""

    metric: Metric = Field(description="What was counted.")
    period: Period = Field(description="How long each item is.")
    start: Timestamp = Field(alias="from", serialization_alias="from", description="From this time on.")
    end: Timestamp = Field(alias="to", serialization_alias="to", description="Before this time.")
    total: int = Field(description="The sum over all of it.")
    items: list[Bucket] = Field(description="Oldest first.")


class RangeQuery(Query):
    """`from` (inclusive, whole periods) and `to` (exclusive); by default the last day, month or year."""

    period: Period = Field("day", description="How long each item is.")
    since: Time | None = Field(
        None, alias="from", description="From this time on; the period that it is in is shown whole."
    )
    until: Time | None = Field(None, alias="to", description="Before this time.")


class UsageQuery(RangeQuery):
    """One metric of a range."""

    metric: Told = Field(Metric.API_CALLS, description="What to show.")


class UsageEventQuery(PageQuery):
    """The newest first."""

    metric: Told | None = Field(None, description="Of this metric.")
    name: str | None = Field(None, max_length=800, description="Counted under this name.")
    standing: Standing | None = Field(None, description="Of this standing.")
    since: Time | None = Field(None, alias="from", description="From this time on; the last 250 days are kept.")
    until: Time | None = Field(None, alias="to", description="Before this time.")
