"""Everything that can go wrong, as one small tree with stable codes and no HTTP in it.

FlowgridError
├── Invalid               the caller's input is wrong; `errors` lists the fields, `more` how many beyond those
├── Unauthenticated       no token, or one that does not verify
│   └── KeyEnded          an API key that was good once
├── Forbidden             the caller may not do this
│   ├── AroundTheGateway  the call has not come through the gateway
│   ├── NotAMember        the tenant does not let the caller in
│   ├── RoleNeeded        the caller's role is too low
│   ├── ScopeNeeded       the caller's API key is not for this
│   └── TenantSuspended
├── NotFound              no such thing in this tenant
├── Conflict              the state of things forbids it; members say which
│   ├── Contended         others keep changing the same thing
│   ├── InUse             others refer to it; the members list them
│   ├── Taken             a name or an id is another's
│   └── WrongState        its status does not allow this
├── Stale                 the ETag named is not the current one
├── PreconditionRequired  an ETag was needed and none came
├── Full                  no room is left, however often it is tried; `message` says what makes some
├── TooLarge              above a limit that `message` names
├── UnsupportedMedia      a body of a type this route does not take
├── Unprocessable         well formed, but contradicts an earlier request
├── PeerFailed            a server of the tenant's own choice gave no result that is one
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
    """The root; `code` never changes once released, `members` are shown to the caller.

    `meaning` and `remedy` of each code are the catalogue of problems (docs/problems.md, `GET api/problems/{code}`).
    """

    code: ClassVar[str] = "internal"
    meaning: ClassVar[str] = "Something went wrong on Flowgrid's side."
    remedy: ClassVar[str] = "Ask, and quote the `request_id`. Whether it was done is not known: look before you repeat."

    def __init__(self, message: str, **members: Any) -> None:
        super().__init__(message)
        self.message = message
        self.members: Mapping[str, Any] = members


class Invalid(FlowgridError):
    """`errors`: the first of what is wrong; `total`: how much is, where they are not all of it."""

    code = "invalid_request"
    meaning = "The body, a parameter or a header is not as this route takes it; `errors` lists what is wrong."
    remedy = "Mend the fields named and send it again."

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
    meaning = "There is no token, or it does not verify; `detail` says why."
    remedy = "Sign in and send the new token in `Authorization: Bearer …`."

    def __init__(self, message: str, *, reason: str = "invalid", issuer: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.issuer = issuer


class KeyEnded(Unauthenticated):
    code = "key_ended"
    meaning = "The API key was good once and is over; `detail` says why."
    remedy = "Make a new key (`POST v1/api-keys`), or have the secret of this one rotated before it ends."


class Forbidden(FlowgridError):
    code = "forbidden"
    meaning = "The caller is known and may not do this."
    remedy = "Ask an admin of the tenant."


class AroundTheGateway(Forbidden):
    code = "gateway_needed"
    meaning = "This app is called through its gateway only."
    remedy = "Call the gateway's address; who runs this: docs/gateway.md."


class TenantSuspended(Forbidden):
    code = "tenant_suspended"
    meaning = "The tenant is suspended: its data is kept, its calls are refused."
    remedy = "Ask Flowgrid to resume the tenant."


class RoleNeeded(Forbidden):
    code = "role_needed"
    meaning = "This needs a higher role than the caller has; `detail` names both."
    remedy = "Ask an admin of the tenant for the role, and sign in again."


class ScopeNeeded(Forbidden):
    code = "scope_needed"
    meaning = "The API key is not for this: it lacks the scope that `detail` names."
    remedy = "Use a key that has the scope; those of a key are for ever."


class NotAMember(Forbidden):
    code = "not_a_member"
    meaning = "The token is good, and the tenant does not let its holder in; `detail` says why."
    remedy = "Ask an admin of the tenant for an invitation to the verified address of the token."


class NotFound(FlowgridError):
    code = "not_found"
    meaning = "There is no such thing in this tenant. What is another tenant's is answered the same."
    remedy = "Look for it in the list."


class Conflict(FlowgridError):
    code = "conflict"
    meaning = "The state of things does not allow this; `detail` says what stands against it."
    remedy = "Change that first, then send it again."


class Contended(Conflict):
    code = "contended"
    meaning = "Others keep changing the same thing at the same time; nothing was changed, but for what `detail` says."
    remedy = "Send the same again."


class InUse(Conflict):
    code = "in_use"
    meaning = "Others refer to it; the members list them."
    remedy = "Take them away from it first, or delete it with them where the route can (`cascade=true`)."


class Taken(Conflict):
    code = "taken"
    meaning = "There is one of this name or id already."
    remedy = "Choose another, or change the one that is there."


class WrongState(Conflict):
    code = "wrong_state"
    meaning = "What it is about has a status in which this cannot be done; `detail` says which."
    remedy = "Wait until the status has changed, or use another one."


class Stale(FlowgridError):
    code = "precondition_failed"
    meaning = "It was changed since the version that `If-Match` names."
    remedy = "Read it again, apply the change to that, and send its `ETag`."


class PreconditionRequired(FlowgridError):
    code = "precondition_required"
    meaning = "A whole replacement has to say which version it replaces."
    remedy = "Send the `ETag` of the version in `If-Match`."


class Full(FlowgridError):
    code = "full"
    meaning = "There is no room left, and waiting makes none; `detail` says what does."
    remedy = "Delete something, or ask Flowgrid for more room."


class TooLarge(FlowgridError):
    code = "too_large"
    meaning = "The body, or what it would become, is above a limit that `detail` names."
    remedy = "Send less at once (docs/limits.md)."


class UnsupportedMedia(FlowgridError):
    code = "unsupported_media_type"
    meaning = "This route takes no body of this media type."
    remedy = "Send one of those that `detail` names."


class Unprocessable(FlowgridError):
    code = "unprocessable"
    meaning = "The request contradicts an earlier one under the same `Idempotency-Key`."
    remedy = "Use a new key for a new request."


class PeerFailed(FlowgridError):
    """Its kinds belong to who calls such servers; the message holds no secret."""

    code = "peer_failed"
    meaning = "A server that the tenant has named did not answer as it should; `detail` says how."
    remedy = "Look at that server, and at its address and secret here."


class LimitReached(FlowgridError):
    code = "limit_reached"
    meaning = "A limit is reached."
    remedy = "See docs/limits.md."


class QuotaReached(LimitReached):
    code = "quota_exceeded"
    meaning = "The plan allows no more of these; `limit` and `current` say how many."
    remedy = "Delete some, or upgrade the plan (`upgradeUrl`)."

    def __init__(self, resource: str, *, limit: int, current: int) -> None:
        super().__init__(f"{resource} quota exceeded", limit=limit, current=current, upgradeUrl="/billing/upgrade")


class RateLimited(LimitReached):
    code = "rate_limited"
    meaning = "Too many calls in a minute."
    remedy = "Wait as many seconds as `Retry-After` says."

    def __init__(self, message: str, *, limit: int, retry_after: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.retry_after = retry_after


class Unavailable(FlowgridError):
    code = "unavailable"
    meaning = "A service behind Flowgrid does not answer. Nothing was lost."
    remedy = "Send the same again after `Retry-After` seconds."

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Throttled(Unavailable):
    code = "throttled"
    meaning = "The database asked to slow down."
    remedy = "Send the same again after `Retry-After` seconds."


class Unknown(Unavailable):
    code = "unknown_outcome"
    meaning = "The answer of the database was lost: it was done, or it was not."
    remedy = "Send the same again, with the same `Idempotency-Key`, and find out."


class Concern(Exception):
    """No error of a call: something that an operator should look at. Health says it, and how old and how much it is."""

    def __init__(self, message: str, *, age_seconds: int | None = None, waiting: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.age_seconds = age_seconds
        self.waiting = waiting
