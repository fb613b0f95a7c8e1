"""docs/operations.md, typed as it stands there; and what cannot be typed here, by name, with why."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.host import Host, eventually

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/operations.md").read_text("utf-8")
NOT_HERE = {
    "azd": "makes resources in Azure",
    "az": "talks to Azure",
    "gh": "talks to GitHub",
    "make package": "gets packages from PyPI; tests/unit/test_package.py makes one of its own",
}
BEGIN = "--- begin of an answer ---"


def commands() -> list[str]:
    blocks = re.findall(r"^( *)```\n(.*?)^\1```", GUIDE, re.MULTILINE | re.DOTALL)
    return [line.strip() for _, block in blocks for line in block.splitlines() if line.strip()]


def elsewhere(command: str) -> bool:
    return any(command == name or command.startswith(f"{name} ") for name in NOT_HERE)


@pytest.fixture
def operated(tmp_path: Path) -> Iterator[Host]:
    """A host of its own: who changes its keys makes others wait until they are believed."""
    served = Host(tmp_path)
    try:
        served.start()
        yield served
    finally:
        served.stop()


async def test_every_command_that_can_run_here_does_what_it_is_there_for(operated: Host) -> None:
    async def welcomed() -> bool:
        return "In another terminal" in operated.log

    await eventually(welcomed)
    here = [command for command in commands() if not elsewhere(command)]
    assert len(here) >= 25
    script = "\n".join(f"echo; echo '{BEGIN}'\n{command}" for command in here)
    script = script.replace("http://127.0.0.1:7071", operated.url).replace(".venv/bin/python", sys.executable)
    environment = {**os.environ, "FLOWGRID_DATA_DIR": str(operated.data)}
    done = subprocess.run(  # noqa: ASYNC221
        ["bash", "-euo", "pipefail", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    answers = done.stdout.split(BEGIN)[1:]
    for command, answer in zip(here, answers, strict=True):
        if command.startswith("curl"):
            assert answer.strip()[:1] in ("{", "<"), f"{command}\n{answer}"
            assert "/api/problems/" not in answer, f"{command}\n{answer}"


def test_what_is_not_run_here_is_there_and_only_that() -> None:
    found = [command for command in commands() if elsewhere(command)]
    for name in NOT_HERE:
        assert any(command == name or command.startswith(f"{name} ") for command in found), name
    assert {command.split()[0] for command in found} == {"azd", "az", "gh", "make"}


def test_what_the_guide_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", GUIDE, re.MULTILINE)) <= targets
    named = set(re.findall(r"(?<![\w-])(?:infra|tests|docs)/[\w./-]*\w", GUIDE))
    assert len(named) >= 3
    assert [name for name in named if not (ROOT / name).exists()] == []
