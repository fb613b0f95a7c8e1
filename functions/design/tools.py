"""The tools of the wizard's own runs: one keeps what a model has answered, one drafts without a model.

Both write into the session that the run is for, as long as the run is the one that the session waits for.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from functions.catalog.additions import types_of
from functions.design.drafting import propose, questions
from functions.design.judging import wrong_with
from functions.design.landscape import known_elements
from functions.design.models import Design, Proposal, Questions
from functions.design.prompts import mending
from functions.tools.port import Tool, Toolbox, ToolFailed
from shared.ai.port import ToolSpec
from shared.auth.roles import Role
from shared.errors import NotFound
from shared.work.resources import Answer, load
from shared.work.session import TenantSession

Phase = Literal["asking", "proposing"]
SHOWN_ERRORS: Final = 20
T = TypeVar("T", bound=BaseModel)


class Work(Answer):
    """What both are told: whose answer it is, and to what."""

    design_id: str
    execution_id: str
    phase: Phase
    text: str = ""


class _WizardTool:
    idempotent: Final = True
    approval: Final[Role | None] = None
    fingerprint: Final = ""

    def __init__(self, name: str, description: str) -> None:
        self.spec = ToolSpec(name.replace(".", "_"), description, Work.model_json_schema())


class Keep(_WizardTool):
    """`design.keep`: what is wrong with an answer is told; what is right is kept."""

    NAME: Final = "design.keep"

    def __init__(self) -> None:
        super().__init__(self.NAME, "Keeps an answer of the designer.")

    async def use(self, session: TenantSession, arguments: Mapping[str, Any], key: str) -> Any:
        work = Work.model_validate(dict(arguments))
        if work.phase == "asking":
            return await _keep(session, work, _parsed(Questions, work.text))
        proposal = _parsed(Proposal, work.text)
        wrong = wrong_with(proposal, await types_of(session, proposal.elements))
        if wrong:
            raise ToolFailed(mending([{"field": one.field, "message": one.message} for one in wrong[:SHOWN_ERRORS]]))
        return await _keep(session, work, proposal)


class Draft(_WizardTool):
    """`design.draft`: asks and proposes by rules, from the tenant's own catalog."""

    NAME: Final = "design.draft"

    def __init__(self) -> None:
        super().__init__(self.NAME, "Designs by rules.")

    async def use(self, session: TenantSession, arguments: Mapping[str, Any], key: str) -> Any:
        work = Work.model_validate(dict(arguments))
        design = (await load(session, Design, work.design_id)).value
        known = await known_elements(session)
        if work.phase == "asking":
            asked = await asyncio.to_thread(
                questions, design.brief, known
            )  # a long brief, a large catalog: others go on
            return await _keep(session, work, Questions(questions=asked))
        drafted = await asyncio.to_thread(propose, design.brief, design.answers, design.feedback, known)
        return await _keep(session, work, drafted)


class WizardTools(Toolbox):
    """Of the wizard's runs alone: no agent of a tenant finds them."""

    async def find(self, session: TenantSession, names: Sequence[str]) -> dict[str, Tool]:
        own: dict[str, Tool] = {Keep.NAME: Keep(), Draft.NAME: Draft()}
        return {name: tool for name, tool in own.items() if name in names}


async def _keep(session: TenantSession, work: Work, answer: Questions | Proposal) -> str:
    """Again, the same; what the run has come to, in words."""

    def fields(old: Design) -> Mapping[str, Any]:
        if old.execution_id != work.execution_id or old.status == "accepted":
            raise ToolFailed("This session has gone on without this run.")
        if isinstance(answer, Questions):
            return {"questions": answer.questions, "status": "asking"}
        return {"proposal": answer, "status": "proposed"}

    try:
        await session.modify(Design, work.design_id, fields, if_match=None, action="designed")
    except NotFound as error:
        raise ToolFailed("This session is deleted.") from error
    return answer.summary if isinstance(answer, Proposal) else f"{len(answer.questions)} questions"


def _parsed(model: type[T], text: str) -> T:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        found = [
            {"field": ".".join(map(str, one["loc"])), "message": one["msg"]}
            for one in error.errors(include_url=False, include_context=False, include_input=False)[:SHOWN_ERRORS]
        ]
        raise ToolFailed(mending(found)) from error
