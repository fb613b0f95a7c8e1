"""What every blob adapter must do. An adapter's test module is this suite plus a `blobs` fixture."""

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.blobs.azure import BLOCK_BYTES
from shared.blobs.port import Blobs, BlobSpace
from shared.errors import Conflict, NotFound

BAD_NAMES = [
    "",
    "/",
    "a/",
    "/a",
    "a//b",
    "..",
    "../a",
    "a/../b",
    ".hidden",
    "ends.",
    "a b",
    "ü",
    "a\\b",
    "a\n",
    "a" * 801,
]
BAD_AREAS = ["", "ab", "Backups", "back_ups", "a--b", "-ab", "a" * 64, "a/b"]
BAD_TENANTS = ["", "..", "a/b", "*", "a\\b"]
SIZES = [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES]
MIB = 1024 * 1024
# One suite runs in several classes, and an overwritten blob is as good as a fresh space for each example.
SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def broken(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    raise OSError("the source is gone")


async def content(space: BlobSpace, name: str) -> bytes:
    return b"".join([chunk async for chunk in space.read(name)])


async def names(space: BlobSpace, prefix: str = "") -> list[str]:
    return [blob.name async for blob in space.list(prefix)]


class BlobsContract:
    @pytest.fixture
    def space(self, blobs: Blobs) -> BlobSpace:
        return blobs.space("backups", str(uuid4()))

    async def test_a_ping_is_answered(self, blobs: Blobs) -> None:
        await blobs.ping()

    @given(chunks=st.lists(st.binary(max_size=4000), max_size=8))
    @settings(max_examples=25, deadline=None, suppress_health_check=SHARED)
    async def test_what_goes_in_comes_out_however_it_is_cut(self, space: BlobSpace, chunks: list[bytes]) -> None:
        written = await space.write("a", stream(*chunks))
        assert written.size == sum(map(len, chunks))
        assert await content(space, "a") == b"".join(chunks)
        assert await space.info("a") == written

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("cut", [64 * 1024 + 1, 3 * BLOCK_BYTES])
    async def test_sizes_around_a_block_survive(self, space: BlobSpace, size: int, cut: int) -> None:
        data = (bytes(range(251)) * (size // 251 + 1))[:size]
        written = await space.write("a", stream(*(data[at : at + cut] for at in range(0, size, cut))))
        assert written.size == size
        assert await content(space, "a") == data

    async def test_a_blob_is_read_in_pieces(self, space: BlobSpace) -> None:
        await space.write("a", stream(bytes(3 * BLOCK_BYTES)))
        assert max([len(chunk) async for chunk in space.read("a")]) <= BLOCK_BYTES

    @pytest.mark.parametrize("size", [10, BLOCK_BYTES + 10, 2 * BLOCK_BYTES])
    async def test_a_broken_source_leaves_nothing(self, space: BlobSpace, size: int) -> None:
        with pytest.raises(OSError, match="source"):
            await space.write("a", broken(bytes(size)))
        assert await space.info("a") is None
        assert await names(space) == []

    @pytest.mark.parametrize("size", [10, BLOCK_BYTES + 10])
    async def test_a_broken_source_leaves_the_blob_that_was_there(self, space: BlobSpace, size: int) -> None:
        before = await space.write("a", stream(b"old"))
        with pytest.raises(OSError, match="source"):
            await space.write("a", broken(bytes(size)))
        assert await space.info("a") == before
        assert await content(space, "a") == b"old"

    async def test_a_cancelled_write_leaves_nothing(self, space: BlobSpace) -> None:
        reached = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield bytes(BLOCK_BYTES + 10)
            reached.set()
            await asyncio.Event().wait()

        writing = asyncio.create_task(space.write("a", endless()))
        await reached.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await names(space) == []

    @pytest.mark.parametrize("size", [10, BLOCK_BYTES + 10])
    async def test_a_blob_is_overwritten_whole(self, space: BlobSpace, size: int) -> None:
        await space.write("a", stream(b"x" * (BLOCK_BYTES + 100)))
        written = await space.write("a", stream(b"y" * size))
        assert written.size == size
        assert await content(space, "a") == b"y" * size

    @pytest.mark.parametrize("size", [10, BLOCK_BYTES + 10])
    async def test_a_taken_name_is_a_conflict_when_it_must_be_new(self, space: BlobSpace, size: int) -> None:
        await space.write("a", stream(b"first"), overwrite=False)
        with pytest.raises(Conflict):
            await space.write("a", stream(bytes(size)), overwrite=False)
        assert await content(space, "a") == b"first"

    @pytest.mark.parametrize("size", [10, BLOCK_BYTES + 10])
    async def test_one_of_many_writers_wins_a_new_name(self, space: BlobSpace, size: int) -> None:
        outcomes = await self._race(space, size, overwrite=False)
        assert len([one for one in outcomes if not isinstance(one, Exception)]) == 1
        assert all(isinstance(one, Conflict) for one in outcomes if isinstance(one, Exception))
        assert len(set(await content(space, "a"))) == 1

    @pytest.mark.parametrize("size", [10, BLOCK_BYTES + 10])
    async def test_writers_of_one_name_never_mix(self, space: BlobSpace, size: int) -> None:
        outcomes = await self._race(space, size, overwrite=True)
        assert any(not isinstance(one, Exception) for one in outcomes)
        assert all(isinstance(one, Conflict) for one in outcomes if isinstance(one, Exception))
        kept = await content(space, "a")
        assert (len(kept), len(set(kept))) == (size, 1)

    async def _race(self, space: BlobSpace, size: int, *, overwrite: bool) -> Sequence[object]:
        writes = [space.write("a", stream(letter * size), overwrite=overwrite) for letter in (b"a", b"b", b"c", b"d")]
        return await asyncio.gather(*writes, return_exceptions=True)

    async def test_every_write_has_its_own_etag(self, space: BlobSpace) -> None:
        first = await space.write("a", stream(b"same"))
        second = await space.write("a", stream(b"same"))
        assert first.etag != second.etag
        assert [await space.info("a")] == [blob async for blob in space.list()] == [second]

    async def test_blobs_are_listed_by_prefix_in_the_order_of_their_names(self, space: BlobSpace) -> None:
        written = ["b/2", "b-1", "b.1", "b/10", "B", "a", "b0", "c/d/e", "c_"]
        for name in written:
            await space.write(name, stream(name.encode()))
        assert await names(space) == sorted(written)
        assert await names(space, "b/") == ["b/10", "b/2"]
        assert await names(space, "b") == ["b-1", "b.1", "b/10", "b/2", "b0"]
        assert await names(space, "c/d") == ["c/d/e"]
        assert await names(space, "nothing") == []

    async def test_another_tenant_sees_nothing(self, blobs: Blobs) -> None:
        mine, other = (blobs.space("backups", f"{uuid4()}") for _ in range(2))
        await mine.write("a", stream(b"mine"))
        assert await names(other) == []
        assert await other.info("a") is None
        with pytest.raises(NotFound):
            await content(other, "a")
        await other.delete("a")
        await other.write("a", stream(b"other"), overwrite=False)
        assert await content(mine, "a") == b"mine"

    async def test_a_tenant_whose_id_begins_like_anothers_sees_nothing(self, blobs: Blobs) -> None:
        id = str(uuid4())
        await blobs.space("backups", f"{id}0").write("a", stream(b"longer"))
        assert await names(blobs.space("backups", id)) == []

    async def test_another_area_sees_nothing(self, blobs: Blobs) -> None:
        id = str(uuid4())
        await blobs.space("backups", id).write("a", stream(b"backup"))
        assert await names(blobs.space("executions", id)) == []
        assert await blobs.space("executions", id).info("a") is None

    async def test_deleting_again_is_no_error(self, space: BlobSpace) -> None:
        await space.write("a", stream(b"x"))
        await space.write("ab", stream(b"y"))
        for _ in range(2):
            await space.delete("a")
        assert await names(space) == ["ab"]

    async def test_a_missing_blob_is_not_found(self, space: BlobSpace) -> None:
        assert await space.info("a/b") is None
        with pytest.raises(NotFound):
            await content(space, "a/b")

    async def test_a_folder_is_no_blob(self, space: BlobSpace) -> None:
        await space.write("a/b", stream(b"x"))
        assert await space.info("a") is None
        with pytest.raises(NotFound):
            await content(space, "a")
        await space.delete("a")
        assert await names(space) == ["a/b"]

    @pytest.mark.parametrize("name", BAD_NAMES)
    async def test_a_bad_name_is_refused(self, space: BlobSpace, name: str) -> None:
        with pytest.raises(ValueError, match="name"):
            await space.write(name, stream(b"x"))
        with pytest.raises(ValueError, match="name"):
            await content(space, name)
        with pytest.raises(ValueError, match="name"):
            await space.info(name)
        with pytest.raises(ValueError, match="name"):
            await space.delete(name)

    @pytest.mark.parametrize("area", BAD_AREAS)
    def test_a_bad_area_is_refused(self, blobs: Blobs, area: str) -> None:
        with pytest.raises(ValueError, match="area"):
            blobs.space(area, "t1")

    @pytest.mark.parametrize("tenant", BAD_TENANTS)
    def test_a_bad_tenant_is_refused(self, blobs: Blobs, tenant: str) -> None:
        with pytest.raises(ValueError, match="is not a"):
            blobs.space("backups", tenant)

    async def test_a_big_blob_passes_through_little_memory(self, space: BlobSpace) -> None:
        piece, pieces = bytes(range(256)) * 256, 1600  # 100 MiB
        expected = hashlib.sha256(piece * pieces).hexdigest()
        tracemalloc.start()
        try:
            await space.write("big", stream(*[piece] * pieces))
            found = hashlib.sha256()
            async for chunk in space.read("big"):
                found.update(chunk)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert found.hexdigest() == expected
        assert peak < 24 * MIB
