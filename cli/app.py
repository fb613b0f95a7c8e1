"""The operators' commands. What a command needs is imported when it runs, so that `--help` is quick."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CliError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Flowgrid.")
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Data folder.", show_default="FLOWGRID_DATA_DIR, which is .data")
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings", help="Settings file.", show_default="local.settings.json, else local.settings.sample.json"
    ),
]


class RoleName(StrEnum):
    ADMIN = "admin"
    USER = "user"
    VIEWER = "viewer"
    PLATFORM = "platform"


@app.callback()
def flowgrid() -> None:
    """Run and operate Flowgrid."""


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 7071,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A name that callers may use for this host (repeatable).", show_default="its address"),
    ] = None,
    data: DataFolder = None,
    settings: SettingsFile = None,
) -> None:
    """Run the backend here: HTTP, timers and queues, embedded stores and a local token issuer. Needs no Azure."""
    from cli.serve import run

    with _errors_in_one_line():
        run(host=host, port=port, data=data, settings_file=settings, names=allow_host or [])


@app.command()
def token(
    role: Annotated[RoleName, typer.Option(help="What the token may do.")],
    tenant: Annotated[
        str | None,
        typer.Option(help="Tenant id, or slug while the host runs.", show_default="none: only for the role platform"),
    ] = None,
    email: Annotated[str | None, typer.Option(help="E-mail claim.", show_default="ROLE@TENANT.example")] = None,
    subject: Annotated[
        str | None, typer.Option(help="Subject claim.", show_default="made from tenant and e-mail")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.001, max=24 * 365, help="How long it is valid.")] = 8.0,
    data: DataFolder = None,
    settings: SettingsFile = None,
    rotate: Annotated[bool, typer.Option("--rotate", help="Sign with a new key from now on.")] = False,
) -> None:
    """Print a token of the local issuer, nothing else."""
    from cli.token import make

    with _errors_in_one_line():
        print(
            make(
                role=role.value,
                tenant=tenant,
                email=email,
                subject=subject,
                hours=hours,
                data=data,
                settings_file=settings,
                rotate=rotate,
            )
        )


@app.command()
def phase(
    number: Annotated[int, typer.Argument(min=1, max=1, help="The roadmap's phase.")],
    source: Annotated[Path | None, typer.Argument(help="The old SQLite file, which is only read.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The copy that gets tenants.", show_default="SOURCE.phase-1.db, here")
    ] = None,
    postgres: Annotated[str | None, typer.Option(help="A PostgreSQL database instead: postgresql://…")] = None,
    role: Annotated[str, typer.Option(help="In PostgreSQL, whom programs work as; made if need be.")] = "flowgrid_app",
    undo: Annotated[bool, typer.Option("--undo", help="Take all steps back.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Give an old database of one user tenants, in SQL, step by step; again goes on where it was."""
    from cli.phase import run

    with _errors_in_one_line():
        equal = run(source, copy=out, postgres=postgres, role=role, undo=undo, as_json=as_json)
        raise typer.Exit(0 if equal else 1)


@app.command()
def invite(
    file: Annotated[Path, typer.Argument(help="A CSV file with the columns email, role and, if you like, name.")],
    tenant: Annotated[str, typer.Option(help="Slug or id of the tenant.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come of it; invite nobody.")] = False,
    api: Annotated[str | None, typer.Option(help="Into the Flowgrid at this URL, over its API.")] = None,
    token: Annotated[
        str | None, typer.Option(help="A token of that Flowgrid: an admin's or staff's.", show_default="FLOWGRID_TOKEN")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    data: DataFolder = None,
    settings: SettingsFile = None,
) -> None:
    """Invite the people of a file into a tenant; exits 0 only when nobody is refused. Again is no error."""
    from cli.invite import run

    with _errors_in_one_line():
        everybody = run(
            file, tenant, dry_run=dry_run, api=api, token=token, as_json=as_json, data=data, settings_file=settings
        )
        raise typer.Exit(0 if everybody else 1)


@app.command()
def demo() -> None:
    """Tell the whole main job on a fresh Flowgrid, in one table; exits 0 only when all of it was true."""
    from cli.demo import run

    raise typer.Exit(0 if run() else 1)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except CliError as error:
        print(f"flowgrid: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
