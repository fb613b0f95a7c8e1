"""Views as clients see them: listed, read, and drawn as SVG."""

from xml.etree import ElementTree

import pytest

from functions.catalog.drawing import Shown, svg_of
from functions.catalog.lettering import wrapped
from functions.catalog.shapes import Box, edge_of
from functions.catalog.view_models import View
from tests.unit.exchange_samples import EVERYTHING
from tests.unit.world import World, admin

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
async def drawn(world: World) -> tuple[str, ElementTree.Element]:
    """What `GET views/{id}.svg` says of the main view, and that as XML."""
    tenant = (await world.onboard())["id"]
    await world.call("import_catalog", admin(tenant), EVERYTHING, headers={"content-type": "application/xml"})
    listed = (await world.call("list_views", admin(tenant), query={"name": "Main"})).json["items"]
    answer = await world.call("draw_view", admin(tenant), params={"view_id": listed[0]["id"]})
    assert answer.status == 200
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    return answer.raw.decode(), ElementTree.fromstring(answer.raw)


async def test_views_are_listed_without_what_they_draw_and_read_with_it(world: World) -> None:
    tenant = (await world.onboard())["id"]
    report = await world.call("import_catalog", admin(tenant), EVERYTHING, headers={"content-type": "application/xml"})
    listed = await world.call("list_views", admin(tenant), query={"model_id": report.json["model_id"], "sort": "name"})
    assert [(one["name"], one["nodes"], one["connections"]) for one in listed.json["items"]] == [
        ("Main", 6, 4),
        ("Second", 0, 0),
    ]
    read = await world.call("get_view", admin(tenant), params={"view_id": listed.json["items"][0]["id"]})
    assert read.etag and [one["identifier"] for one in read.json["nodes"]] == ["n1", "n2", "n3", "n4", "n5", "n6"]
    assert read.json["nodes"][1]["element_id"] is not None


async def test_a_drawing_has_a_box_with_its_name_for_each_node(drawn: tuple[str, ElementTree.Element]) -> None:
    text, svg = drawn
    boxes = {(one.get("x"), one.get("y")): one for one in svg.iter(f"{SVG}rect")}
    assert (boxes["10", "20"].get("fill"), boxes["10", "20"].get("fill-opacity")) == ("#0102ff", "0.5")
    assert boxes["220", "50"].get("fill") == "#ffffb5" and boxes["220", "50"].get("rx") == "8"
    words = [one.text for one in svg.iter(f"{SVG}tspan")]
    assert {"Inside", "Smith", "Forging", "A note <b>"} <= set(words)
    assert "<b>" not in text


async def test_a_line_bends_where_it_should_and_ends_as_its_type_says(drawn: tuple[str, ElementTree.Element]) -> None:
    _, svg = drawn
    lines = {one.get("points"): one for one in svg.iter(f"{SVG}polyline")}
    does = lines["140,60 180,40 200,90 220,60"]
    assert (does.get("marker-start"), does.get("marker-end")) == ("url(#ball)", "url(#arrow)")
    assert len(lines) == 2, "a nesting is not drawn, nor a line that is nowhere"


def view(**content: object) -> View:
    envelope = {"id": "v", "tenant_id": "t", "revision": 1, "created_at": "x", "updated_at": "x", "created_by": "u"}
    fields = {"name": "V", "description": "", "properties": {}, "styles": [], "nodes": [], "connections": []}
    return View.model_validate({**envelope, "updated_by": "u", **fields, **content})


NOTHING = Shown({}, {}, {}, {})
HOSTILE = '</text><script>alert(1)</script>"\' onload="x'


def test_nothing_of_a_model_becomes_markup() -> None:
    """Whatever stands in names, labels, fonts and styles."""
    box = {"identifier": "n", "type": "Label", "x": 0, "y": 0, "w": 900, "h": 90, "style": 0}
    styles = [{"font": HOSTILE, "font_style": HOSTILE}]
    label = [{"language": "", "text": HOSTILE}]
    drawn = svg_of(view(name=HOSTILE, nodes=[{**box, "label": label}], styles=styles), NOTHING)
    nodes = list(ElementTree.fromstring(drawn).iter())
    tags = {one.tag.removeprefix(SVG) for one in nodes}
    assert tags <= {"svg", "title", "defs", "marker", "path", "rect", "text", "tspan"}
    assert "onload" not in {name for one in nodes for name in one.attrib}
    assert HOSTILE in [one.text for one in nodes]


def test_lines_at_lines_that_are_at_each_other_are_left_out() -> None:
    line = {"type": "Line", "bendpoints": []}
    lines = [
        {**line, "identifier": "a", "source": "b", "target": "b"},
        {**line, "identifier": "b", "source": "a", "target": "a"},
    ]
    assert b"<polyline" not in svg_of(view(connections=lines), NOTHING)


@pytest.mark.parametrize(
    ("towards", "meets"),
    [
        ((50, -10), (50, 0)),
        ((50, 90), (50, 40)),
        ((-9, 20), (0, 20)),
        ((300, 20), (100, 20)),
        ((150, 60), (100, 40)),
        ((50, 20), (50, 20)),
    ],
)
def test_a_line_leaves_a_box_at_its_edge(towards: tuple[float, float], meets: tuple[float, float]) -> None:
    assert edge_of(Box(0, 0, 100, 40), towards) == meets


def test_a_name_is_wrapped_and_cut_where_there_is_no_more_room() -> None:
    assert wrapped("Customer Information Service", 11, 3) == ["Customer", "Information", "Service"]
    assert wrapped("Customer Information Service", 11, 2) == ["Customer", "Informatio…"]
    assert wrapped("Donaudampfschiff", 6, 9) == ["Donaud", "ampfsc", "hiff"]
    assert wrapped("a\n\nb\n", 6, 9) == ["a", "", "b"]
