"""Garbage goes, and nothing that a version needs ever does, whatever runs beside the collection."""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from modelyard.registry.content.garbage import collect
from modelyard.registry.content.manifest import Damaged, encode_index
from modelyard.registry.content.storage import Folder, Missing
from modelyard.registry.content.stored import index_name, manifest_name
from modelyard.registry.content.verifying import verify_stored
from tests.registry.content.crashing import every_step
from tests.registry.content.making import aged, checkpoint, mixed, on_disk, pushed, tensors, unfinished, write

GRACE = 5000.0


def version(folder: Path, *seeds: int) -> Path:
    """A tensor for each seed, a small one and a text for each: versions with a seed in common share these."""
    shutil.rmtree(folder, ignore_errors=True)
    some = {f"t{seed}": tensors(1, 2**15, seed)["layer.0"] for seed in seeds}
    small = {f"s{seed}": array[:100] for seed, array in zip(seeds, some.values(), strict=True)}
    checkpoint(folder / "model.safetensors", some | small)
    for seed in seeds:
        write(folder / f"{seed}.txt", f"{seed}\n".encode() * 300)
    return folder


def keys(storage: Folder) -> set[str]:
    return {entry.key for entry in storage.find("")}


def test_what_only_removed_versions_need_goes(home: Path, storage: Folder) -> None:
    first = pushed(version(home / "v", 1, 2), storage).manifest
    alone, size = keys(storage), on_disk(storage.root)
    second = pushed(version(home / "v", 2, 3), storage, like=[first]).manifest
    aged(storage.root)
    there = on_disk(storage.root)
    planned = collect(storage, [first], time.time(), grace=GRACE, dry_run=True)
    assert on_disk(storage.root) == there
    done = collect(storage, [first], time.time(), grace=GRACE)
    assert planned == done
    assert keys(storage) == alone
    assert (done.freed, done.kept, done.young) == (there - size, len(alone), 0)
    assert verify_stored(storage, first) == ()
    with pytest.raises(Missing):
        verify_stored(storage, second)


def test_the_stores_identity_stays_when_all_else_goes(home: Path, storage: Folder) -> None:
    identity = storage.identity()
    pushed(version(home / "v", 1), storage)
    aged(storage.root)
    assert collect(storage, [], time.time(), grace=GRACE).kept == 0
    assert keys(storage) == set()
    assert storage.has_identity(identity)


def test_what_is_shared_outlives_the_version_that_brought_it(home: Path, storage: Folder) -> None:
    first = pushed(version(home / "v", 1, 2), storage).manifest
    second = pushed(version(home / "v", 2, 3), storage, like=[first]).manifest
    aged(storage.root)
    collect(storage, [second], time.time(), grace=GRACE)
    assert verify_stored(storage, second) == ()
    assert manifest_name(first) not in keys(storage)
    collect(storage, [], time.time(), grace=GRACE)
    assert keys(storage) == set()


def test_what_is_young_stays_though_nothing_names_it(home: Path, storage: Folder) -> None:
    pushed(version(home / "v", 1), storage)
    before = keys(storage)
    found = collect(storage, [], time.time(), grace=GRACE)
    assert (found.removed, found.young) == (0, len(before))
    assert keys(storage) == before


def no_manifest(storage: Folder, digest: str) -> None:
    storage.remove(manifest_name(digest), math.inf)


def no_index(storage: Folder, digest: str) -> None:
    storage.remove(index_name(digest), math.inf)


def flipped_index(storage: Folder, digest: str) -> None:
    content = storage.read(index_name(digest))
    at = content.index(b"objects/") + 12
    other = b"0" if content[at : at + 1] != b"0" else b"1"
    storage.write(index_name(digest), [content[:at] + other + content[at + 1 :]])


def lacking_index(storage: Folder, digest: str) -> None:
    storage.write(index_name(digest), [encode_index({})])


@pytest.mark.parametrize("spoil", [no_manifest, no_index, flipped_index, lacking_index])
def test_nothing_goes_while_a_version_in_use_cannot_be_read(
    home: Path, storage: Folder, spoil: Callable[[Folder, str], None]
) -> None:
    folder = version(home / "v", 1, 2)
    digest = pushed(folder, storage).manifest
    pushed(version(home / "other", 3), storage)
    spoil(storage, digest)
    aged(storage.root)
    before = keys(storage)
    with pytest.raises((Missing, Damaged)):
        collect(storage, [digest], time.time(), grace=GRACE)
    assert keys(storage) == before
    # Pushed again, it is whole.
    assert pushed(folder, storage).manifest == digest
    collect(storage, [digest], time.time(), grace=GRACE)
    assert verify_stored(storage, digest) == ()


def collect_it(root: Path, in_use: list[str]) -> None:
    collect(Folder(root), in_use, time.time(), grace=GRACE)


def test_a_collection_that_was_killed_anywhere_is_finished_by_the_next(home: Path) -> None:
    base = Folder(home / "base")
    first = pushed(version(home / "v", 1, 2), base).manifest
    alone = keys(base)
    pushed(version(home / "v", 2, 3), base, like=[first])
    aged(base.root)
    storage = Folder(home / "store")
    shutil.copytree(base.root, storage.root)
    for number in every_step(collect_it, storage.root, [first]):
        for _ in range(2):
            collect(storage, [first], time.time(), grace=GRACE)
        assert keys(storage) == alone, number
        assert unfinished(storage.root) == [], number
        assert verify_stored(storage, first) == ()
        shutil.rmtree(storage.root)
        shutil.copytree(base.root, storage.root)


def test_a_version_in_use_is_readable_after_a_collection_died_while_it_was_being_pushed(
    home: Path, storage: Folder
) -> None:
    digest = pushed(version(home / "v", 1, 2), storage).manifest
    for key in sorted(keys(storage)):
        # Taken aside as garbage, and touched just then by the push of a version that is in use by now.
        path = storage.path(key)
        path.rename(path.with_name(f"{path.name}.leaving-{'0' * 16}"))
        collect(storage, [digest], time.time(), grace=GRACE)
        assert verify_stored(storage, digest) == (), key
        assert unfinished(storage.root) == []


def test_collections_beside_pushes_take_nothing_that_any_of_them_needs(home: Path, storage: Folder) -> None:
    """Between the rounds everything becomes old, and most of it garbage; the pushes of a round share with garbage, with
    versions in use and with each other."""
    pushes, collections = 3, 2
    published: list[str] = []
    known: list[str] = []
    for turn in range(12):
        start = threading.Barrier(pushes + collections)
        stop = threading.Event()
        found: list[str] = []
        errors: list[BaseException] = []

        def guarded(
            work: Callable[[], None], start: threading.Barrier = start, errors: list[BaseException] = errors
        ) -> None:
            try:
                start.wait(30)
                work()
            except BaseException as error:
                errors.append(error)

        def push_one(number: int, turn: int = turn, found: list[str] = found, like: Sequence[str] = known[-4:]) -> None:
            folder = version(home / f"v{number}", *{number, (number + turn) % 7, 7 + turn % 3})
            found.append(pushed(folder, storage, like=like).manifest)

        def collect_all(stop: threading.Event = stop) -> None:
            while not stop.is_set():
                # As the service does: what is in use is asked first.
                in_use = [*published]
                collect(storage, in_use, time.time(), grace=GRACE)

        pushing = [threading.Thread(target=guarded, args=(lambda n=n: push_one(n),)) for n in range(pushes)]
        collecting = [threading.Thread(target=guarded, args=(collect_all,)) for _ in range(collections)]
        for thread in (*pushing, *collecting):
            thread.start()
        for thread in pushing:
            thread.join()
        stop.set()
        for thread in collecting:
            thread.join()
        assert errors == []
        for digest in {*published, *found}:
            assert verify_stored(storage, digest) == (), turn
        known += found
        published[:] = found[: 1 + turn % 2]
        aged(storage.root)
    collect(storage, published, time.time(), grace=GRACE)
    assert unfinished(storage.root) == []
    assert len(list(storage.find("manifests/"))) == len(set(published))


def test_a_store_with_nothing_in_it_has_no_garbage(storage: Folder) -> None:
    found = collect(storage, [], time.time())
    assert (found.removed, found.freed, found.kept, found.young) == (0, 0, 0, 0)


def test_everything_of_a_version_of_every_kind_is_kept(home: Path, storage: Folder) -> None:
    digest = pushed(mixed(home / "v"), storage).manifest
    before = keys(storage)
    aged(storage.root)
    assert collect(storage, [digest], time.time(), grace=GRACE).kept == len(before)
    assert keys(storage) == before
