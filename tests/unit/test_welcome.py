"""What the welcome prints, and the process of its own that the demo and the benchmarks run."""

import sys
from pathlib import Path

import httpx
import pytest

from cli.child import Child
from cli.welcome import _data, _python


def test_where_the_data_is_as_usual_the_token_line_names_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWGRID_DATA_DIR", ".data")
    assert _data() == ""


def test_another_data_folder_is_named_as_a_shell_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWGRID_DATA_DIR", "/tmp/my data")
    assert _data() == " --data '/tmp/my data'"


def test_python_is_named_from_the_folder_it_was_run_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    assert _python() == ".venv/bin/python"


def test_a_child_takes_none_of_the_callers_settings_and_is_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A demo that damages what it finds must never find what a developer's environment points at."""
    monkeypatch.setenv("FLOWGRID_DATABASE", "cosmos")
    monkeypatch.setenv("FLOWGRID_COSMOS_ENDPOINT", "https://127.0.0.1:9/")
    with Child(tmp_path) as child:
        health = httpx.get(f"{child.base_url}/api/health", trust_env=False).json()
    assert health["status"] == "healthy"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{child.base_url}/api/health", trust_env=False)


def test_a_child_that_does_not_come_up_says_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="FLOWGRID_SHARDS"), Child(tmp_path, FLOWGRID_SHARDS="none"):
        pass
