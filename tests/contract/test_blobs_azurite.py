from collections.abc import AsyncIterator, Iterator

import pytest

from shared.blobs.azure import AzureBlobs
from shared.blobs.port import Blobs
from tests.contract.blobs import BlobsContract
from tests.contract.test_blobs_files import TestFileBlobs as _Files
from tests.doubles.azurite import azurite


@pytest.fixture(scope="module")
def connection() -> Iterator[str]:
    with azurite() as connection:
        yield connection


class TestAzureBlobs(BlobsContract):
    @pytest.fixture
    async def blobs(self, connection: str) -> AsyncIterator[Blobs]:
        blobs = AzureBlobs(emulator=connection)
        yield blobs
        await blobs.close()


def test_both_adapters_run_the_same_cases() -> None:
    def cases(suite: type) -> dict[str, object]:
        return {name: getattr(suite, name) for name in dir(suite) if name.startswith("test")}

    assert cases(_Files) == cases(TestAzureBlobs) == cases(BlobsContract)
