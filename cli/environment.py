"""The environment that a command sees: `local.settings.json` under the real environment, as Core Tools reads it."""

import json
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from cli.errors import CliError
from shared.folders import private_folder
from shared.settings import Settings, SettingsError

SETTINGS_FILE = "local.settings.json"
SAMPLE_FILE = "local.settings.sample.json"
ISSUER_FILE = "issuer.txt"


def default_settings_file(folder: Path) -> Path | None:
    """`local.settings.json`, or the sample that comes with the project, or nothing."""
    return next((folder / name for name in (SETTINGS_FILE, SAMPLE_FILE) if (folder / name).exists()), None)


def add_settings_file(environ: MutableMapping[str, str], path: Path | None) -> None:
    """Take the file's `Values` for what the environment does not have already."""
    if path is None:
        return
    for name, value in _values(path).items():
        environ.setdefault(name, value)


def load_settings(environ: MutableMapping[str, str]) -> Settings:
    """The settings, or CliError with a line for each that is wrong."""
    environ["ServiceBusConnection"] = "local"  # the local host; without a connection queue triggers do not register
    try:
        return Settings.load(environ)
    except SettingsError as error:
        raise CliError(f"These settings are wrong:\n{error}") from error


def follow_issuer(environ: MutableMapping[str, str], settings: Settings, issuer: str) -> Settings:
    """Replace the default local issuer by `issuer`; issuers that somebody chose stay."""
    default = Settings.model_fields["flowgrid_issuers"].default[0].issuer
    moved = [
        {**item.model_dump(exclude_unset=True), **({"issuer": issuer} if item.issuer == default else {})}
        for item in settings.flowgrid_issuers
    ]
    environ["FLOWGRID_ISSUERS"] = json.dumps(moved)
    return load_settings(environ)


def writable_folder(path: Path) -> Path:
    """The folder, made if need be; CliError when nothing can be written there."""
    probe = path / f".probe-{os.getpid()}"
    try:
        private_folder(path)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise CliError(
            f"The data folder {path} cannot be written ({error.strerror}); choose another with --data."
        ) from error
    return path


def _values(path: Path) -> dict[str, str]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise CliError(f"{path} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}.") from error
    except UnicodeDecodeError as error:
        raise CliError(f"{path} is not JSON: it is not UTF-8 text.") from error
    except OSError as error:
        raise CliError(f"{path} cannot be read ({error.strerror}); name another file with --settings.") from error
    values = content.get("Values", {}) if isinstance(content, dict) else None
    if not isinstance(values, dict):
        raise CliError(f'{path} should be an object with "Values", such as {{"Values": {{"FLOWGRID_SHARDS": "1"}}}}.')
    wrong = [name for name, value in values.items() if not isinstance(value, str)]
    if wrong:
        raise CliError(f"{path}: the values of {', '.join(wrong)} should be text in double quotes.")
    return values
