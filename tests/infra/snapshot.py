"""What a deployment would make: the files that `bicep snapshot` has written, so no compiler is needed here."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ("dev", "prod", "private", "gateway")
Resource = dict[str, Any]


class Snapshot:
    """The resources of one environment, with every module and loop of it evaluated."""

    def __init__(self, resources: list[Resource]) -> None:
        self.resources = resources

    def all(self, type: str) -> list[Resource]:
        """Of a type, whatever its case."""
        return [one for one in self.resources if one["type"].lower() == type.lower()]

    def one(self, type: str, ends: str = "") -> Resource:
        """The only one of a type whose name ends so."""
        found = [one for one in self.all(type) if one["name"].endswith(ends)]
        assert len(found) == 1, f"{len(found)} of {type} {ends}"
        return found[0]

    def app_settings(self) -> dict[str, str]:
        found = self.one("Microsoft.Web/sites")["properties"]["siteConfig"]["appSettings"]
        return {one["name"]: one["value"] for one in found}


def snapshot(environment: str) -> Snapshot:
    """A copy of one's own, to be changed at will."""
    return Snapshot(json.loads(_text(environment))["predictedResources"])


@lru_cache
def _text(environment: str) -> str:
    return (ROOT / "infra" / "environments" / f"{environment}.snapshot.json").read_text("utf-8")
