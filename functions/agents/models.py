"""Agents: what is stored and shown, and what a client may set."""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints

from shared.http.pagination import NamedQuery
from shared.kinds import Kind
from shared.work.resources import Body, Id, JsonObject, Name, Resource

Pattern = Literal["Orchestrator", "Specialist", "Monitor", "Router", "Evaluator"]
Status = Literal["draft", "active", "retired"]
AGENT = "agent:"  # before the name or id of an agent, among another's tools


def _listed(value: str) -> str:
    """The field of a cron whose values are these: `*`, ranges and lists of them, in steps."""
    one = rf"(\*|({value})(-({value}))?)(/[1-9][0-9]?)?"
    return f"{one}(,{one})*"


MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
WEEKDAYS = "SUN|MON|TUE|WED|THU|FRI|SAT"
CRON_FIELDS = (
    "[0-5]?[0-9]",
    "[01]?[0-9]|2[0-3]",
    "0?[1-9]|[12][0-9]|3[01]",
    f"0?[1-9]|1[0-2]|{MONTHS}",
    f"[0-7]|{WEEKDAYS}",
)
CRON = f"^{' '.join(_listed(values) for values in CRON_FIELDS)}$"
"""Minute, hour, day, month, weekday; each text that it matches croniter reads (a test says so)."""


def _cron(text: str) -> str:
    if re.fullmatch(CRON, text) is None:
        raise ValueError("should be cron of five fields in UTC, such as `0 6 * * 1`: minute, hour, day, month, weekday")
    return text


Schedule = Annotated[
    str,
    StringConstraints(max_length=100),
    AfterValidator(_cron),
    Field(json_schema_extra={"pattern": CRON}, examples=["0 6 * * 1"]),
]


class AgentFields(Body):
    """What a client may set of an agent: the body of POST and PUT, and what a merge patch applies to."""

    name: Name = Field(examples=["Claims intake"])
    description: str = Field("", max_length=5000)
    pattern: Pattern
    provider: str = Field("offline", min_length=1, max_length=50, description="AI provider that runs the agent.")
    model: str = Field("", max_length=200, description="The provider's model; empty: its default.")
    instructions: str = Field("", max_length=50_000)
    tools: list[Annotated[str, StringConstraints(min_length=1, max_length=200)]] = Field([], max_length=100)
    config: JsonObject = Field({}, description="Free settings of the agent.")
    element_id: Id | None = Field(None, description="The element of the landscape that the agent works on.")
    schedule: Schedule | None = Field(
        None, description="When it runs by itself while it is active: cron of five fields, UTC; null: when asked to."
    )
    status: Status = "draft"


def asked_only(body: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 to 2: what was there before there were schedules runs when it is asked to."""
    return {"schedule": None, **body}


def never_migrated(body: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 to 3: what was there before old databases were migrated came from none."""
    return {"legacy_id": None, **body}


class Agent(Resource):
    """An AI agent of the tenant."""

    KIND: ClassVar[Kind] = Kind(
        "agent",
        filtered=("name", "pattern", "status", "element_id", "schedule"),
        sorted=("updated_at", "name"),
        upcasts=[asked_only, never_migrated],
        refers={"element_id": ("element",)},
        counter="agents",
        backup="restored",
        journalled=True,
        exported=True,
        told=("created", "updated", "published", "deleted"),
        path="agents",
    )

    name: str = Field(description="What it is called.")
    description: str = Field(description="What it is for, in words.")
    pattern: Pattern = Field(description="Its part among other agents.")
    provider: str = Field(description="The AI provider that runs it.")
    model: str = Field(description="The provider's model; empty: its default.")
    instructions: str = Field(description="What it is told before each task.")
    tools: list[str] = Field(description="Names of the tools that it may use.")
    config: dict[str, Any] = Field(description="Free settings of the agent.")
    element_id: Id | None = Field(description="The element of the landscape that it works on.")
    schedule: str | None = Field(description="When it runs by itself while it is active: cron, UTC.")
    status: Status = Field(description="Whether it is meant to be used.")
    legacy_id: str | None = Field(None, description="Its key in the old database that it was migrated from.")


class AgentQuery(NamedQuery):
    """The filters of the agent list, all of them equality."""

    name: str | None = Field(None, max_length=255)
    pattern: Pattern | None = None
    status: Status | None = None
    element_id: str | None = Field(None, max_length=100)
