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

    id: Id
    created_at: Timestamp
    metric: Metric
    value: int
    data: dict[str, Any]


class Bucket(BaseModel):
    """What one period saw of one metric; `dimensions` says of which kinds."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    start: Timestamp
    value: int
    count: int = Field(description="Events.")
    dimensions: dict[str, int] = Field(
        {}, description="The value by name, at most 100 of them and `other`; `%2F` and `%25` are `/` and `%` in a part."
    )


class Usage(BaseModel):
    """A metric over time; periods in which nothing happened are left out."""

    metric: Metric
    period: Period
    start: Timestamp = Field(alias="from", serialization_alias="from")
    end: Timestamp = Field(alias="to", serialization_alias="to")
    total: int
    items: list[Bucket]


class UsageQuery(Query):
    """`from` (inclusive, whole periods) and `to` (exclusive); by default the last day, month or year."""

    metric: Metric = Metric.API_CALLS
    period: Period = "day"
    since: Time | None = Field(None, alias="from")
    until: Time | None = Field(None, alias="to")


class UsageEventQuery(ListQuery):
    metric: Metric | None = None


class Quota(BaseModel):
    resource: str
    limit: int
    current: int
    remaining: int


class Quotas(BaseModel):
    tier: str
    items: list[Quota]
