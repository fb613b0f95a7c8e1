"""The README's first minutes, typed as they stand there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.e2e.api import Flowgrid
from tests.e2e.host import eventually

ROOT = Path(__file__).parents[2]
TOUR = (ROOT / "README.md").read_text("utf-8").partition("## Five minutes")[2].partition("\n## ")[0]
END = "--- end of an answer ---"


def keys(text: str) -> set[str]:
    """The names in an answer, but for the operations that usage counts: what is metered shows a moment later."""
    return set(re.findall(r'"(\w+)":', re.sub(r'"dimensions":{.*?}', '"dimensions":0', text)))


async def test_the_tour_can_be_typed_as_it_stands_and_twice_in_a_minute(flowgrid: Flowgrid) -> None:
    async def welcomed() -> bool:
        return "In another terminal" in flowgrid.host.log

    await eventually(welcomed)
    first, *steps = re.findall(r"```\n(.*?)```", TOUR, re.DOTALL)
    commands = [(call, shown) for step in steps for call, shown in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", step, re.M)]
    assert len(commands) >= 7
    script = "\n".join([first, *(f"{call}\necho; echo '{END}'" for call, _ in commands)])
    script = script.replace("http://127.0.0.1:7071", flowgrid.host.url).replace(".venv/bin/python", sys.executable)
    environment = {**os.environ, "FLOWGRID_DATA_DIR": str(flowgrid.host.data)}
    for again in (False, True):
        done = subprocess.run(  # noqa: ASYNC221
            ["bash", "-euc", script], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        answers = done.stdout.split(END)[:-1]
        for (call, shown), answer in zip(commands, answers, strict=True):
            assert json.loads(answer).get("status") != 429, call
            if not again and json.loads(answer).get("total") == 0:
                continue  # usage is half a second behind, or a second on a queue that is far away
            assert keys(shown) <= keys(answer), f"{call}\n{answer}"
