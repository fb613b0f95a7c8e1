"""Onboarding over HTTP, one tenant after another (goal: p95 below a second)."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.http import UNLIMITED
from bench.load import Request, load
from cli.child import Child

TIERS = ("standard", "professional", "enterprise")


async def run(quick: bool) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        child = Child(Path(folder), **UNLIMITED)
        try:
            child.start()
            token = child.issuer.mint("bench", roles=["platform:admin"])
            for tier in TIERS:

                def requests(tier: str = tier) -> Iterator[Request]:
                    return (_request(tier, number, token) for number in range(30 if quick else 150))

                rows.append({"tier": tier, **asdict(await load(child.base_url, requests, 201))})
        finally:
            child.stop()
    return rows


def _request(tier: str, number: int, token: str) -> Request:
    name = f"{tier}-{number}"
    body = {"name": name, "slug": name, "tier": tier, "admin_email": f"ada@{name}.example"}
    return Request("POST", "/api/v1/platform/tenants", token, json.dumps(body).encode())
