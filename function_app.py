"""The composition root: settings -> adapters -> services -> blueprints. Nothing is opened here, nothing decided."""

import os

import azure.functions as func

import functions.agents.http
import functions.audit.http
import functions.backups.http
import functions.backups.timer
import functions.billing.http
import functions.catalog.http
import functions.claims.http
import functions.design.http
import functions.executions.bus
import functions.executions.http
import functions.identity.http
import functions.notifications.http
import functions.platform.bus
import functions.platform.http
import functions.platform.timer
import functions.providers.http
import functions.publishing.http
import functions.tenants.http
import functions.tools.http
import functions.usage.bus
import functions.usage.http
import functions.usage.timer
from functions.agents.service import AgentService
from functions.agents.teams import Teams
from functions.audit.assembly import Trail
from functions.backups.copies import Copies
from functions.backups.daily import Daily, DailyBackups
from functions.backups.export import Export
from functions.backups.restore import Restoring
from functions.backups.retention import Retention
from functions.backups.service import BackupService
from functions.backups.soundness import Soundness
from functions.billing.service import BillingService
from functions.catalog.importing import CatalogImport
from functions.catalog.models import Element
from functions.catalog.service import ElementService, RelationshipService
from functions.claims.service import ClaimsService
from functions.design.service import DesignService
from functions.design.tools import WizardTools
from functions.executions.assembly import Executions
from functions.executions.soundness import admitted_as_counted
from functions.executions.working import World
from functions.identity.assembly import Identity
from functions.kinds import KINDS
from functions.notifications.service import NotificationService
from functions.platform.consumers import Consumers
from functions.platform.costs import Costs
from functions.platform.counters import counters
from functions.platform.health import HealthService
from functions.platform.invariants import Invariants
from functions.platform.rounds import Rounds
from functions.providers.connections import Connections
from functions.providers.service import ProviderService
from functions.publishing.models import TYPE as PUBLISH
from functions.publishing.service import Publishing
from functions.tenants.onboarding import Onboarding
from functions.tenants.provisioning import Provisioning
from functions.tenants.service import TenantService
from functions.tenants.subscriptions import Subscriptions
from functions.tenants.trials import Trials
from functions.tools.calling import HttpToolbox
from functions.tools.catalog import CatalogTools
from functions.tools.port import Toolboxes
from functions.tools.proposing import ProposingTools
from functions.tools.service import ToolService
from functions.usage.adjustments import Adjustments
from functions.usage.archiving import Archive
from functions.usage.closing import Closing
from functions.usage.metering import Metering
from functions.usage.quotas import QuotaService
from functions.usage.rebuilding import rollups_as_rebuilt
from functions.usage.rollups import totals
from functions.usage.service import UsageService
from functions.usage.thresholds import tell_thresholds
from shared.core import Core, core
from shared.jobs.tenant_sweep import TenantSweep
from shared.settings import Settings
from shared.work.budgets import release_abandoned
from shared.work.kept_secrets import KeptSecrets


def compose(core: Core, runs: World | None = None) -> func.FunctionApp:
    """Every function of the app, over one core. `runs`: what runs of agents work with, where it is not the usual."""
    settings, adapters, endpoint, services = core.settings, core.adapters, core.endpoint, core.services
    telemetry = adapters.telemetry
    database, directory, names = adapters.database, core.directory, core.names
    provisioning = Provisioning(adapters.provisioner, directory, services, settings.jobs_queue)
    shards, region = settings.flowgrid_shards, settings.flowgrid_region
    onboarding = Onboarding(database, directory, names, services, shards, region, provisioning)
    tenants = TenantService(database, directory, services)
    subscriptions = Subscriptions(tenants, directory, services.clock)
    metering = Metering(directory, core.dead_letters, adapters.messaging, services.clock, settings.usage_queue)
    agents = AgentService()
    export = Export(adapters.blobs)
    imports = CatalogImport(adapters.blobs)
    copies = Copies(names, database)
    restoring = Restoring(adapters.blobs, export, directory, onboarding.onboard_like, copies)
    backups = BackupService(adapters.blobs, copies, jobs_queue=settings.jobs_queue)
    each = TenantSweep(database, directory, services)
    daily = Daily(DailyBackups(each, backups), Retention(each, adapters.blobs), core.ledger, services.clock)
    billing = BillingService(database, totals)
    elements, relationships = ElementService(), RelationshipService()
    secrets = KeptSecrets(adapters.secrets)
    http_tools = HttpToolbox(adapters.outgoing, secrets)
    tools = Toolboxes(CatalogTools(elements, relationships), ProposingTools(), http_tools)
    parts = World(tools, adapters.models, Connections(adapters.secrets, settings).resolve, WizardTools())
    executions = Executions.of(core, runs or parts)
    publishing = Publishing(executions.starting, executions.service, settings.jobs_queue)
    jobs = core.jobs(
        {
            "backup": export.run_backup,
            "restore": restoring.run_restore,
            "provision": onboarding.run_provision,
            PUBLISH: publishing.run,
        },
        {"backup": export.give_up, "restore": restoring.give_up},
    )
    others = {settings.usage_queue: metering.store, settings.executions_queue: executions.messages.take_all}
    consumers = Consumers(jobs, settings.jobs_queue, core.dead_letters, others, telemetry)
    checks = {"counters": counters, "runs": admitted_as_counted, "rollups": rollups_as_rebuilt}
    checks |= {"statements": billing.check}
    trail = Trail.of(core, backups.journal_needed_since)
    invariants = Invariants(each, checks, core.ledger, services.clock)
    hourly = {
        "reservations": each.over_all(release_abandoned),
        "thresholds": each.over_all(tell_thresholds),
        "secrets": each.over_all(secrets.compare),
        "invitations": each.over_all(core.invitations.of_tenant),
        "waiting runs": each.over_all(executions.sweeping.of_tenant),
        "audit seals": each.over_all(trail.sealer.seal),
    }
    archive = Archive(adapters.blobs)
    daily_rounds = {
        "statements": each.over_all(billing.close),
        "usage archive": each.over_all(archive.keep),
        "audit retention": each.over_all(trail.pruner.prune),
        "run retention": each.over_all(executions.retention.purge),
        Invariants.ROUND: invariants.run,
    }
    rounds = Rounds(core.ledger, services.clock, hourly, daily_rounds)
    concerns = {
        "backups": Soundness(database, services.clock).check,
        "invariants": invariants.check,
        "places": onboarding.places.check,
    }
    health = HealthService({**adapters.pings(), **concerns}, services.clock)
    costs = Costs(database, directory, services.clock, totals)
    sweeps = {
        "outbox": core.sweep_outbox,
        "onboarding": onboarding.sweep,
        "tenants": tenants.sweep,
        "trials": Trials(tenants, services.clock).sweep,
        "downgrades": subscriptions.sweep,
        "jobs": jobs.sweep,
        "runs": executions.sweeping.sweep,
        "schedules": executions.scheduling.sweep,
        "dead_letters": consumers.collect_dead,
        "daily": daily.sweep,  # the last, as it may take as long as its timers do
    }
    blueprints = [
        functions.agents.http.blueprint(endpoint, agents, Teams(agents, Element.KIND)),
        functions.audit.http.blueprint(endpoint, trail),
        functions.backups.http.blueprint(endpoint, backups),
        functions.backups.timer.blueprint(daily, telemetry),
        functions.billing.http.blueprint(endpoint, billing, subscriptions),
        functions.catalog.http.blueprint(endpoint, elements, relationships, imports),
        functions.claims.http.blueprint(endpoint, ClaimsService.of(core)),
        functions.design.http.blueprint(endpoint, DesignService(executions.starting, agents)),
        functions.executions.http.blueprint(endpoint, executions.service),
        functions.identity.http.blueprint(endpoint, Identity.of(core)),
        functions.notifications.http.blueprint(endpoint, NotificationService()),
        functions.providers.http.blueprint(endpoint, ProviderService(secrets, adapters.outgoing.allowed)),
        functions.publishing.http.blueprint(endpoint, publishing),
        functions.tenants.http.blueprint(endpoint, tenants, onboarding),
        functions.tools.http.blueprint(endpoint, ToolService(secrets, adapters.outgoing.allowed)),
        functions.usage.http.blueprint(endpoint, UsageService(archive), QuotaService(), Adjustments(directory)),
        functions.usage.timer.blueprint(Closing(database, directory, services.clock), telemetry),
        functions.platform.http.blueprint(endpoint, health, core.dead_letters, costs),
        functions.platform.timer.blueprint(sweeps, telemetry),
        functions.platform.timer.rounds_blueprint(rounds, telemetry),
    ]
    if settings.queue_triggers:
        blueprints += [
            functions.usage.bus.blueprint(metering, telemetry),
            functions.platform.bus.blueprint(consumers),
            functions.executions.bus.blueprint(executions.messages),
        ]
    elif adapters.source is not None:
        blueprints += [functions.platform.timer.drain_blueprint(consumers, adapters.source)]
    app = func.FunctionApp()
    for blueprint in blueprints:
        app.register_functions(blueprint)
    return app


platform = core(Settings.load(os.environ), KINDS)
app = compose(platform)
