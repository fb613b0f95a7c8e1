"""Inviting the people of a file: one after the other, by the ordinary way, so again is no error and no second mail."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from cli.invitations.rows import Row
from cli.invitations.tenant import FullError, Guests, RefusedError
from functions.identity.models import NewUser
from shared.members.users import User, user_id

INVITED: Final = "invited"
THERE: Final = "already there"
REFUSED: Final = "refused"
REMOVED: Final = "was removed from the tenant; who is to come again is invited by hand (POST users)"


@dataclass
class Line:
    """What became of a row."""

    line: int
    email: str
    result: str
    reason: str = ""


@dataclass
class Report:
    """`quota`: of users, as it was before."""

    tenant_id: str
    dry_run: bool
    quota: dict[str, int]
    lines: list[Line] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(line.result for line in self.lines)
        return {result: found[result] for result in (INVITED, THERE, REFUSED)}

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "counts": self.counts}


async def invite(rows: Sequence[Row], guests: Guests, *, dry_run: bool) -> Report:
    """Every row, in the file's order. A dry run says what would come of it now, and writes nothing."""
    known = {user.email: user async for user in guests.users()}
    removed = {entry.resource_id async for entry in guests.removals()}
    quota = await guests.quota()
    report = Report(guests.tenant_id, dry_run, {"limit": quota.limit, "used": quota.used})
    left, full = quota.remaining, ""
    for row in rows:
        line = Line(row.line, row.email, REFUSED, row.reason)
        report.lines.append(line)
        if row.user is None:
            continue
        line.email = row.user.email
        if (user := known.get(row.user.email)) is not None:
            line.result, line.reason = THERE, _differing(row.user, user)
        elif user_id(guests.tenant_id, row.user.email) in removed:
            line.reason = REMOVED
        elif full or (dry_run and not left):
            line.reason = full or f"User quota exceeded: {quota.used} of {quota.limit}"
        elif dry_run:
            line.result, left = INVITED, left - 1
        else:
            try:
                line.result = INVITED if await guests.invite(row.user) else THERE
            except FullError as error:
                line.reason = full = str(error)
            except RefusedError as error:
                line.reason = str(error)
    return report


def _differing(new: NewUser, user: User) -> str:
    """What an admin may want to know: nothing of it is changed."""
    if user.status == "disabled":
        return "and disabled"
    return f"as {user.role}, not {new.role}" if user.role != new.role else ""
