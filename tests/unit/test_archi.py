"""Archi's own files are read to what its exchange file of the same model holds."""

import pytest

from functions.catalog.exchange import (
    JUNCTION,
    ExchangeError,
    ExchangeTooLarge,
    Found,
    FoundElement,
    FoundPart,
    FoundRelationship,
    FoundView,
    ModelHeader,
    Skipped,
)
from functions.catalog.exchange_read import read_model
from functions.catalog.values import MAX_NAME
from functions.catalog.view_values import TOO_LARGE, refusal_of_view
from tests.unit.catalog_world import Catalog
from tests.unit.exchange_samples import ARCHI
from tests.unit.world import World


@pytest.fixture
def found() -> list[Found]:
    return list(read_model(ARCHI))


@pytest.fixture
def view(found: list[Found]) -> FoundView:
    return next(one for one in found if isinstance(one, FoundView))


def test_the_model_says_its_purpose_its_properties_and_their_definitions(found: list[Found]) -> None:
    header = found[0]
    assert isinstance(header, ModelHeader)
    assert (header.identifier, header.name, header.description) == ("11f5304f", "Workshop", "Where things are made.")
    assert header.properties == {"Owner": "Bob"}
    assert [one.key for one in header.definitions] == ["Owner", "Specialization", "Tag"]


def test_elements_have_their_texts_properties_and_specialization(found: list[Found]) -> None:
    elements = {one.identifier: one for one in found if isinstance(one, FoundElement)}
    smith = elements["275"]
    assert (smith.type, smith.name, smith.description) == ("BusinessRole", "Smith", "Forges.")
    assert smith.properties == {"Owner": "Ada", "Tag": "a\nb", "Specialization": "Master"}
    assert elements["ju"].properties == {JUNCTION: "or"}


def test_relationships_have_what_their_type_has(found: list[Found]) -> None:
    arrows = {one.identifier: one for one in found if isinstance(one, FoundRelationship)}
    assert (arrows["as"].type, arrows["as"].source, arrows["as"].target) == ("Assignment", "275", "fo")
    assert (arrows["ac"].access_type, arrows["wr"].access_type) == ("Read", "Write")
    assert (arrows["in"].influence, arrows["di"].is_directed) == ("++", True)
    assert arrows["us"].type == "Serving", "as Archi calls a UsedBy of ArchiMate 2"


def test_boxes_are_where_they_are_in_the_view_not_in_what_they_are_in(view: FoundView) -> None:
    """All is moved by 10, as the group begins left of 0."""
    places = {one["identifier"]: (one["x"], one["y"], one["w"], one["h"], one["parent"]) for one in view.nodes}
    assert places == {
        "g": (0, 20, 400, 200, None),
        "o1": (10, 50, 120, 55, "g"),
        "o3": (15, 55, 50, 20, "o1"),
        "o2": (210, 50, 120, 55, "g"),
        "no": (20, 240, 100, 60, None),
        "re": (20, 320, 100, 60, None),
    }
    assert view.viewpoint == "Capability Map"


def test_groups_notes_and_references_are_what_the_exchange_format_has_for_them(view: FoundView) -> None:
    kinds = {one["identifier"]: (one["type"], [text["text"] for text in one["label"]]) for one in view.nodes}
    assert kinds["g"] == ("Container", ["Inside"])
    assert (kinds["no"], kinds["re"]) == (("Label", ["A note"]), ("Label", ["Second"]))
    assert next(one["view_ids"] for one in view.nodes if one["identifier"] == "re") == ["v2"]


def test_a_nested_relationship_is_no_line_and_a_bend_is_where_archi_draws_it(view: FoundView) -> None:
    lines = {one["identifier"]: one for one in view.connections}
    assert {id: one["type"] for id, one in lines.items()} == {"k": "Relationship", "li": "Line"}
    assert lines["k"]["bendpoints"] == [{"x": 50, "y": 23}]


def test_what_is_said_of_looks_is_kept(view: FoundView) -> None:
    boxes = {one["identifier"]: one["style"] for one in view.nodes}
    assert view.styles[boxes["o1"]] == {
        "fill": "#ff8040 50%",
        "font": "Arial",
        "font_size": "14",
        "font_style": "bold italic",
        "font_color": "#0000ff",
    }
    assert boxes["g"] is None


def leading(boxes: int, name: str) -> bytes:
    """A small file with many boxes that lead to a view of this name."""
    children = "".join(f'<child xsi:type="archimate:DiagramModelReference" id="n{i}" model="v"/>' for i in range(boxes))
    return (
        '<archimate:model xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xmlns:archimate="http://www.archimatetool.com/archimate" name="m" id="m" version="4.9.0">'
        '<folder name="Views" id="f" type="diagrams">'
        f'<element xsi:type="archimate:ArchimateDiagramModel" name="{name}" id="v"/>'
        f'<element xsi:type="archimate:ArchimateDiagramModel" name="w" id="w">{children}</element></folder>'
        "</archimate:model>"
    ).encode()


def test_a_box_that_leads_to_a_view_says_no_more_than_a_name_can_have() -> None:
    leads = next(one for one in read_model(leading(1, "x" * 20_000)) if isinstance(one, FoundView) and one.nodes)
    assert [len(text["text"]) for text in leads.nodes[0]["label"]] == [MAX_NAME]


def test_a_name_counts_each_time_that_a_box_says_it() -> None:
    """A file of half a megabyte, which held would be six."""
    file = leading(6_100, "x" * 1_000)
    assert len(file) < 512 * 1024
    with pytest.raises(ExchangeTooLarge, match="characters of text on boxes and lines"):
        list(read_model(file))


def test_a_view_that_is_too_large_is_refused_before_all_of_it_is_written_out() -> None:
    box = {"label": [{"language": "", "text": "x" * MAX_NAME}]}
    assert refusal_of_view(FoundView("v", nodes=[*[box] * 260, {"label": object()}])) == TOO_LARGE


def test_folders_are_those_that_archi_exports(found: list[Found]) -> None:
    [folders] = [one for one in found if isinstance(one, FoundPart)]
    told = [(row["depth"], row.get("ref") or row["label"][0]["text"]) for row in folders.rows[1:]]
    assert told[:5] == [(1, "Business"), (2, "Roles"), (3, "275"), (2, "fo"), (2, "or")]
    assert (1, "Strategy") not in told and (1, "Other") in told
    assert folders.rows[2]["documentation"] == [{"language": "", "text": "Who does it."}]


def test_what_only_archi_knows_is_told(found: list[Found]) -> None:
    assert [(one.identifier, one.kind) for one in found if isinstance(one, Skipped)] == [("sk", "view")]


def test_a_zipped_file_is_refused_and_hears_what_to_do() -> None:
    with pytest.raises(ExchangeError, match="Open Exchange File"):
        next(read_model(b"PK\x03\x04"))


async def test_it_is_imported_and_exported_as_an_exchange_file(world: World) -> None:
    catalog = await Catalog.of(world)
    report = await catalog.read(ARCHI)
    assert (report.elements.created, report.relationships.created, report.views.created) == (4, 5, 2)
    assert [one.identifier for one in report.skipped_items] == ["sk", "in"], "and what ArchiMate 3 does not allow"
    again = await catalog.read(await catalog.export(report.model_id))
    assert (again.created, again.updated, again.unchanged) == (0, 0, 11)
