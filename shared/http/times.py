"""Times in query parameters."""

from typing import Annotated

from pydantic import AfterValidator, Field

from shared.clock import parse_rfc3339, rfc3339

NOT_A_TIME = "should be an RFC 3339 time from 1970 on with an offset, such as 2026-11-24T08:15:00Z"
SINCE_1970 = r"^(19[7-9]\d|[2-9]\d{3})-"


def _canonical(text: str) -> str:
    try:
        instant = parse_rfc3339(text)
        if instant.year < 1970:
            raise ValueError("before 1970")
    except ValueError as error:
        raise ValueError(NOT_A_TIME) from error
    return rfc3339(instant)


Time = Annotated[
    str,
    AfterValidator(_canonical),
    Field(
        max_length=40,
        json_schema_extra={"format": "date-time", "pattern": SINCE_1970},
        examples=["2026-11-24T08:15:00Z"],
    ),
]
