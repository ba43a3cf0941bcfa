"""Pushing: only what is new, nothing wrong, whatever happens to the files, the store or the process meanwhile."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from modelyard.domain.errors import InvalidRequest, Unavailable
from modelyard.registry.content.chunks import CHUNK, Buffer
from modelyard.registry.content.garbage import collect
from modelyard.registry.content.manifest import Extent, digest_of, encode, encode_index
from modelyard.registry.content.pulling import pull
from modelyard.registry.content.pushing import push
from modelyard.registry.content.storage import Folder
from modelyard.registry.content.stored import index_name, manifest_name, read_index, read_manifest
from modelyard.registry.content.verifying import verify_stored
from tests.registry.content.making import (
    accepted,
    aged,
    checkpoint,
    contents,
    listed,
    mixed,
    noise,
    on_disk,
    pushed,
    tensors,
    write,
)
from tests.registry.formats.making import raw_safetensors


def assert_whole(storage: Folder, digest: str, folder: Path, to: Path) -> None:
    assert verify_stored(storage, digest) == ()
    pull(storage, digest, to)
    assert contents(to) == contents(folder)


def test_what_was_pushed_is_whole_and_counted(home: Path, storage: Folder) -> None:
    folder = mixed(home / "v")
    found = pushed(folder, storage)
    assert (found.size, found.files) == (on_disk(folder), 6)
    # Twice the weights at most: the model without its weights comes on top of it, the manifest is not counted.
    assert found.size * 0.9 < found.written < found.size * 1.1
    assert_whole(storage, found.manifest, folder, home / "out")


def test_a_second_push_writes_nothing(home: Path, storage: Folder) -> None:
    folder = mixed(home / "v")
    first = pushed(folder, storage)
    before = on_disk(storage.root)
    for like in ([], [first.manifest]):
        again = pushed(folder, storage, like=like)
        assert (again.manifest, again.written) == (first.manifest, 0)
        assert on_disk(storage.root) == before


def test_equal_folders_have_equal_manifests_in_whatever_order_they_are_listed(home: Path, storage: Folder) -> None:
    folder = mixed(home / "v")
    # Zeros are cut alike by content and by tensor, and have one root.
    checkpoint(folder / "z.safetensors", {"zeros": np.zeros(2**20, np.float32)})
    write(folder / "a.bin", bytes(2**22))
    files = listed(folder)
    kinds = {file.path: file.kind for file in accepted(mixed(home / "other"))}
    files = [type(file)(file.path, file.size, kinds.get(file.path, file.kind)) for file in files]
    assert push(folder, files, storage).manifest == push(folder, files[::-1], storage).manifest


def test_a_version_that_shares_tensors_adds_what_has_changed(home: Path, storage: Folder) -> None:
    some = tensors(count=16, size=2**17)
    changed = {"layer.3": some["layer.3"] + 1, "layer.9": some["layer.9"][::-1].copy()}
    first = pushed(checkpoint(home / "1" / "model.safetensors", some).parent, storage)
    before = on_disk(storage.root)
    for like in ([], [first.manifest]):
        second = pushed(checkpoint(home / "2" / "model.safetensors", some | changed).parent, storage, like=like)
        # The object of a tensor has the header that it is served with.
        assert second.written <= 2 * 2**19 * 1.01
        assert on_disk(storage.root) - before <= 2 * 2**19 + second.size * 0.01
    assert_whole(storage, second.manifest, home / "2", home / "out")


def test_a_tensor_under_another_name_or_in_another_file_is_stored_once(home: Path, storage: Folder) -> None:
    some = tensors(count=4)
    pushed(checkpoint(home / "1" / "model.safetensors", some).parent, storage)
    renamed = {f"model.{name}": array for name, array in some.items()}
    second = pushed(checkpoint(home / "2" / "weights.safetensors", renamed).parent, storage)
    assert second.written < 2000
    assert_whole(storage, second.manifest, home / "2", home / "out")


@pytest.mark.parametrize("at", [0, 1, 2_000_000, 4_999_999, 5_000_000])
@pytest.mark.parametrize("inserted", [1, 50_000])
def test_an_insertion_adds_two_chunks_at_most_beside_what_it_brings(
    home: Path, storage: Folder, at: int, inserted: int
) -> None:
    before = noise(1, 5_000_000)
    first = push(write(home / "1" / "a.bin", before).parent, listed(home / "1"), storage)
    size = on_disk(storage.root)
    write(home / "2" / "a.bin", before[:at] + noise(2, inserted) + before[at:])
    second = push(home / "2", listed(home / "2"), storage, like=[first.manifest])
    assert second.written <= inserted + 2 * CHUNK
    assert on_disk(storage.root) - size <= inserted + 2 * CHUNK + 10_000
    assert_whole(storage, second.manifest, home / "2", home / "out")


def test_versions_that_grow_from_one_another_stay_whole(home: Path, storage: Folder) -> None:
    content, like = noise(1, 3_000_000), ""
    for number in range(5):
        content = content[: 500_000 * number] + noise(10 + number, 1000) + content[500_000 * number :]
        folder = write(home / str(number) / "a.bin", content).parent
        like = push(folder, listed(folder), storage, like=[like] if like else []).manifest
        assert_whole(storage, like, folder, home / f"out{number}")
    assert on_disk(storage.root) < 3_000_000 + 5 * (1000 + 2 * CHUNK)


def test_small_files_share_objects(home: Path, storage: Folder) -> None:
    for number in range(300):
        write(home / "v" / f"{number}.txt", f"{number}\n".encode() * 100)
    found = pushed(home / "v", storage)
    assert len(list(storage.find("objects/"))) == 0
    assert len(list(storage.find("packs/"))) == 1
    assert_whole(storage, found.manifest, home / "v", home / "out")


def test_a_dtype_of_the_future_is_stored_as_its_file_has_it(home: Path, storage: Folder) -> None:
    header = {"a": {"dtype": "F3_NEW", "shape": [9], "data_offsets": [0, 2_000_000]}}
    write(home / "v" / "model.safetensors", raw_safetensors(header, noise(1, 2_000_000)))
    found = pushed(home / "v", storage)
    assert_whole(storage, found.manifest, home / "v", home / "out")


def test_progress_grows_to_the_end(home: Path, storage: Folder) -> None:
    folder = mixed(home / "v")
    told: list[tuple[int, int]] = []
    found = push(folder, accepted(folder), storage, progress=lambda done, total: told.append((done, total)))
    assert {total for _, total in told} == {2 * found.size}
    assert told == sorted(told)
    assert told[-1][0] == 2 * found.size


def test_one_large_file_is_told_of_piece_by_piece_and_ended_at_any(home: Path, storage: Folder) -> None:
    """Also while it is hashed and while it is stored: whoever cancels does not wait for the file's end."""
    size = 16 * CHUNK
    folder = home / "v"
    folder.mkdir()
    header = {"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    (folder / "w.safetensors").write_bytes(raw_safetensors(header, noise(1, size)))
    told: list[int] = []
    push(folder, accepted(folder), storage, progress=lambda done, total: told.append(done))
    assert told == sorted(told)
    steps = [later - earlier for earlier, later in itertools.pairwise(told)]
    assert max(steps) <= 2 * CHUNK, "no step is much larger than a chunk"

    class Ended(Exception):
        pass

    for moment in (size // 2, size + size // 2):
        last = 0

        def end(done: int, total: int, moment: int = moment) -> None:
            nonlocal last
            last = done
            if done >= moment:
                raise Ended

        with pytest.raises(Ended):
            push(folder, accepted(folder), Folder(home / f"store-{moment}"), progress=end)
        assert last < moment + 2 * CHUNK


@pytest.mark.parametrize("name", ["model.safetensors", "net.onnx", "deep/er/text.txt", "EMPTY", "serve.py"])
def test_a_file_that_is_swapped_after_it_was_found_fails_the_push(home: Path, storage: Folder, name: str) -> None:
    files = accepted(mixed(home / "v"))
    shutil.copy2(home / "v" / name, home / "other")
    (home / "other").replace(home / "v" / name)
    with pytest.raises(InvalidRequest, match="changed") as failed:
        push(home / "v", files, storage)
    assert failed.value.problems[0].code == "changed"
    assert on_disk(storage.root) == 0
    push(home / "v", accepted(home / "v"), storage)


# ------------------------------------------------------------------------------------------- what was there before


def damaged_index(storage: Folder, digest: str) -> None:
    storage.write(index_name(digest), [b"damaged"])


def lacking_index(storage: Folder, digest: str) -> None:
    storage.write(index_name(digest), [encode_index({})])


def foreign_index(storage: Folder, digest: str) -> None:
    index = dict(read_index(storage, digest))
    storage.write(index_name(digest), [encode_index(index | {"0" * 64: (Extent(f"packs/ab/{'0' * 64}", 0, 1),)})])


def short_index(storage: Folder, digest: str) -> None:
    index = {root: extents[:-1] for root, extents in read_index(storage, digest).items()}
    storage.write(index_name(digest), [encode_index(index)])


def no_manifest(storage: Folder, digest: str) -> None:
    storage.remove(manifest_name(digest), math.inf)


def no_objects(storage: Folder, digest: str) -> None:
    for entry in [*storage.find("objects/"), *storage.find("packs/")]:
        storage.remove(entry.key, math.inf)


def one_object_less(storage: Folder, digest: str) -> None:
    storage.remove(next(storage.find("packs/")).key, math.inf)


@pytest.mark.parametrize(
    "spoil",
    [damaged_index, lacking_index, foreign_index, short_index, no_manifest, no_objects, one_object_less],
)
def test_an_earlier_version_that_is_not_whole_spoils_no_later_one(
    home: Path, storage: Folder, spoil: Callable[[Folder, str], None]
) -> None:
    folder = mixed(home / "v")
    first = pushed(folder, storage).manifest
    spoil(storage, first)
    write(folder / "config.json", b'{"more": 1}')
    second = pushed(folder, storage, like=[first, f"sha256:{'0' * 64}"])
    assert_whole(storage, second.manifest, folder, home / "out")


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("lost", ["", "packs/", "objects/"])
def test_all_that_a_push_relies_on_is_young_when_it_ends(home: Path, storage: Folder, alike: bool, lost: str) -> None:
    folder = mixed(home / "v")
    first = pushed(folder, storage).manifest
    aged(storage.root)
    if lost:
        storage.remove(next(storage.find(lost)).key, math.inf)
    again = pushed(folder, storage, like=[first] if alike else [])
    # Nothing that it needs may go before its version is published, though nothing names it yet.
    collect(storage, [], storage.path(manifest_name(first)).stat().st_mtime + 1, grace=5000)
    assert_whole(storage, again.manifest, folder, home / "out")


def test_a_store_that_keeps_losing_things_fails_the_push(home: Path, storage: Folder) -> None:
    class Losing(Folder):
        def write(self, name: str, pieces: Iterable[Buffer]) -> str:
            key = super().write(name, pieces)
            if key.startswith("packs/"):
                self.path(key).unlink()
            return key

    with pytest.raises(Unavailable, match="Push again"):
        pushed(mixed(home / "v"), Losing(storage.root))
    assert list(storage.find("manifests/")) == []


def test_the_manifest_of_a_folder_is_that_of_its_record(home: Path, storage: Folder) -> None:
    digest = pushed(mixed(home / "v"), storage).manifest
    assert digest_of(encode(read_manifest(storage, digest))) == digest
