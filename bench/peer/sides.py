"""Those that are compared: this Flowgrid, the peer, earlier commits of Flowgrid, each in a process of its own."""

import asyncio
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.http import AGENT, UNLIMITED, onboard
from bench.load import CONNECTIONS
from bench.peer.cluster import Cluster
from bench.peer.usage import cpu_seconds
from cli.api import Api
from cli.child import ROOT, Child
from shared.settings import Settings

HERE = Path(__file__).parent
PYTHON = ROOT / ".data" / "peer" / "bin" / "python"
MISSING = f"The peer's libraries are not there: `make bench-peer` installs {HERE.name}/requirements.txt for it."
AGENTS = 20  # of each tenant
START_SECONDS = 60.0
STOP_SECONDS = 20.0
_READY = re.compile(r"ready on (http://\S+)")


@dataclass
class Side:
    """`cpu`: the seconds of processor that its server, and its database where that is another process, have used."""

    name: str
    base_url: str
    cpu: Callable[[], tuple[float, float]]
    agents: dict[str, str]  # one of each token's tenant


@contextmanager
def flowgrid(root: Path = ROOT) -> Iterator[Child]:
    with tempfile.TemporaryDirectory() as folder, Child(Path(folder), root=str(root), **UNLIMITED) as child:
        yield child


@contextmanager
def commit(reference: str) -> Iterator[Path]:
    """A work tree of an earlier commit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tree"
        _git("worktree", "add", "--detach", str(path), reference)
        try:
            yield path
        finally:
            _git("worktree", "remove", "--force", str(path))


@contextmanager
def peer(settings: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Its address and process id, while it serves."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "settings.json").write_text(json.dumps(settings))
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen([PYTHON, HERE / "app.py", folder], stdout=output, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + START_SECONDS
            while (ready := _READY.search(log.read_text())) is None:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"the peer did not come up:\n{log.read_text()}")
                time.sleep(0.05)
            yield ready[1], process.pid
        except RuntimeError as error:
            raise RuntimeError(f"{error}; the peer's log ends:\n{log.read_text()[-3000:]}") from error
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def of_flowgrid(name: str, child: Child, tenants: int) -> Side:
    tokens = await onboard(child, tenants)
    return Side(name, child.base_url, lambda: (cpu_seconds(child.pid), 0.0), await _agents(child.base_url, tokens))


async def of_peer(name: str, address: tuple[str, int], database: Cluster, tokens: list[str]) -> Side:
    base_url, pid = address
    return Side(name, base_url, lambda: (cpu_seconds(pid), database.cpu_seconds()), await _agents(base_url, tokens))


def settings_of_peer(child: Child, database: Cluster) -> dict[str, Any]:
    """It takes the tokens of a Flowgrid."""
    keys = child.issuer.public_keys()
    return {
        "socket": str(database.socket),
        "user": "app",
        "connections": CONNECTIONS,
        "features": True,
        "orm": True,
        "keys": keys,
        "issuer": child.issuer.issuer,
        "audience": child.issuer.audience,
        "tenant_claim": Settings.model_fields["flowgrid_tenant_claim"].default,
    }


async def _agents(base_url: str, tokens: list[str]) -> dict[str, str]:
    waiting = iter(tokens)
    made: dict[str, str] = {}

    async def some() -> None:
        for token in waiting:
            api = Api(base_url, token)
            try:
                created = [await api.ok("POST", "v1/agents", json=AGENT) for _ in range(AGENTS)]
            finally:
                await api.close()
            made[token] = created[0]["id"]

    await asyncio.gather(*(some() for _ in range(CONNECTIONS)))
    return {token: made[token] for token in tokens}


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True)
