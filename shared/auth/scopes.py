"""What API keys may be narrowed to. A key has the scopes that it was made with, each for itself: none includes another.

Each route has one: the usual one, or what it declares.
"""

from enum import StrEnum

from shared.auth.roles import Role


class KeyScope(StrEnum):
    READ = "read"
    WRITE = "write"
    EXECUTE = "execute"
    ADMIN = "admin"
    MEMBERS = "members"


MEANING = {
    KeyScope.READ: "what viewers may read",
    KeyScope.WRITE: "making, changing and deleting agents and what they are made of",
    KeyScope.EXECUTE: "having models and tools asked: runs, designs, publications",
    KeyScope.ADMIN: "what only admins may, but for the next",
    KeyScope.MEMBERS: "who is let in: users, issuers, API keys",
}


def usual(method: str, role: Role | None) -> KeyScope:
    """The scope of a route that declares none."""
    if role is not None and role.includes(Role.ADMIN):
        return KeyScope.ADMIN
    return KeyScope.READ if method == "GET" else KeyScope.WRITE
