from pathlib import Path

import pytest

from shared.blobs.files import FileBlobs
from shared.blobs.port import Blobs
from tests.contract.blobs import BlobsContract


class TestFileBlobs(BlobsContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        return FileBlobs(tmp_path)
