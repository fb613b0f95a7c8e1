"""What processes have used of the processor, from /proc (so on Linux)."""

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of the process, of its threads, and of its children that have ended; 0 when it is gone."""
    fields = _fields(pid)
    return sum(map(int, fields[11:15])) / TICKS if fields else 0.0


def children(pid: int) -> list[int]:
    """The processes that it has started and that run."""
    found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [one for one in found if (fields := _fields(one)) and int(fields[1]) == pid]


def _fields(pid: int) -> list[str]:
    """`/proc/<pid>/stat` behind the name, which may hold anything (proc(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
