"""`python -m cli token`: a token of the local issuer, for curl and scripts."""

import os
from datetime import timedelta
from pathlib import Path

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
    if tenant is not None and not is_uuid(tenant):
        raise CliError(f"--tenant should be a tenant id such as {derived_id('example')}, not {tenant!r}.")
    email = email or f"{role}@{tenant or 'platform'}.example"
    issuer = open_issuer(data, settings_file)
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
