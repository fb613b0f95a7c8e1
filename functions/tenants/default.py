"""The default tenant: what a database becomes that had one user alone (docs/decisions/0051)."""

from typing import Final

from pydantic import Field

from functions.tenants.models import NewTenant, Tenant
from functions.tenants.onboarding import Onboarding
from shared.auth.emails import Email
from shared.ids import DEFAULT_TENANT_ID
from shared.tenancy.plans import Tier
from shared.work.resources import Body
from shared.work.session import TenantSession

NAME: Final = "Default"
SLUG: Final = "default"


class DefaultAdmin(Body):
    """Whose the default tenant is."""

    admin_email: Email = Field(description="Address of its first admin.")


async def make_default(onboarding: Onboarding, staff: TenantSession, who: DefaultAdmin) -> Tenant:
    """The default tenant, onboarded as any other, under its own id; as it is, where it is there.

    It is of the largest tier, for who had all for himself loses nothing by sharing, and its data lies in a shard.
    """
    new = NewTenant(
        name=NAME, slug=SLUG, tier=Tier.ENTERPRISE, admin_email=who.admin_email, trial_days=0, dedicated=False
    )
    return await onboarding.onboard(staff, new, id=DEFAULT_TENANT_ID)
