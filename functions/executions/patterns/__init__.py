"""Patterns: what a run does next is a pure function of the agent as it was and of the steps so far.

Each pattern is a module with `decide`; the steps carry their messages, and are all over but those that are asked for
again. The same steps give the same answer, whoever asks, on whatever machine.
"""

from collections.abc import Callable, Mapping, Sequence

from functions.executions.models import RunPattern, Snapshot, Step
from functions.executions.patterns import evaluator, former, monitor, orchestrator, router, specialist
from functions.executions.patterns.next import Next

DECIDE: Mapping[RunPattern, Callable[[Snapshot, Sequence[Step]], Next]] = {
    "Specialist": specialist.decide,
    "Orchestrator": orchestrator.decide,
    "Router": router.decide,
    "Evaluator": evaluator.decide,
    "Monitor": monitor.decide,
    "Former": former.decide,
}


def decide(snapshot: Snapshot, steps: Sequence[Step]) -> Next:
    """What the run does next."""
    return DECIDE[snapshot.pattern](snapshot, steps)
