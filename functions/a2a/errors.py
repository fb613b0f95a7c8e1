"""Errors as A2A tells them over HTTP: `google.rpc.Status` in JSON (https://a2a-protocol.org, §5.4, §11.6)."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from shared.errors import Invalid

Reason = Literal[
    "TASK_NOT_FOUND",
    "TASK_NOT_CANCELABLE",
    "PUSH_NOTIFICATION_NOT_SUPPORTED",
    "UNSUPPORTED_OPERATION",
    "CONTENT_TYPE_NOT_SUPPORTED",
    "VERSION_NOT_SUPPORTED",
    "INVALID_PARAMS",
    "METHOD_NOT_FOUND",
]
STATUS: Final[Mapping[Reason, tuple[int, str]]] = {
    "TASK_NOT_FOUND": (404, "NOT_FOUND"),
    "TASK_NOT_CANCELABLE": (400, "FAILED_PRECONDITION"),
    "PUSH_NOTIFICATION_NOT_SUPPORTED": (400, "FAILED_PRECONDITION"),
    "UNSUPPORTED_OPERATION": (400, "FAILED_PRECONDITION"),
    "CONTENT_TYPE_NOT_SUPPORTED": (400, "INVALID_ARGUMENT"),
    "VERSION_NOT_SUPPORTED": (400, "FAILED_PRECONDITION"),
    "INVALID_PARAMS": (400, "INVALID_ARGUMENT"),
    "METHOD_NOT_FOUND": (404, "NOT_FOUND"),
}
DOMAIN: Final = "a2a-protocol.org"
OWN_DOMAIN: Final = "flowgrid"
_ERROR_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"
_BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"
_CODES: Final[Mapping[int, str]] = {  # google.rpc.Code of what the protocol has no error of its own for
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "OUT_OF_RANGE",
    415: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    507: "RESOURCE_EXHAUSTED",
}


class Refused(Exception):
    """One of the protocol's own errors."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def status(self) -> int:
        return STATUS[self.reason][0]

    @property
    def body(self) -> dict[str, Any]:
        code, name = STATUS[self.reason]
        return {"error": _error(code, name, str(self), self.reason, DOMAIN)}


def as_status(problem: Mapping[str, Any]) -> dict[str, Any]:
    """What a problem (RFC 9457) says beside its own members, for clients of this protocol: `error`."""
    code, wrong = problem["status"], problem["code"] == Invalid.code
    reason = "INVALID_PARAMS" if wrong else str(problem["code"]).upper()
    error = _error(code, _CODES.get(code, "UNKNOWN"), problem["detail"], reason, DOMAIN if wrong else OWN_DOMAIN)
    if wrong:
        fields = [{"field": one["field"], "description": one["message"]} for one in problem.get("errors", ())]
        error["details"].append({"@type": _BAD_REQUEST, "fieldViolations": fields})
    return {"error": error}


def _error(code: int, status: str, message: str, reason: str, domain: str) -> dict[str, Any]:
    info = {"@type": _ERROR_INFO, "reason": reason, "domain": domain}
    return {"code": code, "status": status, "message": message, "details": [info]}
