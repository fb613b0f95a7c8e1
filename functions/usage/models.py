"""Usage, as it is stored and shown."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.http.pagination import ListQuery, Query
from shared.http.times import Time
from shared.kinds import Kind
from shared.work.events import Metric
from shared.work.resources import Id, Timestamp

Period = Literal["hour", "day", "month"]


ROLLUP = Kind("rollup", container="usage", filtered=("metric", "period"), backup="history")


class UsageEvent(BaseModel):
    """One counted thing (`created_at` is the instant it happened at)."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    KIND: ClassVar[Kind] = Kind(
        "usage_event", container="usage", filtered=("metric",), backup="history", append_only=True
    )

    id: Id = Field(description="The event's id.")
    created_at: Timestamp = Field(description="When it happened.")
    metric: Metric = Field(description="What was counted.")
    value: int = Field(description="How much of it.")
    data: dict[str, Any] = Field(description="More about it.")


class Bucket(BaseModel):
    """What one period saw of one metric; `dimensions` says of which kinds."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    start: Timestamp = Field(description="When the period begins.")
    value: int = Field(description="The sum of what was counted.")
    count: int = Field(description="Events.")
    dimensions: dict[str, int] = Field(
        {}, description="The value by name, at most 100 of them and `other`; `%2F` and `%25` are `/` and `%` in a part."
    )


class Usage(BaseModel):
    """A metric over time; periods in which nothing happened are left out."""

    metric: Metric = Field(description="What was counted.")
    period: Period = Field(description="How long each item is.")
    start: Timestamp = Field(alias="from", serialization_alias="from", description="From this time on.")
    end: Timestamp = Field(alias="to", serialization_alias="to", description="Before this time.")
    total: int = Field(description="The sum over all of it.")
    items: list[Bucket] = Field(description="Oldest first.")


class UsageQuery(Query):
    """`from` (inclusive, whole periods) and `to` (exclusive); by default the last day, month or year."""

    metric: Metric = Field(Metric.API_CALLS, description="What to show.")
    period: Period = Field("day", description="How long each item is.")
    since: Time | None = Field(
        None, alias="from", description="From this time on; the period that it is in is shown whole."
    )
    until: Time | None = Field(None, alias="to", description="Before this time.")


class UsageEventQuery(ListQuery):
    metric: Metric | None = None
