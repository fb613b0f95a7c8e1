"""The demo's steps with agents at work, on the provider that needs no network: designed, run, followed, counted."""

import asyncio
import time
from typing import Any

from cli.api import Api
from cli.demo_steps import SAMPLE, WAIT_SECONDS, Check, Demo, equal

BRIEF = "Answer questions about demand from the catalog. Summarise each incident for the weekly report."
TASK = "Answer questions about demand, and summarise the incident of this morning for the weekly report."


async def design_team(demo: Demo) -> list[Check]:
    """Design a team of agents from two sentences, and accept it."""
    api = demo.apis["south"]
    await api.upload("v1/catalog/import", SAMPLE.read_bytes())
    begun = await api.ok("POST", "v1/design/sessions", json={"brief": BRIEF})
    path = f"v1/design/sessions/{begun['id']}"
    asked = await _worked_out(api, path)
    await api.ok("POST", f"{path}/answers", json={"answers": {asked["questions"][0]["key"]: "no, they read only"}})
    proposal = (await _worked_out(api, path))["proposal"]
    made = (await api.ok("POST", f"{path}/accept"))["made"]
    demo.lead_id = next(iter(made["agents"].values()))
    patterns = ", ".join(one["pattern"] for one in proposal["agents"])
    reused = sum(one["existing_id"] is not None for one in proposal["elements"])
    there = len(await api.all("v1/agents"))
    return [
        equal("a team from two sentences", "Orchestrator, Specialist, Specialist", patterns),
        Check("elements of the catalog reused", "1 or more", str(reused), reused > 0),
        equal("accepted in one batch", 3, there),
    ]


async def run_team(demo: Demo) -> list[Check]:
    """Run the team, and count what it has used."""
    api = demo.apis["south"]
    begun = await api.ok("POST", f"v1/agents/{demo.lead_id}/executions", json={"input": TASK})
    path, after, events = f"v1/executions/{begun['id']}", 0, 0
    while True:  # a long poll, as a page would
        found = await api.ok("GET", f"{path}/events", params={"after": str(after), "wait": "10"})
        after, events = found["next_after"], events + len(found["items"])
        if found["status"] not in ("queued", "running", "waiting"):
            break
    run = await api.ok("GET", path)
    tree = await api.all("v1/executions", root_id=begun["id"])
    steps = sum(one["steps"] for one in tree)
    tokens = sum(one["tokens"]["input"] + one["tokens"]["output"] for one in tree)
    design = [one for one in await api.all("v1/executions") if one["purpose"] == "design"]
    told = tokens + sum(one["tokens"]["input"] + one["tokens"]["output"] for one in design)
    return [
        equal("an orchestrator with two specialists", "succeeded, 3 runs", f"{run['status']}, {len(tree)} runs"),
        Check("its steps and events", "some", f"{steps} steps, {events} events of its own", steps >= 5 and events >= 8),
        Check(
            "its tokens and cost",
            "counted, nothing to pay",
            f"{tokens} tokens, {run['cost']} $",
            tokens > 0 and run["cost"] == 0,
        ),
        equal("the same tokens metered", told, await _metered(api, told)),
    ]


async def _worked_out(api: Api, path: str) -> Any:
    """The session once the wizard has worked it out."""
    until = time.monotonic() + WAIT_SECONDS
    while (found := await api.ok("GET", path))["working"]:
        if time.monotonic() > until:
            raise RuntimeError(f"{path} is still being worked out after {WAIT_SECONDS:.0f} s")
        await asyncio.sleep(0.1)
    if found["error"]:
        raise RuntimeError(f"{path}: {found['error']}")
    return found


async def _metered(api: Api, wanted: int) -> int:
    until = time.monotonic() + WAIT_SECONDS
    while True:
        usage = await api.ok("GET", "v1/usage", params={"metric": "ai_tokens", "period": "hour"})
        if usage["total"] >= wanted or time.monotonic() > until:
            return int(usage["total"])
        await asyncio.sleep(0.2)
