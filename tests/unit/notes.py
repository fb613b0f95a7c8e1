"""A resource that only tests have: all that a new one takes."""

from typing import ClassVar

import azure.functions as func
from pydantic import Field

from shared.http.crud import crud
from shared.http.endpoint import Endpoint
from shared.http.pagination import ResourceQuery
from shared.kinds import Kind
from shared.work.resources import Body, Id, Name, Resource
from shared.work.service import ResourceService


class NoteFields(Body):
    title: Name = Field(description="What it is about.")
    color: str = Field("yellow", max_length=20, description="Of the paper.")
    element_id: Id | None = Field(None, description="The element that the note hangs on.")


class Note(Resource):
    """A note on the landscape."""

    KIND: ClassVar[Kind] = Kind(
        "note",
        filtered=("color", "element_id"),
        sorted=("updated_at",),
        refers={"element_id": ("element",)},
        backup="restored",
        journalled=True,
        exported=True,
    )

    title: str
    color: str
    element_id: Id | None


class NoteQuery(ResourceQuery):
    color: str | None = Field(None, max_length=20)


class NoteService(ResourceService[Note, NoteFields]):
    model = Note


def blueprint(endpoint: Endpoint) -> func.Blueprint:
    routes = func.Blueprint()
    body = {"title": "Ask Grace"}
    crud(endpoint, routes, NoteService(), path="notes", fields=NoteFields, query=NoteQuery, example=body, patch=body)
    return routes
