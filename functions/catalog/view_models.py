"""Views: what a model shows, where, and how. Stored flat: nodes in the file's order, each after what it is in.

Elements and relationships are named by id; one that has been deleted since is shown as the box or line that is left.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from functions.catalog.exchange import Section
from functions.catalog.models import Imported, Writable
from shared.http.pagination import NamedQuery
from shared.kinds import Kind
from shared.work.resources import Answer, Id, JsonObject, Resource, Timestamp

MAX_CHILD_IDENTIFIER = 200  # in an export that holds it twice, it begins with the id of its view
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CHILD_IDENTIFIER)]
Color = Annotated[
    str,
    StringConstraints(pattern=r"^#[0-9a-f]{6}( (100|[1-9]?[0-9])%)?$"),
    Field(examples=["#ffffb5", "#ffffb5 80%"]),
]


class LabelText(Answer):
    """A text in a language; "" where none is said."""

    language: str = Field("", max_length=50, description="As xml:lang has it.")
    text: Annotated[str, Field(max_length=20_000, description="The words."), Writable]


class Style(Answer):
    """What is not said is left to who draws."""

    fill: Color | None = Field(None, description="Of a box; with a percentage where it is not opaque.")
    line: Color | None = Field(None, description="Of its edge, or of the line.")
    line_width: int | None = Field(None, ge=1, le=1_000_000, description="In pixels.")
    font: str | None = Field(None, max_length=4000, description="Its name.")
    font_size: str | None = Field(None, pattern=r"^[1-9][0-9]*(\.5)?$", description="In points.")
    font_style: str | None = Field(None, max_length=100, description="plain, bold, italic, underline.")
    font_color: Color | None = Field(None, description="Of the text.")


class Point(Answer):
    """From the top left corner of the view, in pixels."""

    x: int = Field(description="To the right.")
    y: int = Field(description="Down.")


class Drawn(Answer):
    """What boxes and lines have in common."""

    identifier: Identifier = Field(description="What the file calls it; unique in its view.")
    style: int | None = Field(None, ge=0, description="Which of the view's styles it has.")
    label: list[LabelText] = Field([], description="What is written in place of a name.")
    documentation: list[LabelText] = Field([], description="What it is, in words.")
    view_ids: list[str] = Field([], description="The views that it leads to.")


class ViewNode(Drawn):
    """A box: an element, a group, or a note."""

    type: Literal["Element", "Container", "Label"] = Field(description="An element, a group, or a note.")
    parent: str | None = Field(None, description="The node that it is in.")
    element_id: str | None = Field(
        None, description="The element; of a Label: the element or relationship it tells of."
    )
    part: Annotated[str, Field(max_length=4000), Writable] | None = Field(None, description="Of a Label: which part.")
    x: int = Field(description="From the left of the view, in pixels.")
    y: int = Field(description="From its top.")
    w: int = Field(ge=1, description="Its width.")
    h: int = Field(ge=1, description="Its height.")


class ViewConnection(Drawn):
    """A line: a relationship, or only a line."""

    type: Literal["Relationship", "NestingRelationship", "Line"] = Field(description="What it is.")
    relationship_id: str | None = Field(None, description="The relationship.")
    source: str | None = Field(None, description="The node or connection that it begins at.")
    target: str | None = Field(None, description="Where it ends.")
    source_attachment: Point | None = Field(None, description="Where at the source, if not at its edge.")
    bendpoints: list[Point] = Field(description="Where it bends, in order.")
    target_attachment: Point | None = Field(None, description="Where at the target.")


class View(Imported):
    """A view, with all that it draws."""

    KIND: ClassVar[Kind] = Kind(
        "view",
        filtered=("name", "model_id"),
        sorted=("updated_at", "name"),
        refers={"model_id": ("model",)},
        backup="restored",
        journalled=True,
        exported=True,
    )

    name: str = Field(description="What it is called.")
    viewpoint: Annotated[str, Field(max_length=4000), Writable] | None = Field(
        None, description="Its viewpoint's name."
    )
    viewpoint_ref: str | None = Field(None, max_length=255, description="Its viewpoint, where the model defines it.")
    styles: list[Style] = Field(description="The styles that its nodes and connections have.")
    nodes: list[ViewNode] = Field(description="Its boxes; each after the one that it is in, and behind the next.")
    connections: list[ViewConnection] = Field(description="Its lines.")


class ViewSummary(Answer):
    """A view, without what it draws."""

    KIND: ClassVar[Kind] = View.KIND

    id: Id = Field(description="Its id, for ever.")
    model_id: Id | None = Field(description="The model that it is part of.")
    name: str = Field(description="What it is called.")
    description: str = Field(description="What it is, in words.")
    viewpoint: str | None = Field(description="Its viewpoint's name.")
    nodes: int = Field(description="How many boxes it has.")
    connections: int = Field(description="How many lines it has.")
    updated_at: Timestamp = Field(description="When it last changed.")

    @classmethod
    def of(cls, view: View) -> "ViewSummary":
        counted = {"nodes": len(view.nodes), "connections": len(view.connections)}
        return cls.model_validate({**view.model_dump(include={*cls.model_fields} - {*counted}), **counted})


class ViewQuery(NamedQuery):
    name: str | None = Field(None, max_length=1000)
    model_id: str | None = Field(None, max_length=100)


class ModelPart(Resource):
    """A stretch of what a model is beside its items: folders, property definitions, metadata, viewpoints."""

    KIND: ClassVar[Kind] = Kind(
        "model_part",
        filtered=("model_id",),
        refers={"model_id": ("model",)},
        backup="restored",
        journalled=True,
        exported=True,
    )

    model_id: Id = Field(description="The model that it is part of.")
    section: Section = Field(description="What its rows are.")
    number: int = Field(description="0, 1, …: its place among those of its section.")
    rows: list[JsonObject] = Field(description="In the file's order, each with its depth.")


def content_of(found: Any) -> dict[str, Any]:
    """The fields of a view that a file says, of a `FoundView` or a `View`."""
    return {name: getattr(found, name) for name in CONTENT}


CONTENT = (
    "name",
    "description",
    "languages",
    "translations",
    "properties",
    "viewpoint",
    "viewpoint_ref",
    "styles",
    "nodes",
    "connections",
)
