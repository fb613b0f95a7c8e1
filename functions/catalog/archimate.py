"""What ArchiMate knows: concepts, layers, and which relationship may join which two concepts.

Source: ArchiMate 3.2 Specification, The Open Group (chapters 4-13; the relationship tables of Appendix B).
"""

from functools import cache
from typing import Final, Literal, TypeGuard, get_args

from functions.catalog.archimate_table import CELLS, LETTERS, ROWS

MotivationElement = Literal[
    "Stakeholder",
    "Driver",
    "Assessment",
    "Goal",
    "Outcome",
    "Principle",
    "Requirement",
    "Constraint",
    "Meaning",
    "Value",
]
StrategyElement = Literal["Resource", "Capability", "ValueStream", "CourseOfAction"]
BusinessElement = Literal[
    "BusinessActor",
    "BusinessRole",
    "BusinessCollaboration",
    "BusinessInterface",
    "BusinessProcess",
    "BusinessFunction",
    "BusinessInteraction",
    "BusinessEvent",
    "BusinessService",
    "BusinessObject",
    "Contract",
    "Representation",
    "Product",
]
ApplicationElement = Literal[
    "ApplicationComponent",
    "ApplicationCollaboration",
    "ApplicationInterface",
    "ApplicationFunction",
    "ApplicationInteraction",
    "ApplicationProcess",
    "ApplicationEvent",
    "ApplicationService",
    "DataObject",
]
TechnologyElement = Literal[
    "Node",
    "Device",
    "SystemSoftware",
    "TechnologyCollaboration",
    "TechnologyInterface",
    "Path",
    "CommunicationNetwork",
    "TechnologyFunction",
    "TechnologyProcess",
    "TechnologyInteraction",
    "TechnologyEvent",
    "TechnologyService",
    "Artifact",
]
PhysicalElement = Literal["Equipment", "Facility", "DistributionNetwork", "Material"]
ImplementationElement = Literal["WorkPackage", "Deliverable", "ImplementationEvent", "Plateau", "Gap"]
CompositeElement = Literal["Grouping", "Location"]
Connector = Literal["Junction"]

ElementType = Literal[
    MotivationElement,
    StrategyElement,
    BusinessElement,
    ApplicationElement,
    TechnologyElement,
    PhysicalElement,
    ImplementationElement,
    CompositeElement,
    Connector,
]
RelationshipType = Literal[
    "Composition",
    "Aggregation",
    "Assignment",
    "Realization",
    "Serving",
    "Access",
    "Influence",
    "Association",
    "Triggering",
    "Flow",
    "Specialization",
]
Concept = Literal[ElementType, "Relationship"]
"""What a relationship may start or end at: an element type, or "Relationship" for another relationship."""

Layer = Literal[
    "Motivation",
    "Strategy",
    "Business",
    "Application",
    "Technology",
    "Physical",
    "Implementation",
    "Composite",
    "Connector",
]

ELEMENT_TYPES: Final[tuple[ElementType, ...]] = get_args(ElementType)
RELATIONSHIP_TYPES: Final[tuple[RelationshipType, ...]] = get_args(RelationshipType)
LAYERS: Final[dict[Layer, tuple[ElementType, ...]]] = {
    "Motivation": get_args(MotivationElement),
    "Strategy": get_args(StrategyElement),
    "Business": get_args(BusinessElement),
    "Application": get_args(ApplicationElement),
    "Technology": get_args(TechnologyElement),
    "Physical": get_args(PhysicalElement),
    "Implementation": get_args(ImplementationElement),
    "Composite": get_args(CompositeElement),
    "Connector": get_args(Connector),
}
_LAYER_OF: Final[dict[ElementType, Layer]] = {element: layer for layer, types in LAYERS.items() for element in types}


def is_element_type(text: str) -> TypeGuard[ElementType]:
    return text in _LAYER_OF


def is_relationship_type(text: str) -> TypeGuard[RelationshipType]:
    return text in RELATIONSHIP_TYPES


def layer_of(element_type: ElementType) -> Layer:
    """The layer of an element type; Grouping and Location stand across layers, a Junction connects relationships."""
    return _LAYER_OF[element_type]


def is_allowed(relationship: RelationshipType, source_type: Concept, target_type: Concept) -> bool:
    return relationship in allowed_types(source_type, target_type)


def allowed_types(source_type: Concept, target_type: Concept) -> tuple[RelationshipType, ...]:
    """The relationships ArchiMate 3.2 allows from source to target (derived ones too), in the specification's order."""
    rows, columns, cells = _table()
    return cells[rows[source_type][columns[target_type]]]


@cache
def _table() -> tuple[dict[str, str], dict[str, int], dict[str, tuple[RelationshipType, ...]]]:
    """Rows by source, column numbers by target, and what each sign stands for. Read at the first question."""
    letters = {name: letter for letter, _, name in (item.partition("=") for item in LETTERS.split())}
    rows = dict(line.split() for line in ROWS.strip().splitlines())
    columns = {concept: number for number, concept in enumerate(rows)}
    cells = {
        sign: tuple(relationship for relationship in RELATIONSHIP_TYPES if letters[relationship] in meant)
        for sign, _, meant in (item.partition("=") for item in CELLS.split())
    }
    return rows, columns, cells
