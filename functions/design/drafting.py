"""The rule-based designer: without a model, from the words of the brief and the tenant's own catalog. Pure.

Each clause of a brief becomes an agent. What kind of work it is says the pattern; what it works on is an element of the
catalog whose name the clause has, else a new one. Two or more of them get an orchestrator, unless one of them routes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from functions.agents.models import Pattern
from functions.catalog.additions import AddedElement, AddedRelationship
from functions.catalog.archimate import ElementType, RelationshipType, allowed_types
from functions.design.models import MAX_AGENTS, Proposal, ProposedAgent, Question
from functions.design.words import HEADING, clauses, key_of, stem, stems, titled, words

WORKERS: Final = MAX_AGENTS - 1  # one more may have to lead them
MAX_PARTS: Final = 200  # of a brief and all feedback that are looked at: each wish is compared with each of them
_CUES: Final[Sequence[tuple[Pattern, str]]] = (
    ("Monitor", "monitor watch alert detect observe track whenever threshold overdue"),
    ("Router", "route routing triage dispatch classify forward distribute sort redirect"),
    ("Evaluator", "review evaluate verify validate quality judge inspect proofread audit"),
    ("Orchestrator", "orchestrate coordinate lead supervise delegate"),
)
_CUE_STEMS: Final = [(pattern, frozenset(map(stem, cues.split()))) for pattern, cues in _CUES]
_OFTEN: Final = {"hourly": "0 * * * *", "daily": "0 6 * * *", "weekly": "0 6 * * 1"}
_OFTEN_WORDS: Final = {"hour": "hourly", "hourly": "hourly", "day": "daily", "daily": "daily", "night": "daily"} | {
    "nightly": "daily",
    "morning": "daily",
    "week": "weekly",
    "weekly": "weekly",
    "monday": "weekly",
}
_WORKED_ON: Final[tuple[RelationshipType, ...]] = ("Serving", "Access", "Flow", "Association")
_WITHOUT: Final = re.compile(r"\b(?:without|no|not|remove|drop|omit|leave out|leave the)\b", re.IGNORECASE)
_NEGATION: Final = frozenset(stem(word) for word in ["without", "no", "not", "remove", "drop", "omit", "leave", "out"])
APPROVAL: Final = "approval"
OFTEN: Final = "how-often"
SUBJECT: Final = "subject"


@dataclass(frozen=True)
class Known:
    """An element of the catalog, as the designer sees it."""

    id: str
    name: str
    type: ElementType

    @cached_property
    def stems(self) -> Sequence[str]:
        return stems(self.name)

    @cached_property
    def meant_by(self) -> frozenset[str]:
        """What a text has to have all of, to mean it."""
        return frozenset(self.stems)


@dataclass
class _Draft:
    known: Sequence[Known]
    agents: list[ProposedAgent] = field(default_factory=list)
    elements: dict[str, AddedElement] = field(default_factory=dict)
    relationships: list[AddedRelationship] = field(default_factory=list)


def questions(brief: str, known: Sequence[Known]) -> list[Question]:
    """What the brief leaves open; at most three."""
    asked = [
        Question(
            key=APPROVAL,
            text="May the agents propose changes to the catalog, each to be approved by a person?",
            choices=["no, they read only", "yes, with approval"],
        )
    ]
    patterns = [pattern_of(clause) for clause in clauses(brief)]
    if "Monitor" in patterns and _often(brief) is None:
        asked.append(Question(key=OFTEN, text="How often should be looked?", choices=[*_OFTEN]))
    if not any(_best(clause, known) for clause in clauses(brief)):
        shown = sorted({one.name for one in known if one.type in ("BusinessProcess", "BusinessFunction") and one.name})
        text = "Which part of the landscape is it about? Nothing of the catalog is named in the brief."
        asked.append(Question(key=SUBJECT, text=text, choices=[name[:200] for name in shown[:10]]))
    return asked


def propose(brief: str, answers: Mapping[str, str], feedback: Sequence[str], known: Sequence[Known]) -> Proposal:
    """A proposal that ArchiMate and the runtime allow; the same input gives the same one."""
    draft = _Draft(known)
    subject = answers.get(SUBJECT, "")
    often = _often(answers.get(OFTEN, "")) or _often(brief) or "daily"
    propose_changes = stems(answers.get(APPROVAL, "no"))[:1] == ["yes"]
    parts = _revised(clauses(brief) or [brief], feedback)
    for clause in parts[:WORKERS]:
        _add_worker(draft, clause, subject, often, propose_changes)
    _lead(draft, brief)
    kinds = ", ".join(f"{one.name} ({one.pattern})" for one in draft.agents)
    left = f" {len(parts) - WORKERS} further parts of the brief are left out." if len(parts) > WORKERS else ""
    reused = sum(one.existing_id is not None for one in draft.elements.values())
    return Proposal(
        summary=f"Designed offline, by rules: {kinds}. {reused} of {len(draft.elements)} elements are in the catalog "
        f"already.{left}"[:5000],
        agents=draft.agents,
        elements=list(draft.elements.values()),
        relationships=draft.relationships,
    )


def pattern_of(clause: str) -> Pattern:
    """The pattern whose words the clause has, the first of several; the heading of others leads them."""
    if clause.endswith(HEADING):
        return "Orchestrator"
    found = {stem(word) for word in words(clause)}
    return next((pattern for pattern, cues in _CUE_STEMS if found & cues), "Specialist")


def _revised(parts: Sequence[str], feedback: Sequence[str]) -> list[str]:
    """The clauses after each revision: what it is to be without goes, anything else comes on top."""
    kept = [(part, {*stems(part)}) for part in parts[:MAX_PARTS]]
    for text in feedback:
        for wish in clauses(text) or [text]:
            if _WITHOUT.search(wish):
                gone = {*stems(wish)} - _NEGATION
                kept = [(part, said) for part, said in kept if gone.isdisjoint(said)] or kept
            elif len(kept) < MAX_PARTS:
                kept.append((wish, {*stems(wish)}))
    return [part for part, _ in kept]


def _add_worker(draft: _Draft, clause: str, subject: str, often: str, propose_changes: bool) -> None:
    pattern = pattern_of(clause)
    name = titled(clause) or "Assistant"
    key = key_of(name, [one.key for one in draft.agents])
    element = _element_of(draft, clause, subject, name)
    tools = ["catalog.search", "catalog.read", "catalog.neighbors"]
    if propose_changes:
        tools.append("catalog.propose")
    draft.agents.append(
        ProposedAgent(
            key=key,
            name=name,
            description=f"{clause[:1].upper()}{clause[1:].removesuffix(HEADING)}."[:5000],
            pattern=pattern,
            instructions=_instructions(pattern, clause, draft.elements[element].name),
            tools=tools if pattern not in ("Router", "Orchestrator") else [],
            watches=draft.elements[element].name[:100] if pattern == "Monitor" else None,
            element=element,
            schedule=_OFTEN[often] if pattern == "Monitor" else None,
        )
    )


def _lead(draft: _Draft, brief: str) -> None:
    """Give those that need others the others: each router and orchestrator, each evaluator, or a new orchestrator."""
    workers = [one for one in draft.agents if one.pattern not in ("Router", "Orchestrator")]
    leads = [one for one in draft.agents if one.pattern in ("Router", "Orchestrator")]
    if leads and not workers:  # somebody has to do the work that is handed on
        first = leads[0]
        name = f"{first.name} clerk"[:255]
        worker = first.model_copy(
            update={
                "key": key_of(name, [one.key for one in draft.agents]),
                "name": name,
                "pattern": "Specialist",
                "instructions": _instructions(
                    "Specialist", first.description, draft.elements[first.element or ""].name
                ),
                "tools": ["catalog.search", "catalog.read", "catalog.neighbors"],
            }
        )
        draft.agents.append(worker)
        workers = [worker]
    for number, one in enumerate(draft.agents):
        if one.pattern == "Evaluator":
            before = [other for other in draft.agents[:number] if other.pattern == "Specialist"]
            if before:
                judging = {"judges": before[-1].key, "criteria": one.description}
                draft.agents[number] = one.model_copy(update=judging)
            else:  # nobody's work but what it is given: it is a specialist for checks
                draft.agents[number] = one.model_copy(update={"pattern": "Specialist"})
    evaluated = {one.judges for one in draft.agents if one.pattern == "Evaluator"}
    handed = [one for one in draft.agents if one.pattern not in ("Router", "Orchestrator", "Monitor")]
    tools = [f"agent:{one.key}" for one in handed if one.key not in evaluated]
    if not leads and len(tools) > 1:
        name = f"{titled(brief, 3)} lead"[:255]
        key = key_of(name, [one.key for one in draft.agents])
        element = draft.agents[0].element
        lead = ProposedAgent(
            key=key,
            name=name,
            description="Hands the parts of a task to those who can do them, and puts the results together.",
            pattern="Orchestrator",
            instructions=_instructions("Orchestrator", brief, _name_of(draft, element)),
            tools=tools,
            element=element,
        )
        draft.agents.insert(0, lead)
    for number, one in enumerate(draft.agents):
        if one.pattern in ("Router", "Orchestrator") and not one.tools:
            draft.agents[number] = one.model_copy(update={"tools": tools})


def _element_of(draft: _Draft, clause: str, subject: str, name: str) -> str:
    """The key of what the clause works on, with the component that does it beside it."""
    found = _best(clause, draft.known) or (_best(subject, draft.known) if subject else None)
    same = next((key for key, one in draft.elements.items() if found and one.existing_id == found.id), None)
    if same is None:
        worked: ElementType = found.type if found else "BusinessProcess"
        called = found.name if found else titled(subject or clause, 4) or name
        same = key_of(called, draft.elements)
        draft.elements[same] = AddedElement(
            key=same, existing_id=found.id if found else None, name=called[:255], type=worked
        )
    _component(draft, name, same)
    return same


def _name_of(draft: _Draft, element: str | None) -> str:
    return "" if element is None else draft.elements[element].name


def _component(draft: _Draft, name: str, worked_on: str) -> None:
    """The application component that the agent is in the landscape, serving what it works on."""
    called = f"Agent: {name}"[:255]
    there = next((one for one in draft.known if one.name == called and one.type == "ApplicationComponent"), None)
    key = key_of(called, draft.elements)
    draft.elements[key] = AddedElement(
        key=key,
        existing_id=there.id if there else None,
        name=called,
        type="ApplicationComponent",
        description="An AI agent.",
    )
    allowed = allowed_types("ApplicationComponent", draft.elements[worked_on].type)
    kind = next((one for one in _WORKED_ON if one in allowed), None)
    if kind is not None:
        draft.relationships.append(AddedRelationship(type=kind, source=key, target=worked_on))


def _best(text: str, known: Sequence[Known]) -> Known | None:
    """The element with the longest name that the text has all words of; of two alike, the first by name and id."""
    heap = {*stems(text)}
    fitting = [one for one in known if one.stems and one.meant_by <= heap and one.type not in ("Junction", "Grouping")]
    return min(fitting, key=lambda one: (-len(one.stems), one.name, one.id), default=None)


def _often(text: str) -> str | None:
    return next((_OFTEN_WORDS[word] for word in re.findall(r"\w+", text.lower()) if word in _OFTEN_WORDS), None)


def _instructions(pattern: Pattern, clause: str, element: str) -> str:
    manner = {
        "Specialist": "Do exactly this, with the tools you have; say what you have found, and what you could not.",
        "Orchestrator": "Split the task among your agents, let independent parts run side by side, and answer with "
        "their results put together.",
        "Router": "Choose the one agent that is best for the task, and say why.",
        "Evaluator": "Judge the work by the criteria, and say what is to be mended.",
        "Monitor": "You are asked when the rule has tripped: say what happened, how bad it is, and what to do.",
    }[pattern]
    return f"Your part: {clause[:2000]}\nIt is about “{element}” in the tenant's landscape.\n{manner}"
