"""The rule-based designer: what becomes of a brief."""

import time

import pytest

from functions.agents.models import Pattern
from functions.catalog.archimate import is_allowed
from functions.design.drafting import Known, pattern_of, propose, questions
from functions.design.judging import wrong_with
from functions.design.models import MAX_AGENTS, MAX_ITEMS, Proposal
from functions.design.words import clauses, key_of, stems, titled

LANDSCAPE = [
    Known("e-claims", "Claim handling", "BusinessProcess"),
    Known("e-portal", "Customer portal", "ApplicationComponent"),
    Known("e-incidents", "Incident management", "BusinessFunction"),
    Known("e-policies", "Policy data", "DataObject"),
    Known("e-invoice", "Invoice", "BusinessObject"),
    Known("e-customer", "Customer", "BusinessRole"),
    Known("e-mail", "Mail server", "Node"),
    Known("e-goal", "Customer satisfaction", "Goal"),
    Known("e-junction", "Damage", "Junction"),
]
BY_ID = {one.id: one.type for one in LANDSCAPE}

# brief -> the agents' patterns, and the elements of the catalog that are reused
BRIEFS: dict[str, tuple[list[Pattern], set[str]]] = {
    "Triage new claims, and hand each to the right clerk. Do the claims handling. Draft a letter to the customer.": (
        ["Router", "Specialist", "Specialist"],
        {"e-claims", "e-customer"},
    ),
    "Monitor the customer portal every hour and alert us when it is slow.": (["Monitor"], {"e-portal"}),
    "Answer questions about policy data.": (["Specialist"], {"e-policies"}),
    "Draft a reply to each invoice complaint, then review it for tone.": (
        ["Specialist", "Evaluator"],
        {"e-invoice"},
    ),
    "Handle claims: extract the facts of the claim, then look up the policy data, then compute the payout.": (
        ["Orchestrator", "Specialist", "Specialist", "Specialist"],
        {"e-claims", "e-policies"},
    ),
    "Coordinate incident management: gather the logs; find the cause; write the report.": (
        ["Orchestrator", "Specialist", "Specialist", "Specialist"],
        {"e-incidents"},
    ),
    "Route mails of the mail server to sales or billing.": (["Router", "Specialist"], {"e-mail"}),
    "Summarise each invoice. Translate policies and their policy data.": (
        ["Orchestrator", "Specialist", "Specialist"],
        {"e-invoice", "e-policies"},
    ),
    "Watch overdue invoices weekly; remind the customers of them.": (
        ["Monitor", "Specialist"],
        {"e-invoice", "e-customer"},
    ),
    "Measure customer satisfaction.": (["Specialist"], {"e-goal"}),
}


def proposed(brief: str, *, feedback: list[str] | None = None, **answers: str) -> Proposal:
    said = {name.replace("_", "-"): text for name, text in answers.items()}
    return propose(brief, said, feedback or [], LANDSCAPE)


@pytest.mark.parametrize(("brief", "expected"), BRIEFS.items(), ids=[" ".join(brief.split()[:3]) for brief in BRIEFS])
def test_ten_briefs_have_the_patterns_and_the_elements_that_they_speak_of(
    brief: str, expected: tuple[list[Pattern], set[str]]
) -> None:
    patterns, reused = expected
    proposal = proposed(brief)
    assert [one.pattern for one in proposal.agents] == patterns
    assert {one.existing_id for one in proposal.elements if one.existing_id} == reused
    assert wrong_with(proposal, BY_ID) == []
    types = {one.key: one.type for one in proposal.elements}
    assert proposal.relationships
    assert all(is_allowed(one.type, types[one.source], types[one.target]) for one in proposal.relationships)
    assert proposed(brief) == proposal


def test_who_leads_has_those_that_it_leads() -> None:
    lead, *others = proposed("Handle claims: gather facts, then find causes, then write reports.").agents
    assert lead.tools == [f"agent:{one.key}" for one in others]


def test_whose_work_is_judged_works_for_the_evaluator_alone() -> None:
    draft, review, other, *_ = proposed("Draft a reply. Review it for tone. Archive the reply.").agents[1:]
    lead = proposed("Draft a reply. Review it for tone. Archive the reply.").agents[0]
    assert review.judges == draft.key
    assert lead.tools == [f"agent:{review.key}", f"agent:{other.key}"]


def test_an_evaluator_of_nothing_is_a_specialist() -> None:
    assert [one.pattern for one in proposed("Evaluate the quality of our documentation.").agents] == ["Specialist"]


def test_a_router_of_nobody_gets_somebody() -> None:
    router, clerk = proposed("Route the mails of our customers.").agents
    assert (router.pattern, clerk.pattern) == ("Router", "Specialist")
    assert router.tools == [f"agent:{clerk.key}"]


def test_how_often_is_as_the_brief_or_the_answer_says() -> None:
    assert proposed("Monitor the mail server nightly.").agents[0].schedule == "0 6 * * *"
    assert proposed("Monitor the mail server.", how_often="hourly").agents[0].schedule == "0 * * * *"
    assert proposed("Monitor the mail server.", how_often="each week, please").agents[0].schedule == "0 6 * * 1"
    assert proposed("Monitor the mail server.").agents[0].schedule == "0 6 * * *"


def test_changes_are_proposed_by_those_who_may() -> None:
    assert "catalog.propose" not in proposed("Tidy up policy data.").agents[0].tools
    assert "catalog.propose" in proposed("Tidy up policy data.", approval="yes, with approval").agents[0].tools


def test_what_the_brief_leaves_open_is_asked() -> None:
    def asked(brief: str) -> list[str]:
        return [one.key for one in questions(brief, LANDSCAPE)]

    assert asked("Answer questions about policy data.") == ["approval"]
    assert asked("Monitor the mail server.") == ["approval", "how-often"]
    assert asked("Monitor the weather.") == ["approval", "how-often", "subject"]
    assert asked("Monitor the weather each week.") == ["approval", "subject"]


def test_the_answer_says_what_it_is_about() -> None:
    proposal = proposed("Write weekly reports.", subject="It is about incident management.")
    assert proposal.elements[0].existing_id == "e-incidents"


def test_the_longest_name_that_is_said_is_meant() -> None:
    assert proposed("Look after the customer portal.").elements[0].existing_id == "e-portal"
    assert proposed("Look after each customer.").elements[0].existing_id == "e-customer"


def test_feedback_takes_away_and_adds() -> None:
    brief = "Summarise each invoice. Translate each contract. Archive the letters."
    less = proposed(brief, feedback=["Leave out the contracts."])
    assert [one.name for one in less.agents[1:]] == ["Summarise invoice", "Archive letters"]
    more = proposed(brief, feedback=["Leave out the contracts.", "Review the summaries of the invoices."])
    assert [one.name for one in more.agents[1:]] == [
        "Summarise invoice",
        "Archive letters",
        "Review summaries invoices",
    ]
    assert proposed("Summarise each invoice.", feedback=["no invoices"]).agents[0].name == "Summarise invoice"


def test_a_long_brief_is_cut_to_what_one_proposal_holds_and_says_so() -> None:
    proposal = proposed(" ".join(f"Prepare report number{number} of region{number}." for number in range(12)))
    made = [*proposal.agents, *proposal.relationships, *(one for one in proposal.elements if not one.existing_id)]
    assert len(proposal.agents) == MAX_AGENTS
    assert len(made) <= MAX_ITEMS
    assert "5 further parts of the brief are left out" in proposal.summary
    assert wrong_with(proposal, BY_ID) == []


def test_a_component_that_is_there_from_an_earlier_time_is_meant_again() -> None:
    known = [*LANDSCAPE, Known("e-agent", "Agent: Summarise invoice", "ApplicationComponent")]
    found = propose("Summarise each invoice.", {}, [], known)
    assert "e-agent" in {one.existing_id for one in found.elements}


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("Detecting fraud", "Monitor"),
        ("classify the mails", "Router"),
        ("Validating forms", "Evaluator"),
        ("delegates work", "Orchestrator"),
        ("write", "Specialist"),
    ],
)
def test_the_words_of_a_pattern_are_known_in_their_forms(text: str, pattern: str) -> None:
    assert pattern_of(text) == pattern


def test_words() -> None:
    assert stems("The policies' handling, and classes") == ["policy", "handl", "class"]
    assert stems("handle") == stems("handling")
    assert clauses("One thing: clean desks; and then tidy rooms. x") == ["One thing:", "clean desks", "tidy rooms"]
    assert clauses("One big thing: clean desks.") == ["One big thing:", "clean desks"]
    assert titled("the new claims' handling") == "Claims' handling"
    assert key_of("Größe & Co", ["gr-e-co"]) == "gr-e-co-2"
    assert key_of("…", []) == "one"


def test_a_long_brief_of_a_large_landscape_is_drafted_from_soon() -> None:
    """Each clause is compared with each element, and each wish with each clause."""
    names = [f"Process handling of claims number {n} " + "word " * 15 for n in range(2000)]
    many = [Known(name, name, "BusinessProcess") for name in names]
    feedback = ["no claims lists. add a digest. " * 160] * 20
    begun = time.process_time()
    assert [one.key for one in questions("triage new claims. " * 520, many)] == ["approval", "subject"]
    assert len(propose("write letters. " * 660, {}, feedback, many).agents) > 1
    assert time.process_time() - begun < 6


@pytest.mark.parametrize("blanks", [" ", "\t", " \n", "\u00a0", ", "])
def test_blanks_of_a_brief_are_read_once(blanks: str) -> None:
    begun = time.process_time()
    found = clauses("Watch claims," + blanks * 9990 + "then pay them soon")
    assert (found[0], found[-1]) == ("Watch claims", "pay them soon")
    assert time.process_time() - begun < 1


def test_a_brief_of_no_known_words_is_still_a_proposal() -> None:
    for brief in ("the and of to in", "?!?!?!?!?!", "请处理这些文件"):
        assert wrong_with(proposed(brief), BY_ID) == []
