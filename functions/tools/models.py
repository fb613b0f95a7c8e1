"""HTTP tools: what is stored and shown, and what a client may set."""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, StringConstraints, computed_field

from shared.auth.roles import Role
from shared.http.pagination import NamedQuery
from shared.ids import derived_id
from shared.kinds import Kind
from shared.work.resources import WHOLE, Body, JsonObject, Resource

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Approval = Literal["none", "user", "admin"]
APPROVERS: Final[dict[Approval, Role | None]] = {"none": None, "user": Role.USER, "admin": Role.ADMIN}
IN_QUERY: Final = ("GET", "DELETE")  # their arguments are in the URL: a body of theirs means nothing (RFC 9110 §9.3)
IDEMPOTENT: Final = ("GET", "PUT", "DELETE")
MAX_SECONDS: Final = 60
MAX_ANSWER_BYTES: Final = 256 * 1024
MAX_HEADERS: Final = 20

ToolName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,50}$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[!-~]([ -~]{0,998}[!-~])?$")]
Argument = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Secret = Annotated[str, StringConstraints(pattern=r"^([!-~]([ -~]{6,4094}[!-~]))?$")]

EMPTY: Final[dict[str, Any]] = {"type": "object", "properties": {}}


AuthHeader = Annotated[HeaderName, Field(description="The header that carries the secret.")]
AuthPrefix = Annotated[
    str, Field(pattern=r"^([!-~][ -~]{0,49})?$", description="What stands before the secret in its header.")
]
NewSecret = Annotated[
    Secret | None,
    Field(
        description="The key, 8 characters or more, which is never shown again. Without it: as it was; empty: none.",
        json_schema_extra={"writeOnly": True},
    ),
]


class ToolFields(Body):
    """What a client may set of a tool: the body of POST and PUT, and what a merge patch applies to."""

    name: ToolName = Field(description="What agents name it by, as `http:<name>`; it stays.", examples=["get-claim"])
    description: str = Field("", max_length=2000, description="What the model is told about it.")
    method: Method = Field("GET", description="HTTP method.")
    url: str = Field(
        max_length=2000,
        description="What is called: https, public; `{argument}` stands for an argument within its path.",
        examples=["https://api.acme.example/claims/{claim_id}"],
    )
    parameters: JsonObject = Field(
        EMPTY, description="JSON Schema (2020-12) of the arguments: of an object, without references."
    )
    query: list[Argument] = Field(
        [],
        max_length=100,
        description="Arguments that go into the query. Others go into a JSON body; with GET and DELETE into the query.",
    )
    headers: dict[HeaderName, HeaderValue] = Field(
        {}, max_length=MAX_HEADERS, description="Headers of every call; nothing secret."
    )
    auth_header: AuthHeader = "Authorization"
    auth_prefix: AuthPrefix = "Bearer "
    secret: NewSecret = None
    idempotent: bool | None = Field(
        None, description="Whether a call may be made again after a crash; null: with GET, PUT and DELETE."
    )
    idempotency_header: HeaderName | None = Field(
        None, description="A header that gets a key which is the same whenever a call is made again."
    )
    approval: Approval = Field("none", description="Who approves each call before it is made.")
    timeout_seconds: Annotated[int, WHOLE] = Field(30, ge=1, le=MAX_SECONDS, description="Of a call, all in all.")
    max_answer_bytes: Annotated[int, WHOLE] = Field(
        65_536, ge=1024, le=MAX_ANSWER_BYTES, description="A longer answer is an error."
    )


class Tool(Resource):
    """An HTTP API of the tenant's choice, as a tool of its agents."""

    KIND: ClassVar[Kind] = Kind(
        "tool",
        filtered=("name",),
        sorted=("updated_at", "name"),
        backup="restored",
        journalled=True,
        exported=True,
    )

    name: str = Field(description="What agents name it by, as `http:<name>`.")
    description: str = Field(description="What the model is told about it.")
    method: Method = Field(description="HTTP method.")
    url: str = Field(description="What is called; `{argument}` stands for an argument.")
    parameters: JsonObject = Field(description="JSON Schema of the arguments.")
    query: list[str] = Field(description="Arguments that go into the query.")
    headers: dict[str, str] = Field(description="Headers of every call.")
    auth_header: str = Field(description="The header that carries the secret.")
    auth_prefix: str = Field(description="What stands before the secret in its header.")
    secret_reference: str | None = Field(description="Where the secret is kept; it opens nothing by itself.")
    idempotent: bool | None = Field(description="Whether a call may be made again; null: by its method.")
    idempotency_header: str | None = Field(description="The header that gets the key of a call.")
    approval: Approval = Field(description="Who approves each call before it is made.")
    timeout_seconds: int = Field(description="Of a call, all in all.")
    max_answer_bytes: int = Field(description="A longer answer is an error.")

    @computed_field(description="Whether calls carry a secret.")  # type: ignore[prop-decorator]  # mypy #1362
    @property
    def has_secret(self) -> bool:
        return self.secret_reference is not None

    @property
    def repeatable(self) -> bool:
        return self.method in IDEMPOTENT if self.idempotent is None else self.idempotent


class ToolQuery(NamedQuery):
    """The filters of the tool list, all of them equality."""

    name: str | None = Field(None, max_length=255)


def tool_id(name: str) -> str:
    """The same in every tenant, so that a copy of one finds its tools by name as well."""
    return derived_id(Tool.KIND, name)
