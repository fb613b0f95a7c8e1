"""The Orchestrator: a Specialist that has other agents among its tools."""

from collections.abc import Sequence

from functions.executions.models import Snapshot, Step
from functions.executions.patterns.conversation import tool_loop
from functions.executions.patterns.next import Next


def decide(snapshot: Snapshot, steps: Sequence[Step]) -> Next:
    return tool_loop(snapshot, steps, agents=True)
