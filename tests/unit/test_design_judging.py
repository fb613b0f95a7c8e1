"""Whether a proposal can be made: each thing that forbids it is named, by field."""

from typing import Any

import pytest

from functions.catalog.archimate import ElementType
from functions.design.judging import wrong_with
from functions.design.models import MAX_AGENTS, Proposal

KNOWN: dict[str, ElementType] = {"e-1": "BusinessProcess"}


def agent(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "name": key, "pattern": "Specialist", "instructions": "Do it.", **more}


def element(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "name": key, "type": "BusinessProcess", **more}


def wrong(**parts: Any) -> dict[str, str]:
    proposal = Proposal.model_validate({"summary": "A team.", "agents": [agent("a")], **parts})
    return {one.field: one.message for one in wrong_with(proposal, KNOWN)}


def test_what_holds_together_is_right() -> None:
    assert not wrong(
        agents=[
            agent("lead", pattern="Orchestrator", tools=["agent:check", "agent:watch"], element="claims"),
            agent("work", tools=["catalog.search", "http:tickets"]),
            agent("check", pattern="Evaluator", judges="work"),
            agent("watch", pattern="Monitor", watches="Claim"),
        ],
        elements=[element("claims", existing_id="e-1"), element("app", type="ApplicationComponent")],
        relationships=[{"type": "Serving", "source": "app", "target": "claims"}],
    )


@pytest.mark.parametrize(
    ("parts", "field", "said"),
    [
        ({"elements": [element("x", existing_id="e-2")]}, "elements.0.existing_id", "is no element of this tenant"),
        ({"elements": [element("x"), element("x")]}, "elements.1.key", "another element's key"),
        ({"agents": [agent("a"), agent("a")]}, "agents.0.key", "another agent's key"),
        ({"agents": [agent("a", element="x")]}, "agents.0.element", "no key of an element"),
        ({"agents": [agent("a", tools=["agent:b"])]}, "agents.0.tools", "names no agent of this proposal"),
        ({"agents": [agent("a", tools=["shell"])]}, "agents.0.tools", "is none of catalog.search"),
        ({"agents": [agent("a", pattern="Router")]}, "agents.0.tools", "needs agents that it"),
        ({"agents": [agent("a", pattern="Orchestrator")]}, "agents.0.tools", "needs agents that it"),
        ({"agents": [agent("a", pattern="Evaluator", judges="x")]}, "agents.0.judges", "needs the key of the agent"),
        ({"agents": [agent("a", pattern="Monitor")]}, "agents.0.watches", "needs the beginning of the names"),
        ({"agents": [agent("a", tools=["agent:a"])]}, "agents", "in a circle"),
        (
            {"agents": [agent("a", tools=["agent:b"]), agent("b", pattern="Evaluator", judges="a")]},
            "agents",
            "in a circle",
        ),
        ({"relationships": [{"type": "Serving", "source": "x", "target": "y"}]}, "relationships.0.target", "no key"),
        (
            {
                "elements": [element("x"), element("y", type="Goal")],
                "relationships": [{"type": "Serving", "source": "x", "target": "y"}],
            },
            "relationships.0.type",
            "ArchiMate 3.2 allows from BusinessProcess to Goal: Realization, Influence, Association",
        ),
        ({"elements": [element(f"x{number}") for number in range(30)]}, "", "makes 31 agents, elements"),
    ],
)
def test_each_thing_that_forbids_it_is_named(parts: dict[str, Any], field: str, said: str) -> None:
    assert said in wrong(**parts)[field]


def test_the_type_of_an_element_that_is_there_is_its_own() -> None:
    """Whatever the proposal says of it."""
    ends = [element("claims", existing_id="e-1", type="Goal"), element("app", type="ApplicationComponent")]
    assert not wrong(elements=ends, relationships=[{"type": "Serving", "source": "app", "target": "claims"}])


def test_elements_that_are_there_are_not_counted() -> None:
    many = [element(f"x{number}", existing_id="e-1") for number in range(30)]
    assert not wrong(elements=many)


def test_a_proposal_has_agents_and_no_more_than_fit() -> None:
    for agents in ([], [agent(f"a{number}") for number in range(MAX_AGENTS + 1)]):
        with pytest.raises(ValueError, match="agents"):
            Proposal.model_validate({"summary": "", "agents": agents})
