"""`python -m cli serve`: the whole backend in one process on one port, for development.

Everything that can be wrong is checked before the app is imported, so that it is told in one line.
"""

import importlib
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cli.environment import (
    ISSUER_FILE,
    add_settings_file,
    default_settings_file,
    follow_issuer,
    load_settings,
    writable_folder,
)
from cli.errors import CliError
from cli.server import Server, base_url, listen, private_files, stopping_on_sigterm
from local.bindings import HostError
from local.host import Host
from local.issuer import FOLDER, Issuer
from shared.folders import private_folder
from shared.messaging.receiving import Receiving
from shared.settings import Settings, SettingsError
from shared.telemetry import log

OnReady = Callable[[str, Issuer], Awaitable[None]]
APP_MODULE = "function_app"


@dataclass(frozen=True)
class Backend:
    """What is served: the host around the app, the issuer, and what has to be closed."""

    host: Host
    issuer: Issuer
    core: Any
    receiving: Receiving

    async def close(self) -> None:
        """The last to run: nothing receives or calls any more."""
        if self.receiving is not self.core.adapters.receiving:
            await self.receiving.close()
        await self.core.close()


def run(
    *,
    host: str,
    port: int,
    data: Path | None,
    settings_file: Path | None,
    names: Sequence[str] = (),
    on_ready: OnReady | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM; CliError when it cannot start. `names`: what callers may call this host."""
    settings = prepare(data, settings_file)
    with private_files(), listen(host, port) as listening:
        url = base_url(host, listening.getsockname()[1])
        settings = follow_issuer(os.environ, settings, f"{url}/{FOLDER}")
        folder = settings.flowgrid_data_dir
        private_folder(folder / FOLDER)
        (folder / FOLDER / ISSUER_FILE).write_text(f"{url}/{FOLDER}\n", encoding="utf-8")
        backend = load(settings, [host, *names])

        async def ready() -> None:
            print(f"Flowgrid is ready on {url} (data in {folder})", flush=True)
            if welcome := on_ready or _welcome(settings):
                await welcome(url, backend.issuer)

        web = backend.host.asgi(backend.issuer.routes())
        with stopping_on_sigterm():
            Server(web, ready=ready, close=backend.close).run(sockets=[listening])


def prepare(data: Path | None, settings_file: Path | None) -> Settings:
    """Set the environment of the app from options and file, and check it."""
    if data is not None:
        os.environ["FLOWGRID_DATA_DIR"] = str(data)
    add_settings_file(os.environ, settings_file or default_settings_file(Path.cwd()))
    settings = load_settings(os.environ)
    _check_installed(settings)
    writable_folder(settings.flowgrid_data_dir)
    logging.basicConfig(level=logging.WARNING, handlers=[log.handler()])  # everybody else's
    return settings


def load(settings: Settings, names: Sequence[str] = ()) -> Backend:
    """Import the app (after its environment is set) and build the host around it."""
    try:
        module = importlib.import_module(APP_MODULE)
    except SettingsError as error:
        raise CliError(str(error)) from error
    except ModuleNotFoundError as error:
        if error.name != APP_MODULE:
            raise
        raise CliError(f"There is no {APP_MODULE}.py in {Path.cwd()}; run this in the project's folder.") from error
    receiving = _receiving(module.own_core)
    try:
        root = Path(module.__file__ or ".").parent
        host = Host(
            module.app,
            state=settings.flowgrid_data_dir / "host",
            messaging=receiving,
            values={**os.environ, **settings.values()},
            host_json=root / "host.json",
            names=names,
        )
    except HostError as error:
        raise CliError(str(error)) from error
    return Backend(host, Issuer(settings.flowgrid_data_dir, settings), module.own_core, receiving)


def _receiving(core: Any) -> Receiving:
    """Where the queue triggers' messages come from: the embedded queue, or an emulator's Service Bus."""
    embedded: Receiving | None = core.adapters.receiving
    if embedded is not None:
        return embedded
    if not core.settings.flowgrid_servicebus_emulator:
        raise CliError(
            "FLOWGRID_SERVICEBUS_EMULATOR is empty; this host receives from an emulator only. "
            "On Azure the Functions host receives from FLOWGRID_SERVICEBUS_NAMESPACE."
        )
    from local.servicebus import ServiceBusReceiving

    return ServiceBusReceiving(core.settings.flowgrid_servicebus_emulator)


def _check_installed(settings: Settings) -> None:
    """CliError where the settings ask for Azure's services and their SDKs are not here: `make run` leaves them out."""
    embedded = {"sqlite", "files", "file"}
    chosen = {
        name: str(getattr(settings, f"flowgrid_{name}")) for name in ("database", "messaging", "blobs", "secrets")
    }
    in_azure = [f"FLOWGRID_{name.upper()}={value}" for name, value in chosen.items() if value not in embedded]
    if in_azure and find_spec("azure.core") is None:
        raise CliError(
            f"{', '.join(in_azure)}: this needs what `make run` does not install; "
            f"{sys.executable} -m pip install --require-hashes -r requirements.txt does."
        )


def _welcome(settings: Settings) -> OnReady | None:
    """`cli.welcome.welcome`, where the demo tenants are made, if it is there, and whoever comes may make them."""
    if settings.flowgrid_gateway or settings.services:
        return None
    try:
        welcome: OnReady = importlib.import_module("cli.welcome").welcome
    except ModuleNotFoundError as error:
        if error.name != "cli.welcome":
            raise
        return None
    return welcome
