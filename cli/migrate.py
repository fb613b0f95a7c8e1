"""`python -m cli migrate`: an old database of one user becomes a tenant's data, here or behind an API.

What it makes, and why, is in docs/decisions/0051.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from cli.environment import add_settings_file, default_settings_file, load_settings, writable_folder
from cli.errors import CliError
from cli.heap import seldom_collected
from cli.legacy.beside import PROCESSES
from cli.legacy.moving import Advance, Moving
from cli.legacy.old_file import opened
from cli.legacy.quarantine import Quarantine
from cli.legacy.report import Report
from cli.legacy.target import Target
from shared.settings import Settings

SHOWN: Final = 20
TOKEN: Final = "FLOWGRID_TOKEN"  # noqa: S105 - the name of a variable, so that no token is in a list of processes
DEFAULT_ADMIN: Final = "admin@default.example"
"""Nobody's: the domain is reserved (RFC 2606), so nobody signs in before staff name somebody."""


class Options:
    """Where to: a data folder and settings, or an API; `admin`: the address of the default tenant's first admin.

    `processes`: beside this one, for many rows into a data folder.
    """

    def __init__(
        self,
        *,
        tenant: str,
        maps: Sequence[str] = (),
        api: str | None = None,
        token: str | None = None,
        admin: str = DEFAULT_ADMIN,
        data: Path | None = None,
        settings_file: Path | None = None,
        processes: int = PROCESSES,
    ) -> None:
        self.tenant = tenant
        self.maps = _maps(maps)
        self.api = api
        self.token = token or os.environ.get(TOKEN, "")
        self.admin = admin
        self._data = data
        self._processes = processes
        self._settings_file = settings_file
        if api and not self.token:
            raise CliError(f"--api needs --token, or {TOKEN} in the environment.")

    @asynccontextmanager
    async def target(self, *, dry_run: bool = False) -> Any:
        """The Flowgrid that rows go into; in a dry run one that is thrown away afterwards."""
        with tempfile.TemporaryDirectory(prefix="flowgrid-dry-run-") as folder:
            target = self._made_up(Path(folder)) if dry_run else self._real()
            try:
                yield target
            finally:
                await target.close()

    def _real(self) -> Target:
        if self.api:
            from cli.legacy.remote import RemoteTarget

            return RemoteTarget(self.api, self.token, self.admin)
        from cli.legacy.here import HereTarget

        environ = dict(os.environ)
        if self._data is not None:
            environ["FLOWGRID_DATA_DIR"] = str(self._data)
        add_settings_file(environ, self._settings_file or default_settings_file(Path.cwd()))
        settings = load_settings(environ)
        writable_folder(settings.flowgrid_data_dir)
        return HereTarget(settings, self.admin, processes=self._processes)

    def _made_up(self, folder: Path) -> Target:
        from cli.legacy.here import HereTarget

        settings = Settings.model_validate({"flowgrid_data_dir": folder})
        return HereTarget(settings, self.admin, made_up=True, processes=self._processes)


def run(path: Path, options: Options, *, dry_run: bool, quarantine: Path | None, as_json: bool) -> bool:
    """Migrate and tell; True when every row is an item there, or was."""
    console = Console(stderr=as_json)
    where = quarantine or Path(f"{path.stem}.quarantine.jsonl")
    if where.resolve() == path.resolve():
        raise CliError(f"{where} is the source; choose another --quarantine.")
    progress = Progress(console=Console(stderr=True), transient=True, disable=as_json or not sys.stderr.isatty())
    with progress as bar, seldom_collected():
        report = asyncio.run(migrate(path, options, dry_run=dry_run, quarantine=where, advance=_shown(bar)))
    if as_json:
        print(json.dumps(report.as_json(), ensure_ascii=False, indent=2))
    else:
        _tell(console, report)
    return report.complete and report.quarantine is None


async def migrate(path: Path, options: Options, *, dry_run: bool, quarantine: Path, advance: Advance) -> Report:
    """The report of a migration that has come to its end; CliError for what stops one."""
    with opened(path) as source, Quarantine(quarantine) as refused:
        report = Report(source.name, source.sha256, dry_run)
        async with options.target(dry_run=dry_run) as target:
            await Moving(source, target, options.tenant, options.maps, refused, report, advance).run()
    report.quarantine = str(refused.path) if refused.count else None
    return report


def undo(id: str, options: Options, *, as_json: bool) -> None:
    """Undo a run and tell what was left."""
    found = asyncio.run(undone(id, options))
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    console = Console()
    console.print(f"{found['removed']:,} items removed, {found['kept']:,} left.")
    for one in found["kept_items"][:SHOWN]:
        console.print(f"  {one['table']} {escape(one['legacy_id'])} ({one['id']}): {one['reason']}")


async def undone(id: str, options: Options) -> dict[str, Any]:
    """The run, undone to its end."""
    async with options.target() as target:
        place = await target.place(options.tenant, make=False)
        while (found := await place.undo(id)).status != "ended":
            continue
    return dict(found.model_dump(mode="json"))


def _maps(pairs: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        value, sign, tenant = pair.rpartition("=")
        if not sign or not value or not tenant:
            raise CliError(f"--map {pair} should be VALUE=TENANT, such as --map 7=acme.")
        found[value] = tenant
    return found


def _shown(bar: Progress) -> Advance:
    tasks: dict[str, Any] = {}

    def advance(what: str, done: int, total: int) -> None:
        task = tasks.get(what)
        if task is None:
            task = tasks[what] = bar.add_task(what, total=total)
        bar.update(task, completed=done)

    return advance


def _tell(console: Console, report: Report) -> None:
    console.print(report.as_grid())
    for what, counted in (("written otherwise", report.notes), ("in quarantine", report.reasons)):
        for said, number in counted.most_common(SHOWN):
            console.print(f"[dim]{what}[/] {number:,} x {escape(said)}")
    for one in report.different:
        console.print(f"[red]read back otherwise[/] {escape(one)}")
    for tenant, id in report.runs.items():
        console.print(f"run {id} of tenant {escape(tenant)}" + ("" if report.dry_run else " (--undo takes it back)"))
    if report.quarantine:
        console.print(f"mend {escape(report.quarantine)}, then migrate that file")
