"""What ArchiMate 3.2 allows (Specification, chapters 4-13 and Appendix B)."""

from itertools import product
from typing import get_args

import pytest

from functions.catalog.archimate import (
    ELEMENT_TYPES,
    LAYERS,
    RELATIONSHIP_TYPES,
    Concept,
    ElementType,
    Layer,
    RelationshipType,
    allowed_types,
    is_allowed,
    is_element_type,
    is_relationship_type,
    layer_of,
)

CONCEPTS: tuple[Concept, ...] = get_args(Concept)


def test_there_are_61_concepts_and_11_relationships() -> None:
    assert len(set(ELEMENT_TYPES)) == len(ELEMENT_TYPES) == 61
    assert len(set(RELATIONSHIP_TYPES)) == len(RELATIONSHIP_TYPES) == 11


def test_every_element_type_has_exactly_one_layer() -> None:
    assert sorted(element for types in LAYERS.values() for element in types) == sorted(ELEMENT_TYPES)
    assert set(LAYERS) == set(get_args(Layer))


@pytest.mark.parametrize(
    ("element_type", "layer"),
    [
        ("Goal", "Motivation"),
        ("ValueStream", "Strategy"),
        ("Product", "Business"),
        ("DataObject", "Application"),
        ("Artifact", "Technology"),
        ("Material", "Physical"),
        ("Plateau", "Implementation"),
        ("Grouping", "Composite"),
        ("Location", "Composite"),
        ("Junction", "Connector"),
    ],
)
def test_an_element_stands_in_the_layer_of_its_chapter(element_type: ElementType, layer: Layer) -> None:
    assert layer_of(element_type) == layer


def test_the_table_answers_for_every_pair_of_concepts() -> None:
    for source, target in product(CONCEPTS, CONCEPTS):
        assert set(allowed_types(source, target)) <= set(RELATIONSHIP_TYPES)


def test_any_two_elements_may_be_associated() -> None:
    assert all(is_allowed("Association", source, target) for source, target in product(ELEMENT_TYPES, ELEMENT_TYPES))


def test_an_element_may_be_made_of_and_specialize_its_own_kind() -> None:
    for element_type in ELEMENT_TYPES:
        assert {"Composition", "Aggregation", "Specialization"} <= set(allowed_types(element_type, element_type))


@pytest.mark.parametrize(
    ("source", "relationship", "target"),
    [
        ("BusinessActor", "Assignment", "BusinessRole"),
        ("BusinessProcess", "Access", "BusinessObject"),
        ("ApplicationComponent", "Assignment", "ApplicationFunction"),
        ("ApplicationService", "Serving", "BusinessProcess"),
        ("Artifact", "Realization", "ApplicationComponent"),
        ("Node", "Composition", "SystemSoftware"),
        ("Capability", "Serving", "ValueStream"),
        ("Driver", "Influence", "Goal"),
        ("WorkPackage", "Realization", "Deliverable"),
        ("Grouping", "Aggregation", "BusinessActor"),
        ("Grouping", "Aggregation", "Relationship"),
    ],
)
def test_the_specification_allows(source: Concept, relationship: RelationshipType, target: Concept) -> None:
    assert is_allowed(relationship, source, target)


@pytest.mark.parametrize(
    ("source", "relationship", "target"),
    [
        ("ApplicationComponent", "Composition", "BusinessActor"),
        ("BusinessRole", "Assignment", "BusinessActor"),
        ("BusinessObject", "Access", "BusinessProcess"),
        ("BusinessObject", "Triggering", "BusinessObject"),
        ("Goal", "Realization", "Requirement"),
        ("Gap", "Flow", "Plateau"),
        ("BusinessActor", "Composition", "Relationship"),
        ("Relationship", "Flow", "BusinessActor"),
    ],
)
def test_the_specification_forbids(source: Concept, relationship: RelationshipType, target: Concept) -> None:
    assert not is_allowed(relationship, source, target)


def targets_of(relationship: RelationshipType) -> set[ElementType]:
    """Where it may end, Grouping and Junction aside: they stand for whatever they group or join."""
    pairs = product(ELEMENT_TYPES, ELEMENT_TYPES)
    return {target for source, target in pairs if is_allowed(relationship, source, target)} - {"Grouping", "Junction"}


def test_only_motivation_can_be_influenced() -> None:
    assert targets_of("Influence") == set(LAYERS["Motivation"])


def test_only_passive_structure_can_be_accessed() -> None:
    passive = {"Artifact", "BusinessObject", "Contract", "DataObject", "Deliverable", "Material", "Representation"}
    assert targets_of("Access") == passive


def test_a_relationship_never_joins_two_relationships() -> None:
    assert allowed_types("Relationship", "Relationship") == ()


def test_what_is_allowed_is_listed_in_the_order_of_the_specification() -> None:
    assert allowed_types("WorkPackage", "Deliverable") == ("Realization", "Access", "Association")


@pytest.mark.parametrize("text", ["Relationship", "AndJunction", "businessactor", ""])
def test_a_text_that_is_no_element_type_is_told_apart(text: str) -> None:
    assert not is_element_type(text)
    assert not is_relationship_type(text)
