"""Folders of customers' data: made once, and missed when they are gone."""

from pathlib import Path

import pytest

from shared.errors import Unavailable
from shared.folders import check_there, kept_folder


def test_a_folder_that_was_made_and_is_gone_is_missed(tmp_path: Path) -> None:
    kept_folder(tmp_path / "blobs").rmdir()
    with pytest.raises(Unavailable, match="put it back"):
        check_there(tmp_path / "blobs")


def test_a_folder_that_another_makes_while_it_is_looked_for_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_dir = Path.is_dir

    def meanwhile(path: Path) -> bool:
        found = is_dir(path)
        monkeypatch.undo()
        kept_folder(tmp_path / "blobs")
        return found

    monkeypatch.setattr(Path, "is_dir", meanwhile)
    check_there(tmp_path / "blobs")
    assert (tmp_path / "blobs").is_dir()
