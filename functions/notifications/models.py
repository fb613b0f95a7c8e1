"""Notifications as they are shown; what writes them is `shared/work/notices.py`."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from shared.http.pagination import ListQuery
from shared.kinds import Kind
from shared.work.notices import NOTIFICATION, Code
from shared.work.resources import Id, Timestamp


class Notification(BaseModel):
    """Something that the tenant must be told, told once."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    KIND: ClassVar[Kind] = NOTIFICATION

    id: Id = Field(description="The notification's id.")
    tenant_id: Id = Field(description="The tenant that is told.")
    created_at: Timestamp = Field(description="When it was told.")
    expires_at: Timestamp = Field(description="Until when it is kept.")
    code: Code = Field(description="What it is about, for programs.")
    title: str = Field(description="What it is about, for people.")
    text: str = Field(description="All of it, in words, with what can be done.")
    data: dict[str, Any] = Field(description="The figures and times in it.")


class NotificationQuery(ListQuery):
    """They have no filters of their own: there are few."""
