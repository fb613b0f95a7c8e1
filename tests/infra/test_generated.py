"""What Bicep reads of the code is as the code is now."""

from pathlib import Path

import pytest

from cli.infra import FILES, text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_that_is_made_from_the_code_is_as_the_code_is_now(path: Path) -> None:
    assert path.read_text("utf-8") == text(FILES[path]()), "run `make pages`"
