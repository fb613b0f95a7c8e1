"""What must happen, written by hand and by nobody's declaration: a new way in fails until its line is here.

ROUTES, one a line: method, path, the least that a caller has to be (`open`: nobody in particular; `staff`: Flowgrid's
own; `provider`: an identity provider that has shown itself, and nobody else), what another tenant's id in the path
gives (`-`: there is none in it), and what may come of one's own ids with the prover's body: a change is sent with an
If-Match that never was, so 412 says that it would have been let in.
"""

from dataclasses import dataclass
from typing import Final

RANKS: Final = ("open", "viewer", "user", "admin", "staff")
ROUTES: Final = """
POST   v1/agents                                  user    -    201
GET    v1/agents                                  viewer  -    200
GET    v1/agents/{agent_id}                       viewer  404  200
PUT    v1/agents/{agent_id}                       user    404  412
PATCH  v1/agents/{agent_id}                       user    404  412
DELETE v1/agents/{agent_id}                       admin   404  412
GET    v1/agents/{agent_id}/revisions             viewer  404  200
POST   v1/agents/{agent_id}/executions            user    404  202
POST   v1/agents/{agent_id}/publish               user    404  202,409
POST   v1/agents/{agent_id}/hooks                 user    404  201,403
GET    v1/hooks                                   viewer   -    200
GET    v1/hooks/{hook_id}                         viewer   404  200
POST   v1/hooks/{hook_id}/rotate                  user    404  200,403
DELETE v1/hooks/{hook_id}                         user    404  412,403
POST   v1/cases                                   user    -    201
GET    v1/cases                                   viewer  -    200
GET    v1/cases/{case_id}                         viewer  404  200
PUT    v1/cases/{case_id}                         user    404  412
PATCH  v1/cases/{case_id}                         user    404  412
DELETE v1/cases/{case_id}                         admin   404  412
GET    v1/teams/export                            viewer  -    200
POST   v1/teams/import                            user    -    200
GET    v1/audit                                   admin   -    200
GET    v1/audit/{entry_id}                        admin   404  200
GET    v1/audit/verify                            admin   -    200
GET    v1/audit/export                            admin   -    200
POST   v1/backups                                 admin   -    202,409
GET    v1/backups                                 admin   -    200
GET    v1/backups/{backup_id}                     admin   404  200
POST   v1/backups/{backup_id}/verify              admin   404  200
POST   v1/restores                                admin   -    202,409
GET    v1/restores                                admin   -    200
GET    v1/restores/{restore_id}                   admin   404  200
DELETE v1/backups/{backup_id}                     admin   404  412
GET    v1/export                                  admin   -    200
GET    v1/billing                                 admin   -    200
GET    v1/billing/statements                      admin   -    200
GET    v1/billing/statements/{month}              admin   -    200
POST   v1/billing/upgrade                         admin   -    409
POST   v1/billing/downgrade                       admin   -    200
DELETE v1/billing/downgrade                       admin   -    200,404
POST   v1/elements                                user    -    201
GET    v1/elements                                viewer  -    200
GET    v1/elements/{element_id}                   viewer  404  200
PUT    v1/elements/{element_id}                   user    404  412
PATCH  v1/elements/{element_id}                   user    404  412
DELETE v1/elements/{element_id}                   admin   404  412
GET    v1/elements/{element_id}/neighbors         viewer  404  200
POST   v1/relationships                           user    -    201
GET    v1/relationships                           viewer  -    200
GET    v1/relationships/{relationship_id}         viewer  404  200
PUT    v1/relationships/{relationship_id}         user    404  412
PATCH  v1/relationships/{relationship_id}         user    404  412
DELETE v1/relationships/{relationship_id}         admin   404  412
POST   v1/migrations                              admin   -    200
GET    v1/migrations                              admin   -    200
GET    v1/migrations/{migration_id}               admin   404  200
POST   v1/migrations/{migration_id}/rows          admin   404  200,409
POST   v1/migrations/{migration_id}/digests       admin   404  200
POST   v1/migrations/{migration_id}/finish        admin   404  200,409
POST   v1/migrations/{migration_id}/undo          admin   404  200
GET    v1/models                                  viewer  -    200
GET    v1/models/{model_id}                       viewer  404  200
DELETE v1/models/{model_id}                       admin   404  412
POST   v1/models/{model_id}/deletion              admin   404  412
GET    v1/views                                   viewer  -    200
GET    v1/views/{view_id}                         viewer  404  200
GET    v1/views/{view_id}.svg                     viewer  404  200
POST   v1/catalog/import                          user    -    200
POST   v1/catalog/imports                         user    -    202
GET    v1/catalog/imports/{import_id}             viewer  404  200
GET    v1/catalog/imports/{import_id}/items       viewer  404  200
GET    v1/catalog/export                          viewer  -    200
POST   v1/design/sessions                         user    -    202
GET    v1/design/sessions                         viewer  -    200
GET    v1/design/sessions/{design_id}             viewer  404  200
DELETE v1/design/sessions/{design_id}             admin   404  412
POST   v1/design/sessions/{design_id}/answers     user    404  202,409
POST   v1/design/sessions/{design_id}/revise      user    404  409
POST   v1/design/sessions/{design_id}/accept      user    404  409
GET    v1/executions                              viewer  -    200
GET    v1/executions/{execution_id}               viewer  404  200
POST   v1/executions/{execution_id}/cancel        user    404  409
GET    v1/executions/{execution_id}/steps         viewer  404  200
GET    v1/executions/{execution_id}/steps/{step}  viewer  404  200
GET    v1/executions/{execution_id}/events        viewer  404  200
POST   v1/executions/{execution_id}/decisions     user    404  409
GET    v1/execution-admission                     viewer  -    200
POST   v1/execution-admission/pause               admin   -    200
POST   v1/execution-admission/resume              admin   -    200
POST   v1/execution-admission/cancel              admin   -    200
GET    v1/me                                      viewer  -    200
GET    v1/users                                   admin   -    200
POST   v1/users                                   admin   -    201,409
GET    v1/users/{user_id}                         admin   404  200
PATCH  v1/users/{user_id}                         admin   404  412
DELETE v1/users/{user_id}                         admin   404  412
POST   v1/users/{user_id}/unbind                  admin   404  200
POST   v1/issuers                                 admin   -    201,409
GET    v1/issuers                                 admin   -    200
GET    v1/issuers/{issuer_id}                     admin   404  200
DELETE v1/issuers/{issuer_id}                     admin   404  412
POST   v1/api-keys                                viewer  -    201,403
GET    v1/api-keys                                viewer  -    200
GET    v1/api-keys/{api_key_id}                   viewer  404  200,404
PATCH  v1/api-keys/{api_key_id}                   viewer  404  412,404
DELETE v1/api-keys/{api_key_id}                   viewer  404  412,404
POST   v1/api-keys/{api_key_id}/rotate            viewer  404  200,403,404,409
GET    v1/staff-access                            admin   -    200
GET    v1/staff-access/{access_id}                admin   404  200
POST   v1/staff-access/{access_id}/end            admin   404  200
GET    v1/notifications                           viewer  -    200
GET    v1/notifications/{notification_id}         viewer  404  200
POST   v1/providers                               admin   -    201,409
GET    v1/providers                               viewer  -    200
GET    v1/providers/{provider_id}                 viewer  404  200
PUT    v1/providers/{provider_id}                 admin   404  412
PATCH  v1/providers/{provider_id}                 admin   404  412
DELETE v1/providers/{provider_id}                 admin   404  412
GET    v1/publications                            viewer  -    200
GET    v1/publications/{publication_id}           viewer  404  200
POST   v1/tools                                   admin   -    201,409
GET    v1/tools                                   viewer  -    200
GET    v1/tools/{tool_id}                         viewer  404  200
PUT    v1/tools/{tool_id}                         admin   404  412
PATCH  v1/tools/{tool_id}                         admin   404  412
DELETE v1/tools/{tool_id}                         admin   404  412
POST   v1/mcp-servers                             admin   -    201,409
GET    v1/mcp-servers                             viewer  -    200
GET    v1/mcp-servers/{mcp_server_id}             viewer  404  200
PUT    v1/mcp-servers/{mcp_server_id}             admin   404  412
PATCH  v1/mcp-servers/{mcp_server_id}             admin   404  412
DELETE v1/mcp-servers/{mcp_server_id}             admin   404  412
POST   v1/mcp-servers/{mcp_server_id}/refresh     admin   404  412
POST   v1/openapi/import                          admin   -    200
GET    v1/usage                                   viewer  -    200
GET    v1/usage/events                            viewer  -    200
GET    v1/analytics                               viewer  -    200
GET    v1/quotas                                  viewer  -    200
GET    v1/jobs                                    admin   -    200
GET    v1/jobs/{job_id}                           admin   404  200
GET    v1/platform/executions                     staff   -    200
POST   v1/platform/executions/{tenant_id}/{execution_id}/cancel  staff  -  409
POST   v1/platform/tenants                        staff   -    201,409
POST   v1/platform/default-tenant                 staff   -    200,409
GET    v1/platform/tenants                        staff   -    200
GET    v1/platform/tenants/{tenant_id}            staff   -    200
PATCH  v1/platform/tenants/{tenant_id}            staff   -    412
POST   v1/platform/tenants/{tenant_id}/suspend    staff   -    200
POST   v1/platform/tenants/{tenant_id}/resume     staff   -    200
POST   v1/platform/tenants/{tenant_id}/staff-access  staff  -  200
GET    v1/platform/tenants/{tenant_id}/staff-access  staff  -  200
POST   v1/platform/tenants/{tenant_id}/staff-access/{access_id}/end      staff  -  200
POST   v1/platform/audit-keys                     staff   -    200
GET    v1/platform/stamp                          staff   -    200
POST   v1/platform/tenants/{tenant_id}/usage-adjustments                 staff  -  409
GET    v1/platform/tenants/{tenant_id}/usage-adjustments                 staff  -  200
GET    v1/platform/tenants/{tenant_id}/usage-adjustments/{adjustment_id} staff  -  200
GET    v1/platform/dead-letters                   staff   -    200
GET    v1/platform/dead-letters/{letter_id}       staff   -    200
POST   v1/platform/dead-letters/{letter_id}/replay  staff  -   202,404
POST   v1/platform/dead-letter-replays            staff   -    200,202
GET    v1/platform/analytics                      staff   -    200
GET    v1/platform/slo                            staff   -    200
GET    v1/platform/costs                          staff   -    200
GET    v1/platform/costs/{tenant_id}              staff   -    200
POST   v1/webhooks                                admin   -    201
GET    v1/webhooks                                viewer  -    200
GET    v1/webhooks/{webhook_id}                   viewer  404  200
PUT    v1/webhooks/{webhook_id}                   admin   404  412
PATCH  v1/webhooks/{webhook_id}                   admin   404  412
DELETE v1/webhooks/{webhook_id}                   admin   404  412
POST   v1/webhooks/{webhook_id}/secret            admin   404  412
POST   v1/webhooks/{webhook_id}/test              admin   404  409
POST   v1/webhooks/{webhook_id}/replay            admin   404  409
GET    v1/webhook-deliveries                      admin   -    200
GET    v1/webhook-deliveries/{delivery_id}        admin   404  200
POST   v1/webhook-deliveries/{delivery_id}/redeliver  admin  404  409
POST   hooks/slack/{hook}                         open    -    401
GET    hooks/decisions/{token}                    open    -    401
POST   hooks/decisions/{token}                    open    -    401
POST   claims/{issuer}                            provider  -  200
POST   v1/mcp                                     viewer  -    200
GET    v1/mcp                                     viewer  -    405
GET    v1/a2a/agents/{agent_id}/.well-known/agent-card.json  viewer  404  200
POST   v1/a2a/agents/{agent_id}/message:send  user  404  200
POST   v1/a2a/agents/{agent_id}/message:stream  user  400  400
GET    v1/a2a/agents/{agent_id}/extendedAgentCard  viewer  400  400
GET    v1/a2a/agents/{agent_id}/tasks  viewer  404  200
GET    v1/a2a/agents/{agent_id}/tasks/{execution_id}  viewer  404  200
POST   v1/a2a/agents/{agent_id}/tasks/{execution_id}  user  404  400
POST   v1/a2a/agents/{agent_id}/tasks/{execution_id}/pushNotificationConfigs  user  400  400
GET    v1/a2a/agents/{agent_id}/tasks/{execution_id}/pushNotificationConfigs  viewer  400  400
GET    v1/a2a/agents/{agent_id}/tasks/{execution_id}/pushNotificationConfigs/{config}  viewer  400  400
DELETE v1/a2a/agents/{agent_id}/tasks/{execution_id}/pushNotificationConfigs/{config}  user  400  400
GET    .well-known/oauth-protected-resource       open    -    200
POST   hooks/in/{hook_token}                      open    401  401
GET    health                                     open    -    200
GET    health/live                                open    -    200
GET    openapi.json                               open    -    200
GET    docs                                       open    -    200
GET    docs/swagger-ui-bundle.js                  open    -    200
GET    docs/swagger-ui.css                        open    -    200
GET    docs/start.js                              open    -    200
GET    problems/{code}                            open    -    200
"""

# What callers are let do: `tokens` that are none give 401 on whatever is not open; who is a user of no tenant that is
# open gives 403; a rank gives what its holder may do in a tenant, `staff` where one is named and a grant of it is open.
CREDENTIALS: Final[dict[str, int | str]] = {
    "no token": 401,
    "garbage": 401,
    "expired": 401,
    "not yet valid": 401,
    "wrong issuer": 401,
    "wrong audience": 401,
    "wrong algorithm: none": 401,
    "wrong algorithm: HS256 with the public key": 401,
    "signed by another": 401,
    "tenant is no id": 401,
    "the victim's own issuer, naming another tenant": 401,
    "own issuer, naming the victim": 401,
    "own issuer, the victim's address": 401,
    "own issuer, the platform's role": 401,
    "own issuer, as the platform's by its key id": 401,
    "own issuer that was removed": 401,
    "own issuer that was removed elsewhere": 401,
    "key that was revoked": 401,
    "key that was revoked elsewhere": 401,
    "key that was made with a revoked one": 401,
    "key that is over": 401,
    "key whose secret was changed": 401,
    "key with a wrong character": 401,
    "the victim's key, another secret": 401,
    "provider, wrong secret": 401,
    "no role": 403,
    "no tenant": 403,
    "unknown tenant": 403,
    "admin of a suspended tenant": 403,
    "admin of a tenant that was suspended elsewhere": 403,
    "admin of a provisioning tenant": 403,
    "admin of a deleting tenant": 403,
    "admin of the platform's tenant": 403,
    "stranger": 403,
    "address not verified": 403,
    "the victim's tenant, oneself": 403,
    "oneself, the victim's address": 403,
    "removed user": 403,
    "disabled user": 403,
    "user who was removed elsewhere": 403,
    "key of a removed user": 403,
    "key of a user who was removed elsewhere": 403,
    "key of a disabled user": 403,
    "key of a suspended tenant": 403,
    "key that only reads": "key for reading",
    "key of an admin who is a viewer now": "viewer",
    "viewer": "viewer",
    "admin by token, viewer by list": "viewer",
    "viewer by token, admin by list": "viewer",
    "user": "user",
    "admin": "admin",
    "admin who names the victim": "admin",
    "admin by an own issuer": "admin",
    "key": "admin",
    "key that names the victim": "admin",
    "the victim's own issuer": "admin of the victim",
    "the victim's key": "admin of the victim",
    "staff": "staff without a tenant",
    "staff, an unknown tenant": "staff without a tenant",
    "staff, no tenant id": "staff of no tenant id",
    "staff without a grant, the victim": "staff without a grant",
    "staff, another tenant's grant": "staff without a grant",
    "staff, a grant that is over": "staff without a grant",
    "staff, a grant that was ended": "staff without a grant",
    "staff, own tenant": "staff of a tenant",
    "staff, the victim": "staff of the victim",
    "provider b2c": "provider",
    "provider auth0": "provider",
    "provider entra": "provider",
}

# How long another instance may let in who was taken out (docs/decisions/0023, docs/sign-in.md).
BELIEVED_SECONDS: Final = 5

# What each call changes of the victim by a caller who may be there, exactly: as many new items, and which is touched.
TRACES: Final[dict[str, dict[str, int]]] = {
    "staff, the victim": {"audit staff_access.used": 1},  # the grant that is used is in the victim's own trail
    "the victim's own issuer": {"message": 1},  # it is counted as the victim's call
    "the victim's key": {"message": 1},
}
TOUCHED: Final = {
    "staff, the victim": {"staff_access"},
    "the victim's own issuer": set[str](),
    "the victim's key": set[str](),
}
READS: Final = {  # what takes much away is in the trail as well
    "GET v1/audit/export": {"audit export.read": 1},
    "GET v1/catalog/export": {"audit export.read": 1},
    "GET v1/export": {"audit export.read": 1},
    "GET v1/teams/export": {"audit export.read": 1},
}

# What the app reads of a request's headers. What says who calls, or for whom, needs callers of its own above.
HEADERS: Final = {
    "authorization": "who calls",
    "x-gateway-authorization": "through which gateway",
    "x-tenant-id": "for whom, when staff call",
    "x-forwarded-for": "from where",
    "x-request-id": "under which id it is logged",
    "user-agent": "by which program",
    "traceparent": "in which trace",
    "webhook-id": "which delivery of Standard Webhooks it is",
    "webhook-timestamp": "when it was signed",
    "webhook-signature": "who delivers",
    "stripe-signature": "who delivers, and when it was signed",
    "x-hub-signature-256": "who delivers",
    "x-github-event": "what it says it is about",
    "x-signature": "who delivers",
    "x-flowgrid-signature": "which provider asks",
    "x-flowgrid-timestamp": "when it has asked",
    "x-slack-signature": "which webhook's Slack app answers",
    "x-slack-request-timestamp": "when it has answered",
    "idempotency-key": "whether it has been asked before",
    "a2a-version": "which version of A2A is spoken",
    "if-match": "which version is meant",
    "if-none-match": "which version is known",
    "content-type": "what is sent",
    "accept-encoding": "what can be read",
    "accept": "what can be read of MCP",
    "mcp-protocol-version": "which version of MCP is spoken",
    "mcp-method": "what an MCP message is about",
    "mcp-name": "which tool an MCP message calls",
    "origin": "from which page",
}

# Another tenant's id in a field of a body: what comes of it. What is refused is refused as an id that never was.
BODIES: Final = {
    ("POST v1/agents", "element_id"): 400,
    ("PUT v1/agents/{agent_id}", "element_id"): 400,
    ("PATCH v1/agents/{agent_id}", "element_id"): 400,
    ("POST v1/agents", "tools"): 201,  # a name until the agent runs, and that of nobody then
    ("PUT v1/agents/{agent_id}", "tools"): 200,
    ("PATCH v1/agents/{agent_id}", "tools"): 200,
    ("POST v1/teams/import", "agents.agent.element_id"): 400,
    ("POST v1/teams/import", "agents.agent.tools"): 400,
    ("POST v1/cases", "agent_id"): 400,
    ("PUT v1/cases/{case_id}", "agent_id"): 400,
    ("PATCH v1/cases/{case_id}", "agent_id"): 400,
    ("POST v1/restores", "backup_id"): 404,
    ("POST v1/restores", "new_tenant.slug"): 409,  # one name space for all: that a slug is taken is told
    ("POST v1/relationships", "source_id"): 400,
    ("POST v1/relationships", "target_id"): 400,
    ("PUT v1/relationships/{relationship_id}", "source_id"): 400,
    ("PUT v1/relationships/{relationship_id}", "target_id"): 400,
    ("PATCH v1/relationships/{relationship_id}", "source_id"): 400,
    ("PATCH v1/relationships/{relationship_id}", "target_id"): 400,
    ("POST v1/migrations/{migration_id}/rows", "elements.legacy_id"): 200,  # a key of an old file, of nobody here
    ("POST v1/migrations/{migration_id}/rows", "relationships.legacy_id"): 200,
    ("POST v1/migrations/{migration_id}/rows", "relationships.fields.source_id"): 200,  # it waits for an end of its own
    ("POST v1/migrations/{migration_id}/rows", "relationships.fields.target_id"): 200,
    ("POST v1/migrations/{migration_id}/rows", "agents.legacy_id"): 200,
    ("POST v1/migrations/{migration_id}/rows", "agents.fields.element_id"): 200,
    ("POST v1/migrations/{migration_id}/rows", "agents.fields.tools"): 200,
    ("POST v1/migrations/{migration_id}/digests", "legacy_ids"): 200,
    ("POST v1/users", "email"): 201,  # an invitation says nothing of the address elsewhere
    ("POST v1/restores", "new_tenant.admin_email"): 409,  # for its slug, which has been taken by then
    ("POST v1/issuers", "issuer"): 409,  # one name space for all: that a pair of issuer and audience is taken is told
    ("POST v1/platform/default-tenant", "admin_email"): 403,
    ("POST v1/platform/tenants", "slug"): 403,
    ("POST v1/platform/tenants", "admin_email"): 403,
    ("POST v1/platform/tenants/{tenant_id}/usage-adjustments", "event.id"): 403,
    ("POST v1/platform/dead-letter-replays", "tenant"): 403,
}

# Where a name that all tenants share is the victim's, its own partition is asked by a point read whether it still is.
LOOKED_UP: Final = {("POST v1/issuers", "body issuer: the issuer")}

# Whose numbers are of the whole tenant: what another does moves none of them.
FIGURES: Final = (
    *("GET v1/usage", "GET v1/analytics", "GET v1/quotas", "GET v1/execution-admission", "GET v1/audit/verify"),
    *("GET v1/billing", "GET v1/billing/statements", "GET v1/billing/statements/{month}"),
)

# What a queue's function makes of a message that names two tenants, or none: nothing of the victim's may change.
QUEUES: Final = ("store_usage", "run_job", "run_execution", "deliver")

# The kinds of a tenant's own items that a timer may change; all else stays as it is, byte by byte.
TIMERS: Final = {
    "sweep": {"job", "outbox", "notification", "message"},
    "rounds": {
        *("usage_archived", "counter", "kept_secret", "notification", "statement", "audit", "budget_reservation"),
        *("audit_head", "audit_anchor", "blobs"),  # the trail's next segment
    },
    "backup_daily": {"backup", "job", "audit", "counter", "outbox", "message", "happened"},
    "backup_retention": {"backup", "counter", "audit"},
    "close_usage": {"usage_hour", "usage_due", "usage_open", "rollup"},
    "drain_queues": set[str](),  # where there is no trigger for them: what it takes is theirs
}


@dataclass(frozen=True)
class Expected:
    """`reads`: an API key for reading may do it, but it may not look at keys."""

    least: str
    foreign: int | None
    own: frozenset[int]
    reads: bool


def routes() -> dict[str, Expected]:
    """By `METHOD path`."""
    found: dict[str, Expected] = {}
    for line in ROUTES.strip().splitlines():
        method, path, least, foreign, own = line.split()
        statuses = frozenset(int(status) for status in own.split(","))
        reads = (method == "GET" or path == "v1/mcp") and least == "viewer" and not path.startswith("v1/api-keys")
        found[f"{method} {path}"] = Expected(least, None if foreign == "-" else int(foreign), statuses, reads)
    return found


EXPECTED: Final = routes()


def let_in(expected: Expected, credential: str) -> bool:
    """Whether this caller gets as far as what is asked for, if it is there."""
    return refusal(expected, credential) is None


def refusal(expected: Expected, credential: str) -> int | None:
    """The status with which this caller is turned away, whatever is asked for; None for who is not."""
    rank = CREDENTIALS[credential]
    if expected.least == "open":
        return None
    if expected.least == "provider" or rank == "provider":
        return None if expected.least == rank else 401
    if isinstance(rank, int):
        return rank
    if rank == "key for reading":  # whatever its role is: what viewers read
        return None if expected.reads else 403
    if rank == "admin of the victim":
        return 403 if expected.least == "staff" else None
    if rank.startswith("staff"):
        if expected.least == "staff":
            return None
        refused = {"staff without a tenant": 403, "staff without a grant": 403, "staff of no tenant id": 400}
        return refused.get(rank)
    return None if RANKS.index(rank) >= RANKS.index(expected.least) else 403
