"""`python -m cli package`: what git has and `.funcignore` leaves, with wheels for Azure; same input, same bytes."""

import base64
import hashlib
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from cli.errors import CliError
from cli.package import PACKAGES, make
from shared import version
from shared.version import COMMIT_FILE

BINARY = "cp312-cp312-manylinux_2_17_x86_64"


def wheel(folder: Path, name: str, tag: str = "py3-none-any", code: str = "") -> str:
    """A wheel of one module, with a script; answers its hash."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
    path = folder / f"{name}-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(file, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def commit(root: Path) -> str:
    """All that there is; answers its name."""
    subprocess.run(["git", "add", "--all"], cwd=root, check=True)
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@flowgrid.example", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, "commit", "--quiet", "--message", "A change"], cwd=root, check=True)
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of a small app, and an index of its packages beside it; no other is asked."""
    root, wheels = tmp_path / "app", tmp_path / "wheels"
    wheels.mkdir()
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(wheels)), ("PIP_CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(name, value)
    lock = [
        f"plain==1.0 \\\n    --hash=sha256:{wheel(wheels, 'plain')} \\\n    --hash=sha256:{'0' * 64}\n    # via us",
        f"binary==1.0 \\\n    --hash=sha256:{wheel(wheels, 'binary', BINARY)}",
        f"older==1.0 ; python_full_version < '3.12' \\\n    --hash=sha256:{wheel(wheels, 'older')}",
        f"newer==1.0 ; python_full_version >= '3.13' \\\n    --hash=sha256:{wheel(wheels, 'newer')}",
        f"windows==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:{wheel(wheels, 'windows')}",
    ]
    files = {
        "function_app.py": "app = 1\n",
        "host.json": "{}\n",
        "functions/agents.py": "",
        "requirements.txt": "# made by make lock\n" + "\n".join(lock) + "\n",
        "tests/test_app.py": "",
        "notes.md": "",
        ".funcignore": ".git*\n.funcignore\n*.md\ntests/\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    commit(root)
    (root / "local.settings.json").write_text("what git does not have")  # and does not hinder
    return root


def names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_a_package_is_what_git_has_and_funcignore_leaves_with_what_the_lock_names(app: Path, tmp_path: Path) -> None:
    make(tmp_path / "flowgrid.zip", root=app)
    found = names(tmp_path / "flowgrid.zip")
    own = {name for name in found if not name.startswith(PACKAGES)}
    assert own == {"function_app.py", "host.json", "functions/agents.py", "requirements.txt", COMMIT_FILE}
    modules = {name.removeprefix(f"{PACKAGES}/") for name in found - own}
    assert {name for name in modules if name.endswith(".py")} == {"plain.py", "binary.py"}


@pytest.mark.parametrize(("python", "extra"), [("3.11", "older.py"), ("3.13", "newer.py")])
def test_markers_are_read_as_of_the_python_that_it_is_for(app: Path, tmp_path: Path, python: str, extra: str) -> None:
    lock = app / "requirements.txt"
    lock.write_text(re.sub(r"binary==1.0 .*\n.*\n", "", lock.read_text("utf-8")), "utf-8")  # it is for 3.12 alone
    commit(app)
    make(tmp_path / "flowgrid.zip", root=app, python=python)
    found = {name.removeprefix(f"{PACKAGES}/") for name in names(tmp_path / "flowgrid.zip")}
    assert {"plain.py", extra} == {name for name in found if name in ("plain.py", "older.py", "newer.py", "windows.py")}


def test_the_same_input_gives_the_same_bytes(app: Path, tmp_path: Path) -> None:
    made = [make(tmp_path / f"{number}.zip", root=app) for number in (1, 2)]
    (app / "host.json").touch()
    (app / "host.json").chmod(0o600)
    made.append(make(tmp_path / "3.zip", root=app))
    assert len(set(made)) == 1
    assert made[0] == hashlib.sha256((tmp_path / "1.zip").read_bytes()).hexdigest()
    (app / "host.json").write_text('{"version": "2.0"}')
    commit(app)
    assert make(tmp_path / "4.zip", root=app) != made[0]


def test_nothing_of_this_machine_is_in_it(app: Path, tmp_path: Path) -> None:
    make(tmp_path / "flowgrid.zip", root=app)
    found = names(tmp_path / "flowgrid.zip")
    assert [name for name in found if "/bin/" in name or name.endswith((".pyc", "/RECORD", "/INSTALLER"))] == []
    assert f"{PACKAGES}/plain-1.0.dist-info/METADATA" in found, "by which versions are told"
    with zipfile.ZipFile(tmp_path / "flowgrid.zip") as archive:
        assert {(one.date_time[0], one.external_attr >> 16) for one in archive.infolist()} == {(1980, 0o100644)}


def test_a_package_of_another_hash_is_refused(app: Path, tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "plain", code="print('not what was locked')")
    with pytest.raises(CliError, match="DO NOT MATCH THE HASHES"):
        make(tmp_path / "flowgrid.zip", root=app)
    assert not (tmp_path / "flowgrid.zip").exists()


def test_a_folder_that_is_no_checkout_is_told(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="is no git checkout"):
        make(tmp_path / "flowgrid.zip", root=tmp_path)


def test_a_package_knows_of_which_commit_it_is(app: Path, tmp_path: Path) -> None:
    (app / "host.json").write_text('{"version": "2.0"}')
    made_of = commit(app)
    make(tmp_path / "flowgrid.zip", root=app)
    with zipfile.ZipFile(tmp_path / "flowgrid.zip") as archive:
        archive.extractall(tmp_path / "deployed")
    assert version.commit(tmp_path / "deployed") == made_of
    assert version.commit(app) is None, "a checkout was not packaged"


@pytest.mark.parametrize("added", [False, True])
def test_what_is_in_no_commit_is_not_packaged(app: Path, tmp_path: Path, added: bool) -> None:
    (app / "functions/agents.py").write_text("changed = True\n")
    if added:
        subprocess.run(["git", "add", "--all"], cwd=app, check=True)
    with pytest.raises(CliError, match=r"in no commit.*functions/agents\.py"):
        make(tmp_path / "flowgrid.zip", root=app)
    assert not (tmp_path / "flowgrid.zip").exists()
