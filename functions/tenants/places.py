"""How many tenants can still have a database of their own: an account of Cosmos DB is a stamp (decision 0022).

Counted in the registry, which names the databases that are there as well as those that are being made. Two that take
the last place at once are both let through here; Azure refuses one, or both when each holds a part of it: then the one
that was begun later is undone, and the other waits for that.
"""

from pydantic import Field

from shared.clock import Clock
from shared.database.port import NEWEST_FIRST, Database, Document, Where
from shared.errors import Concern, Full, Unavailable
from shared.tenancy.directory import TENANT
from shared.work.resources import Answer

FEW = 10
KEPT_SECONDS = 60.0  # anybody may ask for health


class Stamp(Answer):
    """What one deployment has room for; the numbers are null where a database of its own costs no place."""

    region: str = Field(description="Where it is.")
    dedicated_most: int | None = Field(description="Tenants that can have a database of their own here.")
    dedicated_taken: int = Field(description="Tenants that have one.")
    dedicated_left: int | None = Field(description="How many more can have one.")


class Places:
    """`most`: how many databases of tenants fit; None where nothing bounds them."""

    def __init__(self, database: Database, clock: Clock, most: int | None, region: str) -> None:
        self._platform = database.platform
        self._clock = clock
        self._most = most
        self._region = region
        self._left = FEW
        self._counted_at: float | None = None

    async def stamp(self) -> Stamp:
        taken = len(await self._taken())
        left = None if self._most is None else max(0, self._most - taken)
        return Stamp(region=self._region, dedicated_most=self._most, dedicated_taken=taken, dedicated_left=left)

    async def need(self, tenant_id: str) -> None:
        """`Full` when there is no place for this tenant's database; who has one already is no matter."""
        if self._most is None:
            return
        taken = await self._taken()
        if tenant_id not in taken and len(taken) >= self._most:
            raise Full(
                f"All {self._most} places for tenants with a database of their own are taken in this account: "
                'onboard this one into another stamp, or with "dedicated": false.'
            )

    async def contended(self, entry: Document) -> bool:
        """Whether somebody who was entered later than this one is on the way to a place, or back from it."""
        dedicated, between = (
            Where("placement.mode", "=", "dedicated"),
            Where("status", "in", ["provisioning", "deleting"]),
        )
        page = await self._platform.query(TENANT, [dedicated, between], order=NEWEST_FIRST)
        mine = (entry["created_at"], entry["id"])
        others = [one.body for one in page.items if one.body["status"] == "provisioning" or one.body.get("undo")]
        return any((other["created_at"], other["id"]) > mine for other in others)

    async def check(self) -> None:
        """`Concern` when few places are left; how many is at most a minute old."""
        if self._most is None:
            return
        now = self._clock.monotonic()
        if self._counted_at is None or now - self._counted_at >= KEPT_SECONDS:
            try:
                self._left = max(0, self._most - len(await self._taken()))
            except Unavailable:  # which is what the database's own check is there to say
                return
            self._counted_at = now
        if self._left < FEW:
            raise Concern(f"{self._left} places for dedicated tenants are left in this account: prepare another stamp.")

    async def _taken(self) -> set[str]:
        """The tenants that have a place."""
        taken: set[str] = set()
        after: tuple[str, str] | None = None
        while True:
            page = await self._platform.query(TENANT, [Where("placement.mode", "=", "dedicated")], after=after)
            taken |= {item.body["id"] for item in page.items}
            after = page.next
            if after is None:
                return taken
