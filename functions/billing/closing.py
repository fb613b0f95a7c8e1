"""Making statements final: asked of every tenant once a day, so on the third day, or later where that was missed."""

from functions.billing.service import BillingService
from shared.clock import Clock
from shared.jobs.ledger import Ledger
from shared.jobs.tenant_sweep import TenantSweep

RUN = "billing"


class StatementClosing:
    """Each day is worked through once; a tenant whose statement failed is met again the next day."""

    def __init__(self, each_tenant: TenantSweep, billing: BillingService, ledger: Ledger, clock: Clock) -> None:
        self._each_tenant = each_tenant
        self._billing = billing
        self._ledger = ledger
        self._clock = clock

    async def run(self) -> None:
        """Today's run, unless it is done or in hand."""
        await self._ledger.run_once(RUN, self._today(), lambda: self._each_tenant.each(self._billing.close))

    async def sweep(self) -> int:
        """Go on with today's run where it was begun and interrupted."""
        work = self._each_tenant.each
        return int(await self._ledger.go_on(RUN, self._today(), lambda: work(self._billing.close)))

    def _today(self) -> str:
        return self._clock.now().date().isoformat()
