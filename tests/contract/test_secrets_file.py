import stat
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet

from shared.errors import Unavailable
from shared.secrets.file import FileSecrets
from shared.secrets.port import Secrets
from tests.contract.secrets import SecretsContract

ONE, OTHER = str(uuid4()), str(uuid4())


class TestFileSecrets(SecretsContract):
    @pytest.fixture
    def secrets(self, tmp_path: Path) -> Secrets:
        return FileSecrets(tmp_path, _key())


def _key() -> "_Key":
    return _Key(Fernet.generate_key())


class _Key:
    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self) -> bytes:
        return self._key


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


async def test_the_file_shows_neither_value_nor_may_others_read_it(tmp_path: Path) -> None:
    await FileSecrets(tmp_path, _key()).space(ONE).put("webhook", "s3cret")
    (file,) = _files(tmp_path)
    assert b"s3cret" not in file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_another_key_opens_nothing_and_says_which_setting_it_is(tmp_path: Path) -> None:
    reference = await FileSecrets(tmp_path, _key()).space(ONE).put("webhook", "s3cret")
    with pytest.raises(Unavailable, match="FLOWGRID_SECRETS_KEY"):
        await FileSecrets(tmp_path, _key()).space(ONE).get(reference)


async def test_a_file_moved_to_another_tenant_is_refused(tmp_path: Path) -> None:
    secrets = FileSecrets(tmp_path, _key())
    reference = await secrets.space(ONE).put("webhook", "s3cret")
    (tmp_path / ONE).rename(tmp_path / OTHER)
    with pytest.raises(Unavailable, match="moved"):
        await secrets.space(OTHER).get(reference)


async def test_no_half_written_file_is_left(tmp_path: Path) -> None:
    space = FileSecrets(tmp_path, _key()).space(ONE)
    for value in ("one", "two"):
        await space.put("webhook", value)
    assert [path.name for path in _files(tmp_path)] == ["webhook"]
