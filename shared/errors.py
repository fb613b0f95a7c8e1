"""Everything that can go wrong, as one small tree with stable codes and no HTTP in it.

FlowgridError
├── Invalid               the caller's input is wrong; `errors` lists the fields, `more` how many beyond those
├── Unauthenticated       no token, or one that does not verify
├── Forbidden             the caller may not do this
│   └── TenantSuspended
├── NotFound              no such thing in this tenant
├── Conflict              the state of things forbids it; `details` says which
├── Stale                 the ETag named is not the current one
├── PreconditionRequired  an ETag was needed and none came
├── Full                  no room is left, however often it is tried; `message` says what makes some
├── TooLarge              above a limit that `message` names
├── UnsupportedMedia      a body of a type this route does not take
├── Unprocessable         well formed, but contradicts an earlier request
├── LimitReached
│   ├── QuotaReached      `limit` and `current` of a counted resource
│   └── RateLimited       `limit` calls are spent for `retry_after` seconds
└── Unavailable           try again after `retry_after` seconds; nothing was lost
    ├── Throttled         the store asked to slow down
    └── Unknown           sent, no answer: retry with the same ids and find out
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

SHOWN_ERRORS = 20


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one field of the caller's input (`field` is a dotted path, `value` what was sent)."""

    field: str
    message: str
    value: Any = None


class FlowgridError(Exception):
    """The root; `code` never changes once released, `members` are shown to the caller."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, **members: Any) -> None:
        super().__init__(message)
        self.message = message
        self.members: Mapping[str, Any] = members


class Invalid(FlowgridError):
    """`errors`: the first of what is wrong; `total`: how much is, where they are not all of it."""

    code = "invalid_request"

    def __init__(self, errors: Sequence[FieldError], *, total: int | None = None) -> None:
        total = len(errors) if total is None else total
        first = f"{errors[0].field}: {errors[0].message}"
        others = f" (and {total - 1} more)" if total > 1 else ""
        shown = [asdict(error) for error in errors[:SHOWN_ERRORS]]
        more = {"more": total - len(shown)} if total > len(shown) else {}
        super().__init__(first + others, errors=shown, **more)

    @classmethod
    def of(cls, field: str, message: str, value: Any = None) -> "Invalid":
        return cls([FieldError(field, message, value)])


class Unauthenticated(FlowgridError):
    """`reason` and `issuer` are for the log: which check failed, and whose token it was, where that is known."""

    code = "unauthenticated"

    def __init__(self, message: str, *, reason: str = "invalid", issuer: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.issuer = issuer


class Forbidden(FlowgridError):
    code = "forbidden"


class TenantSuspended(Forbidden):
    code = "tenant_suspended"


class NotFound(FlowgridError):
    code = "not_found"


class Conflict(FlowgridError):
    code = "conflict"


class Stale(FlowgridError):
    code = "precondition_failed"


class PreconditionRequired(FlowgridError):
    code = "precondition_required"


class Full(FlowgridError):
    code = "full"


class TooLarge(FlowgridError):
    code = "too_large"


class UnsupportedMedia(FlowgridError):
    code = "unsupported_media_type"


class Unprocessable(FlowgridError):
    code = "unprocessable"


class LimitReached(FlowgridError):
    code = "limit_reached"


class QuotaReached(LimitReached):
    code = "quota_exceeded"

    def __init__(self, resource: str, *, limit: int, current: int) -> None:
        super().__init__(f"{resource} quota exceeded", limit=limit, current=current, upgradeUrl="/billing/upgrade")


class RateLimited(LimitReached):
    code = "rate_limited"

    def __init__(self, message: str, *, limit: int, retry_after: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.retry_after = retry_after


class Unavailable(FlowgridError):
    code = "unavailable"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Throttled(Unavailable):
    code = "throttled"


class Unknown(Unavailable):
    code = "unknown_outcome"


class Concern(Exception):
    """No error of a call: something that an operator should look at. Health says it as a warning."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
