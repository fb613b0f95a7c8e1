"""Patterns: what a run does next is a pure function of the agent as it was and of the steps so far.

Each pattern is a module with `decide`; the steps carry their messages, and are all over but those that are asked for
again. The same steps give the same answer, whoever asks, on whatever machine.
"""

from collections.abc import Callable, Mapping, Sequence

from functions.agents.models import Pattern
from functions.executions.models import Snapshot, Step
from functions.executions.patterns import orchestrator, specialist
from functions.executions.patterns.next import Next
from shared.errors import WrongState

DECIDE: Mapping[Pattern, Callable[[Snapshot, Sequence[Step]], Next]] = {
    "Specialist": specialist.decide,
    "Orchestrator": orchestrator.decide,
}


def decide(snapshot: Snapshot, steps: Sequence[Step]) -> Next:
    """What the run does next. `WrongState` for a pattern that this release does not run."""
    if snapshot.pattern not in DECIDE:
        raise WrongState(f"This release runs no agents of the pattern {snapshot.pattern}.")
    return DECIDE[snapshot.pattern](snapshot, steps)
