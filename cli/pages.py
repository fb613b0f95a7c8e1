"""The pages of docs/ that are made from the code: `python -m cli.pages` (`make pages`) writes them anew."""

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import functions
import shared
from cli.cost.pages import limits_of_a_stamp, month, sizes
from cli.cost.plot import plot
from shared.http.catalogue import markdown
from shared.tenancy.plans import GLOBAL_REQUESTS, GLOBAL_WINDOW_MINUTES, PLANS, Plan

DOCS = Path(__file__).parents[1] / "docs"
LIMITS = {  # what callers meet: where the number is, and what it bounds
    "shared.http.pagination.MAX_LIMIT": "items on a page (`limit`)",
    "shared.http.pagination.DEFAULT_LIMIT": "items on a page where no `limit` is named",
    "shared.work.resources.MAX_PAGE_BYTES": "bytes of a page's items; larger pages are cut, and go on at `next_cursor`",
    "shared.work.resources.MAX_RESOURCE_BYTES": "bytes of a resource, as JSON",
    "shared.http.bodies.MAX_JSON_BYTES": "bytes of a JSON body",
    "shared.http.bodies.MAX_JSON_VALUES": "values in a JSON body",
    "shared.database.limits.MAX_NESTING": "levels of nesting of a JSON value",
    "shared.database.limits.MAX_INTEGER": "the largest whole number of a JSON value",
    "shared.errors.SHOWN_ERRORS": "errors told at once (`errors`; `more` counts the rest)",
    "shared.http.shown.SHOWN_VALUE_CHARACTERS": "characters of a wrong value that are told",
    "shared.http.idempotency.MAX_KEY": "characters of an `Idempotency-Key`",
    "shared.auth.signed.MAX_TOKEN_BYTES": "bytes of a token",
    "shared.auth.emails.MAX_EMAIL": "characters of an e-mail address",
    "shared.database.documents.NAME_KEY_CHARACTERS": "characters of a name by which lists are sorted and searched",
    "shared.work.service.LISTED": "referring items that a refused deletion lists",
    "functions.catalog.models.MAX_FILE_BYTES": "bytes of an exchange file, in or out",
    "functions.catalog.long_work.MAX_AT_ONCE_BYTES": "bytes of one that is imported while its sender waits",
    "functions.catalog.exchange.MAX_ITEMS": "elements, relationships and views of a model",
    "functions.catalog.values.MAX_FIELDS_BYTES": "bytes of an element, relationship or view that is imported, as JSON",
    "functions.catalog.exchange_room.MAX_DRAWN": "boxes, lines and bendpoints in all views of a file",
    "functions.catalog.exchange_parse.MAX_FOLDERS": "folders and what is in them in a file",
    "functions.catalog.exchange_room.MAX_DEFINITIONS": "property definitions of a file",
    "functions.catalog.reports.KEPT": "reports of imports that a tenant keeps",
    "functions.catalog.graph.MOST_NEIGHBORS": "neighbors that are shown at once",
    "functions.catalog.graph.MOST_NESTED": "relationships in a chain, each an end of the next",
    "functions.backups.service.MOST_AT_ONCE": "backups on demand that are made or wait",
    "functions.claims.service.MAX_BODY_BYTES": "bytes of an identity provider's question about claims",
    "functions.claims.service.CALLS_PER_MINUTE": "questions about claims of one identity provider in a minute",
    "functions.hooks.models.MOST_HOOKS": "hooks of a tenant",
    "functions.hooks.models.MOST_OVERLAP_HOURS": "hours that a hook's old secret is good beside a new one",
    "functions.hooks.signatures.WINDOW_SECONDS": "seconds between a delivery's time and ours, either way",
    "functions.mcp.service.MAX_BYTES": "bytes of a message to the MCP server",
    "functions.mcp.tools.MOST_LISTED": "agents that its `list_agents` tells",
    "shared.tenancy.plans.MAX_MCP_SERVERS": "MCP servers of a tenant",
    "functions.tools.mcp.models.MAX_TOOLS": "tools of an MCP server",
    "functions.tools.mcp.models.MAX_TOOLS_BYTES": "bytes of all tools of an MCP server, as they are kept",
    "functions.tools.mcp.wire.MAX_BYTES": "bytes of all that an MCP server says in one conversation",
    "functions.tools.mcp.wire.MAX_VALUES": "values of JSON in that",
    "functions.tools.mcp.peer.MAX_CONVERSATIONS": "conversations of a tenant with MCP servers at once, on an instance",
    "functions.tools.mcp.service.MAX_REFRESHES": "refreshes of a tenant's MCP servers at once, on an instance",
    "functions.a2a.messages.MAX_BYTES": "bytes of a message by A2A",
    "functions.a2a.messages.MAX_PARTS": "parts that it has",
    "functions.a2a.service.WAIT_SECONDS": "seconds that its sender waits for the task to rest",
    "functions.a2a.service.MOST_LISTED": "tasks on a page of A2A",
    "functions.executions.models.MAX_INPUT_BYTES": "bytes of a run's input, and of a delivery to a hook",
    "shared.members.invitations.MOST_TENANTS": "tenants whose invitations are looked at when somebody first signs in",
    "functions.webhooks.models.MAX_WAITING": "deliveries that wait for one webhook; what comes beyond is dropped",
    "shared.work.happenings.MAX_OBJECT_BYTES": "bytes of what an event is about; what is larger is named only",
    "functions.identity.apikeys.MOST_DAYS": "days until an API key ends",
    "functions.identity.apikeys.MOST_OVERLAP_HOURS": "hours that an API key's old secret is good beside the new one",
    "functions.usage.dimensions.MAX_NAMES": "dimensions of a period's usage; the rest is `other`",
}
HEAD = """# Limits

Made from the code by `make pages`. A number that is reached is a problem that names it (docs/problems.md).

## By plan

What a tenant has of its own (`settings.limits`, `max_agents`, `max_users`) comes before its plan's.

"""


def limits() -> str:
    """`docs/limits.md`: the plans' numbers, then those that are the same for all."""
    table = f"| | {' | '.join(PLANS)} |\n|---|{'---|' * len(PLANS)}\n"
    for one in fields(Plan):
        table += f"| `{one.name}` | {' | '.join(f'{getattr(plan, one.name):,}' for plan in PLANS.values())} |\n"
    window = f"An address has {GLOBAL_REQUESTS:,} calls in {GLOBAL_WINDOW_MINUTES} minutes, whoever calls.\n"
    rows = "".join(f"| {_value(where):,} | {what} | `{where}` |\n" for where, what in LIMITS.items())
    return f"{HEAD}{table}\n{window}\n## For all\n\n| most | of what | in the code |\n|---|---|---|\n{rows}"


def problems() -> str:
    """`docs/problems.md`: every code that the app and its adapters know."""
    for package in (shared, functions):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    return markdown()


def readme() -> str:
    """The README, with what a month costs as it is now."""
    return _within("../README.md", {"cost": month()})


def scaling() -> str:
    """`docs/scaling.md`, with the limits as they are now."""
    return _within("scaling.md", {"limits": limits_of_a_stamp(), "sizes": sizes()})


PAGES: Mapping[str, Callable[[], str]] = {
    "limits.md": limits,
    "problems.md": problems,
    "cost.svg": plot,
    "scaling.md": scaling,
    "../README.md": readme,
}


def _within(page: str, parts: Mapping[str, str]) -> str:
    """The page with each part between its marks: `<!-- name -->` and `<!-- /name -->`."""
    text = (DOCS / page).read_text("utf-8")
    for name, made in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not closed:
            raise ValueError(f"{page} has no place for {name}")
        text = f"{before}{begin}\n{made}{end}{after}"
    return text


def _value(where: str) -> int:
    module, _, name = where.rpartition(".")
    return int(getattr(import_module(module), name))


if __name__ == "__main__":
    for name, made in PAGES.items():
        (DOCS / name).write_text(made(), "utf-8")
