"""What `import function_app` costs, beside azure.functions and pydantic alone, each in fresh processes.

The goal: below 400 ms, or within 1.5 times the baseline, whichever is larger.
"""

import subprocess
import sys
from statistics import median
from typing import Any

STATEMENTS = {"azure.functions, pydantic": "import azure.functions, pydantic", "function_app": "import function_app"}
GOAL_MS, GOAL_RATIO = 400, 1.5


async def run(quick: bool) -> list[dict[str, Any]]:
    times = {name: median(_once(code) for _ in range(3 if quick else 11)) for name, code in STATEMENTS.items()}
    baseline, ours = times.values()
    goal = max(GOAL_MS, GOAL_RATIO * baseline)
    return [
        {"import": name, "median ms": round(time), "ratio": round(time / baseline, 2), "goal ms": round(goal)}
        for name, time in times.items()
    ] + [{"import": "within the goal", "median ms": "", "ratio": "", "goal ms": "yes" if ours <= goal else "NO"}]


def _once(statement: str) -> float:
    code = f"import time; started = time.perf_counter()\n{statement}\nprint((time.perf_counter() - started) * 1000)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)
