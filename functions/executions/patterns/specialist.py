"""The Specialist: one model and its tools, until it is done."""

from collections.abc import Sequence

from functions.executions.models import Snapshot, Step
from functions.executions.patterns.conversation import tool_loop
from functions.executions.patterns.next import Next


def decide(snapshot: Snapshot, steps: Sequence[Step]) -> Next:
    return tool_loop(snapshot, steps, agents=False)
