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


class MemoryName(StrEnum):
    SMALL = "512"
    MEDIUM = "2048"
    LARGE = "4096"


class EnvironmentName(StrEnum):
    DEV = "dev"
    PROD = "prod"
    PRIVATE = "private"


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


@app.command()
def package(
    output: Annotated[Path, typer.Option(help="The file that is written.")] = Path(".data/flowgrid.zip"),
    python: Annotated[str, typer.Option(help="Version of Python that it is for.")] = "3.12",
) -> None:
    """Write what is deployed: what git has, and packages as wheels for Azure's Linux, into one zip file."""
    from cli.package import make

    with _errors_in_one_line():
        print(f"{make(output, python=python)}  {output}")


@app.command()
def smoke(
    url: Annotated[str, typer.Option(help="Address of the API, https://…/api.")],
    token: Annotated[
        str,
        typer.Option(help="A tenant's token, to ask who one is.", envvar="FLOWGRID_SMOKE_TOKEN", show_default="none"),
    ] = "",
    expect: Annotated[
        str, typer.Option(help="The commit whose package has to answer, and no other any more.", show_default="any")
    ] = "",
    wait: Annotated[float, typer.Option(min=0, max=900, help="Seconds in which a new app has to come up.")] = 180.0,
) -> None:
    """Ask a deployment for its health, its description and who one is; exits 0 only when all is well."""
    from cli.smoke import run

    raise typer.Exit(0 if run(url, token, wait=wait, expect=expect) else 1)


@app.command()
def cost(
    tenants: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")] = 100,
    calls: Annotated[int, typer.Option(min=1, max=10_000_000, help="Calls of each, a day.")] = 10_000,
    mix: Annotated[
        str | None, typer.Option(help="NAME=SHARE,…: which calls.", show_default="mostly get agent, list 20 agents")
    ] = None,
    memory: Annotated[MemoryName, typer.Option(help="MB of an instance.")] = MemoryName.SMALL,
    sample: Annotated[float, typer.Option(min=0.001, max=1.0, help="FLOWGRID_TELEMETRY_SAMPLE.")] = 0.05,
    ready: Annotated[int, typer.Option(min=0, max=1_000, help="HTTP instances that always run.")] = 0,
    dedicated: Annotated[int, typer.Option(min=0, max=164, help="Tenants with a database of their own.")] = 0,
    gateway: Annotated[bool, typer.Option("--gateway", help="With API Management.")] = False,
    redis: Annotated[bool, typer.Option("--redis", help="With Azure Managed Redis.")] = False,
    private: Annotated[bool, typer.Option("--private", help="In a private network.")] = False,
    environment: Annotated[
        EnvironmentName | None, typer.Option(help="As infra/environments has it.", show_default="the options above")
    ] = None,
    scale: Annotated[bool, typer.Option("--scale", help="Which limits of a stamp how many tenants reach.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write the curves there, as SVG.", show_default="none")] = None,
) -> None:
    """What a month in Azure costs, from measured figures and list prices; nothing is asked of Azure."""
    from cli.cost.command import run
    from cli.cost.deployed import deployed
    from cli.cost.load import MIX, Load, mix_of

    with _errors_in_one_line():
        load = Load(
            tenants=tenants,
            calls=calls,
            mix=MIX if mix is None else mix_of(mix),
            memory=int(memory.value),
            at_once=int(memory.value) // 128,
            sample=sample,
            ready=ready,
            dedicated=min(dedicated, tenants),
            gateway=gateway,
            redis=redis,
            private=private,
        )
        if environment is not None:
            load = deployed(environment.value, load)
        run(load, scale=scale, as_json=json, plot=plot)


@app.command()
def migrate(
    source: Annotated[
        Path | None, typer.Argument(help="The old SQLite file, or a quarantine file (.jsonl) that was mended.")
    ] = None,
    tenant: Annotated[
        str, typer.Option(help="Id or slug of the tenant that it becomes; default is made where it is not.")
    ] = "default",
    map: Annotated[
        list[str] | None,
        typer.Option(help="VALUE=TENANT: rows whose tenant_id is VALUE go into that tenant (repeatable)."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come of it in an empty tenant.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    quarantine: Annotated[
        Path | None,
        typer.Option(help="Where rows go that cannot be migrated.", show_default="SOURCE.quarantine.jsonl, here"),
    ] = None,
    api: Annotated[str | None, typer.Option(help="Into the Flowgrid at this URL, over its API.")] = None,
    token: Annotated[
        str | None, typer.Option(help="A token of that Flowgrid: an admin's or staff's.", show_default="FLOWGRID_TOKEN")
    ] = None,
    admin_email: Annotated[
        str | None,
        typer.Option(help="First admin of the default tenant, when it is made.", show_default="admin@default.example"),
    ] = None,
    undo: Annotated[str | None, typer.Option(help="Take this run back: its id, as the report says.")] = None,
    processes: Annotated[
        int, typer.Option(min=0, max=8, help="As many beside this one, where many rows go into a data folder.")
    ] = 2,
    data: DataFolder = None,
    settings: SettingsFile = None,
) -> None:
    """Migrate an old database of one user into a tenant; exits 0 only when every row is there, 1 when some are not."""
    from cli.migrate import DEFAULT_ADMIN, Options, run
    from cli.migrate import undo as take_back

    with _errors_in_one_line():
        if (source is None) == (undo is None):
            raise CliError("Name the file to migrate, or the run to --undo.")
        options = Options(
            tenant=tenant,
            maps=map or [],
            api=api,
            token=token,
            admin=admin_email or DEFAULT_ADMIN,
            data=data,
            settings_file=settings,
            processes=processes,
        )
        if source is None:
            take_back(str(undo), options, as_json=as_json)
            return
        raise typer.Exit(0 if run(source, options, dry_run=dry_run, quarantine=quarantine, as_json=as_json) else 1)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except CliError as error:
        print(f"flowgrid: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
