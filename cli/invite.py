"""`python -m cli invite`: the people of a CSV file are invited into a tenant, here or behind an API.

Why it is like this is in docs/decisions/0053.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from cli.api import Api
from cli.environment import add_settings_file, default_settings_file, load_settings, writable_folder
from cli.errors import CliError
from cli.invitations.inviting import REFUSED, Report, invite
from cli.invitations.rows import Row, read
from cli.invitations.tenant import Guests

TOKEN: Final = "FLOWGRID_TOKEN"  # noqa: S105 - the name of a variable, so that no token is in a list of processes


def run(
    path: Path,
    tenant: str,
    *,
    dry_run: bool,
    api: str | None,
    token: str | None,
    as_json: bool,
    data: Path | None,
    settings_file: Path | None,
) -> bool:
    """Invite and tell; True when nobody was refused."""
    rows = read(path)
    report = asyncio.run(_invited(rows, tenant, dry_run, api, token, data, settings_file))
    if as_json:
        print(json.dumps(report.as_json(), ensure_ascii=False, indent=2))
    else:
        _tell(report)
    return not report.counts[REFUSED]


async def _invited(
    rows: Sequence[Row],
    tenant: str,
    dry_run: bool,
    api: str | None,
    token: str | None,
    data: Path | None,
    settings_file: Path | None,
) -> Report:
    guests = await _guests(tenant, api, token, data, settings_file)
    try:
        return await invite(rows, guests, dry_run=dry_run)
    finally:
        await guests.close()


async def _guests(
    tenant: str, api: str | None, token: str | None, data: Path | None, settings_file: Path | None
) -> Guests:
    if api is not None:
        from cli.invitations.remote import RemoteGuests

        token = token or os.environ.get(TOKEN)
        if not token:
            raise CliError(f"--api needs --token, or {TOKEN} in the environment.")
        there = Api(api.rstrip("/").removesuffix("/api"), token)
        try:
            return await RemoteGuests.opened(there, tenant)
        except BaseException:
            await there.close()
            raise
    from cli.invitations.here import HereGuests

    environ = dict(os.environ)
    if data is not None:
        environ["FLOWGRID_DATA_DIR"] = str(data)
    add_settings_file(environ, settings_file or default_settings_file(Path.cwd()))
    settings = load_settings(environ)
    writable_folder(settings.flowgrid_data_dir)
    return await HereGuests.opened(settings, tenant)


def _tell(report: Report) -> None:
    console, grid = Console(), Table("line", "address", "result", "reason")
    for line in report.lines:
        grid.add_row(str(line.line), *(_plain(text) for text in (line.email, line.result, line.reason)))
    console.print(grid)
    counted = ", ".join(f"{number} {result}" for result, number in report.counts.items())
    console.print(f"{'dry run: ' if report.dry_run else ''}{counted}")
    console.print(f"{report.quota['used']} of {report.quota['limit']} users were there before")


def _plain(text: str) -> str:
    """What was in the file, without what a terminal or rich would act on."""
    from rich.markup import escape

    return escape("".join(one if one.isprintable() else "?" for one in text))
