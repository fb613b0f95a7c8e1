"""What calls cost at Cosmos DB: calls and request units of one tenant, as the double charges them (tests/doubles).

Each is made once on a warm host that lives on the double; what follows it (the outbox's delete, the job) is its cost
too, metering is counted apart, and so are the sweeps, which belong to no tenant.
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from bench.http import UNLIMITED, onboard
from cli.child import Child
from tests.doubles.cosmos import CosmosDouble
from tests.doubles.cosmos_setup import KEY

SETTLE_SECONDS = 0.5
JOB_SECONDS = 60.0
DESCRIPTION = (  # prose: what says the same again and again would be compressed as nothing is in life
    "Reads what a policy holder writes about a damage, asks for what is missing, and decides which team takes it: "
    "motor, home or travel. It never promises a payment. Claims above 20,000 euros, those with injured people, and "
    "those that look like a second one of the same day go to a person at once, with a summary of ten lines and the "
    "documents that came along. It answers in the language of the letter it got."
)
AGENT = {"name": "Claims intake", "description": DESCRIPTION, "pattern": "Orchestrator"}
Row = dict[str, Any]


async def run(quick: bool) -> list[Row]:
    elements = 200 if quick else 1000
    with CosmosDouble() as cosmos, tempfile.TemporaryDirectory() as folder:
        settings = {
            "FLOWGRID_DATABASE": "cosmos",
            "FLOWGRID_COSMOS_ENDPOINT": cosmos.endpoint,
            "FLOWGRID_COSMOS_EMULATOR_KEY": KEY,
        }
        with Child(Path(folder), **UNLIMITED, **settings) as child:
            [token] = await onboard(child, 1)
            headers = {"authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(base_url=f"{child.base_url}/api/v1", headers=headers, timeout=60) as client:
                return await _measured(_Bill(cosmos, client), elements)


async def _measured(bill: "_Bill", elements: int) -> list[Row]:
    await bill.call("POST", "/agents", json=AGENT)  # warm: the SDK's caches, the member, the hour's rollups
    await bill.settle()
    rows: list[Row] = []
    made = await bill.row(rows, "create agent", "POST", "/agents", json=AGENT)
    path = f"/agents/{made['id']}"
    await bill.row(rows, "get agent", "GET", path)
    rows.append(bill.metering())
    await bill.row(rows, "update agent", "PATCH", path, json={"status": "active"})
    for _ in range(60):
        await bill.call("POST", "/agents", json=AGENT)
    await bill.settle()
    await bill.row(rows, "list 20 of 60 agents", "GET", "/agents?limit=20")
    await bill.row(rows, "delete agent", "DELETE", path)
    await bill.imported(rows, "import 100 elements", 100, "a")
    for start in range(100, elements, 100):
        await bill.imported([], "", 100, f"b{start}")
    await bill.settle()
    await bill.row(rows, "list 50 elements", "GET", "/elements?limit=50")
    await bill.backup(rows, f"back up {elements} elements")
    return rows


class _Bill:
    """The calls of the double since the last look, by what they were for."""

    def __init__(self, cosmos: CosmosDouble, client: httpx.AsyncClient) -> None:
        self._cosmos = cosmos
        self._client = client

    async def call(self, method: str, path: str, **more: Any) -> Any:
        answer = await self._client.request(method, path, **more)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    async def settle(self) -> None:
        """Until what follows has been done; then forget it."""
        await asyncio.sleep(2 * SETTLE_SECONDS)
        self._cosmos.forget()

    async def row(self, rows: list[Row], name: str, method: str, path: str, **more: Any) -> Any:
        self._cosmos.forget()
        answer = await self.call(method, path, **more)
        await asyncio.sleep(SETTLE_SECONDS)
        rows.append(self._spent(name, lambda container: container != "usage"))
        return answer

    async def imported(self, rows: list[Row], name: str, count: int, prefix: str) -> None:
        xml = {"content-type": "application/xml"}
        await self.row(rows, name, "POST", "/catalog/import", content=model(count, prefix), headers=xml)

    async def backup(self, rows: list[Row], name: str) -> None:
        self._cosmos.forget()
        made = await self.call("POST", "/backups", json={})
        until = time.monotonic() + JOB_SECONDS
        while (await self.call("GET", f"/backups/{made['id']}"))["status"] == "running":
            if time.monotonic() > until:
                raise RuntimeError("the backup does not end")
            await asyncio.sleep(0.2)
        await asyncio.sleep(SETTLE_SECONDS)
        rows.append(self._spent(name, lambda container: container != "usage"))

    def metering(self) -> Row:
        """Of the one call that was counted last."""
        return self._spent("metering of one call", lambda container: container == "usage")

    def _spent(self, name: str, counts: Callable[[str], bool]) -> Row:
        calls = [call for call in list(self._cosmos.calls) if call.keyed and counts(call.container)]
        kinds = Counter(call.operation.lower() for call in calls)
        told = ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items()))
        return {"call": name, "calls": told, "request units": round(sum(call.charge for call in calls), 1)}


def model(count: int, prefix: str) -> bytes:
    """An exchange file of so many elements."""
    elements = "".join(
        f'<element identifier="id-{prefix}-{number}" xsi:type="ApplicationComponent"><name>Component {number}</name>'
        f"<documentation>{'Keeps the books of a part of the company. ' * 8}</documentation></element>"
        for number in range(count)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><model xmlns="http://www.opengroup.org/xsd/archimate/3.0/"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" identifier="id-m"><name>Costs</name>'
        f"<elements>{elements}</elements></model>"
    ).encode()
