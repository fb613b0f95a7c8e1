"""The composition root: settings -> adapters -> services -> blueprints. Nothing is opened here, nothing decided."""

import os

import azure.functions as func

import functions.a2a.http
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
import functions.hooks.http
import functions.identity.http
import functions.mcp.http
import functions.migration.http
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
import functions.webhooks.bus
import functions.webhooks.http
from functions.composition import Parts, chosen
from functions.executions.working import World
from functions.kinds import KINDS
from shared.core import Core, core
from shared.settings import Settings


def compose(core: Core, runs: World | None = None) -> func.FunctionApp:
    """The functions of the services that the settings name, over one core. `runs`: see `Parts`."""
    endpoint, telemetry, parts = core.endpoint, core.adapters.telemetry, Parts(core, runs)
    blueprints = {
        "a2a": [functions.a2a.http.blueprint(endpoint, parts.a2a)],
        "agents": [functions.agents.http.blueprint(endpoint, parts.agents, parts.teams)],
        "audit": [functions.audit.http.blueprint(endpoint, parts.trail)],
        "backups": [
            functions.backups.http.blueprint(endpoint, parts.backups),
            functions.backups.timer.blueprint(parts.daily, telemetry),
        ],
        "billing": [functions.billing.http.blueprint(endpoint, parts.billing, parts.subscriptions)],
        "catalog": [
            functions.catalog.http.blueprint(
                endpoint, parts.elements, parts.relationships, parts.imports, parts.modelling
            )
        ],
        "claims": [functions.claims.http.blueprint(endpoint, parts.claims)],
        "design": [functions.design.http.blueprint(endpoint, parts.design)],
        "executions": [functions.executions.http.blueprint(endpoint, parts.executions.service)],
        "hooks": [functions.hooks.http.blueprint(endpoint, parts.hooks, parts.delivering)],
        "identity": [functions.identity.http.blueprint(endpoint, parts.identity)],
        "mcp": [functions.mcp.http.blueprint(endpoint, parts.mcp, parts.issuers)],
        "migration": [functions.migration.http.blueprint(endpoint, parts.migrations)],
        "notifications": [functions.notifications.http.blueprint(endpoint, parts.notifications)],
        "providers": [functions.providers.http.blueprint(endpoint, parts.providers)],
        "publishing": [functions.publishing.http.blueprint(endpoint, parts.publishing)],
        "tenants": [functions.tenants.http.blueprint(endpoint, parts.tenants, parts.onboarding)],
        "tools": [functions.tools.http.blueprint(endpoint, parts.tools, parts.mcp_servers)],
        "usage": [
            functions.usage.http.blueprint(
                endpoint, parts.usage, parts.quotas, parts.adjustments, parts.neighbors, parts.slos
            ),
            functions.usage.timer.blueprint(parts.closing, parts.fleet, telemetry),
        ],
        "webhooks": [functions.webhooks.http.blueprint(endpoint, parts.webhooks)],
        "platform": [
            functions.platform.http.blueprint(endpoint, parts.health, core.dead_letters, parts.costs),
            functions.platform.timer.blueprint(parts.sweeps, telemetry),
            functions.platform.timer.rounds_blueprint(parts.rounds, telemetry),
        ],
    }
    if core.settings.queue_triggers:
        blueprints["usage"].append(functions.usage.bus.blueprint(parts.metering, telemetry))
        blueprints["platform"].append(functions.platform.bus.blueprint(parts.consumers))
        blueprints["executions"].append(functions.executions.bus.blueprint(parts.executions.messages))
        blueprints["webhooks"].append(functions.webhooks.bus.blueprint(parts.webhooks.deliverer))
    elif (receiving := core.adapters.receiving) is not None:
        blueprints["platform"].append(functions.platform.timer.drain_blueprint(parts.consumers, receiving))
    app = func.FunctionApp()
    for blueprint in chosen(blueprints, core.settings.services):
        app.register_functions(blueprint)
    return app


own_core = core(Settings.load(os.environ), KINDS)
app = compose(own_core)
