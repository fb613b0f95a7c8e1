"""What a model has answered, made fit to be kept: whatever a provider sends, the step that it is of can be written.

What cannot be kept is an error of the step, which ends the run; what it cost is counted all the same.
"""

from dataclasses import replace

from functions.executions.conversing import MESSAGES
from functions.executions.models import StepError, Tokens
from shared.ai.port import Answer, Message, ModelMalformed
from shared.database.limits import encode
from shared.errors import FlowgridError

MAX_ANSWER_BYTES = 256 * 1024  # as JSON, calls included
MAX_NAME = 200  # characters of a model's name
MAX_TOKENS = 10**9  # of one answer: more is what nobody has, and no sum could hold
MAX_COST = 10**12


def kept(answer: Answer) -> tuple[Message | None, StepError | None]:
    """The message as it can be kept, or why it cannot."""
    message = answer.message
    try:
        raw = MESSAGES.dump_json([message])
        encode({"messages": MESSAGES.dump_python([message], mode="json")})
    except (FlowgridError, ValueError, RecursionError, UnicodeError) as error:
        why = error.message if isinstance(error, FlowgridError) else "it is no JSON that can be kept"
        return None, _malformed(f"The model's answer cannot be kept: {why}")
    if len(raw) > MAX_ANSWER_BYTES and message.opaque is not None:  # the provider is told the same without it
        message = replace(message, opaque=None)
        raw = MESSAGES.dump_json([message])
    if len(raw) > MAX_ANSWER_BYTES:
        return None, _malformed(f"The model's answer has {len(raw)} bytes; {MAX_ANSWER_BYTES} are kept.")
    return message, None


def counted(answer: Answer) -> tuple[Tokens, int | None]:
    """What it used, within what can be counted; a cost that is none is not known."""
    usage = answer.usage
    given, said = (min(max(0, tokens), MAX_TOKENS) for tokens in (usage.input, usage.output))
    cost = answer.cost if answer.cost is not None and 0 <= answer.cost <= MAX_COST else None
    return Tokens(input=given, output=said, cached=min(max(0, usage.cached), given)), cost


def named(model: str) -> str:
    """A model's name, as far as it is one."""
    return model.encode(errors="replace").decode()[:MAX_NAME]


def _malformed(why: str) -> StepError:
    return StepError(code=ModelMalformed.code, message=why[:500])
