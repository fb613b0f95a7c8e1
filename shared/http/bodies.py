"""Reading request bodies: JSON of a declared model, a JSON merge patch of it, or bytes of a declared media type."""

import json
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from azure.functions import HttpRequest
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from shared.errors import SHOWN_ERRORS, FieldError, Invalid, TooLarge, UnsupportedMedia
from shared.http.shown import cut, shown
from shared.http.wording import WORDS, not_json, worded

B = TypeVar("B", bound=BaseModel)
MAX_JSON_BYTES = 1024 * 1024
MAX_JSON_VALUES = 10_000


@dataclass(frozen=True)
class Json(Generic[B]):
    """An `application/json` body of one model; one that is `optional` is the model's defaults where nothing is sent."""

    model: type[B]
    media_types: tuple[str, ...] = ("application/json",)
    max_bytes: int = MAX_JSON_BYTES
    optional: bool = False

    def read(self, request: HttpRequest) -> B:
        if self.optional and not request.get_body():
            return self.model()
        return validated(self.model, _json(request, self.media_types, self.max_bytes))


@dataclass(frozen=True)
class MergePatch(Generic[B]):
    """A JSON merge patch (RFC 7396) as sent; `onto` makes the whole new body of it."""

    model: type[B]
    document: dict[str, Any]

    def onto(self, resource: BaseModel) -> B:
        """What a client may set of `resource`, patched and validated as if it had been sent whole."""
        settable = resource.model_dump(mode="json", include=set(self.model.model_fields))
        return validated(self.model, json.dumps(_merged(settable, self.document)).encode())


@dataclass(frozen=True)
class Merge(Generic[B]):
    """A merge patch body of one model."""

    model: type[B]
    media_types: tuple[str, ...] = ("application/merge-patch+json", "application/json")
    max_bytes: int = MAX_JSON_BYTES

    def read(self, request: HttpRequest) -> MergePatch[B]:
        raw = _json(request, self.media_types, self.max_bytes)
        try:
            document = from_json(raw, allow_inf_nan=False)
        except ValueError as error:
            raise Invalid.of("body", not_json(str(error))) from error
        if not isinstance(document, dict):
            raise Invalid.of("body", "should be a JSON object", shown(document))
        unknown = sorted(set(document) - set(self.model.model_fields))
        if unknown:
            first = unknown[:SHOWN_ERRORS]
            values = {} if write_only(self.model) else document
            errors = [FieldError(cut(name), WORDS["extra_forbidden"], shown(values.get(name))) for name in first]
            raise Invalid(errors, total=len(unknown))
        return MergePatch(self.model, document)


@dataclass(frozen=True)
class Raw:
    """A body that the service reads itself."""

    media_types: tuple[str, ...]
    max_bytes: int

    def read(self, request: HttpRequest) -> bytes:
        return _bytes(request, self.media_types, self.max_bytes)


def validated(model: type[B], raw: bytes) -> B:
    """The model from JSON text, or `Invalid` with the fields that are wrong."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        hidden = write_only(model)
        raise invalid(error, hidden) from (None if hidden else error)


def write_only(model: type[BaseModel]) -> frozenset[str]:
    """The fields of a body that are secrets: declared `writeOnly`, and never shown again."""
    extras = {name: field.json_schema_extra for name, field in model.model_fields.items()}
    return frozenset(name for name, extra in extras.items() if isinstance(extra, dict) and extra.get("writeOnly"))


def invalid(error: ValidationError, hidden: Set[str] = frozenset()) -> Invalid:
    """The first of what pydantic found, and how much there is; without what was sent for the `hidden` fields."""
    found = error.errors(include_url=False)[:SHOWN_ERRORS]
    errors = [
        FieldError(
            cut(".".join(str(part) for part in one["loc"])) or "body",
            cut(worded(one["type"], one.get("ctx", {}))),
            shown(_without(one, hidden) if hidden else one["input"]),
        )
        for one in found
    ]
    return Invalid(errors, total=error.error_count())


def _without(error: ErrorDetails, hidden: Set[str]) -> Any:
    """What was sent, where no secret can be in it: not under a name that may be meant for one, nor in broken JSON."""
    sent = error["input"]
    if hidden & {*error["loc"][:1]} or error["type"] in ("extra_forbidden", "json_invalid"):
        return None
    return {name: one for name, one in sent.items() if name not in hidden} if isinstance(sent, dict) else sent


def _json(request: HttpRequest, media_types: Sequence[str], max_bytes: int) -> bytes:
    """JSON text of few enough values: each may be wrong, and every wrong one costs a thousand times its bytes."""
    raw = _bytes(request, media_types, max_bytes)
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_JSON_VALUES:  # or they stand in texts
        with suppress(ValueError):  # no JSON; whoever reads it says so
            _check_values(from_json(raw))
    return raw


def _check_values(document: Any) -> None:
    """`TooLarge` when there are more values than a body may hold."""
    count, waiting = 0, [document]
    while waiting and count <= MAX_JSON_VALUES:
        one = waiting.pop()
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        count += len(inner)
        waiting += list(inner)
    if count > MAX_JSON_VALUES:
        raise TooLarge(f"The body holds more than {MAX_JSON_VALUES} values; this is the most that one may hold.")


def _bytes(request: HttpRequest, media_types: Sequence[str], max_bytes: int) -> bytes:
    raw = request.get_body()
    if len(raw) > max_bytes:
        raise TooLarge(f"The body is {len(raw)} bytes; this route takes at most {max_bytes}.")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in media_types:
        raise UnsupportedMedia(f"Send the body as {' or '.join(media_types)}, not {media_type or 'untyped'}.")
    return raw


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7396 §2."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged
