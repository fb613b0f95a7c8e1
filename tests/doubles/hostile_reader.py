"""`python -m tests.doubles.hostile_reader NAME …`: reads hostile files, each in a process of its own.

One line of JSON a file: seconds of processor time, megabytes of memory beyond the file itself, and what came of it.
"""

import gc
import json
import os
import sys
import time
from pathlib import Path

from functions.catalog.reading import _read
from tests.doubles.hostile_files import file


def memory(field: str) -> float:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) / 1024


def read(name: str) -> dict[str, object]:
    body = file(name)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, started = memory("VmRSS"), time.process_time()
    try:
        outcome = f"{len(_read(body, lambda: None))} items"
    except Exception as error:
        outcome = f"{type(error).__name__}: {error}"
    seconds = time.process_time() - started
    return {"name": name, "seconds": seconds, "megabytes": memory("VmHWM") - before, "outcome": outcome}


for each in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        print(json.dumps(read(each)), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
