"""What a route declares about itself: read by the pipeline, by OpenAPI, and by the tests that prove isolation."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic
from urllib.parse import quote

from azure.functions import HttpRequest
from typing_extensions import TypeVar

from shared.auth.caller import RequestInfo
from shared.auth.roles import Role
from shared.auth.scopes import KeyScope, usual
from shared.http.bodies import Json, Merge, Raw
from shared.http.pagination import PageQuery, Query
from shared.http.problems import Retold
from shared.tenancy.plans import Limit
from shared.work.resources import PageRequest, Resource
from shared.work.session import TenantSession

B = TypeVar("B", default=None)
Q = TypeVar("Q", default=Query)


@dataclass(frozen=True)
class Begins:
    """What a call leaves under way: the path at which its state is seen, filled from the answer's fields, and in how
    many seconds it is worth a look. `when`: the status of an answer with which there is something under way at all.
    """

    path: str
    seconds: int = 2
    when: str | None = None


@dataclass(frozen=True)
class Route:
    """One operation of the API. `role` None: open to everybody; `platform`: of Flowgrid's staff, about all tenants."""

    name: str
    method: str
    path: str
    role: Role | None
    summary: str
    answer: Any
    status: int
    body: Json[Any] | Merge[Any] | Raw | None
    query: type[Query]
    limit: Limit | None
    errors: tuple[int, ...]
    example: Mapping[str, Any] = field(default_factory=dict)
    begins: Begins | None = None
    media_types: tuple[str, ...] = ()  # the media types, beside JSON, that its answer can be had in
    described: bool = True  # False: no part of the API, but of its page
    free: bool = False  # it takes nothing of the address's window: a probe must not be locked out
    own_scope: KeyScope | None = None  # None: the usual one
    metadata: str | None = None  # the path of what its 401 refers to (RFC 9728 §5.1)
    retold: Retold | None = None  # what it says of a problem beside, in a protocol of its own
    leads: bool = False  # the first of its path, whose function answers OPTIONS for all of them

    def location(self, params: Mapping[str, str]) -> str:
        """The path of this route with these parameters; without scheme and host, for a caller names those."""
        return f"/api/{self.path.format_map({name: quote(value, safe='') for name, value in params.items()})}"

    def list_of(self, tenant_id: str, params: Mapping[str, str]) -> str:
        """Which list this is, for its cursors: one of a tenant, and of what its path names."""
        return f"{tenant_id}:{self.location(params)}"

    @property
    def methods(self) -> list[str]:
        """What its function is asked by: what has a GET has a HEAD (RFC 9110 §9.3.2), and a path has one OPTIONS."""
        own = ["GET", "HEAD"] if self.method == "GET" else [self.method]
        return [*own, "OPTIONS"] if self.leads else own

    @property
    def scope(self) -> KeyScope:
        """What an API key has to be for, to call this."""
        return self.own_scope or usual(self.method, self.role)

    @property
    def of_resource(self) -> bool:
        """Whether its answer is one resource."""
        return isinstance(self.answer, type) and issubclass(self.answer, Resource)

    @property
    def tagged(self) -> bool:
        """Whether this reads what has an ETag, and says 304 to who has it already."""
        return self.method == "GET" and (self.of_resource or 304 in self.errors)

    @property
    def platform(self) -> bool:
        return self.role is Role.PLATFORM

    @property
    def paged(self) -> bool:
        return issubclass(self.query, PageQuery)


@dataclass(frozen=True)
class Call(Generic[B, Q]):
    """One authenticated call, checked and read: all that a handler gets. `origin`: this app's scheme and host."""

    tenant: TenantSession
    body: B
    query: Q
    params: Mapping[str, str]
    if_match: str | None
    page: PageRequest
    origin: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OpenCall:
    """A call of an open route: nobody is known. `known`: to be called for who has shown who they are after all, in a
    way of the route's own; the address spends nothing then.
    """

    request: HttpRequest
    known: Callable[[], None]
    info: RequestInfo


@dataclass(frozen=True)
class Content:
    """An answer as bytes; `status` None: the route's own. With an `etag` it may be kept, and asked for by it.

    With a `file_name` it is meant to be saved, under that name. `headers`: more, or in place of the usual ones.
    `next`: of a route in pages, the position after which there is more; `Link` leads there (RFC 8288).
    """

    body: bytes
    media_type: str
    status: int | None = None
    etag: str | None = None
    file_name: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    next: tuple[str, str] | None = None


Handler = Callable[[Any], Awaitable[Any]]
