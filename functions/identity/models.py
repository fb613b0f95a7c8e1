"""Users: people of a tenant, known by their e-mail address."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, Field

from shared.database.port import Kind
from shared.http.pagination import PageQuery
from shared.resources import Body, Id, Resource, Timestamp

UserRole = Literal["viewer", "user", "admin"]
UserStatus = Literal["invited", "active", "disabled"]
EMAIL_PATTERN = r"^[^@\s]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+$"

Email = Annotated[
    str, Field(max_length=254, pattern=EMAIL_PATTERN, examples=["ada@example.com"]), AfterValidator(str.casefold)
]
PersonName = Annotated[str, Field(max_length=255)]


class User(Resource):
    """A user of the tenant. The role can only narrow what the token says; a disabled user is refused."""

    KIND: ClassVar[Kind] = Kind.USER

    email: str
    name: str
    role: UserRole
    status: UserStatus
    subject: str | None = Field(None, description="The `sub` of the token that the user first came with.")
    last_login_at: Timestamp | None = None


class NewUser(Body):
    email: Email
    name: PersonName = ""
    role: UserRole = "user"


class UserFields(Body):
    """What an admin may change of a user."""

    name: PersonName = ""
    role: UserRole
    status: UserStatus


class UserQuery(PageQuery):
    role: UserRole | None = None
    status: UserStatus | None = None


class MyTenant(BaseModel):
    id: Id
    name: str
    slug: str
    tier: str
    status: str


class Me(BaseModel):
    """The caller as Flowgrid sees it; `user` is null when the tenant has no user of the token's e-mail."""

    subject: str
    email: str | None
    role: str
    tenant: MyTenant
    user: User | None
