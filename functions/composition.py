"""Every service of the app, put together over one core; function_app.py gives each of them its triggers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from functions.a2a.service import A2aService
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
from functions.catalog.long_work import DELETE, IMPORT, LongWork
from functions.catalog.models import Element
from functions.catalog.service import ElementService, RelationshipService
from functions.claims.service import ClaimsService
from functions.design.service import DesignService
from functions.design.tools import WizardTools
from functions.executions.assembly import Executions
from functions.executions.soundness import admitted_as_counted
from functions.executions.working import World
from functions.hooks.delivering import Delivering
from functions.hooks.service import HookService
from functions.hooks.tokens import HookTokens
from functions.identity.assembly import Identity
from functions.mcp.service import McpService
from functions.mcp.tools import Offers
from functions.migration.service import MigrationService
from functions.notifications.service import NotificationService
from functions.platform.consumers import Consumers
from functions.platform.costs import Costs
from functions.platform.counters import counters
from functions.platform.freshness import Freshness
from functions.platform.health import Ask, HealthService
from functions.platform.invariants import Invariants
from functions.platform.own_ai import OwnAi
from functions.platform.rounds import Rounds
from functions.platform.seals import Seals
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
from functions.tools.mcp.calling import McpToolbox
from functions.tools.mcp.service import McpServerService
from functions.tools.port import Toolboxes
from functions.tools.proposing import ProposingTools
from functions.tools.service import ToolService
from functions.usage.adjustments import Adjustments
from functions.usage.archiving import Archive
from functions.usage.closing import Closing
from functions.usage.fleet import FLEET, FleetHours
from functions.usage.hours import HOUR
from functions.usage.metering import Metering
from functions.usage.neighbors import Neighbors
from functions.usage.quotas import QuotaService
from functions.usage.rebuilding import rollups_as_rebuilt
from functions.usage.rollups import totals
from functions.usage.service import UsageService
from functions.usage.slo import SloService
from functions.usage.thresholds import tell_thresholds
from functions.webhooks.assembly import Webhooks
from shared.core import Core
from shared.jobs.jobs import Jobs
from shared.jobs.ledger import Work
from shared.jobs.tenant_sweep import TenantSweep
from shared.settings import SettingsError
from shared.tenancy.sharedkey import HOOKS, RegistryKey
from shared.work.budgets import release_abandoned
from shared.work.kept_secrets import KeptSecrets

T = TypeVar("T")


def chosen(by_service: Mapping[str, Sequence[T]], names: Sequence[str]) -> list[T]:
    """Those of these services, or of all where none is named; `SettingsError` for a name that there is not.

    Each service is made all the same: the API's description tells of all, whoever serves them.
    """
    unknown = [name for name in names if name not in by_service]
    if unknown:
        there = f"the services are {', '.join(sorted(by_service))}"
        raise SettingsError(f"FLOWGRID_SERVICES: there is no {', '.join(map(repr, unknown))}; {there}.")
    return [one for service, of_it in by_service.items() if not names or service in names for one in of_it]


class Parts:
    """`runs`: what runs of agents work with, where it is not the usual."""

    def __init__(self, core: Core, runs: World | None = None) -> None:
        settings, adapters, services = core.settings, core.adapters, core.services
        database, directory, blobs = adapters.database, core.directory, adapters.blobs
        self._core = core
        self._each = TenantSweep(database, directory, services)
        provisioning = Provisioning(adapters.provisioner, directory, services, settings.jobs_queue)
        shards, region = settings.flowgrid_shards, settings.flowgrid_region
        self.onboarding = Onboarding(database, directory, core.names, services, shards, region, provisioning)
        self.tenants = TenantService(database, directory, services)
        self.subscriptions = Subscriptions(self.tenants, directory, services.clock)
        self.identity = Identity.of(core)
        self.claims = ClaimsService.of(core)
        self.notifications = NotificationService()

        self.agents = AgentService()
        self.teams = Teams(self.agents, Element.KIND)
        self.elements, self.relationships = ElementService(), RelationshipService()
        self.imports = CatalogImport(blobs)
        self.modelling = LongWork(self.imports, settings.jobs_queue)
        self.migrations = MigrationService(self.agents)

        self._secrets = KeptSecrets(adapters.secrets)
        self.providers = ProviderService(self._secrets, adapters.outgoing.allowed)
        self.tools = ToolService(self._secrets, adapters.outgoing.allowed)
        self.mcp_servers = McpServerService(self._secrets, adapters.outgoing)
        self.executions = Executions.of(core, runs or self._world())
        self.publishing = Publishing(self.executions.starting, self.executions.service, settings.jobs_queue)
        tokens = HookTokens(RegistryKey(database, services.clock, HOOKS))
        self.hooks = HookService(self._secrets, tokens, settings.flowgrid_public_url)
        self.delivering = Delivering(
            directory, services, adapters.limiter, tokens, self._secrets, self.executions.starting, core.api_keys
        )
        catalog = CatalogTools(self.elements, self.relationships)
        self.issuers = [one.issuer for one in settings.flowgrid_issuers]
        self.mcp = McpService(Offers(self.agents, self.executions.service, catalog))
        self.a2a = A2aService(self.agents, self.executions.service, self.executions.starting)
        self.design = DesignService(self.executions.starting, self.agents)

        self.webhooks = Webhooks.of(core, self.executions.service.decide_as)
        self.metering = Metering(directory, core.dead_letters, adapters.messaging, services.clock, settings.usage_queue)
        self._archive = Archive(blobs)
        self.usage, self.quotas = UsageService(self._archive), QuotaService()
        self.adjustments = Adjustments(directory)
        self.closing = Closing(database, directory, services.clock)
        self.fleet = FleetHours(database, directory, services.clock)
        self.neighbors = Neighbors(database, self.fleet, services.clock)
        self.slos = SloService(self.fleet, services.clock)
        self.billing = BillingService(database, totals)
        self.costs = Costs(database, directory, services.clock, totals)

        copies, self._export = Copies(core.names, database), Export(blobs)
        self._restoring = Restoring(blobs, self._export, directory, self.onboarding.onboard_like, copies)
        self.backups = BackupService(blobs, copies, jobs_queue=settings.jobs_queue)
        retention = Retention(self._each, blobs)
        self.daily = Daily(DailyBackups(self._each, self.backups), retention, core.ledger, services.clock)
        self.trail = Trail.of(core, self.backups.journal_needed_since)

        self._jobs = self._long_work()
        runner = self.executions.messages.take_all
        consumed = {settings.usage_queue: self.metering.store, settings.executions_queue: runner}
        consumed |= {settings.deliveries_queue: self.webhooks.deliverer.take_all}
        self.consumers = Consumers(self._jobs, settings.jobs_queue, core.dead_letters, consumed, adapters.telemetry)
        checks = {"counters": counters, "runs": admitted_as_counted, "rollups": rollups_as_rebuilt}
        checks |= {"statements": self.billing.check}
        self._invariants = Invariants(self._each, checks, core.ledger, services.clock)
        self.rounds = Rounds(core.ledger, services.clock, self._hourly(), self._daily())
        fresh = Freshness(
            database,
            core.ledger,
            services.clock,
            backups=Daily.BACKUPS,
            retention=Daily.RETENTION,
            hours=HOUR,
            summed=FLEET,
        )
        concerns: dict[str, Ask] = {
            "database:dedicated": database.dedicated,
            "openai": OwnAi(Connections(adapters.secrets, settings).own, adapters.outgoing).check,
            "backup_round": fresh.backup_round,
            "rollups": fresh.rollups,
            "outbox": fresh.outbox,
            "backups": Soundness(database, services.clock).check,
            "invariants": self._invariants.check,
            "rounds": self.rounds.check,
            "audit_seals": Seals(database, core.ledger, services.clock).check,
            "places": self.onboarding.places.check,
        }
        others: dict[str, Ask] = {"redis": adapters.limiter.ping}
        self.health = HealthService(adapters.pings(), others, concerns, services.clock, adapters.telemetry)

    @property
    def sweeps(self) -> dict[str, Callable[[], Awaitable[int]]]:
        """What each minute's timer runs, in this order."""
        return {
            "outbox": self._core.sweep_outbox,
            "onboarding": self.onboarding.sweep,
            "tenants": self.tenants.sweep,
            "trials": Trials(self.tenants, self._core.services.clock).sweep,
            "downgrades": self.subscriptions.sweep,
            "jobs": self._jobs.sweep,
            "runs": self.executions.sweeping.sweep,
            "schedules": self.executions.scheduling.sweep,
            "webhooks": self.webhooks.sweeping.sweep,
            "dead_letters": self.consumers.collect_dead,
            "daily": self.daily.sweep,  # the last, as it may take as long as its timers do
        }

    def _world(self) -> World:
        adapters = self._core.adapters
        catalog = CatalogTools(self.elements, self.relationships)
        others = (HttpToolbox(adapters.outgoing, self._secrets), McpToolbox(adapters.outgoing, self._secrets))
        tools = Toolboxes(catalog, ProposingTools(), *others)
        connections = Connections(adapters.secrets, self._core.settings)
        return World(tools, adapters.models, connections.resolve, WizardTools())

    def _long_work(self) -> Jobs:
        return self._core.jobs(
            {
                "backup": self._export.run_backup,
                "restore": self._restoring.run_restore,
                "provision": self.onboarding.run_provision,
                PUBLISH: self.publishing.run,
                IMPORT: self.modelling.run_import,
                DELETE: self.modelling.run_deletion,
            },
            {"backup": self._export.give_up, "restore": self._restoring.give_up},
        )

    def _hourly(self) -> dict[str, Work]:
        over_all = self._each.over_all
        return {
            "reservations": over_all(release_abandoned),
            "thresholds": over_all(tell_thresholds),
            "secrets": over_all(self._secrets.compare),
            "invitations": over_all(self._core.invitations.of_tenant),
            "waiting runs": over_all(self.executions.sweeping.of_tenant),
            Seals.ROUND: over_all(self.trail.sealer.seal),
        }

    def _daily(self) -> dict[str, Work]:
        over_all = self._each.over_all
        return {
            "statements": over_all(self.billing.close),
            "usage archive": over_all(self._archive.keep),
            "audit retention": over_all(self.trail.pruner.prune),
            "run retention": over_all(self.executions.retention.purge),
            "api keys": over_all(self.identity.api_keys.purge),
            "costs": over_all(self.costs.tell),
            Invariants.ROUND: self._invariants.run,
        }
