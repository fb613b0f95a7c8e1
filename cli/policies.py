"""API Management's policies, made from the plans and the routes (https://learn.microsoft.com/azure/api-management).

Each is real XML (format `xml`, not `rawxml`), so a test can walk it. Names in double braces are named values. Comments
alone in a line are places that Bicep fills (infra/modules/gatewayapi.bicep).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import indent
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from shared.auth.apikeys import KEY_PATTERN
from shared.auth.roles import Role
from shared.auth.signed import LEEWAY_SECONDS
from shared.errors import FlowgridError, NotFound, RateLimited, TooLarge, Unauthenticated
from shared.http.answers import LIMITS, SECURITY_HEADERS
from shared.http.bodies import MAX_JSON_BYTES
from shared.http.cors import MAX_AGE_SECONDS, READ, SENT
from shared.http.problems import PROBLEM_JSON, TITLES, Retold, status_of, type_of
from shared.ids import REQUEST_ID
from shared.tenancy.plans import GLOBAL_REQUESTS, GLOBAL_WINDOW_MINUTES, PLANS, Limit

PERIOD = 300  # seconds, the longest that rate-limit-by-key has
OF_AN_ADDRESS = GLOBAL_REQUESTS * PERIOD // (GLOBAL_WINDOW_MINUTES * 60)
LEARNED_SECONDS = 60  # how long the gateway believes what it was told of a tenant's limits
LONGEST_SECONDS = 230  # of an answer: Azure's front end waits no longer
RETRY_SECONDS = 60
OPERATION = '"," + context.Operation.Id.Replace("head-", "") + ","'
OWN, CALLERS = "gateway-token", "jwt"  # variables with tokens
REALM = 'Bearer realm="flowgrid"'
CHALLENGE = '@((string)context.Variables["challenge"])'
TENANT = '(string)context.Variables["tenant"]'
STAFF = '(bool)context.Variables["staff"]'
ADMITTED = '(bool)context.Variables["admitted"]'  # by the app, which tells only its own users' limits
REFUSED = "context.Response.StatusCode == 401 || context.Response.StatusCode == 403"  # which the app counts, too
WAIT = 'context.Variables["retry-after"].ToString()'
REQUEST = 'context.Request.Headers.GetValueOrDefault("{}", "{}")'
BY_KEY = f'Regex.IsMatch({REQUEST.format("Authorization", "")}, "^Bearer {KEY_PATTERN}$")'  # the app knows whose it is


@dataclass(frozen=True)
class Operations:
    """Ids of operations: by service, by limit, and those with a larger body, or without a limit of the address; by
    what their 401 refers to, and by how they tell problems in another protocol's form.
    """

    services: Mapping[str, Collection[str]]
    limits: Mapping[Limit, Collection[str]]
    larger: Mapping[str, int]
    uncounted: Collection[str]
    metadata: Mapping[str, Collection[str]] = field(default_factory=dict)
    retold: Mapping[Retold, Collection[str]] = field(default_factory=dict)


def everywhere(all_of: Operations) -> str:
    """The policy of the whole gateway: what no call may bring, what every answer has, and what goes wrong."""
    sizes = [
        when(f"{_is_one_of([name])} && {_larger_than(most)}", too_large(most, all_of))
        for name, most in all_of.larger.items()
    ]
    usual = f"!{_is_one_of(list(all_of.larger))} && {_larger_than(MAX_JSON_BYTES)}"
    inbound = [
        "<!-- cors -->",
        set_variable("request-id", REQUEST_ID_SENT),
        set_header("x-request-id", '@((string)context.Variables["request-id"])'),
        set_header("x-flowgrid-tenant", None),
        choose(*sizes, when(usual, too_large(MAX_JSON_BYTES, all_of))),
        element(
            "authentication-managed-identity",
            resource="{{gateway-audience}}",
            output_token_variable_name=OWN,
            ignore_error="false",
        ),
        set_header("x-gateway-authorization", f'@("Bearer " + (string)context.Variables["{OWN}"])'),
    ]
    forward = element("forward-request", timeout=str(LONGEST_SECONDS), follow_redirects="false")
    failed = [set_variable("request-id", REQUEST_ID_KNOWN), errors(all_of)]
    return policies(inbound, backend=[forward], outbound=[set_header(LIMITS, None)], on_error=failed)


def versioned(all_of: Operations, backend: str) -> str:
    """The policy of `api/v1`: whose call it is, within which limits, and to which app it goes."""
    claimed = f'{REQUEST.format("Authorization", "")}.Replace("Bearer ", "").AsJwt()'
    nobody = unauthenticated("Send a token: Authorization: Bearer <token>.", all_of)
    metadata = (
        when(
            _is_one_of(names), set_variable("challenge", f'{REALM}, resource_metadata="{{{{public-url}}}}/api/{path}"')
        )
        for path, names in all_of.metadata.items()
    )
    limits = [
        choose(when(f'{TENANT} != ""', *_of_the_tenant(all_of.limits))),
        choose(when(f"!{STAFF}", of_the_address(increment_condition=f"@({REFUSED})"))),
    ]
    inbound = [
        set_variable("challenge", REALM),
        choose(*metadata),
        set_variable("issuer", f'@({claimed}?.Issuer ?? "")'),
        set_variable("tenant", ""),
        set_variable("staff", "@(false)"),
        set_variable("admitted", "@(false)"),
        choose("<!-- issuers -->", when(f'(string)context.Variables["issuer"] == "" && !{BY_KEY}', nobody)),
        choose(when(f"!{STAFF}", set_header("x-tenant-id", None))),
        *limits,
        route(all_of.services, backend),
    ]
    told = f'context.Response.Headers.GetValueOrDefault("{LIMITS}", "")'
    key, seconds = f'@("limits:" + {TENANT})', str(LEARNED_SECONDS)
    store = element("cache-store-value", key=key, value=f"@({told})", duration=seconds, caching_type="internal")
    learn = choose(when(f'{TENANT} != "" && {told} != ""', set_variable("admitted", "@(true)"), store))
    return policies(inbound, outbound=[learn])


def unversioned(all_of: Operations, backend: str) -> str:
    """The policy of what is open to everybody, beside the versions: health, descriptions, claims."""
    counted = choose(when(f"!{_is_one_of(all_of.uncounted)}", of_the_address()))
    return policies([set_header("x-tenant-id", None), counted, route(all_of.services, backend)])


def issuer() -> str:
    """One issuer's part of the policy of `api/v1`; Bicep repeats it with a number for N."""
    claims = '((Jwt)context.Variables["jwt"]).Claims.GetValueOrDefault("{{issuer-N-%s-claim}}", "")'
    return when(
        '(string)context.Variables["issuer"] == "{{issuer-N}}"',
        element(
            "validate-jwt",
            element("openid-config", url="{{issuer-N-openid-config}}"),
            element("audiences", element("audience", "{{issuer-N-audience}}")),
            element("issuers", element("issuer", "{{issuer-N}}")),
            header_name="Authorization",
            require_expiration_time="true",
            require_scheme="Bearer",
            require_signed_tokens="true",
            clock_skew=str(LEEWAY_SECONDS),
            output_token_variable_name=CALLERS,
        ),
        set_variable("staff", f'@(("," + {claims % "roles"}.Replace(" ", ",") + ",").Contains(",{Role.PLATFORM},"))'),
        set_variable("tenant", f'@({STAFF} ? "" : {claims % "tenant"})'),
    )


def cors(methods: Sequence[str]) -> str:
    """Which pages may call; Bicep names their origins. Without any there is no such element."""
    return element(
        "cors",
        element("allowed-origins", "<!-- origins -->"),
        element(
            "allowed-methods",
            *(element("method", one) for one in methods),
            preflight_result_max_age=str(MAX_AGE_SECONDS),
        ),
        element("allowed-headers", *(element("header", one) for one in SENT)),
        element("expose-headers", *(element("header", one) for one in READ)),
        allow_credentials="false",
        terminate_unmatched_request="false",
    )


def errors(all_of: Operations) -> str:
    """What goes wrong in the gateway, as the app would tell it.

    By what it is called (https://learn.microsoft.com/azure/api-management/api-management-error-handling-policies). Of
    anything else it is not known whether it was done.
    """
    wait = f'@(context.Variables.ContainsKey("retry-after") ? {WAIT} : "{RETRY_SECONDS}")'
    told = "The gateway has got no answer; quote the request_id when you ask about it."
    limited = problem(RateLimited, "Too many calls in a minute", {"Retry-After": wait}, all_of.retold)
    return choose(
        when('context.LastError.Reason == "RateLimitExceeded"', limited),
        when('context.LastError.Source == "validate-jwt"', unauthenticated("The token does not verify.", all_of)),
        when('context.LastError.Reason == "OperationNotFound"', problem(NotFound, "There is no such route.")),
        element("otherwise", problem(FlowgridError, told, retold=all_of.retold)),
    )


def unauthenticated(detail: str, all_of: Operations) -> str:
    """Only where the policy of `api/v1` has been: it has the challenge."""
    return problem(Unauthenticated, detail, {"WWW-Authenticate": CHALLENGE}, all_of.retold)


def too_large(most: int, all_of: Operations) -> str:
    return problem(TooLarge, f"A body here may have {most:,} bytes.", retold=all_of.retold)


def problem(
    error: type[FlowgridError],
    detail: str,
    headers: Mapping[str, str] | None = None,
    retold: Mapping[Retold, Collection[str]] | None = None,
) -> str:
    """An answer of the gateway's own, in the form of the app's (RFC 9457). `retold`: where an operation is known."""
    status = status_of(error)
    members = {
        "type": f'"{type_of(error.code)}"',
        "title": f'"{TITLES[status]}"',
        "status": str(status),
        "detail": f'"{detail}"',
        "instance": "context.Request.OriginalUrl.Path",
        "request_id": '(string)context.Variables["request-id"]',
        "code": f'"{error.code}"',
        "error": f'"{detail}"',
    }
    body = f"{_object(members)}.ToString()"
    for form, names in (retold or {}).items():
        also = form({"status": status, "code": error.code, "detail": detail})
        said = {**members, **{name: _literal(value) for name, value in also.items()}}
        body = f"{_is_one_of(names)} ? {_object(said)}.ToString() : {body}"
    own = {"Content-Type": PROBLEM_JSON, "x-request-id": '@((string)context.Variables["request-id"])'}
    return element(
        "return-response",
        element("set-status", code=str(status), reason=TITLES[status]),
        *(set_header(name, value) for name, value in {**SECURITY_HEADERS, **own, **(headers or {})}.items()),
        element("set-body", escape(f"@({body})")),
    )


def route(services: Mapping[str, Collection[str]], backend: str) -> str:
    """To the app of the operation's service."""
    ways = (
        when(_is_one_of(names), element("set-backend-service", backend_id=f"{backend}-{service}"))
        for service, names in services.items()
    )
    return choose(*ways)


def _of_the_tenant(limits: Mapping[Limit, Collection[str]]) -> list[str]:
    """Its calls in a minute, and those of routes, as the app has told them; until then the largest plan's.

    A claim alone makes nobody a user of a tenant: what the app refuses (401, 403) is no call of the tenant's, nor is
    a 429 that tells no limits (of an address, or of a tenant that takes no more users).
    """
    largest = max(PLANS.values(), key=lambda plan: plan.requests_per_minute)
    until_told = ",".join(map(str, (largest.requests_per_minute, *map(largest.route_limit, Limit))))
    look = {"key": f'@("limits:" + {TENANT})', "default_value": until_told, "variable_name": "limits"}
    taken = f"@(!({REFUSED}) && (context.Response.StatusCode != 429 || {ADMITTED}))"
    of_routes = (
        when(_is_one_of(names), limit(_learned(n), _counted(name), 60, increment_condition=taken))
        for n, (name, names) in enumerate(limits.items(), 1)
    )
    return [
        set_header("x-flowgrid-tenant", f"@({TENANT})"),
        element("cache-lookup-value", caching_type="internal", **look),
        limit(_learned(0), _counted("tenant"), 60, increment_condition=taken),
        choose(*of_routes),
    ]


def limit(calls: str, key: str, seconds: int, **more: str) -> str:
    period, wait = str(seconds), "retry-after"
    named = {"calls": calls, "renewal_period": period, **more, "counter_key": key, "retry_after_variable_name": wait}
    return element("rate-limit-by-key", **named)


def of_the_address(**more: str) -> str:
    """For calls of which it is not known whose they are, and those that are refused."""
    return limit(str(OF_AN_ADDRESS), '@("address:" + context.Request.IpAddress)', PERIOD, **more)


def policies(
    inbound: Sequence[str], backend: Sequence[str] = (), outbound: Sequence[str] = (), on_error: Sequence[str] = ()
) -> str:
    """A document; what is of a wider scope (`base`) comes first in, and last out. The widest has none."""
    widest = bool(backend)
    base = [] if widest else ["<base />"]
    return element(
        "policies",
        element("inbound", *base, *inbound),
        element("backend", *base, *backend),
        element("outbound", *outbound, *base),
        element("on-error", *on_error, *base),
    )


def choose(*ways: str) -> str:
    return element("choose", *ways)


def when(condition: str, *then: str) -> str:
    return element("when", *then, condition=f"@({condition})")


def set_variable(name: str, value: str) -> str:
    return element("set-variable", name=name, value=value)


def set_header(name: str, value: str | None) -> str:
    """None: it is taken away."""
    if value is None:
        return element("set-header", name=name, exists_action="delete")
    return element("set-header", element("value", escape(value)), name=name, exists_action="override")


def element(tag: str, /, *children: str, **attributes: str) -> str:
    """XML of an element; `_` in the name of an attribute is `-`. One that holds text alone is one line."""
    begin = " ".join([tag, *(f"{key.replace('_', '-')}={quoteattr(value)}" for key, value in attributes.items())])
    if not children:
        return f"<{begin} />"
    if len(children) == 1 and not children[0].startswith("<"):
        return f"<{begin}>{children[0]}</{tag}>"
    inside = indent("\n".join(children), "  ")
    return f"<{begin}>\n{inside}\n</{tag}>"


def _object(members: Mapping[str, str]) -> str:
    """`members`: expressions by name."""
    properties = ", ".join(f'new JProperty("{name}", {value})' for name, value in members.items())
    return f"new JObject({properties})"


def _literal(value: Any) -> str:
    """JSON as an expression."""
    if isinstance(value, Mapping):
        return _object({name: _literal(one) for name, one in value.items()})
    if isinstance(value, list):
        return f"new JArray({', '.join(map(_literal, value))})"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _is_one_of(names: Collection[str]) -> str:
    return f'",{",".join(names)},".Contains({OPERATION})'


def _larger_than(most: int) -> str:
    return f"long.Parse({REQUEST.format('Content-Length', '0')}) > {most}"


def _counted(what: str) -> str:
    """The limits are part of the key: v2 tiers count unpredictably where one key is used with two numbers of calls."""
    return f'@("{what}:" + {TENANT} + ":" + (string)context.Variables["limits"])'


def _learned(position: int) -> str:
    return f"@(int.Parse(((string)context.Variables[\"limits\"]).Split(',')[{position}]))"


_SENT = REQUEST.format("x-request-id", "")
REQUEST_ID_SENT = f'@(Regex.IsMatch({_SENT}, "^{REQUEST_ID}$") ? {_SENT} : context.RequestId.ToString())'
REQUEST_ID_KNOWN = (
    '@(context.Variables.ContainsKey("request-id") ? (string)context.Variables["request-id"]'
    " : context.RequestId.ToString())"
)
