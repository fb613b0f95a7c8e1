"""Hooks: signed URLs by which others start runs of an agent. What is stored and shown, and what a client may set."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from shared.http.pagination import NamedQuery
from shared.kinds import Kind
from shared.members.makers import Maker
from shared.work.resources import WHOLE, Answer, Body, Id, Name, Resource, Timestamp

Style = Literal["standard", "github", "stripe", "plain"]
MOST_HOOKS = 100
"""Of a tenant."""

MOST_OVERLAP_HOURS = 7 * 24
COUNTER = "hooks"
MAX_SECRET = 256


class NewHook(Body):
    """A URL for deliveries of somebody else, each of which starts a run as whoever makes this."""

    name: Name = Field(description="What it is called.")
    style: Style = Field(
        description="How deliveries are signed; `standard`: Standard Webhooks; `plain`: `X-Signature`, an HMAC-SHA-256 "
        "of the body in hex."
    )
    secret: str | None = Field(
        None,
        json_schema_extra={"writeOnly": True},
        description=f"What deliveries are signed with: 16 to {MAX_SECRET} characters, of `standard` `whsec_` and "
        "base64. Null: it is set by a rotation, and nothing is taken until then.",
    )


class HookRotation(Body):
    """How a hook's secret is set or changed."""

    secret: str = Field(json_schema_extra={"writeOnly": True}, description="The new one.")
    overlap_hours: Annotated[int, Field(ge=0, le=MOST_OVERLAP_HOURS), WHOLE] = Field(
        24, description="How long the old secret is good beside the new one; 0: it ends now."
    )


def of_no_known_identity(body: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 to 2: whose it was is known by the user alone, so it starts nothing any more; it can be looked at."""
    return {"identity": "", **body}


class HookItem(Resource):
    """A hook as it is stored and audited, without its secrets and its URL. It is in no backup and no export: a restore
    lets nobody in.

    `user_since`: of the user whose hook it is, who may be removed and another be invited by the same address.
    """

    KIND: ClassVar[Kind] = Kind(
        "hook", filtered=("agent_id",), sorted=("updated_at", "name"), upcasts=[of_no_known_identity]
    )

    name: str = Field(description="What it is called.")
    agent_id: Id = Field(description="The agent that runs.")
    user_id: Id = Field(description="Who made it: runs are started as them, and end with them.")
    user_since: Timestamp = Field(description="Since when they are a user here.")
    identity: str = Field(description="A digest of the identity that they signed in with: another's starts nothing.")
    made_with: Id | None = Field(description="The API key with which it was made, and with which it ends.")
    style: Style = Field(description="How deliveries are signed.")
    secret_reference: str | None = Field(description="Where the secret is kept; it opens nothing by itself.")
    old_secret_reference: str | None = Field(description="Where the one before is kept.")
    old_secret_until: Timestamp | None = Field(description="Until when that is good as well.")

    @property
    def maker(self) -> Maker:
        return Maker.model_validate(self.model_dump(include={*Maker.model_fields}))


class Hook(HookItem):
    """A hook as it is shown."""

    path: str = Field(description="Where deliveries are sent (POST): the path of its URL.")
    url: str | None = Field(description="All of its URL; null where Flowgrid does not know its own address.")


class HookQuery(NamedQuery):
    """The filters of the list of hooks, all of them equality."""

    agent_id: str | None = Field(None, max_length=100)


class Delivered(Answer):
    """What has come of a delivery; the same again when it comes again."""

    execution_id: Id | None = Field(description="The run that it has started; null: it was a ping.")
