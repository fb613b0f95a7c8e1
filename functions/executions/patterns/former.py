"""A form that is filled in: JSON of a schema, which a tool takes; what the tool refuses is mended once.

For runs of Flowgrid's own, as the design wizard's. Config: `schema`; `keep`, the tool that takes the answer as `text`;
`draft`, the tool that does without a model what is asked, for the provider `offline`; `arguments` of both.
"""

from collections.abc import Sequence

from functions.executions.models import Snapshot, Step
from functions.executions.patterns.conversation import asked
from functions.executions.patterns.next import AskModel, Finish, Next, UseTool
from functions.executions.patterns.structured import TRIES, said
from shared.ai.names import OFFLINE
from shared.ai.port import Message, ToolCall


def decide(snapshot: Snapshot, steps: Sequence[Step]) -> Next:
    called = {one.name: one.called for one in snapshot.tools}
    given = snapshot.config["arguments"]
    answers = [step for step in steps if step.type == "model"]
    kept = [step for step in steps if step.type == "tool"]
    if kept and kept[-1].error is None:
        return Finish(output_step=kept[-1].number)
    if snapshot.provider == OFFLINE:
        return _failed(kept[-1]) if kept else UseTool(ToolCall("draft", called[snapshot.config["draft"]], given))
    if len(answers) > len(kept):
        number = len(answers)
        arguments = {**given, "text": said(answers[-1])}
        return UseTool(ToolCall(f"keep-{number}", called[snapshot.config["keep"]], arguments))
    if len(kept) >= TRIES:
        return _failed(kept[-1])
    messages = [Message("user", asked(snapshot))]
    for answer, refusal in zip(answers, kept, strict=True):
        messages += [*answer.messages, Message("user", refusal.error.message if refusal.error else "")]
    return AskModel(messages, schema=snapshot.config["schema"])


def _failed(step: Step) -> Finish:
    said = step.error.message if step.error else ""
    return Finish("failed", step.number, reason="unusable", error=f"What came of it cannot be used: {said}"[:2000])
