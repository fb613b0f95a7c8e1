"""Tools: what an agent may use beside its model. Each works for one tenant at a time, through that tenant's session."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from pydantic import ValidationError

from shared.ai.port import ToolSpec
from shared.auth.roles import Role
from shared.errors import FieldError, Invalid
from shared.work.session import TenantSession

MAX_WRONG: Final = 5
MAX_WORDS: Final = 200


class ToolFailed(Exception):
    """What was asked of a tool cannot be done; the text is told to the model, which may ask for something else.

    `code`: of the step that it was. `unknown`: it may have been done; unless it is idempotent a person decides.
    """

    def __init__(self, message: str, code: str = "tool_failed", *, unknown: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.unknown = unknown


class Tool(Protocol):
    """`idempotent`: the same call may be made again under its key. `approval`: the role that approves each call.

    `fingerprint`: of what a call means, which an approval holds for; empty where nobody but a release changes that.
    """

    @property
    def spec(self) -> ToolSpec:
        """As a model is told of it."""
        ...

    @property
    def idempotent(self) -> bool: ...

    @property
    def approval(self) -> Role | None: ...

    @property
    def fingerprint(self) -> str: ...

    async def use(self, session: TenantSession, arguments: Mapping[str, Any], key: str) -> Any:
        """JSON. Raises `ToolFailed`, and `Unavailable` where it may be tried again; cancelled, it ends at once."""
        ...


def wrong_in_words(error: ValidationError) -> str:
    """What is wrong with arguments: the first of it, without long names of somebody else's."""
    found = error.errors(include_url=False, include_input=False)[:MAX_WRONG]
    wrong = [f"{'.'.join(map(str, one['loc']))[:MAX_WORDS]}: {one['msg'][:MAX_WORDS]}" for one in found]
    return f"The arguments are not as they should be: {'; '.join(wrong)}"


def fingerprint_of(*parts: Any) -> str:
    """SHA-256 of what is JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Toolbox(ABC):
    """All tools that a tenant's agents may name."""

    @abstractmethod
    async def find(self, session: TenantSession, names: Sequence[str]) -> dict[str, Tool]:
        """Those of these names that there are, by name."""

    async def named(self, session: TenantSession, names: Sequence[str]) -> dict[str, Tool]:
        """`find`; `Invalid`, naming those that there are not."""
        found = await self.find(session, names)
        if unknown := [name for name in names if name not in found]:
            raise Invalid([FieldError("tools", "is no tool of this tenant", name) for name in unknown])
        return found


class Toolboxes(Toolbox):
    """Several as one."""

    def __init__(self, *boxes: Toolbox) -> None:
        self._boxes = boxes

    async def find(self, session: TenantSession, names: Sequence[str]) -> dict[str, Tool]:
        found: dict[str, Tool] = {}
        for box in self._boxes:
            found |= await box.find(session, [name for name in names if name not in found])
        return found
