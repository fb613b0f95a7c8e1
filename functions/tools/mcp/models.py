"""MCP servers of a tenant: what is stored and shown, and what a client may set."""

from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, computed_field

from functions.tools.models import APPROVERS, Approval, AuthHeader, AuthPrefix, NewSecret, ToolName
from functions.tools.port import fingerprint_of
from shared.auth.roles import Role
from shared.http.pagination import NamedQuery, Query
from shared.ids import derived_id
from shared.kinds import Kind
from shared.work.resources import WHOLE, Body, JsonObject, Resource, Timestamp

MAX_TOOLS: Final = 100
MAX_TOOLS_BYTES: Final = 128 * 1024  # of all tools of a server, as they are kept
MAX_DESCRIPTION: Final = 2000
MAX_SECONDS: Final = 50  # with the goodbye to a session it is less than a run gives a tool
TOOL_NAME: Final = r"^[A-Za-z0-9_.-]{1,128}$"  # as the specification of 2025-11-25 has it

RemoteName = Annotated[str, StringConstraints(pattern=TOOL_NAME)]
Became = Literal["new", "changed", "gone", "refused"]


class McpServerFields(Body):
    """What a client may set of an MCP server."""

    name: ToolName = Field(
        description="What agents name its tools by, as `mcp:<name>.<tool>`; it stays.", examples=["tickets"]
    )
    url: str = Field(
        max_length=2000, description="Where it answers: https, public.", examples=["https://mcp.acme.example/mcp"]
    )
    auth_header: AuthHeader = "Authorization"
    auth_prefix: AuthPrefix = "Bearer "
    secret: NewSecret = None
    timeout_seconds: Annotated[int, WHOLE] = Field(
        30, ge=1, le=MAX_SECONDS, description="Of a call or a refresh, all in all."
    )
    approval: Approval = Field("user", description="Who approves each call before it is made.")
    safe: list[RemoteName] = Field(
        [],
        max_length=MAX_TOOLS,
        description="Those of its tools whose calls nobody has to approve. What a refresh changes is safe no more.",
    )
    idempotent: list[RemoteName] = Field(
        [], max_length=MAX_TOOLS, description="Those of its tools that may be called again after a crash."
    )


class RemoteTool(BaseModel):
    """A tool as it was when it was taken: what models are told of it, and what its arguments are held against."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    name: str = Field(description="What the server calls it.")
    description: str = Field(description="What the model is told about it; the server says so.")
    parameters: JsonObject = Field(description="JSON Schema of the arguments.")
    digest: str = Field(description="SHA-256 of what the server said of it; of something else it is not called.")


class ToolChange(BaseModel):
    """What a refresh has made of a tool."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    name: str = Field(description="What the server calls it.")
    became: Became = Field(description="What is different; `refused`: it cannot be taken.")
    reason: str | None = Field(None, description="Why it cannot be taken.")


def returned(body: dict[str, Any], now: dict[str, Any] | None) -> dict[str, Any]:
    """As a restore brings it back: nothing of it is safe or may be repeated, and calls want the higher approval of the
    two, a user's at least. What was trusted then an admin may have taken back since, or the server may have changed."""
    ranks = get_args(Approval)
    approval = max(("user", body["approval"], *([now["approval"]] if now else [])), key=ranks.index)
    return {**body, "safe": [], "idempotent": [], "approval": approval}


class McpServer(Resource):
    """An MCP server of the tenant's choice, whose tools its agents may use."""

    KIND: ClassVar[Kind] = Kind(
        "mcp_server",
        filtered=("name",),
        sorted=("updated_at", "name"),
        counter="mcp_servers",
        backup="restored",
        returns=returned,
        journalled=True,
        exported=True,
    )

    name: str = Field(description="What agents name its tools by, as `mcp:<name>.<tool>`.")
    url: str = Field(description="Where it answers.")
    auth_header: str = Field(description="The header that carries the secret.")
    auth_prefix: str = Field(description="What stands before the secret in its header.")
    secret_reference: str | None = Field(description="Where the secret is kept; it opens nothing by itself.")
    timeout_seconds: int = Field(description="Of a call or a refresh, all in all.")
    approval: Approval = Field(description="Who approves each call before it is made.")
    safe: list[str] = Field(description="Those of its tools whose calls nobody has to approve.")
    idempotent: list[str] = Field(description="Those of its tools that may be called again after a crash.")
    protocol_version: str | None = Field(description="The version that is spoken with it; null: not refreshed yet.")
    refreshed_at: Timestamp | None = Field(description="When its tools were taken; null: never.")
    tools: list[RemoteTool] = Field(description="Its tools as they were then.")
    changes: list[ToolChange] = Field(description="What the last refresh has changed.")

    @computed_field(description="Whether calls carry a secret.")  # type: ignore[prop-decorator]  # mypy #1362
    @property
    def has_secret(self) -> bool:
        return self.secret_reference is not None

    @computed_field(description="SHA-256 over its tools; what a dry run tells, a refresh takes as `expect`.")  # type: ignore[prop-decorator]  # mypy #1362
    @property
    def tools_digest(self) -> str:
        return fingerprint_of(*sorted((one.name, one.digest) for one in self.tools))

    def tool(self, name: str) -> RemoteTool | None:
        return next((one for one in self.tools if one.name == name), None)

    def approver(self, tool: str) -> Role | None:
        return None if tool in self.safe else APPROVERS[self.approval]


class McpServerQuery(NamedQuery):
    """The filters of the list of MCP servers, all of them equality."""

    name: str | None = Field(None, max_length=255)


class RefreshQuery(Query):
    dry_run: bool = Field(False, description="Say what would be changed, and change nothing.")
    expect: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="Take no other tools than those of this `tools_digest`, which a dry run has told.",
    )


def mcp_server_id(name: str) -> str:
    """The same in every tenant, so that a copy of one finds its servers by name as well."""
    return derived_id(McpServer.KIND, name)
