"""The settings: one typed, frozen object made from the environment, checked at start.

Every setting is listed here, in `local.settings.sample.json` and in `docs/settings.md`; a test keeps the three equal.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared.emulators import is_local
from shared.issuers import MOST_GATEWAYS, MOST_SOURCES, ClaimsSource, Gateway, Issuer, from_json, plain, wrong_sources
from shared.outside import allowed_from, listed
from shared.setting_rules import related

_PLACEHOLDER = re.compile(r'(^|")(<|changeme|your-|todo)', re.IGNORECASE)  # the whole value, or one within its JSON


class SettingsError(Exception):
    """One line per wrong setting: its name, what is wrong, what it should be."""


class Settings(BaseModel):
    """Attribute = setting name in lower case; the description is what `docs/settings.md` must say."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    flowgrid_data_dir: Path = Field(
        Path(".data"), description="Folder of the embedded database, queue, blobs and secrets."
    )
    flowgrid_database: Literal["sqlite", "cosmos"] = Field("sqlite", description="Database adapter: sqlite or cosmos.")
    flowgrid_cosmos_endpoint: str = Field(
        "", description="Cosmos DB account, https://<account>.documents.azure.com:443/; needed with cosmos."
    )
    flowgrid_cosmos_registry: str = Field(
        "registry", min_length=1, description="Cosmos DB database of the tenant registry."
    )
    flowgrid_cosmos_emulator_key: str = Field(
        "", description="Key of a Cosmos DB emulator on this machine; empty: the app's own identity is used."
    )
    flowgrid_messaging: Literal["sqlite", "servicebus"] = Field(
        "sqlite", description="Messaging adapter: sqlite or servicebus."
    )
    flowgrid_servicebus_namespace: str = Field(
        "", description="Service Bus namespace, <name>.servicebus.windows.net; needed with servicebus."
    )
    flowgrid_servicebus_emulator: str = Field(
        "", description="Connection string of a Service Bus emulator on this machine, in place of a namespace."
    )
    flowgrid_blobs: Literal["files", "azure"] = Field("files", description="Blob adapter: files or azure.")
    flowgrid_blob_account_url: str = Field(
        "", description="Storage account, https://<account>.blob.core.windows.net; needed with azure."
    )
    flowgrid_blob_emulator_connection: str = Field(
        "",
        description="Connection string of Azurite in place of an account; UseDevelopmentStorage=true is the usual one.",
    )
    flowgrid_secrets: Literal["file", "keyvault"] = Field("file", description="Secrets adapter: file or keyvault.")
    flowgrid_secrets_key: str = Field(
        "", description="Fernet key that encrypts the secrets file; empty: one is made in the data folder."
    )
    flowgrid_keyvault_url: str = Field(
        "", description="Key Vault, https://<vault>.vault.azure.net; needed with keyvault."
    )
    flowgrid_rate_limits: Literal["memory", "redis"] = Field(
        "memory", description="Where rate limits are counted: memory (of each instance) or redis (over all of them)."
    )
    flowgrid_redis_url: str = Field(
        "",
        description="Azure Managed Redis, rediss://<name>.<region>.redis.azure.net:10000, where the app's own identity "
        "signs in; or redis:// on this machine; needed with redis.",
    )
    flowgrid_cosmos_account_id: str = Field(
        "",
        description="Resource id of the Cosmos DB account, /subscriptions/…/databaseAccounts/<account>, in which the "
        "app makes databases of dedicated tenants; empty: somebody else makes them.",
    )
    flowgrid_cosmos_dedicated_ru: int = Field(
        0, ge=0, multiple_of=1000, description="Autoscale maximum of such a database, in RU/s; 0: a serverless account."
    )
    flowgrid_shards: int = Field(
        1, ge=1, le=100, description="Number of shared databases that new tenants spread over."
    )
    flowgrid_region: str = Field("local", min_length=1, description="Region that new tenants are placed in.")
    flowgrid_issuers: Annotated[tuple[Issuer, ...], BeforeValidator(from_json), Field(min_length=1)] = Field(
        (Issuer(issuer="http://127.0.0.1:7071/oidc", audience="flowgrid"),),
        description="JSON list of accepted token issuers: issuer, audience; optional jwks_uri, subject_claim (sub; "
        "Entra: oid), email_verified_claim (email_verified; Entra: xms_edov; null: it asserts verified ones only), "
        "tenant_claim and roles_claim (those of the next two).",
    )
    flowgrid_tenant_claim: str = Field(
        "extension_TenantId", min_length=1, description="Token claim with the tenant id."
    )
    flowgrid_roles_claim: str = Field("roles", min_length=1, description="Token claim with the list of roles.")
    flowgrid_claims: Annotated[tuple[ClaimsSource, ...], BeforeValidator(from_json), Field(max_length=MOST_SOURCES)] = (
        Field(
            (),
            description="JSON list of identity providers that ask for tenant and roles at sign-in: name, provider "
            "(entra, b2c, auth0), issuer; caller or secrets; optional verifies_email, refuse (docs/sign-in.md).",
        )
    )
    flowgrid_global_limit: int = Field(
        1000, ge=1, description="Calls per address (IPv6: per /64) in 15 minutes that have no verified token."
    )
    flowgrid_trusted_proxies: int = Field(
        1,
        ge=0,
        le=10,
        description="How many proxies in front add the address that they see to X-Forwarded-For: Azure's front end is "
        "one, a gateway before it makes two; 0: none is believed, and all callers share one window.",
    )
    flowgrid_gateway: Annotated[tuple[Gateway, ...], BeforeValidator(from_json), Field(max_length=MOST_GATEWAYS)] = (
        Field(
            (),
            description="JSON list of gateways, through one of which every call has to come: issuer and audience of "
            "their own tokens, caller (object id of their identity); optional jwks_uri (docs/gateway.md); empty: calls "
            "come from anywhere.",
        )
    )
    flowgrid_services: str = Field(
        "", description="Services that this app registers, comma-separated (docs/gateway.md); empty: all."
    )
    flowgrid_cors_origins: str = Field(
        "",
        description="Origins of web pages that may call, comma-separated, such as https://app.acme.example; empty: "
        "none. Not beside the platform's own CORS.",
    )
    flowgrid_cursor_key: str = Field(
        "", description="Secret that signs page cursors, 32 characters or more; empty: one is made and shared."
    )
    flowgrid_public_url: str = Field(
        "",
        pattern=r"^(https?://[^\s/]+)?$",
        description="Where people reach this app, such as https://flowgrid.acme.example; empty: cards in chats have no "
        "links, and those of agents the host that was asked.",
    )
    flowgrid_outgoing_allowed: str = Field(
        "",
        description="Addresses and ports that may be called for tenants although they are not public, "
        "comma-separated, such as 127.0.0.1:8931, and without TLS; every tenant reaches them; empty: none.",
    )
    flowgrid_ai_wire: Literal["", "openai", "azure_openai", "anthropic"] = Field(
        "",
        description="What the platform's own AI speaks, which tenants use as provider `platform`: openai, azure_openai "
        "or anthropic; empty: there is none.",
    )
    flowgrid_ai_base_url: str = Field(
        "", description="Its address; needed with azure_openai, https://<resource>.openai.azure.com; empty: the usual."
    )
    flowgrid_ai_models: str = Field(
        "", description="Its models (Azure: deployments), comma-separated; the first is the default."
    )
    flowgrid_ai_key_secret: str = Field(
        "",
        description="Name of the secret with its key, in the platform's own space of the secrets; empty: with "
        "azure_openai the app's own identity is used.",
    )
    flowgrid_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Lowest level logged.")
    flowgrid_environment: str = Field("local", pattern=r"^[A-Za-z0-9-]{1,40}$", description="Name of this deployment.")
    flowgrid_telemetry_sample: float = Field(
        1.0, gt=0, le=1, description="Share of traces of which telemetry tells successes; it tells all failures."
    )
    applicationinsights_connection_string: str = Field("", description="Application Insights; empty: no telemetry.")
    applicationinsights_authentication_string: str = Field(
        "", description="Authorization=AAD;ClientId=<id> of the identity that sends it; empty: the key above does."
    )
    usage_queue: str = Field("usage-events", min_length=1, description="Queue of usage events.")
    jobs_queue: str = Field("jobs", min_length=1, description="Queue of long jobs.")
    executions_queue: str = Field("executions", min_length=1, description="Queue of runs of agents.")
    deliveries_queue: str = Field("deliveries", min_length=1, description="Queue of what webhooks are told.")
    backup_schedule: str = Field("0 0 2 * * *", description="NCRONTAB of the daily backup.")
    retention_schedule: str = Field("0 30 3 * * *", description="NCRONTAB of backup retention.")
    usage_schedule: str = Field("0 */5 * * * *", description="NCRONTAB of the closing of hours, days and months.")
    sweep_schedule: str = Field("*/30 * * * * *", description="NCRONTAB of the outbox, onboarding and job sweeps.")
    rounds_schedule: str = Field(
        "0 */5 * * * *", description="NCRONTAB of asking what is left of the hourly and daily rounds."
    )
    servicebusconnection: str = Field(
        "", description="Connection string of the queue triggers, of an emulator; empty: see the next one."
    )
    servicebusconnection__fullyqualifiednamespace: str = Field(
        "", description="Namespace of the queue triggers; both empty: a timer drains the embedded queue."
    )

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "Settings":
        """Read and check; SettingsError names every setting that is wrong, with what it should be."""
        known = {name.lower(): value for name, value in environ.items() if name.lower() in cls.model_fields}
        placeholders = {name: value for name, value in known.items() if _PLACEHOLDER.search(value)}
        wrong = [
            f"{name.upper()}: still a placeholder ({value!r}); {cls.model_fields[name].description}"
            for name, value in placeholders.items()
        ]
        if 0 < len(known.get("flowgrid_cursor_key", "")) < 32:
            wrong.append("FLOWGRID_CURSOR_KEY: too short; " + str(cls.model_fields["flowgrid_cursor_key"].description))
        wrong += [f"{name}: {what}; {cls.model_fields[name.lower()].description}" for name, what in related(known)]
        try:
            settings = cls.model_validate(known)
        except ValidationError as error:
            problems = error.errors(include_url=False)
            wrong += [_explain(cls, problem) for problem in problems if problem["loc"][0] not in placeholders]
        else:
            description = cls.model_fields["flowgrid_issuers"].description
            wrong += [f"FLOWGRID_ISSUERS: {what}; {description}" for what in _issuers(settings)]
            description = cls.model_fields["flowgrid_claims"].description
            sources = wrong_sources(settings.flowgrid_claims, settings.flowgrid_issuers)
            wrong += [f"FLOWGRID_CLAIMS: {what}; {description}" for what in sources]
            wrong += [
                f"FLOWGRID_GATEWAY: {url!r} is not https; {cls.model_fields['flowgrid_gateway'].description}"
                for one in settings.flowgrid_gateway
                for url in plain(one)
            ]
        if wrong:
            raise SettingsError("\n".join(wrong))
        return settings

    @property
    def queue_triggers(self) -> bool:
        """Whether queue functions are registered (else a timer drains the embedded queue)."""
        return bool(self.servicebusconnection or self.servicebusconnection__fullyqualifiednamespace)

    @property
    def services(self) -> list[str]:
        return listed(self.flowgrid_services)

    @property
    def cors_origins(self) -> list[str]:
        return listed(self.flowgrid_cors_origins)

    @property
    def outgoing_allowed(self) -> frozenset[tuple[str, int]]:
        return allowed_from(self.flowgrid_outgoing_allowed)

    @property
    def ai_models(self) -> list[str]:
        return listed(self.flowgrid_ai_models)

    def values(self) -> dict[str, str]:
        """Name -> text, for `%NAME%` expressions in bindings."""
        return {name.upper(): str(getattr(self, name)) for name in type(self).model_fields}


def _issuers(settings: "Settings") -> list[str]:
    """What is wrong with issuers that speak plain HTTP: whoever is on the way could sign tokens as they do.

    On this machine nobody is; but tokens made here open nothing that is elsewhere.
    """
    plain = [
        (url, is_local(url) and is_local(one.issuer))
        for one in settings.flowgrid_issuers
        for url in (one.issuer, one.jwks_uri)
        if url is not None and not url.lower().startswith("https://")
    ]
    wrong = [f"{url!r} is not https" for url, here in plain if not here]
    if not wrong and plain and (away := _elsewhere(settings)):
        wrong.append(f"{plain[0][0]!r} is on this machine, but not {', '.join(away)}")
    return wrong


def _elsewhere(settings: "Settings") -> list[str]:
    """The settings of the Azure adapters that work with an account, and not with an emulator on this machine."""
    used = {
        "FLOWGRID_COSMOS_ENDPOINT": settings.flowgrid_database == "cosmos",
        "FLOWGRID_SERVICEBUS_NAMESPACE": not settings.flowgrid_servicebus_emulator
        and settings.flowgrid_messaging == "servicebus",
        "FLOWGRID_BLOB_ACCOUNT_URL": settings.flowgrid_blobs == "azure",
        "FLOWGRID_KEYVAULT_URL": settings.flowgrid_secrets == "keyvault",
        "FLOWGRID_REDIS_URL": settings.flowgrid_rate_limits == "redis",
    }
    addresses = {name: str(getattr(settings, name.lower())) for name, is_used in used.items() if is_used}
    return [name for name, address in addresses.items() if address and not is_local(address)]


def _explain(cls: type[Settings], problem: Any) -> str:
    name = str(problem["loc"][0])
    where = ".".join(str(part) for part in problem["loc"][1:])
    return f"{name.upper()}{f' ({where})' if where else ''}: {problem['msg']}; {cls.model_fields[name].description}"
