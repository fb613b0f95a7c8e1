"""What the API takes and shows of users (`User` itself is in shared/members/users.py: who is let in depends on it)."""

from typing import Annotated

from pydantic import Field

from shared.auth.emails import Email
from shared.http.pagination import NamedQuery
from shared.members.users import User, UserRole, UserStatus
from shared.work.resources import Answer, Body, Id

PersonName = Annotated[str, Field(max_length=255)]


class NewUser(Body):
    """A user to invite."""

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


class MyTenant(Answer):
    """The caller's tenant, in short."""

    id: Id = Field(description="The tenant's id.")
    name: str = Field(description="What it is called.")
    slug: str = Field(description="Its name in URLs.")
    tier: str = Field(description="Its plan.")
    status: str = Field(description="Whether it is in use.")


class Me(Answer):
    """The caller as Flowgrid sees it; `user` is null for Flowgrid's own staff only."""

    subject: str = Field(description="Who the token speaks of.")
    email: str | None = Field(description="The token's address, if it has one.")
    role: str = Field(description="What the caller may do here.")
    tenant: MyTenant = Field(description="The tenant that the caller works in.")
    user: User | None = Field(description="The caller as a user of it; null for Flowgrid's own staff only.")
