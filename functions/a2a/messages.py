"""What an A2A client sends: messages in ProtoJSON, of which a run takes words (specification §4.1, §11.5).

Fields that are not known are left alone, as the specification has it (§5.7); an empty text is none.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from functions.a2a.errors import Refused
from shared.http.pagination import Query
from shared.http.times import Time

MAX_BYTES: Final = 128 * 1024
MAX_PARTS: Final = 50
MAX_PAGE: Final = 100
READ: Final = "text and data"
_OPTIONAL = BeforeValidator(lambda value: None if value == "" else value)
NamedId = Annotated[str, Field(min_length=1, max_length=200)]
OptionalId = Annotated[NamedId | None, _OPTIONAL]
Length = Annotated[int, Field(ge=0, le=2**31 - 1)]


class _Sent(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, defer_build=True)


class Part(_Sent):
    """One of `text`, `data`, `raw` and `url` is set; the last two are files."""

    text: str | None = None
    data: Any = None
    raw: Any = None
    url: Any = None
    media_type: str = Field("", max_length=255)


class Message(_Sent):
    message_id: NamedId
    context_id: OptionalId = None
    task_id: OptionalId = None
    role: Literal["ROLE_USER"]
    parts: list[Part] = Field(min_length=1, max_length=MAX_PARTS)


class Configuration(_Sent):
    history_length: Length | None = None
    return_immediately: bool = False
    task_push_notification_config: Any = None


class Sent(_Sent):
    """The body of `message:send`."""

    message: Message
    configuration: Configuration = Configuration()


class Spoken(Query):
    """What each call may say beside the rest; the version is meant to be in a header."""

    version: str | None = Field(None, alias="A2A-Version", max_length=20)


class TaskQuery(Spoken):
    history_length: Length | None = Field(None, alias="historyLength")


class TasksQuery(TaskQuery):
    context_id: OptionalId = Field(None, alias="contextId")
    status: str | None = Field(None, max_length=50)
    page_size: int = Field(50, alias="pageSize", ge=1, le=MAX_PAGE)
    page_token: str = Field("", alias="pageToken", max_length=200)
    status_timestamp_after: Time | None = Field(None, alias="statusTimestampAfter")
    include_artifacts: bool = Field(False, alias="includeArtifacts")


def words(parts: Sequence[Part]) -> str:
    """The parts as a run is given them, in their order, with a line between: text as it is, data as JSON."""
    return "\n\n".join(_words(part) for part in parts)


def data_of(parts: Sequence[Part]) -> Any:
    """What the only part says, where that is data; None otherwise."""
    return parts[0].data if len(parts) == 1 and _content(parts[0]) == "data" else None


def _words(part: Part) -> str:
    content, media = _content(part), part.media_type.partition(";")[0].strip().lower()
    if content in ("raw", "url"):
        raise Refused("CONTENT_TYPE_NOT_SUPPORTED", f"Files are not taken: send {READ}.")
    if media and not media.startswith("text/") and media != "application/json":
        raise Refused("CONTENT_TYPE_NOT_SUPPORTED", f"A part of this media type is not taken: send {READ}.")
    return part.text or "" if content == "text" else json.dumps(part.data, ensure_ascii=False)


def _content(part: Part) -> str:
    """Which of its contents a part has."""
    found = [name for name in ("text", "data", "raw", "url") if name in part.model_fields_set]
    if len(found) != 1 or (found == ["text"] and part.text is None):
        raise Refused("INVALID_PARAMS", "A part has one of text, data, raw and url.")
    return found[0]
