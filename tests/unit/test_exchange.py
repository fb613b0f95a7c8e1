"""Reading and writing the ArchiMate Model Exchange File format."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.catalog.archimate import ELEMENT_TYPES, RELATIONSHIP_TYPES, Concept, allowed_types
from functions.catalog.exchange import (
    JUNCTION,
    AccessType,
    ExchangeError,
    Found,
    FoundElement,
    FoundRelationship,
    ModelHeader,
    Skipped,
)
from functions.catalog.exchange_read import read_model
from functions.catalog.exchange_text import PROPERTY, Texts, choose
from functions.catalog.exchange_write import write_model
from functions.catalog.exchange_xml import xml_id

SAMPLE = Path(__file__).parents[2] / "cli" / "samples" / "it4it.xml"
MODEL = (
    '<model xmlns="http://www.opengroup.org/xsd/archimate/3.0/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" identifier="m">{}</model>'
)
WORKSHOP = """
<name>Workshop</name>
<elements>
  <element identifier="smith" xsi:type="BusinessRole">
    <name xml:lang="de">Schmied</name><name xml:lang="en">Smith</name>
    <documentation xml:lang="en">Forges.</documentation><documentation xml:lang="de">Schmiedet.</documentation>
    <properties>
      <property propertyDefinitionRef="p1">
        <value xml:lang="en">master</value><value xml:lang="de">Meister</value>
      </property>
      <property propertyDefinitionRef="p2"><value>red</value></property>
      <property propertyDefinitionRef="p3"><value>iron</value></property>
      <property propertyDefinitionRef="p3"><value>steel</value></property>
      <property propertyDefinitionRef="p4"><value>lost</value></property>
    </properties>
  </element>
  <element identifier="either" xsi:type="OrJunction"/>
</elements>
<propertyDefinitions>
  <propertyDefinition identifier="p1" type="string"><name>Rank</name></propertyDefinition>
  <propertyDefinition identifier="p2" type="string"><name>Material</name></propertyDefinition>
  <propertyDefinition identifier="p3" type="string"><name>Material</name></propertyDefinition>
</propertyDefinitions>
"""


def read(content: str) -> list[Found]:
    return list(read_model(MODEL.format(content).encode()))


def element(attributes: str) -> Found:
    return read(f"<elements><element {attributes}><name>It</name></element></elements>")[1]


def relationship(attributes: str) -> Found:
    return read(f"<relationships><relationship {attributes}/></relationships>")[1]


def refusal(body: bytes) -> ExchangeError:
    with pytest.raises(ExchangeError) as caught:
        next(read_model(body))
    return caught.value


@pytest.fixture
def smith() -> FoundElement:
    found = read(WORKSHOP)[1]
    assert isinstance(found, FoundElement)
    return found


# Languages


def test_the_first_language_of_a_node_is_its_own(smith: FoundElement) -> None:
    assert (smith.name, smith.description, smith.properties["Rank"]) == ("Schmied", "Schmiedet.", "Meister")
    assert smith.languages == {"name": "de", "description": "de", "property:Rank": "de"}


def test_every_further_language_is_kept(smith: FoundElement) -> None:
    assert smith.translations == {"en": {"name": "Smith", "description": "Forges.", "property:Rank": "master"}}


def test_a_text_in_another_language_is_better_than_none() -> None:
    found = choose({"name": {"en": ["Smith"]}, "description": {"de": ["Schmiedet."]}})
    assert found["description"] == "Schmiedet."
    assert found["languages"] == {"name": "en", "description": "de"}


def test_text_without_a_language_is_kept_beside_text_that_has_one() -> None:
    assert choose({"name": {"en": ["Smith"], "": ["S."]}})["translations"] == {"": {"name": "S."}}


def test_a_language_is_inherited_from_the_node_and_from_the_model() -> None:
    content = '<elements><element identifier="a" xsi:type="Node"{}><name>Amboss</name></element></elements>'
    model = MODEL.replace(' identifier="m"', ' identifier="m" xml:lang="en"')
    for own, language in {"": "en", ' xml:lang="de"': "de"}.items():
        _, found = read_model(model.format(content.format(own)).encode())
        assert isinstance(found, FoundElement)
        assert found.languages == {"name": language}


# Properties


def test_properties_are_keyed_by_the_name_of_their_definition(smith: FoundElement) -> None:
    assert smith.properties["Material"] == "red"


def test_definitions_of_one_name_are_told_apart_by_their_identifier(smith: FoundElement) -> None:
    assert "Material (p3)" in smith.properties


def test_repeated_values_of_a_property_are_all_kept(smith: FoundElement) -> None:
    assert smith.properties["Material (p3)"] == "iron\nsteel"


def test_a_property_without_a_definition_is_kept_by_its_reference(smith: FoundElement) -> None:
    assert smith.properties["p4"] == "lost"


def test_a_junction_says_of_which_kind_it_is() -> None:
    assert read(WORKSHOP)[2] == FoundElement("either", "Junction", properties={JUNCTION: "or"})


def test_no_definition_can_pass_for_the_kind_of_a_junction() -> None:
    definition = f'<propertyDefinition identifier="p" type="string"><name>{JUNCTION}</name></propertyDefinition>'
    header = read(f"<propertyDefinitions>{definition}</propertyDefinitions>")[0]
    assert isinstance(header, ModelHeader)
    assert header.definitions[0].key == f"{JUNCTION} (p)"


# Types and details


@pytest.mark.parametrize("written", ["BusinessActor", "archimate:BusinessActor", " a:BusinessActor "])
def test_a_type_is_read_with_or_without_prefix(written: str) -> None:
    found = element(f'identifier="x" xsi:type="{written}"')
    assert isinstance(found, FoundElement)
    assert found.type == "BusinessActor"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('xsi:type="Access"', FoundRelationship("r", "Access", "a", "b")),
        ('xsi:type="Access" accessType="Read"', FoundRelationship("r", "Access", "a", "b", access_type="Read")),
        ('xsi:type="AccessRelationship"', FoundRelationship("r", "Access", "a", "b")),
        ('xsi:type="Influence" modifier="++"', FoundRelationship("r", "Influence", "a", "b", influence="++")),
        ('xsi:type="Association" isDirected="1"', FoundRelationship("r", "Association", "a", "b", is_directed=True)),
        (
            'xsi:type="Association" isDirected="false"',
            FoundRelationship("r", "Association", "a", "b", is_directed=False),
        ),
        ('xsi:type="Flow" modifier="++" accessType="Read"', FoundRelationship("r", "Flow", "a", "b")),
    ],
)
def test_a_relationship_has_the_details_of_its_type(attributes: str, expected: FoundRelationship) -> None:
    assert relationship(f'identifier="r" source="a" target="b" {attributes}') == expected


# What is skipped


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ('xsi:type="Node"', "no identifier"),
        ('identifier="x"', "no type"),
        ('identifier="x" xsi:type="Widget"', "'Widget' is no element type of ArchiMate 3.2"),
        ('identifier="x" xsi:type="Network"', "ArchiMate 3 says 'CommunicationNetwork'"),
    ],
)
def test_an_element_that_cannot_be_taken_is_skipped_with_a_reason(attributes: str, reason: str) -> None:
    skipped = element(attributes)
    assert isinstance(skipped, Skipped)
    assert skipped.kind == "element"
    assert reason in skipped.reason


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ('xsi:type="Flow" source="a" target="b"', "no identifier"),
        ('identifier="r" source="a" target="b"', "no type"),
        ('identifier="r" xsi:type="UsedByRelationship" source="a" target="b"', "ArchiMate 3 says 'Serving'"),
        ('identifier="r" xsi:type="Flow" target="b"', "no source"),
        ('identifier="r" xsi:type="Flow" source="a"', "no target"),
        ('identifier="r" xsi:type="Access" source="a" target="b" accessType="Peek"', "use one of Access, Read"),
        ('identifier="r" xsi:type="Association" source="a" target="b" isDirected="yes"', "use true or false"),
    ],
)
def test_a_relationship_that_cannot_be_taken_is_skipped_with_a_reason(attributes: str, reason: str) -> None:
    skipped = relationship(attributes)
    assert isinstance(skipped, Skipped)
    assert skipped.kind == "relationship"
    assert reason in skipped.reason


def test_an_identifier_is_taken_once() -> None:
    twice = '<element identifier="x" xsi:type="Node"/>' * 2
    _, first, second = read(f"<elements>{twice}</elements>")
    assert isinstance(first, FoundElement)
    assert isinstance(second, Skipped)
    assert "twice" in second.reason


def test_foreign_nodes_among_elements_are_passed_over() -> None:
    assert read('<elements><x xmlns="urn:other"/></elements>') == [ModelHeader("m", "")]


# What is refused


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE model [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>',
        '<!DOCTYPE model [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE model SYSTEM "http://example.org/model.dtd">',
    ],
    ids=["billion laughs", "external entity", "external DTD"],
)
def test_document_types_and_entities_are_refused(declaration: str) -> None:
    error = refusal(f'<?xml version="1.0"?>\n{declaration}{MODEL.format("")}'.encode())
    assert "<!DOCTYPE" in error.message
    assert error.line == 2


def test_broken_xml_is_refused_with_its_place() -> None:
    error = refusal(MODEL.format("\n<elements>\n  <element></elements>").encode())
    assert (error.line, error.column) == (3, 14)
    assert "mismatched tag" in error.message


def test_nothing_is_yielded_of_a_file_that_breaks_off() -> None:
    assert "not well-formed" in refusal(MODEL.format(WORKSHOP).encode()[:-9]).message


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        (b"PK\x03\x04archive", "Open Exchange File"),
        (b'<model xmlns="http://www.opengroup.org/xsd/archimate"/>', "export it for ArchiMate 3"),
        (b"<model/>", '<model xmlns="http://www.opengroup.org/xsd/archimate/3.0/">'),
        (b"<html/>", "The root is <html>"),
        (b'{"elements": []}', "not well-formed"),
        (b"", "no element found"),
        (b'<?xml version="1.0" encoding="klingon"?><model/>', "save the file as UTF-8"),
    ],
)
def test_another_format_is_refused_with_advice(body: bytes, advice: str) -> None:
    assert advice in refusal(body).message


# Writing

LANGUAGES = st.sampled_from(["", "de", "en", "pt-BR"])
CHARACTERS = st.characters(
    exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff", include_characters="\t\n\r"
)
TEXTS = st.text(CHARACTERS)
SOME_TEXT = TEXTS.filter(bool)
IDENTIFIERS = st.uuids().map("id-{}".format)
ACCESS_TYPES: list[AccessType | None] = [None, "Access", "Read", "Write", "ReadWrite"]


@st.composite
def texts_of(draw: st.DrawFn) -> Texts:
    texts = st.dictionaries(LANGUAGES, SOME_TEXT.map(lambda text: [text]), min_size=1, max_size=3)
    values = st.dictionaries(LANGUAGES, TEXTS.map(lambda text: [text]), min_size=1, max_size=3)
    fields = {field: draw(texts) for field in ("name", "description") if draw(st.booleans())}
    keys = SOME_TEXT.filter(lambda key: key != JUNCTION).map(PROPERTY.__add__)
    return choose(fields | draw(st.dictionaries(keys, values, max_size=3)))


@st.composite
def elements(draw: st.DrawFn, identifier: str) -> FoundElement:
    kind, texts = draw(st.sampled_from(ELEMENT_TYPES)), draw(texts_of())
    if kind == "Junction":
        texts["properties"][JUNCTION] = draw(st.sampled_from(["and", "or"]))
    return FoundElement(identifier, kind, **texts)


@st.composite
def relationships(draw: st.DrawFn, identifier: str) -> FoundRelationship:
    kind = draw(st.sampled_from(RELATIONSHIP_TYPES))
    return FoundRelationship(
        identifier,
        kind,
        source=draw(IDENTIFIERS),
        target=draw(IDENTIFIERS),
        access_type=draw(st.sampled_from(ACCESS_TYPES)) if kind == "Access" else None,
        influence=draw(st.none() | TEXTS) if kind == "Influence" else None,
        is_directed=draw(st.none() | st.booleans()) if kind == "Association" else None,
        **draw(texts_of()),
    )


@st.composite
def models(draw: st.DrawFn) -> tuple[list[FoundElement], list[FoundRelationship]]:
    identifiers = draw(st.lists(IDENTIFIERS, unique=True, max_size=6))
    half = len(identifiers) // 2
    return [draw(elements(i)) for i in identifiers[:half]], [draw(relationships(i)) for i in identifiers[half:]]


@given(SOME_TEXT, models())
def test_what_is_written_is_read_back_the_same(
    name: str, model: tuple[list[FoundElement], list[FoundRelationship]]
) -> None:
    header, *found = read_model(b"".join(write_model(name, *model)))
    assert isinstance(header, ModelHeader)
    assert header.name == name
    assert found == [*model[0], *model[1]]


@given(TEXTS.map(str.encode) | st.binary())
def test_any_bytes_are_read_or_refused_but_never_crash(body: bytes) -> None:
    refusal(body)


def test_a_whole_model_survives_being_written_with_its_header_and_definitions() -> None:
    found = read(WORKSHOP)
    header, *held = found
    assert isinstance(header, ModelHeader)
    written = write_model(header, [each for each in held if isinstance(each, FoundElement)], [])
    assert list(read_model(b"".join(written)))[1:] == held


def test_a_model_is_written_piece_by_piece() -> None:
    def endless() -> Iterator[FoundElement]:
        while True:
            yield FoundElement("id-1", "Node", "One")

    written = write_model("Endless", endless(), [])
    assert [b"<element " in next(written) for _ in range(3)] == [False, True, True]


def test_an_empty_model_has_no_empty_sections() -> None:
    assert b"elements" not in b"".join(write_model("Empty", [], []))


def test_what_xml_cannot_hold_is_replaced() -> None:
    _, found = read_model(b"".join(write_model("x", [FoundElement("a", "Node", "bell\x07")], [])))
    assert isinstance(found, FoundElement)
    assert found.name == "bell\ufffd"


@pytest.mark.parametrize(
    ("identifier", "written"), [("id-1", "id-1"), ("schön", "schön"), ("0192-ab", "id-0192-ab"), ("a b", "id-a_x20_b")]
)
def test_an_identifier_becomes_an_xml_name(identifier: str, written: str) -> None:
    assert xml_id(identifier) == written


# The sample model


def test_the_sample_model_is_taken_whole() -> None:
    found = list(read_model(SAMPLE.read_bytes()))
    assert not [each for each in found if isinstance(each, Skipped)]
    assert len([each for each in found if isinstance(each, FoundElement)]) == 60
    assert len([each for each in found if isinstance(each, FoundRelationship)]) == 86


def test_archimate_allows_every_relationship_of_the_sample_model() -> None:
    found = list(read_model(SAMPLE.read_bytes()))
    concepts: dict[str, Concept] = {each.identifier: each.type for each in found if isinstance(each, FoundElement)}
    joins = [each for each in found if isinstance(each, FoundRelationship)]
    concepts |= {each.identifier: "Relationship" for each in joins}
    refused = [j for j in joins if j.type not in allowed_types(concepts[j.source], concepts[j.target])]
    assert refused == []


def test_the_sample_model_shows_what_the_format_can_hold() -> None:
    found = list(read_model(SAMPLE.read_bytes()))
    joins = {each.identifier: each for each in found if isinstance(each, FoundRelationship)}
    assert any(each.target in joins for each in joins.values())
    assert any(each.access_type for each in joins.values())
    assert any(each.influence for each in joins.values())
    assert any(isinstance(each, FoundElement) and JUNCTION in each.properties for each in found)
    assert any(isinstance(each, FoundElement) and "de" in each.translations for each in found)
