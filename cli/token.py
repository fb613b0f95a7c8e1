"""`python -m cli token`: a token of the local issuer, for curl and scripts."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import httpx

from cli.api import Api
from cli.environment import (
    ISSUER_FILE,
    add_settings_file,
    default_settings_file,
    follow_issuer,
    load_settings,
    writable_folder,
)
from cli.errors import CliError
from local.issuer import FOLDER, Issuer
from shared.ids import derived_id, is_uuid

ROLES = {"admin": "tenant:admin", "user": "tenant:user", "viewer": "tenant:viewer", "platform": "platform:admin"}


def make(
    *,
    role: str,
    tenant: str | None,
    email: str | None,
    subject: str | None,
    hours: float,
    data: Path | None,
    settings_file: Path | None,
    rotate: bool,
) -> str:
    """The token; it names the issuer that the data folder was last served as, whatever the port was."""
    if tenant is None and role != "platform":
        raise CliError(f"A token for {role} needs --tenant.")
    issuer = open_issuer(data, settings_file)
    if tenant is not None and not is_uuid(tenant):
        tenant = asyncio.run(_tenant_of(tenant, issuer))
    email = email or f"{role}@{tenant or 'platform'}.example"
    if rotate:
        issuer.rotate()
    return issuer.mint(
        subject or derived_id("local-subject", tenant or "", email),
        roles=[ROLES[role]],
        tenant_id=tenant,
        email=email,
        name=f"Local {role}",
        lifetime=timedelta(hours=hours),
    )


async def _tenant_of(slug: str, issuer: Issuer) -> str:
    """The id of the tenant with this slug, from the host that serves the issuer's folder."""
    base_url = issuer.issuer.removesuffix(f"/{FOLDER}")
    staff = Api(base_url, issuer.mint("token-command", roles=[ROLES["platform"]], email="token@flowgrid.example"))
    try:
        found = await staff.ok("GET", "v1/platform/tenants", params={"slug": slug})
    except (httpx.HTTPError, RuntimeError) as error:
        wanted = f"--tenant {slug} is no tenant id such as {derived_id('example')}"
        raise CliError(f"{wanted}, and {base_url} cannot be asked whose slug it is: {error}") from error
    finally:
        await staff.close()
    if not found["items"]:
        raise CliError(f"There is no tenant with the slug {slug!r} at {base_url}.")
    return str(found["items"][0]["id"])


def open_issuer(data: Path | None, settings_file: Path | None) -> Issuer:
    """The local issuer of a data folder, outside the server."""
    environ = dict(os.environ)
    if data is not None:
        environ["FLOWGRID_DATA_DIR"] = str(data)
    add_settings_file(environ, settings_file or default_settings_file(Path.cwd()))
    settings = load_settings(environ)
    folder = writable_folder(settings.flowgrid_data_dir)
    served_as = folder / FOLDER / ISSUER_FILE
    if served_as.exists():
        settings = follow_issuer(environ, settings, served_as.read_text(encoding="utf-8").strip())
    return Issuer(folder, settings)
