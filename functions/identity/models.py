"""What the API takes and shows of users (`User` itself is in shared/members/users.py: who is let in depends on it)."""

from typing import Annotated

from pydantic import BaseModel, Field

from shared.auth.emails import Email
from shared.http.pagination import NamedQuery
from shared.members.users import User, UserRole, UserStatus
from shared.work.resources import Body, Id

PersonName = Annotated[str, Field(max_length=255)]


class NewUser(Body):
    email: Email
    name: PersonName = ""
    role: UserRole = "user"


class UserFields(Body):
    """What an admin may change of a user."""

    name: PersonName = ""
    role: UserRole
    status: UserStatus


class UserQuery(NamedQuery):
    role: UserRole | None = None
    status: UserStatus | None = None


class MyTenant(BaseModel):
    id: Id
    name: str
    slug: str
    tier: str
    status: str


class Me(BaseModel):
    """The caller as Flowgrid sees it; `user` is null for Flowgrid's own staff only."""

    subject: str
    email: str | None
    role: str
    tenant: MyTenant
    user: User | None
