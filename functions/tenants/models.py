"""Tenants, as Flowgrid's staff see and change them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from functions.identity.models import PersonName
from shared.auth.emails import Email
from shared.http.pagination import NamedQuery
from shared.http.times import Time
from shared.kinds import Kind
from shared.tenancy.directory import TENANT, Membership
from shared.tenancy.plans import TRIAL_DAYS, Tier
from shared.work.resources import WHOLE, Body, Id, Name, Resource, Timestamp

Slug = Annotated[str, Field(pattern=r"^[a-z0-9-]{3,63}$", examples=["acme"])]
Status = Literal["provisioning", "trial", "active", "suspended", "deleting"]
Count = Annotated[int, Field(ge=0, le=1_000_000), WHOLE]
PerMinute = Annotated[int, Field(ge=1, le=1_000_000), WHOLE]


class Limits(Body):
    """A tenant's own numbers in place of its plan's."""

    ai_tokens_per_month: Annotated[int, Field(ge=0, le=2**53), WHOLE] | None = None
    requests_per_minute: PerMinute | None = None
    agents_per_minute: PerMinute | None = None
    design_per_minute: PerMinute | None = None
    backup_retention_days: Annotated[int, Field(ge=1, le=3650), WHOLE] | None = None
    max_backups: Annotated[int, Field(ge=0, le=1000), WHOLE] | None = None
    max_copies: Count | None = None

    @model_serializer(mode="wrap")
    def _given(self, serialize: SerializerFunctionWrapHandler) -> dict[str, int]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class TenantSettings(Body):
    limits: Limits = Limits()
    membership: Membership = Field(
        "required", description="open: who comes with a role and a verified e-mail address becomes a user by coming."
    )


class PlacementView(Body):
    mode: Literal["shared", "dedicated"]
    database: str
    generation: int


class Tenant(Resource):
    """A customer."""

    KIND: ClassVar[Kind] = TENANT

    name: str
    slug: str
    tier: Tier
    status: Status
    trial_ends_at: Timestamp | None
    max_agents: int
    max_users: int
    region: str
    admin_email: str
    placement: PlacementView
    job_id: Id | None = Field(None, description="Of the platform tenant: the job that makes its database.")
    copy_of: Id | None = Field(None, description="The tenant that a restore has made this one of.")
    settings: TenantSettings


class NewTenant(Body):
    """What onboarding needs to know; the rest follows from the tier's plan."""

    name: Name
    slug: Slug
    tier: Tier = Tier.STANDARD
    admin_email: Email
    admin_name: PersonName = ""
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
