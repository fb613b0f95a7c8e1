"""infra/ through the Bicep compiler: `python -m cli.bicep` (`make infra`) checks it, `… snapshots` writes them anew.

The compiler is `az bicep install`'s, or a release of https://github.com/Azure/bicep; no module of ours comes from a
registry, so it needs no network. A property that does not exist is a warning to it, with which it exits 0: here nothing
that it says is let pass. Snapshots are as one version of it writes them.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

INFRA = Path(__file__).parents[1] / "infra"
NOBODY = "00000000-0000-0000-0000-000000000000"  # a snapshot is of no subscription that there is
WHERE = ("--tenant-id", NOBODY, "--subscription-id", NOBODY, "--location", "westeurope")
GIVEN = {  # to parameters
    "FLOWGRID_ISSUERS": '[{"issuer": "https://login.example/v2.0", "audience": "flowgrid"}]',
    "FLOWGRID_ALERT_EMAILS": '["operators@flowgrid.example"]',
    "FLOWGRID_REPOSITORY": "flowgrid/flowgrid",
    "FLOWGRID_GATEWAY_AUDIENCE": NOBODY,
    "FLOWGRID_GATEWAY_EMAIL": "operators@flowgrid.example",
    "FLOWGRID_GATEWAY_ORIGINS": '["https://app.flowgrid.example"]',
}
OURS = ("AZURE_", "FLOWGRID_")
VERSION = "0.49.2"  # by which the snapshots are written, here and in CI
SECONDS = 120.0
MISSING = f"There is no `bicep` on the PATH: `az bicep install --version v{VERSION}` puts one into ~/.azure/bin."


def found(infra: Path) -> list[str]:
    """What is wrong with the files: what the compiler says of them, how they are formatted, snapshots that are old."""
    return [*diagnostics(infra), *unformatted(infra), *changed(infra)]


def write_snapshots(infra: Path) -> None:
    """What the compiler writes has its outputs in another order each time."""
    for parameters in _parameters(infra):
        _bicep("snapshot", str(parameters), *WHERE, check=True)
        path = parameters.with_suffix(".snapshot.json")
        made = json.loads(path.read_text("utf-8"))
        made["outputs"] = dict(sorted(made["outputs"].items()))
        path.write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", "utf-8")


def diagnostics(infra: Path) -> Iterator[str]:
    """Errors and warnings, of each file there is. Of a module, whoever calls it tells them, too."""
    told_already: set[str] = set()
    for kind in ("bicep", "bicepparam"):
        told = _bicep("lint", "--pattern", str(infra / "**" / f"*.{kind}"), "--diagnostics-format", "sarif").stdout
        runs = [run for document in _documents(told) for run in document["runs"]]
        if (files := len(list(infra.rglob(f"*.{kind}")))) != len(runs):
            yield f"{len(runs)} of {files} files of kind {kind} were looked at"
        for result in (result for run in runs for result in run["results"]):
            place = result["locations"][0]["physicalLocation"]
            path = Path(unquote(urlsplit(place["artifactLocation"]["uri"]).path))
            line = f"{path.relative_to(infra)}:{place['region']['startLine']}: {result['message']['text']}"
            if line not in told_already:
                told_already.add(line)
                yield line


def unformatted(infra: Path) -> Iterator[str]:
    with TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(infra, Path(folder) / "infra"))
        _bicep("format", "--pattern", str(copy / "**" / "*.bicep*"), check=True)
        for path in sorted(infra.rglob("*.bicep*")):
            if path.read_bytes() != (copy / path.relative_to(infra)).read_bytes():
                yield f"{path.relative_to(infra)}: not as `bicep format` would write it"


def changed(infra: Path) -> Iterator[str]:
    for parameters in _parameters(infra):
        done = _bicep("snapshot", str(parameters), *WHERE, "--mode", "validate")
        if done.returncode:
            yield f"{parameters.relative_to(infra)}: another snapshot; `make snapshots`\n{done.stdout}{done.stderr}"


def _parameters(infra: Path) -> list[Path]:
    return sorted(infra.rglob("*.bicepparam"))


def _bicep(*arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    """By the environment of nobody: parameters read it."""
    compiler = shutil.which("bicep")
    if compiler is None:
        raise SystemExit(MISSING)
    env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    env.setdefault("DOTNET_BUNDLE_EXTRACT_BASE_DIR", str(INFRA.parent / ".cache" / "bicep"))  # it unpacks itself once
    env.setdefault("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1")  # a bare machine has no ICU
    command, given = [compiler, *arguments], {**env, **GIVEN}
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=SECONDS, check=check)  # noqa: S603  no shell


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """One after the other, with nothing between."""
    decoder, at = json.JSONDecoder(), 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        document, at = decoder.raw_decode(text, at)
        yield document


if __name__ == "__main__":
    if sys.argv[1:] == ["snapshots"]:
        write_snapshots(INFRA)
    elif wrong := found(INFRA):
        raise SystemExit("\n".join(wrong))
