"""Whether a proposal can be made as it is: all that is wrong with it, by field, in words that a model can mend."""

from collections.abc import Mapping

from functions.agents.models import AGENT, Pattern
from functions.catalog import additions
from functions.catalog.archimate import ElementType
from functions.design.models import MAX_ITEMS, Proposal, ProposedAgent
from shared.errors import FieldError

TOOLS = ("catalog.search", "catalog.read", "catalog.neighbors", "catalog.propose")
LEADING: tuple[Pattern, ...] = ("Router", "Orchestrator")


def wrong_with(proposal: Proposal, known: Mapping[str, ElementType]) -> list[FieldError]:
    """What forbids it; `known`: the types of the elements, by id, that it means and that are there."""
    found: list[FieldError] = []
    made = len(proposal.agents) + len(proposal.relationships)
    made += sum(one.existing_id is None for one in proposal.elements)
    if made > MAX_ITEMS:
        found.append(FieldError("", f"makes {made} agents, elements and relationships; at most {MAX_ITEMS} at once"))
    found += additions.wrong_with(proposal.elements, proposal.relationships, known)
    _agents(proposal, found)
    return found


def _agents(proposal: Proposal, found: list[FieldError]) -> None:
    elements = {one.key for one in proposal.elements}
    keys = [one.key for one in proposal.agents]
    for number, one in enumerate(proposal.agents):
        at = f"agents.{number}"
        if keys.count(one.key) > 1:
            found.append(FieldError(f"{at}.key", "is another agent's key as well", one.key))
        if one.element is not None and one.element not in elements:
            found.append(FieldError(f"{at}.element", "is no key of an element of this proposal", one.element))
        for tool in one.tools:
            if tool.startswith(AGENT):
                if tool.removeprefix(AGENT) not in keys:
                    found.append(FieldError(f"{at}.tools", "names no agent of this proposal", tool))
            elif tool not in TOOLS and not tool.startswith("http:"):
                found.append(FieldError(f"{at}.tools", f"is none of {', '.join(TOOLS)}, agent:<key>", tool))
        found += _pattern(at, one, keys)
    for key in _circle(proposal):
        found.append(FieldError("agents", "call each other in a circle", key))


def _pattern(at: str, one: ProposedAgent, keys: list[str]) -> list[FieldError]:
    if one.pattern in LEADING and not any(tool.startswith(AGENT) for tool in one.tools):
        return [FieldError(f"{at}.tools", "needs agents that it hands work to: agent:<key>", one.tools)]
    if one.pattern == "Evaluator" and one.judges not in keys:
        return [FieldError(f"{at}.judges", "an Evaluator needs the key of the agent whose work it judges", one.judges)]
    if one.pattern == "Monitor" and not one.watches:
        return [FieldError(f"{at}.watches", "a Monitor needs the beginning of the names that it looks for")]
    return []


def _circle(proposal: Proposal) -> list[str]:
    """The keys of agents that lead back to themselves."""
    calls = {one.key: {*called(one)} for one in proposal.agents}
    reached = {key: {*nexts} for key, nexts in calls.items()}
    for _ in calls:
        reached = {
            key: nexts.union(*(calls.get(other, set[str]()) for other in nexts)) for key, nexts in reached.items()
        }
    return [key for key, nexts in reached.items() if key in nexts]


def called(agent: ProposedAgent) -> list[str]:
    """The keys of the agents that it calls."""
    own = [tool.removeprefix(AGENT) for tool in agent.tools if tool.startswith(AGENT)]
    return [*own, *([agent.judges] if agent.pattern == "Evaluator" and agent.judges else [])]
