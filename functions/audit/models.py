"""The audit trail as it is shown: append only, written in the batch of the change it tells of."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from shared.http.pagination import ListQuery
from shared.kinds import Kind
from shared.tenancy.fence import AUDIT
from shared.work.resources import Id, Timestamp


class AuditEntry(BaseModel):
    """Who did what to which resource, when, from where, and what it was before and after."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    KIND: ClassVar[Kind] = AUDIT

    id: Id
    tenant_id: Id
    created_at: Timestamp
    user_id: str
    action: str = Field(examples=["agent.created"])
    resource_type: str
    resource_id: str
    revision: int
    old_value: dict[str, Any] | None
    new_value: dict[str, Any] | None
    ip_address: str
    user_agent: str
    request_id: str


class AuditQuery(ListQuery):
    """The filters of the audit trail, all of them equality."""

    user_id: str | None = Field(None, max_length=200)
    action: str | None = Field(None, max_length=100)
    resource_type: str | None = Field(None, max_length=100)
    resource_id: str | None = Field(None, max_length=200)
