"""Every kind of item that the app keeps: a kind that is not here is in no index and in no backup (a test says so)."""

from functions.agents.cases import Case
from functions.agents.models import Agent
from functions.audit.chain import ANCHOR, HEAD
from functions.backups.copies import COPY
from functions.backups.models import Backup
from functions.billing.models import STATEMENT
from functions.catalog.models import Element, Model, Relationship
from functions.catalog.view_models import ModelPart, View
from functions.design.models import Design
from functions.executions.models import TICKET, TREE, Execution, Snapshot, Step
from functions.hooks.models import HookItem
from functions.migration.models import BATCH, Migration
from functions.migration.models import OPEN as MIGRATING
from functions.providers.models import Provider
from functions.tools.mcp.models import McpServer
from functions.tools.models import Tool
from functions.tools.proposing import USED
from functions.usage.adjustments import Adjustment
from functions.usage.archiving import ARCHIVED
from functions.usage.blocks import BLOCK
from functions.usage.fleet import FLEET, SHARES
from functions.usage.hours import HOUR, OPEN
from functions.usage.rollups import DUE, ROLLUP
from functions.webhooks.models import Delivery, Line, Webhook
from shared.jobs.deadletters import DeadLetter
from shared.jobs.jobs import Job
from shared.kinds import Kinds
from shared.members.apikeys import PROOF, ApiKey
from shared.members.breakglass import StaffAccess
from shared.members.invitations import INVITED
from shared.members.users import BINDING, OWN_ISSUER, REMOVED, User
from shared.tenancy.directory import RESERVATION, TENANT
from shared.tenancy.fence import AUDIT, FENCE, PERMIT
from shared.work.budgets import RESERVED
from shared.work.change import COUNTER
from shared.work.fencing import LOCK
from shared.work.happenings import HAPPENED
from shared.work.kept_secrets import RECORD
from shared.work.notices import NOTIFICATION
from shared.work.outbox import OUTBOX
from shared.work.scope import IDEMPOTENCY

KINDS = Kinds(
    User.KIND,
    Model.KIND,
    Element.KIND,
    Relationship.KIND,
    View.KIND,
    ModelPart.KIND,
    Agent.KIND,
    Case.KIND,
    Design.KIND,
    Provider.KIND,
    Tool.KIND,
    HookItem.KIND,
    McpServer.KIND,
    Webhook.KIND,
    AUDIT,
    HEAD,
    ANCHOR,
    ROLLUP,
    BLOCK,
    Adjustment.KIND,
    NOTIFICATION,
    STATEMENT,
    Backup.KIND,
    Job.KIND,
    Execution.KIND,
    Snapshot.KIND,
    Step.KIND,
    TREE,
    TICKET,
    Delivery.KIND,
    Line.KIND,
    HAPPENED,
    BINDING,
    REMOVED,
    StaffAccess.KIND,
    OWN_ISSUER,
    ApiKey.KIND,
    PROOF,
    COPY,
    RECORD,
    COUNTER,
    RESERVED,
    OUTBOX,
    IDEMPOTENCY,
    USED,
    Migration.KIND,
    MIGRATING,
    BATCH,
    PERMIT,
    FENCE,
    LOCK,
    HOUR,
    OPEN,
    DUE,
    ARCHIVED,
    FLEET,
    SHARES,
    TENANT,
    RESERVATION,
    INVITED,
    DeadLetter.KIND,
)
