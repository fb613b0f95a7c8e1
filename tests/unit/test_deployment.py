"""What goes to Azure: everything that the app needs to run, and nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = {"function_app.py", "functions", "host.json", "requirements.txt", "shared"}


def git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this is no git checkout: {done.stderr}")
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def deployed() -> list[str]:
    """The files of the project that `.funcignore` leaves, by git's reading of its patterns."""
    everything = git("ls-files", "--cached", "--others", "--exclude-standard")
    ignored = git("ls-files", "--cached", "--others", "--ignored", "--exclude-from=.funcignore")
    return sorted({name for name in everything if (ROOT / name).exists()} - set(ignored))


def test_what_is_deployed_is_what_runs(deployed: list[str]) -> None:
    assert {name.partition("/")[0] for name in deployed} == SHIPPED


def test_what_git_ignores_is_not_deployed_either() -> None:
    ours = {line.strip("/") for line in (ROOT / ".funcignore").read_text("utf-8").splitlines()}
    never = {line.strip("/") for line in (ROOT / ".gitignore").read_text("utf-8").splitlines()}
    assert {name for name in never if name not in ours and not name.startswith("local.settings")} == set()


def test_what_is_ours_of_a_package_is_small(deployed: list[str]) -> None:
    """Each new instance fetches it, with the locked packages beside it."""
    assert sum((ROOT / name).stat().st_size for name in deployed) < 3_000_000


def test_what_is_deployed_can_be_imported_alone(deployed: list[str], tmp_path: Path) -> None:
    for name in deployed:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    program = "import function_app; print(len(function_app.app.get_functions()))"
    command = [sys.executable, "-B", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PATH": ""})
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50
