"""Tenants, as Flowgrid's staff see and change them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, GetJsonSchemaHandler, SerializerFunctionWrapHandler, model_serializer
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from functions.identity.models import PersonName
from shared.ai.names import PROVIDER_NAME
from shared.auth.emails import Email
from shared.http.pagination import NamedQuery
from shared.http.times import Time
from shared.kinds import Kind
from shared.tenancy.directory import TENANT, Membership
from shared.tenancy.history import PlanChange
from shared.tenancy.plans import TRIAL_DAYS, Tier
from shared.work.resources import WHOLE, Body, Id, Name, Resource, Timestamp

Slug = Annotated[str, Field(pattern=r"^[a-z0-9-]{3,63}$", examples=["acme"])]
Status = Literal["provisioning", "trial", "active", "suspended", "deleting"]
Count = Annotated[int, Field(ge=0, le=1_000_000), WHOLE]
PerMinute = Annotated[int, Field(ge=1, le=1_000_000), WHOLE]


class Limits(Body):
    """A tenant's own numbers in place of its plan's."""

    ai_tokens_per_month: Annotated[int, Field(ge=0, le=2**53), WHOLE] | None = Field(
        None, description="AI tokens in a month."
    )
    ai_spend_per_month: Annotated[int, Field(ge=0, le=2**53), WHOLE] | None = Field(
        None, description="AI spend in a month, in micro-units (a millionth) of the currency."
    )
    requests_per_minute: PerMinute | None = Field(None, description="Calls in a minute.")
    agents_per_minute: PerMinute | None = Field(None, description="Calls that change agents, in a minute.")
    design_per_minute: PerMinute | None = Field(None, description="Calls of the design wizard, in a minute.")
    backup_retention_days: Annotated[int, Field(ge=1, le=3650), WHOLE] | None = Field(
        None, description="Days that a backup is kept."
    )
    max_backups: Annotated[int, Field(ge=0, le=1000), WHOLE] | None = Field(
        None, description="Backups on demand, kept at a time."
    )
    max_runs: Annotated[int, Field(ge=0, le=1000), WHOLE] | None = Field(
        None, description="Runs of agents at a time; 0: none begins."
    )
    runs_retention_days: Annotated[int, Field(ge=1, le=3650), WHOLE] | None = Field(
        None, description="Days that the prompts and outputs of a run are kept after its end."
    )
    audit_retention_days: Annotated[int, Field(ge=1, le=3650), WHOLE] | None = Field(
        None, description="Days that entries of the audit trail are kept; never fewer than backups are."
    )
    max_copies: Count | None = Field(None, description="Tenants that restores may make of this one.")
    max_webhooks: Annotated[int, Field(ge=0, le=1000), WHOLE] | None = Field(None, description="Webhooks at a time.")
    max_api_keys: Annotated[int, Field(ge=0, le=1000), WHOLE] | None = Field(None, description="API keys at a time.")

    @model_serializer(mode="wrap")
    def _given(self, serialize: SerializerFunctionWrapHandler) -> dict[str, int]:
        return {name: value for name, value in serialize(self).items() if value is not None}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Taken and shown in one form, so that clients have one type: what is not set is left out, or null."""
        return handler({key: value for key, value in schema.items() if key != "serialization"})


class TenantSettings(Body):
    """What is set for one tenant alone."""

    limits: Limits = Field(Limits(), description="Numbers in place of the plan's.")
    membership: Membership = Field(
        "required", description="open: who comes with a role and a verified e-mail address becomes a user by coming."
    )
    ai_providers: Annotated[list[Annotated[str, Field(pattern=PROVIDER_NAME)]], Field(max_length=100)] | None = Field(
        None, description="The AI providers that its agents may use: offline, platform, names of its own; null: all."
    )


class PlacementView(Body):
    """Where a tenant's data is."""

    mode: Literal["shared", "dedicated"] = Field(description="With others, or alone.")
    database: str = Field(description="The database that holds its data.")
    generation: int = Field(description="Grows when its data moves.")


class Tenant(Resource):
    """A customer."""

    KIND: ClassVar[Kind] = TENANT

    name: str = Field(description="What it is called.")
    slug: str = Field(description="Its name in URLs, for ever.")
    tier: Tier = Field(description="Its plan.")
    status: Status = Field(description="Whether it is in use.")
    trial_ends_at: Timestamp | None = Field(description="When its trial ends; null: it has none.")
    trial_told: int | None = Field(
        None, description="How many days before its trial's end it has last been told of that; 0: that it is over."
    )
    next_tier: Tier | None = Field(None, description="The lower plan that it will have; null: this one goes on.")
    next_tier_at: Timestamp | None = Field(None, description="From when on it will have that.")
    plan_changes: list[PlanChange] = Field([], description="Which plan it had when, oldest first.")
    max_agents: int = Field(description="Agents that it may have.")
    max_users: int = Field(description="Users that it may have.")
    region: str = Field(description="Where its data lies.")
    admin_email: str = Field(description="Address of its first admin.")
    placement: PlacementView = Field(description="Where its data is.")
    job_id: Id | None = Field(None, description="Of the platform tenant: the job that makes its database.")
    copy_of: Id | None = Field(None, description="The tenant that a restore has made this one of.")
    settings: TenantSettings = Field(description="What is set for it alone.")


class NewTenant(Body):
    """What onboarding needs to know; the rest follows from the tier's plan."""

    name: Name
    slug: Slug
    tier: Tier = Tier.STANDARD
    admin_email: Email
    admin_name: PersonName = Field("", description="What its first admin is called.")
    trial_days: Annotated[int, Field(ge=0, le=365), WHOLE] = Field(TRIAL_DAYS, description="0: active at once.")
    max_agents: Count | None = Field(None, description="Null: the plan's.")
    max_users: Count | None = Field(None, description="Null: the plan's.")
    dedicated: bool | None = Field(None, description="A database of its own; null: as the tier has it.")
    settings: TenantSettings = TenantSettings()


class TenantFields(Body):
    """What may be changed of a tenant; its slug is for ever."""

    name: Name
    tier: Tier
    max_agents: Count
    max_users: Count
    trial_ends_at: Time | None = None
    settings: TenantSettings = TenantSettings()


class TenantQuery(NamedQuery):
    status: Status | None = None
    tier: Tier | None = None
    slug: str | None = Field(None, max_length=63)
