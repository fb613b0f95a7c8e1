"""Onboarding over HTTP, eight tenants at a time, beside a no-op on the same host (goal: p95 below a second)."""

import json
import tempfile
from dataclasses import asdict
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

from bench.http import UNLIMITED
from bench.load import Figures, Request, load
from cli.child import Child

TIERS = ("standard", "professional", "enterprise")


async def run(quick: bool) -> list[dict[str, Any]]:
    count = 30 if quick else 150
    with (
        tempfile.TemporaryDirectory() as folder,
        Child(Path(folder), **UNLIMITED) as flowgrid,
        Child(Path(folder), module="bench.noop") as noop,
    ):
        token = flowgrid.issuer.mint("bench", roles=["platform:admin"])
        baseline = await load(noop.base_url, lambda: repeat(Request("GET", "/api/noop"), count), 200)
        rows = [_row("no-op", baseline, baseline)]
        for tier in TIERS:
            requests = [_request(tier, number, token) for number in range(count)]
            rows.append(_row(tier, await load(flowgrid.base_url, partial(iter, requests), 201), baseline))
    return rows


def _row(tier: str, figures: Figures, baseline: Figures) -> dict[str, Any]:
    return {"tier": tier, **asdict(figures), "p50 / no-op": round(figures.p50 / baseline.p50, 1)}


def _request(tier: str, number: int, token: str) -> Request:
    name = f"{tier}-{number}"
    body = {"name": name, "slug": name, "tier": tier, "admin_email": f"ada@{name}.example"}
    return Request("POST", "/api/v1/platform/tenants", token, json.dumps(body).encode())
