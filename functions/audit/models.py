"""The audit trail as it is shown: append only, written in the batch of the change it tells of."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.http.pagination import ListQuery, Query
from shared.http.times import Time
from shared.kinds import Kind
from shared.tenancy.fence import AUDIT
from shared.work.resources import Id, Timestamp


class AuditEntry(BaseModel):
    """Who did what to which resource, when, from where, and what it was before and after."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    KIND: ClassVar[Kind] = AUDIT

    id: Id = Field(description="The entry's id.")
    tenant_id: Id = Field(description="The tenant whose resource changed.")
    created_at: Timestamp = Field(description="When it happened.")
    user_id: str = Field(description="Who did it: a user's id, or the token's subject.")
    action: str = Field(examples=["agent.created"], description="Kind and verb.")
    resource_type: str = Field(description="The kind of what changed.")
    resource_id: str = Field(description="The id of what changed.")
    revision: int = Field(description="The revision that the change made.")
    old_value: dict[str, Any] | None = Field(description="The whole resource before; null where it was made.")
    new_value: dict[str, Any] | None = Field(description="The whole resource after; null where it was deleted.")
    ip_address: str = Field(description="Where the call came from.")
    user_agent: str = Field(description="What the caller's program calls itself.")
    request_id: str = Field(description="The call's `x-request-id`.")
    api_key_id: str | None = Field(None, description="The API key that they used; null: a token.")
    key_id: str | None = Field(None, description="The key that it is signed by; null from before there were any.")
    mac: str | None = Field(None, description="Its signature (HMAC-SHA-256, in hex), which `verify` checks.")


class AuditQuery(ListQuery):
    """The filters of the audit trail, all of them equality."""

    user_id: str | None = Field(None, max_length=200)
    api_key_id: str | None = Field(None, max_length=200)
    action: str | None = Field(None, max_length=100)
    resource_type: str | None = Field(None, max_length=100)
    resource_id: str | None = Field(None, max_length=200)


FindingKind = Literal[
    "changed",
    "missing",
    "reordered",
    "inserted",
    "unsigned",
    "forged",
    "segment_changed",
    "segment_missing",
    "head",
]


class ExportQuery(AuditQuery):
    """The filters of the list, and a larger page."""

    limit: int = Field(1000, ge=1, le=5000, description="Entries in a file; fewer where they are large.")
    cursor: str | None = Field(None, max_length=2000, description="From the `Link` of the file before.")
    format: Literal["jsonl", "csv"] = Field("jsonl", description="csv: a file for spreadsheets; jsonl: a line each.")

    def filters(self) -> dict[str, Any]:
        return {name: value for name, value in super().filters().items() if name != "format"}


class VerifyQuery(Query):
    """What part of the trail is verified; all of it by default, slice by slice."""

    created_from: Time | None = Field(None, description="From the segment on in which this time lies.")
    created_to: Time | None = Field(None, description="Up to the segment in which this time lies.")
    after: int | None = Field(None, ge=0, le=10**8 - 1, description="Go on: `next` of the answer before.")


class AuditFinding(BaseModel):
    """One thing that is wrong."""

    model_config = ConfigDict(defer_build=True)

    kind: FindingKind = Field(
        description="An entry is `changed`, `missing`, stamped at another time (`reordered`), `inserted` (in no "
        "segment and not signed), `unsigned` or `forged`; a segment is changed or missing; the `head` is not as it was."
    )
    entry_id: Id | None = Field(description="The entry.")
    created_at: Timestamp | None = Field(description="Its time; where it was sealed, as it was then.")
    segment: int | None = Field(description="The segment.")
    message: str = Field(description="What is wrong, for people.")


class AuditTail(BaseModel):
    """The tail: signed already, not sealed yet. Whoever may delete in the database can cut it without a trace."""

    model_config = ConfigDict(defer_build=True)

    count: int = Field(description="Entries in it.")
    since: Timestamp | None = Field(description="The oldest of them; null where there is none.")
    more: bool = Field(description="Whether there are more than `count`, which were not looked at.")


class AuditVerification(BaseModel):
    """A slice of the trail beside its chain of sealed segments; `ok` when nothing is wrong with it."""

    model_config = ConfigDict(defer_build=True)

    ok: bool = Field(description="Whether there are no findings.")
    checked_at: Timestamp = Field(description="When it was looked at.")
    findings: list[AuditFinding] = Field(description="What is wrong, at most a hundred.")
    more_findings: int = Field(description="How many beyond those.")
    segments: int = Field(description="Segments looked at.")
    entries: int = Field(description="Sealed entries found in their place.")
    signed_from: Timestamp | None = Field(
        description="From when on entries are signed: those before it were there when signing began. "
        "Null before the first sealing."
    )
    sealed_until: Timestamp | None = Field(description="Up to when the trail is sealed; null before the first sealing.")
    pruned_until: Timestamp | None = Field(description="Up to when retention has taken entries away.")
    late: int = Field(description="Signed entries of this time that came too late for a segment.")
    unsealed: AuditTail | None = Field(
        description="The tail behind the last segment; null while there are more slices."
    )
    next: int | None = Field(description="Send it as `after` for the next slice; null after the last.")
