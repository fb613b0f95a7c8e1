"""The embedded blobs: there whole or not at all, in their own space and nowhere else."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.blobs.files import FileBlobs
from shared.blobs.port import BlobSpace
from shared.errors import Conflict, NotFound, Unavailable
from tests.unit.world import OTHER_ID, TENANT_ID


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "blobs")


@pytest.fixture
def space(blobs: FileBlobs) -> BlobSpace:
    return blobs.space("backups", TENANT_ID)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def broken(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    raise OSError("the source has gone")


async def read(space: BlobSpace, name: str) -> bytes:
    return b"".join([chunk async for chunk in space.read(name)])


async def names(space: BlobSpace, prefix: str = "") -> list[str]:
    return [blob.name async for blob in space.list(prefix)]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_what_was_written_is_read_as_it_was(space: BlobSpace) -> None:
    await space.write("a/b.txt", chunks(b"one", b"", b"two"))
    assert await read(space, "a/b.txt") == b"onetwo"


async def test_a_blob_may_be_empty(space: BlobSpace) -> None:
    assert ((await space.write("a", chunks())).size, await read(space, "a")) == (0, b"")


async def test_writing_tells_name_size_and_etag(space: BlobSpace) -> None:
    written = await space.write("a/b.txt", chunks(b"one"))
    assert (written.name, written.size, await space.info("a/b.txt")) == ("a/b.txt", 3, written)


async def test_a_blob_that_is_written_again_has_another_etag(space: BlobSpace) -> None:
    first = await space.write("a", chunks(b"one"))
    second = await space.write("a", chunks(b"two"))
    assert (first.etag != second.etag, await read(space, "a")) == (True, b"two")


async def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path, space: BlobSpace) -> None:
    with pytest.raises(OSError, match="gone"):
        await space.write("a", broken(b"half"))
    assert files(tmp_path) == []


async def test_a_write_that_fails_half_way_leaves_what_was_there(space: BlobSpace) -> None:
    await space.write("a", chunks(b"old"))
    with pytest.raises(OSError, match="gone"):
        await space.write("a", broken(b"new"))
    assert await read(space, "a") == b"old"


async def test_a_blob_that_is_being_written_is_not_listed(space: BlobSpace) -> None:
    seen: list[list[str]] = []

    async def looking() -> AsyncIterator[bytes]:
        yield b"half"
        seen.append(await names(space))

    await space.write("a", looking())
    assert (seen, await names(space)) == ([[]], ["a"])


async def test_a_name_that_is_taken_is_a_conflict_when_overwriting_is_not_wanted(space: BlobSpace) -> None:
    await space.write("a", chunks(b"old"), overwrite=False)
    with pytest.raises(Conflict):
        await space.write("a", chunks(b"new"), overwrite=False)
    assert await read(space, "a") == b"old"


async def test_of_two_writers_that_want_no_overwriting_one_wins(space: BlobSpace) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"slow"
        await space.write("a", chunks(b"fast"), overwrite=False)

    with pytest.raises(Conflict):
        await space.write("a", slow(), overwrite=False)
    assert await read(space, "a") == b"fast"


ESCAPES = [
    "",
    ".",
    "..",
    "../x",
    "a/../x",
    "/x",
    "a//b",
    "a/",
    "a\\b",
    "a\x00b",
    ".hidden",
    "a/.part-x",
    "a\n",
    "é",
    "a b",
]


@pytest.mark.parametrize("name", ESCAPES)
async def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, space: BlobSpace, name: str) -> None:
    with pytest.raises(ValueError, match="is not a blob name"):
        await space.write(name, chunks(b"x"))
    with pytest.raises(ValueError, match="is not a blob name"):
        await read(space, name)
    with pytest.raises(ValueError, match="is not a blob name"):
        await space.delete(name)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("tenant_id", ["..", "../other", "", "/"])
def test_a_space_that_could_lead_elsewhere_is_refused(blobs: FileBlobs, tenant_id: str) -> None:
    with pytest.raises(ValueError, match="is not a blob name"):
        blobs.space("backups", tenant_id)


async def test_spaces_are_apart(blobs: FileBlobs, space: BlobSpace) -> None:
    await space.write("a", chunks(b"x"))
    others = [blobs.space("backups", OTHER_ID), blobs.space("imports", TENANT_ID)]
    assert [await names(other) for other in others] == [[], []]


async def test_blobs_are_listed_by_prefix_in_the_order_of_their_names(space: BlobSpace) -> None:
    for name in ("b", "a/2", "a-1", "a/10", "ab"):
        await space.write(name, chunks(b"x"))
    assert (await names(space), await names(space, "a/"), await names(space, "none")) == (
        ["a-1", "a/10", "a/2", "ab", "b"],
        ["a/10", "a/2"],
        [],
    )


async def test_a_blob_deleted_while_it_is_listed_is_left_out(space: BlobSpace) -> None:
    for name in ("a", "b", "c"):
        await space.write(name, chunks(b"x"))
    listed = []
    async for blob in space.list():
        listed.append(blob.name)
        await space.delete("b")
    assert listed == ["a", "c"]


async def test_a_blob_that_is_not_there_is_not_found(space: BlobSpace) -> None:
    with pytest.raises(NotFound):
        await read(space, "none")
    assert await space.info("none") is None


async def test_a_folder_is_no_blob(space: BlobSpace) -> None:
    await space.write("a/b", chunks(b"x"))
    with pytest.raises(NotFound):
        await read(space, "a")
    assert await space.info("a") is None


async def test_nothing_is_below_a_blob(space: BlobSpace) -> None:
    await space.write("a", chunks(b"x"))
    with pytest.raises(NotFound):
        await read(space, "a/b")
    assert await space.info("a/b") is None


async def test_a_deleted_blob_is_gone(space: BlobSpace) -> None:
    await space.write("a", chunks(b"x"))
    await space.delete("a")
    assert await space.info("a") is None


async def test_deleting_what_is_not_there_is_no_error(space: BlobSpace) -> None:
    await space.delete("none")


async def test_a_folder_that_can_be_used_is_well(blobs: FileBlobs) -> None:
    await blobs.ping()
    await blobs.close()


async def test_a_folder_that_is_lost_with_all_its_blobs_is_noticed(
    tmp_path: Path, blobs: FileBlobs, space: BlobSpace
) -> None:
    await space.write("a", chunks(b"one"))
    shutil.rmtree(tmp_path / "blobs")
    anew = FileBlobs(tmp_path / "blobs")
    lost = anew.space("backups", TENANT_ID)
    for use in (anew.ping(), lost.write("b", chunks(b"two")), read(lost, "a"), lost.info("a"), names(lost)):
        with pytest.raises(Unavailable, match="The folder blobs is missing"):
            await use
    assert not (tmp_path / "blobs").exists()


async def test_a_folder_that_cannot_be_used_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable):
        await FileBlobs(tmp_path / "file").ping()
