"""The version of Flowgrid, as the API tells it, and which commit it is of."""

from functools import cache
from pathlib import Path

VERSION = "0.1.0"
COMMIT_FILE = "commit.txt"  # beside the app in a package, where `cli package` has put it
_ROOT = Path(__file__).parents[1]


@cache
def commit(root: Path = _ROOT) -> str | None:
    """None: this was not packaged."""
    try:
        return (root / COMMIT_FILE).read_text("ascii").strip()
    except FileNotFoundError:
        return None
