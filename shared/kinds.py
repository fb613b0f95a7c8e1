"""Kinds: what an item is. A kind is declared once, beside its model, and all that must know of it is fed by that.

From the declarations (`functions/kinds.py` lists them) follow index policies, backups and restores, the journal,
quotas, what may refer to what, the tenant's export, and the tests that prove isolation.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from shared.errors import Unavailable

Container = Literal["items", "usage", "tenants", "reservations"]
Carried = Literal["restored", "history"]
SortField = Literal["updated_at", "name"]
Upcast = Callable[[dict[str, Any]], dict[str, Any]]
Return = Callable[[dict[str, Any], dict[str, Any] | None], dict[str, Any]]


class Kind(str):
    """The name that its items carry, and the declaration.

    - `container`: where its items live.
    - `filtered`: fields (dotted paths) that lists and sweeps filter by; each is a path of the container's index.
    - `sorted`: what lists can be sorted by beside `created_at`. By `name` they are searched too. Each takes a composite
      index, which every item of the container pays for (docs/decisions/0031).
    - `refers`: field -> the names of the kinds that it may name by id. What is named comes back first in a restore and
      goes last.
    - `counter`: the tenant's counter of its items, which `Plan.quota` bounds.
    - `backup`: whether backups carry its items, and a restore brings them back; `history` is carried only.
    - `returns`: what a restore makes of a body that is not as it is now (None: is not there now): trust that was taken
      back since does not come back. Of its own result it makes the same.
    - `journalled`: written by `Change` as a resource, with whole old and new values in the audit, and in no other way.
    - `exported`: part of what a tenant takes away (`GET v1/export`).
    - `told`: the actions of its audit entries that webhooks are told of, as `<kind>.<action>`; `path`: where its items
      are, under `v1/`.
    - `append_only`: its items are never changed; `transient`: they go soon. Of a batch whose answer is lost, the first
      kind bears the better witness, the second the worst.
    - `packed`: fields that nothing asks by, of items that are never changed, and what stands for each where what is
      stored of them cannot be read. A store that is paid by the byte keeps them as one compressed text.
    - `upcasts`: the steps from schema version 1 to 2, 2 to 3, …; each gets a stored body and returns the next
      version's. They run when an old item is read, in whatever store or backup it lies.
    """

    container: Container
    filtered: tuple[str, ...]
    sorted: tuple[SortField, ...]
    refers: Mapping[str, tuple[str, ...]]
    counter: str | None
    backup: Carried | None
    returns: Return | None
    journalled: bool
    exported: bool
    told: tuple[str, ...]
    path: str
    append_only: bool
    transient: bool
    packed: Mapping[str, Any]
    upcasts: tuple[Upcast, ...]

    def __new__(
        cls,
        name: str,
        *,
        container: Container = "items",
        filtered: Sequence[str] = (),
        sorted: Sequence[SortField] = (),
        refers: Mapping[str, tuple[str, ...]] | None = None,
        counter: str | None = None,
        backup: Carried | None = None,
        returns: Return | None = None,
        journalled: bool = False,
        exported: bool = False,
        told: Sequence[str] = (),
        path: str = "",
        append_only: bool = False,
        transient: bool = False,
        packed: Mapping[str, Any] | None = None,
        upcasts: Sequence[Upcast] = (),
    ) -> "Kind":
        if backup == "restored" and not journalled:
            raise ValueError(f"{name} is restored to a point in time, so it has to be journalled")
        if told and not path:
            raise ValueError(f"{name} is told of, so it has to be somewhere")
        if packed and (not append_only or not {*packed}.isdisjoint(filtered)):
            raise ValueError(f"{name} is changed, or filtered by what is packed")
        kind = super().__new__(cls, name)
        kind.container = container
        kind.filtered = tuple(filtered)
        kind.sorted = tuple(sorted)
        kind.refers = refers or {}
        kind.counter = counter
        kind.backup = backup
        kind.returns = returns
        kind.journalled = journalled
        kind.exported = exported
        kind.told = tuple(told)
        kind.path = path
        kind.append_only = append_only
        kind.transient = transient
        kind.packed = packed or {}
        kind.upcasts = tuple(upcasts)
        return kind

    @property
    def name(self) -> str:
        """As plain text, for documents and databases."""
        return str.__str__(self)

    @property
    def schema(self) -> int:
        """The version that is written now; items without a number are of the first."""
        return 1 + len(self.upcasts)

    @property
    def nested(self) -> tuple[str, ...]:
        """The fields by which items of this kind may refer to each other."""
        return tuple(field for field, kinds in self.refers.items() if self in kinds)

    def upcast(self, body: dict[str, Any], version: int) -> dict[str, Any]:
        """A body of this `version` as one of the current version.

        `Unavailable` for a later one: a newer release has written it, and this one would lose what it does not know.
        """
        if version > self.schema:
            raise Unavailable(f"This {self} was written by a newer release (schema {version}, here {self.schema}).")
        for step in self.upcasts[version - 1 :]:
            body = step(body)
        return body


class Kinds(tuple[Kind, ...]):
    """All kinds of an app. ValueError for two of one name, and for a reference to a kind that is not among them."""

    def __new__(cls, *kinds: Kind) -> "Kinds":
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"declared twice: {', '.join(sorted({one for one in kinds if kinds.count(one) > 1}))}")
        for kind in kinds:
            for unknown in _named_by(kind) - {*kinds}:
                raise ValueError(f"{kind} refers to {unknown}, which is not declared")
        return super().__new__(cls, kinds)

    def named(self, name: str) -> Kind:
        """The kind of this name; KeyError when there is none."""
        for kind in self:
            if kind == name:
                return kind
        raise KeyError(name)

    @property
    def restored(self) -> tuple[Kind, ...]:
        """What a restore brings back, in the order in which it is written: what is referred to comes first."""
        found: list[Kind] = []
        left = [kind for kind in self if kind.backup == "restored"]
        while left:
            ready = [kind for kind in left if not (_named_by(kind) - {kind}) & {*left}]
            if not ready:
                raise ValueError(f"refer to each other: {', '.join(left)}")
            found.append(ready[0])
            left.remove(ready[0])
        return tuple(found)

    @property
    def history(self) -> tuple[Kind, ...]:
        """What backups carry and no restore brings back."""
        return tuple(kind for kind in self if kind.backup == "history")

    @property
    def exported(self) -> tuple[Kind, ...]:
        return tuple(kind for kind in self if kind.exported)

    def filtered(self, container: Container) -> tuple[str, ...]:
        """The fields that items of a container are filtered by, each once."""
        return tuple(dict.fromkeys(field for kind in self if kind.container == container for field in kind.filtered))

    def sorted(self, container: Container) -> tuple[SortField, ...]:
        """What the lists of a container's items are sorted by, beside `created_at`, each once."""
        return tuple(dict.fromkeys(field for kind in self if kind.container == container for field in kind.sorted))

    def referring(self, to: Kind) -> list[tuple[Kind, str]]:
        """Which kinds may name one of these, and in which field."""
        return [(kind, field) for kind in self for field, kinds in kind.refers.items() if to in kinds]


def _named_by(kind: Kind) -> set[str]:
    return {one for kinds in kind.refers.values() for one in kinds}
