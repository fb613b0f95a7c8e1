"""Everything comes back: an exchange file that is imported and exported says what it said (docs/decisions/0052)."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from functions.catalog.exchange import (
    Found,
    FoundElement,
    FoundPart,
    FoundRelationship,
    FoundView,
    ModelHeader,
    PropertyDefinition,
    Rows,
    Section,
    Skipped,
)
from functions.catalog.exchange_read import read_model
from functions.catalog.exchange_write import write_model
from functions.catalog.models import Element
from functions.catalog.view_models import ModelPart, View
from tests.unit.catalog_world import Catalog, process
from tests.unit.exchange_samples import EVERYTHING
from tests.unit.world import World

OLD = "http://www.opengroup.org/xsd/archimate/3.0/"


@pytest.fixture
async def catalog(world: World) -> Catalog:
    return await Catalog.of(world)


def sections(found: Iterable[Found]) -> dict[Section, Rows]:
    parts: dict[Section, Rows] = {}
    for one in found:
        if isinstance(one, FoundPart):
            parts.setdefault(one.section, []).extend(one.rows)
    return parts


def said(body: bytes) -> dict[Any, Any]:
    """What a file says, whatever the order of its items, and of its styles."""
    found = list(read_model(body))
    told: dict[Any, Any] = {**sections(found)}
    for one in found:
        if isinstance(one, FoundView):
            drawn = [{**each, "style": each["style"] is not None and one.styles[each["style"]]}
                     for each in (*one.nodes, *one.connections)]  # fmt: skip
            told["view", one.identifier] = (one.name, one.description, one.languages, one.translations, one.properties,
                                            one.viewpoint, one.viewpoint_ref, drawn)  # fmt: skip
        elif isinstance(one, FoundElement | FoundRelationship | Skipped):
            told[one.identifier] = one
        elif isinstance(one, ModelHeader):
            told["header"] = one
    return told


async def test_a_file_with_every_construct_comes_out_as_it_went_in(catalog: Catalog) -> None:
    report = await catalog.read(EVERYTHING)
    assert (report.elements.created, report.relationships.created, report.views.created) == (4, 4, 2)
    assert report.skipped == 0
    assert said(await catalog.export("workshop")) == said(EVERYTHING)


async def test_the_same_file_and_its_export_change_nothing(catalog: Catalog) -> None:
    await catalog.read(EVERYTHING)
    exported, batches = await catalog.export("workshop"), len(catalog.store.batches)
    for file in (EVERYTHING, exported):
        again = await catalog.read(file)
        assert (again.created, again.updated, again.unchanged, again.parts.changed) == (0, 0, 10, 0)
        mirrored = await catalog.read(file, mode="mirror")
        assert (mirrored.created, mirrored.updated, mirrored.removed, mirrored.parts.changed) == (0, 0, 0, 0)
    assert len(catalog.store.batches) == batches


async def test_two_models_of_equal_identifiers_come_back_from_one_export_of_everything(catalog: Catalog) -> None:
    """The boxes of both are called alike too; in one file no two identifiers may be."""
    for name in ("one", "two"):
        await catalog.read(EVERYTHING, name)
    exported, batches = await catalog.export(), len(catalog.store.batches)
    found = [one for one in read_model(exported) if isinstance(one, FoundView)]
    called = [each["identifier"] for one in found for each in (*one.nodes, *one.connections)]
    assert len(found) == 4 and len(set(called)) == len(called) == 20
    again = await catalog.read(exported)
    assert (again.created, again.updated, again.unchanged, again.skipped) == (0, 0, 20, 0)
    assert len(catalog.store.batches) == batches


async def test_what_a_view_shows_and_is_deleted_leaves_its_box(catalog: Catalog) -> None:
    await catalog.read(EVERYTHING)
    [smith] = [one for one in await catalog.stored(Element.KIND) if one["name"] == "Smith"]
    await catalog.delete_element(smith["id"], cascade=True)
    exported = await catalog.export("workshop")
    [view] = [one for one in read_model(exported) if isinstance(one, FoundView) and one.name == "Main"]
    boxes = {one["identifier"]: (one["type"], one["element_id"]) for one in view.nodes}
    lines = {one["identifier"]: one["type"] for one in view.connections}
    assert boxes["n2"] == ("Container", None) and boxes["n3"] == ("Element", "order")
    assert lines["c1"] == "Line"
    assert b'identifierRef="smith"' not in exported and b'identifierRef="forging"' in exported


async def test_a_merge_keeps_what_a_file_does_not_say_of_its_model(catalog: Catalog) -> None:
    await catalog.read(EVERYTHING)
    bare = b"".join(
        write_model(ModelHeader("workshop", "Workshop"), [process("smith", "Smith", type="BusinessRole")], [])
    )
    await catalog.read(bare)
    kept = said(await catalog.export("workshop"))
    assert kept["organizations"] == said(EVERYTHING)["organizations"]
    assert (kept["header"].description, kept["header"].version) == ("Where things are made.", "1.2")
    await catalog.read(bare, mode="mirror")
    left = said(await catalog.export("workshop"))
    assert [key for key in left if key != "header"] == ["smith"]
    assert (left["header"].description, left["header"].definitions) == ("", ())


async def test_folders_of_many_items_are_kept_in_stretches(catalog: Catalog) -> None:
    elements = [process(f"e{number}") for number in range(1200)]
    rows: Rows = [{"depth": 0}, *({"depth": 1, "ref": one.identifier} for one in elements)]
    file = b"".join(write_model(ModelHeader("m", "M"), elements, [], [], {"organizations": rows}))
    report = await catalog.read(file)
    stored = await catalog.stored(ModelPart.KIND)
    assert sorted(len(one["rows"]) for one in stored) == [201, 1000] and report.parts.created == 2
    assert sections(read_model(await catalog.export("m")))["organizations"] == rows


async def test_a_view_beyond_what_an_item_holds_is_skipped_and_told(catalog: Catalog) -> None:
    box = '<node identifier="n{}" x="0" y="0" w="1" h="1" xsi:type="Label"><label>{}</label></node>'
    boxes = "".join(box.format(number, "x" * 9000) for number in range(40))
    view = f'<views><diagrams><view identifier="v" xsi:type="Diagram"><name>V</name>{boxes}</view></diagrams></views>'
    file = EVERYTHING.replace(b"</model>", b"").partition(b"<organizations>")[0] + view.encode() + b"</model>"
    report = await catalog.read(file)
    assert (report.views.skipped, report.views.taken) == (1, 0)
    assert "Divide the view" in report.skipped_items[0].reason
    assert await catalog.stored(View.KIND) == []


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ('<node identifier="a" x="1" y="1" w="9" h="9"/><node identifier="a" x="1" y="1" w="9" h="9"/>', "called"),
        ('<node identifier="a" x="left" y="1" w="9" h="9"/>', "no number"),
        ('<node identifier="a" x="1e300" y="1" w="9" h="9"/>', "beyond"),
        ('<node identifier="a" x="nan" y="1" w="9" h="9"/>', "no number"),
        ('<connection identifier="c" relationshipRef="r" source="a" target="b" xsi:type="Relationship"/>', "no source"),
    ],
)
def test_a_view_that_cannot_be_drawn_is_skipped(wrong: str, reason: str) -> None:
    view = f'<view identifier="v" xsi:type="Diagram"><name>V</name>{wrong}</view>'
    file = f'<model xmlns="{OLD}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" identifier="m">'
    _, found = read_model(f"{file}<views><diagrams>{view}</diagrams></views></model>".encode())
    assert isinstance(found, Skipped) and (found.kind, found.identifier) == ("view", "v")
    assert reason in found.reason


def test_a_view_that_begins_beyond_its_corner_is_moved_as_a_whole() -> None:
    moved = EVERYTHING.replace(b'x="180" y="40"', b'x="-20" y="-40"')
    [view] = [one for one in read_model(moved) if isinstance(one, FoundView) and one.name == "Main"]
    [was] = [one for one in read_model(EVERYTHING) if isinstance(one, FoundView) and one.name == "Main"]
    assert [(one["x"], one["y"]) for one in view.nodes] == [(one["x"] + 20, one["y"] + 40) for one in was.nodes]
    assert view.connections[0]["bendpoints"][0] == {"x": 0, "y": 0}


# --- made-up models --------------------------------------------------------------------------------------------------

TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1, max_size=12
)
TEXTS = st.lists(st.fixed_dictionaries({"language": st.sampled_from(["", "en", "de"]), "text": TEXT}), max_size=2)
PLACE = st.integers(0, 2000)
POINT = st.fixed_dictionaries({"x": PLACE, "y": PLACE})
COLOR = st.sampled_from(["#000000", "#ffffb5", "#12ab9f 0%", "#ffffff 100%"])
STYLE = st.fixed_dictionaries(
    {},
    optional={
        "fill": COLOR,
        "line": COLOR,
        "line_width": st.integers(1, 9),
        "font": TEXT,
        "font_size": st.sampled_from(["9", "9.5", "14"]),
        "font_style": st.sampled_from(["bold", "bold italic", "underline"]),
        "font_color": COLOR,
    },
).filter(bool)


@st.composite
def views(draw: st.DrawFn, number: int, elements: list[str], arrows: list[str]) -> FoundView:
    styles = draw(st.lists(STYLE, max_size=3, unique_by=lambda one: tuple(sorted(one.items()))))
    numbers = st.one_of(st.none(), st.integers(0, len(styles) - 1)) if styles else st.none()
    size = draw(st.integers(0, 6))
    nodes: Rows = []
    open_nodes: list[str] = []
    for count in range(size):
        open_nodes = open_nodes[: draw(st.integers(0, len(open_nodes)))]
        kind = draw(st.sampled_from(["Element", "Container", "Label"] if elements else ["Container", "Label"]))
        drawn = {"label": draw(TEXTS), "documentation": draw(TEXTS), "style": draw(numbers), "view_ids": []}
        place = {name: draw(PLACE) for name in "xy"} | {name: draw(st.integers(1, 500)) for name in "wh"}
        element = draw(st.sampled_from(elements)) if kind == "Element" else None
        identifier, parent = f"v{number}n{count}", open_nodes[-1] if open_nodes else None
        one = {"identifier": identifier, "type": kind, "parent": parent, "element_id": element, "part": None}
        nodes.append({**one, **drawn, **place})
        open_nodes = [*open_nodes, identifier] if kind != "Label" else open_nodes
    ends = [one["identifier"] for one in nodes]
    lines: Rows = [
        {
            "identifier": f"v{number}c{count}",
            "type": "Line",
            "relationship_id": draw(st.sampled_from([None, *arrows])),
            "source": draw(st.sampled_from(ends)),
            "target": draw(st.sampled_from(ends)),
            "label": draw(TEXTS),
            "documentation": [],
            "style": draw(numbers),
            "view_ids": [],
            "source_attachment": draw(st.one_of(st.none(), POINT)),
            "bendpoints": draw(st.lists(POINT, max_size=3)),
            "target_attachment": None,
        }
        for count in range(draw(st.integers(0, 4)) if ends else 0)
    ]
    for one in lines:
        one["type"] = "Relationship" if one["relationship_id"] else "Line"
    return FoundView(f"v{number}", draw(TEXT), draw(TEXT), styles=styles, nodes=nodes, connections=lines)


@dataclass(frozen=True, repr=False)
class Made:
    """A file that is not shown whole."""

    body: bytes


@st.composite
def models(draw: st.DrawFn) -> Made:
    elements = [process(f"e{number}", draw(TEXT)) for number in range(draw(st.integers(0, 4)))]
    ids = [one.identifier for one in elements]
    ends = draw(st.lists(st.tuples(st.sampled_from(ids), st.sampled_from(ids)), max_size=3)) if ids else []
    arrows = [FoundRelationship(f"r{number}", "Association", *pair) for number, pair in enumerate(ends)]
    named = [one.identifier for one in arrows]
    shown = [draw(views(number, ids, named)) for number in range(draw(st.integers(0, 2)))]
    rows: Rows = [{"depth": 0}] if ids or shown else []
    for identifier in [*ids, *named, *(one.identifier for one in shown)] if rows else []:
        if draw(st.booleans()):
            rows.append(
                {"depth": draw(st.integers(1, rows[-1]["depth"] + 1)), "label": [{"language": "", "text": "f"}]}
            )
        deepest = rows[-1]["depth"] if "ref" in rows[-1] else rows[-1]["depth"] + 1
        rows.append({"depth": draw(st.integers(1, max(1, deepest))), "ref": identifier})
    definitions = tuple(
        PropertyDefinition(f"p{number}", f"{text}{number}", kind, {"": f"{text}{number}"})
        for number, (text, kind) in enumerate(
            draw(st.lists(st.tuples(TEXT, st.sampled_from(["string", "date"])), max_size=2))
        )
    )
    header = ModelHeader("made-up", draw(TEXT), draw(TEXT), draw(st.one_of(st.none(), TEXT)), definitions=definitions)
    return Made(b"".join(write_model(header, elements, arrows, shown, {"organizations": rows})))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=models(), then=models())
def test_a_made_up_model_comes_out_as_it_went_in(first: Made, then: Made) -> None:
    """The second is mirrored into the model of the first: what that had and this does not have is gone."""

    async def run() -> None:
        with TemporaryDirectory() as folder:
            world = World.over(Path(folder))
            try:
                catalog = await Catalog.of(world)
                for made in (first, then):
                    report = await catalog.read(made.body, mode="mirror")
                    assert report.skipped == 0
                    exported = await catalog.export("made-up")
                    assert said(exported) == said(made.body)
                    again = await catalog.read(exported, mode="mirror")
                    assert (again.created, again.updated, again.removed, again.parts.changed) == (0, 0, 0, 0)
            finally:
                await world.close()

    assume(all(b"<element " in made.body for made in (first, then)))  # nothing is mirrored into nothing
    asyncio.run(run())
