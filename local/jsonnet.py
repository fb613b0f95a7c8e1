"""What Json.NET makes of a message's body, as the Functions host does where a batch trigger names no data type.

Each body is read with Json.NET's defaults and written again (`MessageToPocoConverter.cs` of the Service Bus extension,
`ToRpcDefault` in `GrpcMessageConversionExtensions.cs` of the host): a text that looks like a time is a time on the way,
and loses the zeros at the end of its fraction (azure-functions-python-worker#1401).
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,7})?(Z|[+-]\d\d:\d\d)?")


def rewritten(body: bytes) -> Any:
    """The body's values as they come out; ValueError when it is not JSON in UTF-8."""
    return _written(json.loads(body.decode()))


def _written(value: Any) -> Any:
    if isinstance(value, str):
        return _time(value)
    if isinstance(value, list):
        return [_written(item) for item in value]
    if isinstance(value, dict):
        return {name: _written(item) for name, item in value.items()}
    return value


def _time(text: str) -> str:
    found = _TIME.fullmatch(text)
    if found is None:
        return text
    second, fraction, zone = found[1], (found[2] or "").rstrip("0").rstrip("."), found[3] or ""
    try:
        moment = datetime.fromisoformat(second + zone)
    except ValueError:
        return text
    if zone not in ("", "Z"):  # the host's own time, which in Azure is UTC
        second, zone = moment.astimezone(UTC).replace(tzinfo=None).isoformat(), "+00:00"
    return f"{second}{fraction}{zone}"
