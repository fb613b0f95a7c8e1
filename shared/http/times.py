"""Times in query parameters."""

from typing import Annotated

from pydantic import AfterValidator, Field

from shared.clock import parse_rfc3339, rfc3339


def _canonical(text: str) -> str:
    try:
        return rfc3339(parse_rfc3339(text))
    except ValueError as error:
        raise ValueError(
            f"should be an RFC 3339 time with an offset, such as 2026-11-24T08:15:00Z ({error})"
        ) from error


Time = Annotated[
    str,
    AfterValidator(_canonical),
    Field(max_length=40, json_schema_extra={"format": "date-time"}, examples=["2026-11-24T08:15:00Z"]),
]
