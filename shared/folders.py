"""Folders that only their owner can look into: what the embedded adapters keep is customers' data."""

from pathlib import Path


def private_folder(path: Path) -> Path:
    """Make the folder, and those above it that are missing, for its owner alone; one that is there stays as it is.

    (`mkdir(parents=True)` gives its mode to the last one only.)
    """
    if not path.is_dir():
        private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    return path
