"""Which tenant somebody belongs to who is signing in, and as what: told before there is a token, by point reads alone.

The same rules as at the first call (signin.py), and no more: who is bound belongs where they are bound; who is not, to
the tenant that has invited their verified address, if that is one. Nothing is written, nothing is bound.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.auth.roles import Role
from shared.members.invitations import Invitations
from shared.members.names import EMAIL, IDENTITY, Names, identity
from shared.members.users import User, user_id
from shared.tenancy.directory import Directory, TenantEntry


@dataclass(frozen=True)
class Person:
    """Who signs in, as the provider says. `email`: canonical and verified, or None. `tenant`: the slug they ask for."""

    subject: str | None
    email: str | None
    tenant: str | None = None


@dataclass(frozen=True)
class Place:
    tenant_id: str
    role: Role


class Absent(StrEnum):
    """Why there is no place for somebody, in words for them."""

    NOBODY = "You are in no tenant of Flowgrid; ask an admin of yours to invite this e-mail address."
    SEVERAL = "Several tenants have invited you; sign in with the name of the one that you mean."
    DISABLED = "This user is disabled; a tenant admin can enable it again."
    OTHER_IDENTITY = "This user signs in with another identity; a tenant admin can unbind it."
    SUSPENDED = "This tenant is suspended; its data is kept."


@dataclass(frozen=True)
class _Found:
    entry: TenantEntry
    user: User


class Whereabouts:
    def __init__(self, names: Names, invitations: Invitations, directory: Directory) -> None:
        self._names = names
        self._invitations = invitations
        self._directory = directory

    async def find(self, issuer: str, person: Person) -> Place | Absent:
        """The place of whoever `issuer` is about to issue a token for. At most 27 point reads."""
        if person.subject is not None:
            bound = await self._held_by(IDENTITY, identity(issuer, person.subject))
            if bound is not None and (bound.user.issuer, bound.user.subject) == (issuer, person.subject):
                return _place(bound)
        if person.email is None:
            return Absent.NOBODY
        bound = await self._held_by(EMAIL, person.email)
        if bound is not None and bound.user.bound:
            return Absent.DISABLED if bound.user.status == "disabled" else Absent.OTHER_IDENTITY
        return _chosen(await self._inviting(person.email), person.tenant)

    async def _held_by(self, sort: str, name: str) -> _Found | None:
        """The user for whom this name is reserved, if there is such a user."""
        tenant_id, _, user = (await self._names.holder(sort, name) or "").partition("/")
        return await self._user(tenant_id, user) if user else None

    async def _inviting(self, email: str) -> list[_Found]:
        tenants = await self._invitations.tenants(email)
        found = await asyncio.gather(*(self._user(one, user_id(one, email)) for one in tenants))
        return [one for one in found if one is not None and not one.user.bound]

    async def _user(self, tenant_id: str, user: str) -> _Found | None:
        entry = await self._directory.entry(tenant_id)
        if entry is None or entry.status not in ("active", "trial", "suspended"):
            return None
        stored = await self._directory.open(entry).get(User.KIND, user)
        return None if stored is None else _Found(entry, User.model_validate(stored.body))


def _chosen(invited: Sequence[_Found], tenant: str | None) -> Place | Absent:
    """The only one; of several the one that is asked for. One that nobody can enter is no choice beside others."""
    named = [one for one in invited if tenant in (None, one.entry.slug)]
    usable = [one for one in named if isinstance(_place(one), Place)] or named
    if not usable:
        return Absent.NOBODY
    return _place(usable[0]) if len(usable) == 1 else Absent.SEVERAL


def _place(found: _Found) -> Place | Absent:
    if found.user.status == "disabled":
        return Absent.DISABLED
    if found.entry.status == "suspended":
        return Absent.SUSPENDED
    return Place(found.entry.id, Role(f"tenant:{found.user.role}"))
