"""What is deployed, in one file: a commit of the app, and its packages as wheels for Azure's Linux, known by hashes.

The same input gives the same bytes (of one version of zlib): names in order, one date, nothing of this machine. Azure
builds nothing of it: packages are where the worker looks for them (`.python_packages/lib/site-packages`).
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from cli.errors import CliError
from shared.version import COMMIT_FILE

ROOT = Path(__file__).parents[1]
LOCK = "requirements.txt"
PACKAGES = ".python_packages/lib/site-packages"
WHEELS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can tell
READABLE = 0o100644 << 16
OF_THIS_MACHINE = re.compile(
    r"(^|/)(bin|__pycache__)/|\.pyc$|\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json)$"
)


def make(output: Path, *, root: Path = ROOT, python: str = "3.12") -> str:
    """Write the file; answers its SHA-256. CliError where git or pip refuse, and of what is in no commit."""
    files = {name: root / name for name in _shipped(root)}
    with tempfile.TemporaryDirectory(prefix="flowgrid-package-") as folder:
        target = Path(folder) / "packages"
        files[COMMIT_FILE] = Path(folder) / COMMIT_FILE
        files[COMMIT_FILE].write_text(f"{_commit(root)}\n", "ascii")
        _install(root / LOCK, target, python)
        for path in target.rglob("*"):
            name = path.relative_to(target).as_posix()
            if path.is_file() and not OF_THIS_MACHINE.search(name):
                files[f"{PACKAGES}/{name}"] = path
        _zip(files, output)
    return hashlib.sha256(output.read_bytes()).hexdigest()


def _shipped(root: Path) -> list[str]:
    """What git has and `.funcignore` leaves, by git's reading of its patterns."""
    ignored = _git(root, "ls-files", "--cached", "--ignored", "--exclude-from=.funcignore")
    return sorted(set(_git(root, "ls-files", "--cached")) - set(ignored))


def _commit(root: Path) -> str:
    """What the files are of, without a difference; what git does not have is not shipped."""
    if changed := _git(root, "status", "--porcelain", "--untracked-files=no"):
        raise CliError(f"{root} has changes that are in no commit, and a package is of one: {changed[0][3:]}")
    (commit,) = _git(root, "log", "-1", "--format=%H")
    return commit


def _git(root: Path, *arguments: str) -> list[str]:
    try:
        done = subprocess.run(["git", *arguments, "-z"], cwd=root, capture_output=True, text=True)  # noqa: S603, S607
    except OSError as error:
        raise CliError(f"git cannot be run ({error.strerror}): a package is made of what git has.") from error
    if done.returncode:
        raise CliError(f"{root} is no git checkout: {done.stderr.strip()}")
    return [name for name in done.stdout.split("\0") if name]


def _install(lock: Path, target: Path, python: str) -> None:
    """By pip, which takes wheels of another machine and checks their hashes."""
    wanted = target.parent / LOCK
    wanted.write_text(_for(lock.read_text("utf-8"), python), "utf-8")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--implementation=cp"]
    command += [f"--platform={tag}" for tag in WHEELS]
    command += [f"--python-version={python}", f"--target={target}", f"--requirement={wanted}"]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 - pip, with our own lock
    if done.returncode:
        raise CliError(f"pip cannot get the packages: {done.stderr.strip()}")


def _for(lock: str, python: str) -> str:
    """The lock's entries for that Python on Linux. pip would read their markers as of the Python that it runs in."""
    from packaging.requirements import Requirement

    there = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    there |= {"platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}
    there |= {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
    kept = []
    entries = [line for line in lock.replace("\\\n", " ").splitlines() if line[:1].isalnum()]
    for entry in entries:
        named, _, hashes = entry.partition("--hash")
        requirement = Requirement(named.strip())
        if requirement.marker is None or requirement.marker.evaluate(there):
            requirement.marker = None
            kept.append(f"{requirement} --hash{hashes}")
    return "\n".join(kept) + "\n"


def _zip(files: dict[str, Path], output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr, info.create_system = READABLE, 3
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, files[name].read_bytes())
