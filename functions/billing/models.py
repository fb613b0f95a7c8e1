"""Plans and statements as they are stored and shown. Money is whole micro-units (10^-6) of the currency named."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.http.pagination import ListQuery, Query
from shared.kinds import Kind
from shared.tenancy.history import PlanChange, Standing
from shared.tenancy.plans import Tier
from shared.work.events import Metric
from shared.work.resources import Answer, Body, Id, Timestamp

Month = Annotated[str, Field(examples=["2026-11"], pattern=r"^\d{4}-\d{2}$")]
Format = Literal["json", "csv", "html"]
STATEMENT = Kind("statement", backup="history", append_only=True, exported=True)


class Account(BaseModel):
    """What billing needs to know of a tenant's entry in the registry."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    name: str
    tier: Tier
    status: str
    trial_ends_at: str | None = None
    next_tier: Tier | None = None
    next_tier_at: str | None = None
    plan_changes: list[PlanChange] = []


class TranchePrice(Answer):
    """A price of what is beyond the included amount."""

    up_to: int | None = Field(description="Up to so many units beyond it; null: all further ones.")
    price: int = Field(description="Of `per` units, in micro-units.")


class MetricPrice(Answer):
    """What a metric costs in a month."""

    metric: Metric = Field(description="What is counted.")
    included: int = Field(description="Units that the base price includes.")
    per: int = Field(description="How many units a price is for.")
    tranches: list[TranchePrice] = Field(description="Prices of what is beyond, the first ones first.")


class Subscription(Answer):
    """The tenant's plan: as it is, what it costs, and what becomes of it."""

    tier: Tier = Field(description="The plan.")
    status: str = Field(examples=["active"], description="Whether it is in use: trial, active or suspended.")
    trial_ends_at: Timestamp | None = Field(description="When the trial ends; null: there is none.")
    suspended_at: Timestamp | None = Field(description="When the tenant is suspended, unless it is upgraded before.")
    next_tier: Tier | None = Field(description="The lower plan that follows; null: this one goes on.")
    next_tier_at: Timestamp | None = Field(description="From when on.")
    month: Month = Field(description="The month whose statement is open.")
    currency: str = Field(examples=["USD"], description="ISO 4217.")
    price_version: str = Field(description="The version of the prices.")
    base: int = Field(description="The price of a whole month, in micro-units.")
    metered: list[MetricPrice] = Field(description="What is counted, and what it costs.")


class PlanChoice(Body):
    """A plan."""

    tier: Tier = Field(description="Which.")


class Line(BaseModel):
    """One line: the plan for a time, what was used of a metric meanwhile, or a correction of an earlier month."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    kind: Literal["base", "usage", "correction"] = Field(description="What it is.")
    month: Month = Field(description="The month that it is about; of a correction an earlier one.")
    description: str = Field(description="What it is, in words.")
    tier: Tier | None = Field(description="The plan; null for a correction.")
    metric: Metric | None = Field(description="What was counted; null for the plan itself.")
    start: Timestamp = Field(alias="from", serialization_alias="from", description="From this time on.")
    end: Timestamp = Field(alias="to", serialization_alias="to", description="Before this time.")
    price_version: str = Field(description="The version of the prices that it is billed by.")
    quantity: int | None = Field(description="Units used; of a correction, how many more or less than was billed.")
    included: int | None = Field(description="Units that the plan included in this time.")
    billed: int | None = Field(description="Units billed beyond those.")
    amount: int = Field(description="In micro-units; below zero: a credit.")
    events: str | None = Field(description="Path of the events that were counted.")


class Statement(BaseModel):
    """What a month costs. Open it shows what has been used so far; final it never changes."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    KIND: ClassVar[Kind] = STATEMENT

    month: Month = Field(description="The month, UTC.")
    tenant_id: Id = Field(description="Who is billed.")
    tenant_name: str = Field(description="What it was called then.")
    status: Literal["open", "final"] = Field(description="Final on the third day of the next month.")
    created_at: Timestamp = Field(description="When it was made.")
    start: Timestamp = Field(alias="from", serialization_alias="from", description="From this time on.")
    end: Timestamp = Field(alias="to", serialization_alias="to", description="Before this time.")
    currency: str = Field(examples=["USD"], description="ISO 4217.")
    price_version: str = Field(description="The version of the prices of this month.")
    lines: list[Line] = Field(description="In the order of time; corrections of earlier months come last.")
    total: int = Field(description="The sum of the lines, in micro-units; below zero: a credit.")


class StatementQuery(Query):
    format: Format = Field("json", description="csv: a file for spreadsheets; html: a page that prints well.")


class StatementListQuery(ListQuery):
    """Final statements; they have no filters of their own."""


class Segment(BaseModel):
    """A time of one plan, within one month."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    start: datetime
    end: datetime
    tier: Tier
    status: Standing
