"""What `make run` shows: a demo tenant of each tier, and curl lines that work as they are printed."""

import os
import shlex
import sys
from pathlib import Path

from cli.api import Api
from local.issuer import Issuer

TENANTS = {
    "acme": {"name": "Acme", "tier": "standard"},
    "globex": {"name": "Globex", "tier": "professional"},
    "initech": {"name": "Initech", "tier": "enterprise"},
}
# Theirs, so that nobody's first minutes end in a 429; the plans' own numbers are in shared/tenancy/plans.py.
CALLS_PER_MINUTE = 600
USUAL_FOLDER = ".data"
LINES = """
In another terminal, in this folder:

  TOKEN=$({python} -m cli token --tenant acme --role admin --email ada@acme.example{data})
  API={base}/api/v1; AUTH="Authorization: Bearer $TOKEN"; JSON="Content-Type: application/json"

  curl -s $API/me -H "$AUTH"
  curl -s $API/agents -H "$AUTH" -H "$JSON" -d '{{"name": "Claims intake", "pattern": "Orchestrator"}}'
  curl -s $API/catalog/import -H "$AUTH" -H "Content-Type: application/xml" --data-binary @cli/samples/it4it.xml
  curl -s "$API/elements?layer=Business&limit=3" -H "$AUTH"
  curl -s "$API/usage?period=hour" -H "$AUTH"
  curl -s "$API/audit?limit=5" -H "$AUTH"

To try it out on a page, with the token under Authorize: {base}/api/docs
Ctrl-C stops; everything is kept.
"""


async def welcome(base_url: str, issuer: Issuer) -> None:
    """Make sure that the demo tenants are there (found again by their slugs) and print how to use them."""
    staff = Api(base_url, issuer.mint("demo-staff", roles=["platform:admin"], email="staff@flowgrid.example"))
    try:
        ids = {slug: await _tenant(staff, slug) for slug in TENANTS}
    finally:
        await staff.close()
    print()
    for slug, id in ids.items():
        print(f"  {TENANTS[slug]['name']:<8} {TENANTS[slug]['tier']:<13} {id}")
    print(LINES.format(python=_python(), base=base_url, data=_data()), flush=True)


def _python() -> str:
    """This Python, as it is named from this folder."""
    here = Path(sys.executable)
    return shlex.quote(str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here))


def _data() -> str:
    """The option that `token` needs where the data is not in the usual folder."""
    folder = os.environ.get("FLOWGRID_DATA_DIR", USUAL_FOLDER)
    return "" if folder == USUAL_FOLDER else f" --data {shlex.quote(folder)}"


async def _tenant(staff: Api, slug: str) -> str:
    found = await staff.ok("GET", "v1/platform/tenants", params={"slug": slug})
    if not found["items"]:
        body: dict[str, object] = {**TENANTS[slug], "slug": slug, "admin_email": f"ada@{slug}.example"}
        # open: any token of `python -m cli token` works
        body["settings"] = {"membership": "open", "limits": {"requests_per_minute": CALLS_PER_MINUTE}}
        return str((await staff.ok("POST", "v1/platform/tenants", json=body))["id"])
    return str(found["items"][0]["id"])
