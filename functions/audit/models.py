"""The audit trail as it is shown: append only, written in the batch of the change it tells of."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from shared.http.pagination import ListQuery
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


class AuditQuery(ListQuery):
    """The filters of the audit trail, all of them equality."""

    user_id: str | None = Field(None, max_length=200)
    action: str | None = Field(None, max_length=100)
    resource_type: str | None = Field(None, max_length=100)
    resource_id: str | None = Field(None, max_length=200)
