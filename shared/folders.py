"""Folders that only their owner can look into: what the embedded adapters keep is customers' data.

`made/<name>` beside such a folder says that it was made, so that one which is lost, with all that was in it, is
noticed.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from shared.disk import outage
from shared.errors import Unavailable

MADE = "made"
KEY_BYTES = 32


def private_folder(path: Path) -> Path:
    """Make the folder, and those above it that are missing, for its owner alone; one that is there stays as it is.

    (`mkdir(parents=True)` gives its mode to the last one only.)
    """
    if not path.is_dir():
        private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    return path


def mark_of(folder: Path) -> Path:
    """The folder beside it that is there when this one was made."""
    return folder.parent / MADE / folder.name


def check_there(folder: Path) -> None:
    """`Unavailable` for a folder that was made and is gone. The mark is asked for first, as it is made last."""
    if mark_of(folder).is_dir() and not folder.is_dir():
        raise Unavailable(
            f"The folder {folder.name} is missing; put it back (or remove {MADE}/{folder.name} to begin without it)."
        )


def kept_folder(folder: Path) -> Path:
    """Make the folder as `private_folder` does, but once: `Unavailable` when it was made and is gone."""
    check_there(folder)
    private_folder(folder)
    private_folder(mark_of(folder))
    return folder


@outage("The data folder")
def kept_key(path: Path) -> bytes:
    """The file's random bytes; whoever comes first makes it, whole before it has its name."""
    if not path.exists():
        private_folder(path.parent)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        with suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    return path.read_bytes()
