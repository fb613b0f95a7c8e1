"""Opaque cursors: the key to continue after, signed, and bound to tenant and filter, so that none can be made up."""

import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field

from shared.database.port import Order, Where
from shared.errors import Invalid
from shared.http.times import Time
from shared.work.resources import Answer, PageRequest

MAX_LIMIT = 200
DEFAULT_LIMIT = 50
NOT_OURS = (
    "is not a cursor of this list with this sort and these filters; send them as they were when you got it, "
    "or begin again without a cursor"
)
_TAG_BYTES = 16
SORT = "Sorted by this; with a minus, the last comes first. Names are sorted without regard to case."
T = TypeVar("T")


class Query(BaseModel):
    """The query parameters of a route: exactly these, all of them text that is read leniently ("50" is 50)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class PageQuery(Query):
    """What comes in pages."""

    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Items on a page.")
    cursor: str | None = Field(None, max_length=2000, description="`next_cursor` of the page before.")

    def asked(self) -> dict[str, Any]:
        """What a cursor is bound to: all that says which items there are, in which order."""
        return self.model_dump(mode="json", exclude={"limit", "cursor"})

    def wanted(self, after: tuple[str, str] | None) -> PageRequest:
        return PageRequest(self.limit, after)


class ListQuery(PageQuery):
    """What every list takes; a list's filters are the fields that its own query adds, all of them equality."""

    sort: Literal["created_at", "-created_at"] = Field("-created_at", description=SORT)
    created_from: Time | None = Field(None, description="Created at this time or later.")
    created_to: Time | None = Field(None, description="Created before this time.")

    def filters(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={*NamedQuery.model_fields})

    def wanted(self, after: tuple[str, str] | None) -> PageRequest:
        order = Order(cast(Any, self.sort.removeprefix("-")), self.sort.startswith("-"))
        return PageRequest(self.limit, after, order, self.where())

    def where(self) -> list[Where]:
        return _between("created_at", self.created_from, self.created_to)


class ResourceQuery(ListQuery):
    """What a list of things takes that change."""

    sort: Literal["created_at", "-created_at", "updated_at", "-updated_at"] = Field(  # type: ignore[assignment]
        "-created_at", description=SORT
    )
    updated_from: Time | None = Field(None, description="Last changed at this time or later.")
    updated_to: Time | None = Field(None, description="Last changed before this time.")

    def where(self) -> list[Where]:
        return [*super().where(), *_between("updated_at", self.updated_from, self.updated_to)]


class NamedQuery(ResourceQuery):
    """What a list of things takes that have a name."""

    sort: Literal["created_at", "-created_at", "updated_at", "-updated_at", "name", "-name"] = Field(  # type: ignore[assignment]
        "-created_at", description=SORT
    )
    q: str | None = Field(
        None, min_length=1, max_length=100, description="The name begins with this, in upper or lower case."
    )

    def where(self) -> list[Where]:
        return [*super().where(), *([Where("name", "begins", self.q)] if self.q is not None else [])]


class Page(Answer, Generic[T]):
    """A page of a list."""

    items: list[T] = Field(description="Fewer than asked for where they are large.")
    next_cursor: str | None = Field(None, description="`cursor` of the next page; null on the last.")

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """`AgentPage`, as the API's description and clients made of it call a page of agents."""
        return f"{params[0].__name__}Page"


class Cursors:
    """Signs and checks cursors with the service's key (HMAC-SHA-256, truncated to 128 bits)."""

    def __init__(self, key: Callable[[], bytes], load: Callable[[], Awaitable[None]] | None = None) -> None:
        self._key = key
        self._load = load

    async def ready(self) -> None:
        """Load the key, where it has to be loaded."""
        if self._load is not None:
            await self._load()

    def sign(self, position: tuple[str, str] | None, scope: str, filters: Mapping[str, Any]) -> str | None:
        if position is None:
            return None
        payload = json.dumps(position).encode()
        return base64.urlsafe_b64encode(self._tag(payload, scope, filters) + payload).rstrip(b"=").decode()

    def open(self, cursor: str | None, scope: str, filters: Mapping[str, Any]) -> tuple[str, str] | None:
        """The position in a cursor of ours for this scope and filter; `Invalid` for anything else."""
        if cursor is None:
            return None
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raw = b""
        tag, payload = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(payload, scope, filters)):
            raise Invalid.of("cursor", NOT_OURS, cursor)
        first, second = json.loads(payload)
        return first, second

    def _tag(self, payload: bytes, scope: str, filters: Mapping[str, Any]) -> bytes:
        text = json.dumps([scope, filters], sort_keys=True).encode()
        return hmac.digest(self._key(), hashlib.sha256(text).digest() + payload, "sha256")[:_TAG_BYTES]


def _between(field: str, start: str | None, end: str | None) -> list[Where]:
    """From inclusive, to exclusive."""
    bounds = [Where(field, ">=", start) if start else None, Where(field, "<", end) if end else None]
    return [bound for bound in bounds if bound]
