"""Resources: what the API shows and the store keeps, with one envelope of identity, revision and authorship."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, ClassVar, Generic, Protocol, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from shared.clock import parse_rfc3339
from shared.database.port import NEWEST_FIRST, Order, Page, PlatformStore, Stored, TenantStore, Where, page_of
from shared.errors import NotFound, Stale
from shared.kinds import Kind

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-24T08:15:00.000000Z"])]
Id = Annotated[str, Field(json_schema_extra={"format": "uuid"}, examples=["019e5a3c-7d2e-7b1a-9c55-0d6c1f0a7e11"])]
JsonObject = Annotated[
    dict[str, Any], Field(json_schema_extra={"additionalProperties": {"$ref": "#/components/schemas/Json"}})
]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=255),
    Field(json_schema_extra={"pattern": r"\S"}),
]

MAX_RESOURCE_BYTES = 256 * 1024
MAX_PAGE_BYTES = 4 * 1024 * 1024
FIRST_READ = 50


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 3.0 is as whole as 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)


class Body(BaseModel):
    """A request body: exactly what a client may set, JSON types taken as they are, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)


class Answer(BaseModel):
    """What is answered beside resources. As with them its validator is built at its first use: cold starts pay none."""

    model_config = ConfigDict(defer_build=True)

    def makes(self) -> list[tuple[Kind, str]]:
        """What was made that it names by kind and id: once some of that is gone, it is not told again."""
        return []


class Resource(BaseModel):
    """The envelope that every resource has; times are RFC 3339 UTC with microseconds."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, ser_json_inf_nan="constants", defer_build=True
    )  # for `encode` to refuse

    KIND: ClassVar[Kind]
    BESIDE: ClassVar[tuple[str, ...]] = ()
    """What is shown of it, and changes or goes, at the same revision."""

    id: Id = Field(description="Its id, for ever.")
    tenant_id: Id = Field(description="The tenant that it belongs to.")
    revision: int = Field(ge=1, description="1, 2, …: grows by one with every change.")
    created_at: Timestamp = Field(description="When it was made.")
    updated_at: Timestamp = Field(description="When it last changed.")
    created_by: str = Field(description="The user's id, or the token's subject.")
    updated_by: str = Field(description="Who changed it last, as `created_by`.")

    @property
    def etag(self) -> str:
        """Strong and known before the write: the revision and its instant (see docs/decisions/0002)."""
        version = f"{self.revision}-{int(parse_rfc3339(self.updated_at).timestamp() * 1_000_000):x}"
        beside = [getattr(self, name) for name in self.BESIDE]
        if any(beside):
            version += f"-{sha256(json.dumps(beside, sort_keys=True).encode()).hexdigest()[:16]}"
        return f'"{version}"'

    def check(self, if_match: str | None) -> None:
        """Raise `Stale` when an If-Match header names other versions than this one (RFC 9110 §13.1.1)."""
        if if_match is None or if_match.strip() == "*":
            return
        if self.etag not in [tag.strip() for tag in if_match.split(",")]:
            raise Stale("This is not the current version any more; read it again, apply your change, send its ETag.")


class ToldOnce(Resource):
    """A resource in the one answer that tells a secret of it. Nothing that keeps the answer keeps that."""

    SECRETS: ClassVar[tuple[str, ...]]

    def again(self) -> Self:
        """The answer as a repetition of the request gets it."""
        return self.model_copy(update=dict.fromkeys(self.SECRETS))


class Tombstone(BaseModel):
    """What a deletion leaves: the revision and instant that whatever takes the id again goes on from."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    revision: int
    updated_at: Timestamp


R = TypeVar("R", bound=Resource)
H = TypeVar("H", bound=BaseModel)
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Versioned(Generic[H]):
    """A resource as read, with the store's ETag that a change of it must still meet."""

    value: H
    etag: str

    @classmethod
    def of(cls, model: type[H], stored: Stored) -> "Versioned[H]":
        return cls(model.model_validate(stored.body), stored.etag)


@dataclass(frozen=True)
class PageRequest:
    """The page of a list that is wanted: of so many items at most, after a position, in an order, of what is so."""

    limit: int
    after: tuple[str, str] | None = None
    order: Order = NEWEST_FIRST
    where: Sequence[Where] = ()


@dataclass(frozen=True)
class Listing(Generic[M]):
    """One page of models and the key after which the next begins."""

    items: list[M]
    next: tuple[str, str] | None


class HasStore(Protocol):
    @property
    def store(self) -> TenantStore: ...


async def load(tenant: HasStore, model: type[R], id: str) -> Versioned[R]:
    """One point read; `NotFound` in the same words for what never was, is gone, or is another tenant's."""
    stored = await tenant.store.get(model.KIND, id)
    if stored is None:
        raise NotFound(f"There is no such {model.KIND}.")
    return Versioned.of(model, stored)


async def find(
    tenant: HasStore,
    model: type[R],
    filters: Mapping[str, Any],
    wanted: PageRequest,
) -> Listing[R]:
    """One page of one query. `filters` mean equality, their None values are left out."""
    page = await bounded_page(tenant.store, model.KIND, filters, wanted)
    return Listing([model.model_validate(stored.body) for stored in page.items], page.next)


def size_of(stored: Stored) -> int:
    """In bytes of JSON, as the store says or as it is."""
    return len(json.dumps(stored.body, ensure_ascii=False).encode()) if stored.size is None else stored.size


async def bounded_page(
    store: TenantStore | PlatformStore,
    kind: Kind,
    filters: Mapping[str, Any],
    wanted: PageRequest,
) -> Page:
    """A page of as many items as are wanted, or of as many as make `MAX_PAGE_BYTES`, but at least one.

    One query for the first `FIRST_READ`, which is all for most; how many more are read follows from their size, so
    that little is read in vain and no page of large items is held whole.
    """
    where = [*(Where(name, "=", value) for name, value in filters.items() if value is not None), *wanted.where]
    found: list[Stored] = []
    after, taken, reading = wanted.after, 0, min(wanted.limit, FIRST_READ)
    while True:
        page = await store.query(kind, where, order=wanted.order, limit=reading, after=after)
        for stored in page.items:
            taken += size_of(stored)
            if found and taken > MAX_PAGE_BYTES:
                return page_of(found, more=True)
            found.append(stored)
        if page.next is None or len(found) >= wanted.limit:
            return Page(found, page.next)
        after = page.next
        fitting = (MAX_PAGE_BYTES - taken) * len(found) // max(taken, 1)
        reading = max(1, min(wanted.limit - len(found), fitting))
