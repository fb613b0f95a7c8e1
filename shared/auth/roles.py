"""The four roles. A tenant role includes those below it; `platform:admin` is Flowgrid's own staff."""

from enum import StrEnum


class Role(StrEnum):
    VIEWER = "tenant:viewer"
    USER = "tenant:user"
    ADMIN = "tenant:admin"
    PLATFORM = "platform:admin"

    def includes(self, needed: "Role") -> bool:
        """Whether a holder of this role may do what `needed` may."""
        return _RANKS[self] >= _RANKS[needed]


_RANKS = {role: rank for rank, role in enumerate(Role)}


def highest(names: object) -> Role | None:
    """The highest role in a token's claim (a list, or one string); names that are not ours are other apps' business."""
    if isinstance(names, str):
        names = names.split()
    if not isinstance(names, list):
        return None
    held = [role for role in Role if role.value in names]
    return held[-1] if held else None
