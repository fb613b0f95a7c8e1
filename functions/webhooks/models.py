"""Webhooks, the line of what each has to be told, and what became of it."""

from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.clock import SKEW
from shared.http.pagination import ListQuery, ResourceQuery
from shared.http.times import Time
from shared.kinds import Kind
from shared.members.makers import Maker
from shared.work.resources import WHOLE, Answer, Body, Id, JsonObject, Resource, Timestamp

SCHEDULE = tuple(  # after the attempt before; Standard Webhooks, "Deliverability and reliability"
    timedelta(seconds=seconds) for seconds in (0, 5, 300, 1800, 7200, 18_000, 36_000, 36_000)
)
SECONDS = 15.0  # for an answer
LONGEST_PAUSE = max(SCHEDULE)  # whatever Retry-After says
FAILING_FOR = timedelta(days=5)  # then it is switched off
FORGIVEN_AFTER = timedelta(days=1)  # longer than any pause: so long without an attempt, and failing begins anew
ROTATION = timedelta(days=1)  # in which the former secret signs as well
KEPT_SECONDS = 30 * 86400  # a delivery, after its end
MAX_WAITING = 10_000  # deliveries of one webhook
MAX_ATTEMPTS = 10  # that are shown of a delivery: the last ones
LEASE = SKEW + timedelta(seconds=60)  # whose clock is ahead takes no line in whose first a call is made
NEVER = "9999-12-31T23:59:59.999999Z"
TEST = "webhook.test"
ABOUT_USERS = "user."  # what only those are told who may read who is let in
WAITING = "execution.waiting"  # of which a card can be answered

EventType = Literal[
    "agent.created",
    "agent.updated",
    "agent.published",
    "agent.deleted",
    "execution.started",
    "execution.waiting",
    "execution.succeeded",
    "execution.failed",
    "execution.cancelled",
    "design.created",
    "design.designed",
    "design.accepted",
    "design.deleted",
    "backup.created",
    "backup.updated",
    "backup.deleted",
    "user.created",
    "user.updated",
    "user.deleted",
    "notification.quota_near",
    "notification.quota_reached",
    "notification.backup_failed",
    "notification.statement_final",
    "notification.staff_access",
    "notification.webhook_off",
    "notification.webhook_full",
]
Format = Literal["webhook", "slack", "teams"]
OffReason = Literal["gone", "failing"]
DeliveryStatus = Literal["queued", "succeeded", "failed", "cancelled", "dropped"]
OVER: tuple[DeliveryStatus, ...] = ("succeeded", "failed", "cancelled", "dropped")


class WebhookFields(Body):
    """What a client may set of a webhook."""

    format: Format = Field(
        "webhook",
        description="What it takes, for ever: Standard Webhooks, Slack's messages, cards of Teams' Workflows.",
    )
    url: str = Field(
        max_length=2000,
        description="The https address that is called: a public one. Of slack and teams it is a secret, of which the "
        "host is shown; sent as it is shown, it stays as it is.",
    )
    events: list[EventType] = Field(min_length=1, max_length=50, description="What it is told of.")
    description: str = Field("", max_length=500, description="What it is for.")
    enabled: bool = Field(True, description="Whether it is told anything; what waits when it is not is cancelled.")
    approvals: Literal["user", "admin"] | None = Field(
        None, description="As what an answer counts that comes from its cards, whoever reads them; null: none is taken."
    )
    signing_secret: str | None = Field(
        None,
        max_length=200,
        json_schema_extra={"writeOnly": True},
        description="Slack's signing secret of the app whose buttons answer; null: as it is.",
    )


class Webhook(Resource):
    """An address of the tenant's that is told what happens. It is in no backup: a restore brings no address back."""

    KIND: ClassVar[Kind] = Kind("webhook", sorted=("updated_at",), counter="webhooks", exported=True)

    format: Format = Field("webhook", description="What it takes.")
    url: str = Field(description="The address that is called; of slack and teams its host.")
    events: list[EventType] = Field(description="What it is told of.")
    description: str = Field(description="What it is for.")
    enabled: bool = Field(description="Whether it is told anything.")
    off_reason: OffReason | None = Field(
        None, description="Why it was switched off: it answered 410, or failed for five days; enable it again."
    )
    secret: str | None = Field(None, description="What signs its messages: shown by the call that makes it, only.")
    secret_reference: str = Field(description="Where that lies: worth nothing outside of Flowgrid, and new with each.")
    former_reference: str | None = Field(None, description="Where the one before lies, which signs as well for a day.")
    former_until: Timestamp | None = Field(None, description="Until when.")
    approvals: Literal["user", "admin"] | None = Field(None, description="As what an answer from its cards counts.")
    maker: Maker | None = Field(
        None,
        description="Who has said so: answers count as long as they have that role. Whoever sets it anew takes over.",
    )
    address_reference: str | None = Field(None, description="Where the address of slack and teams lies.")
    signing_reference: str | None = Field(None, description="Where Slack's signing secret lies.")


class WebhookQuery(ResourceQuery):
    """They have no filters of their own: there are few."""


class Attempt(BaseModel):
    """One call."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    at: Timestamp = Field(description="When it was made.")
    milliseconds: int = Field(description="How long it took.")
    status: int | None = Field(description="What was answered; null: nothing.")
    error: str | None = Field(description="Why nothing was answered.")


class Delivery(BaseModel):
    """What one webhook is told of one event. In its line it stands where the event happened."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    KIND: ClassVar[Kind] = Kind("webhook_delivery", filtered=("webhook_id", "status"))

    id: str = Field(description="The delivery's id.")
    created_at: Timestamp = Field(description="When it happened.")
    webhook_id: Id = Field(description="Who is told.")
    event_id: Id = Field(description="`webhook-id`: the same in every attempt.")
    type: str = Field(description="What has happened.")
    status: DeliveryStatus = Field(
        description="`failed`: after its last attempt; `cancelled`: the webhook was switched off; `dropped`: too many "
        "were waiting."
    )
    tried: int = Field(0, description="Attempts, since it was last asked for.")
    due_at: Timestamp | None = Field(description="When it is tried next, if it is the first in line; null: it is over.")
    attempts: list[Attempt] = Field([], description=f"The last {MAX_ATTEMPTS}, oldest first.")
    payload: JsonObject = Field(description="What is sent.")


class DeliveryQuery(ListQuery):
    """The filters of the log, all of them equality."""

    webhook_id: str | None = Field(None, max_length=50, description="Only what this one was told.")
    status: DeliveryStatus | None = Field(None, description="Only those that are so.")


class DeliveryReplay(Body):
    """Which deliveries are made again."""

    since: Time = Field(description="Of events at this time or later.")
    until: Time | None = Field(None, description="Before this time; null: now.")
    status: Literal["failed", "cancelled", "dropped", "succeeded"] | None = Field(
        None, description="Those that ended so; null: all that are over."
    )
    limit: Annotated[int, Field(ge=1, le=30), WHOLE] = Field(30, description="At most so many, the oldest first.")


class ReplayedDeliveries(Answer):
    """What a replay has put in line again."""

    replayed: int = Field(description="How many.")
    next_since: Timestamp | None = Field(description="`since` of the next call; null: there are no more.")


class Line(BaseModel):
    """What one webhook has to be told is told by one at a time: by whoever holds this, until `lease_until`.

    `waiting`: its queued deliveries, counted in each batch that makes or ends one. `due_at`: when somebody looks next.
    `failing_since`, `failed_at`: since when, and when last, nothing but failures.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    KIND: ClassVar[Kind] = Kind("webhook_line", filtered=("due_at", "waiting"))

    id: str
    created_at: str
    waiting: int = 0
    due_at: str = NEVER
    holder: str | None = None
    lease_until: str = ""
    failing_since: str | None = None
    failed_at: str | None = None


def stored(model: BaseModel) -> dict[str, Any]:
    """As a document."""
    return model.model_dump(mode="json")
