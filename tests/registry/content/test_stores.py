"""What every store does, wherever it is: in a folder, in a bucket in memory, in one behind S3's API,
and in one behind Azure's."""

from __future__ import annotations

import itertools
import math
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.registry.content.buckets import Bucket
from modelyard.registry.content.locations import store_at
from modelyard.registry.content.storage import Folder, Missing, Store
from modelyard.registry.content.stored import name_of
from tests.registry.content.bucketing import in_memory, served_bucket, served_container
from tests.registry.content.making import noise

NAME = "objects/ab/abcd"
LATER = 10_000.0


@pytest.fixture(scope="module")
def served() -> Iterator[dict[str, str]]:
    with served_bucket() as environment:
        yield environment


@pytest.fixture(scope="module")
def azurite() -> Iterator[dict[str, str]]:
    if shutil.which("azurite-blob") is None:
        pytest.skip("Azure's API is served by Azurite, which is not installed here (npm install -g azurite)")
    with served_container() as environment:
        yield environment


@pytest.fixture(params=["folder", "memory", "s3", "azure"])
def store(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "folder":
        return Folder(home / "store")
    if request.param == "memory":
        return in_memory()
    environment = request.getfixturevalue("served" if request.param == "s3" else "azurite")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return store_at(f"{'s3' if request.param == 's3' else 'az'}://models/some/{home.name}")


def gone(store: Store, key: str, before: float) -> bool:
    """Whether it goes, at once or with the second call."""
    return store.remove(key, before) or (store.waits and store.remove(key, before))


def test_an_object_is_read_as_it_was_written_in_any_range(store: Store) -> None:
    key = store.write(NAME, [b"ab", memoryview(b"cd"), b"", b"ef"])
    assert store.read(key) == b"abcdef"
    for offset, size in itertools.product(range(8), range(8)):
        assert store.read(key, offset, size) == b"abcdef"[offset : offset + size]
    assert store.read(key, 2) == b"cdef"
    assert store.read(key, 6) == store.read(key, 9) == b""
    assert store.read(store.write(NAME, []), 0, 3) == b""


def test_a_large_object_is_written_in_pieces_of_any_size(store: Store) -> None:
    content = noise(1, 40 * 2**20)
    pieces = (content[at : at + 3 * 2**20] for at in range(0, len(content), 3 * 2**20))
    key = store.write(NAME, pieces)
    assert store.size(key) == len(content)
    assert bytes(store.read(key, 17 * 2**20 - 5, 100)) == content[17 * 2**20 - 5 : 17 * 2**20 + 95]
    assert bytes(store.read(key)) == content


def test_what_was_last_written_under_a_name_is_its_latest(store: Store) -> None:
    assert store.latest(NAME) is None
    store.write(NAME + "0", [b"other"])
    for content in (b"one", b"three", b""):
        until_times_differ(store)
        key = store.write(NAME, [content])
        assert store.latest(NAME) == key
        assert name_of(key) == NAME
        assert store.read(key) == content
        assert store.size(key) == len(content)


def until_times_differ(store: Store) -> None:
    """S3 and Azure tell whole seconds, a file system those of its clock, which goes by milliseconds."""
    seconds = 1.0 if isinstance(store, Bucket) and not store.url.startswith("memory:") else 0.02
    time.sleep(seconds * 1.01 - time.time() % seconds)


def test_an_object_that_is_touched_is_as_young_as_a_new_one(store: Store) -> None:
    key = store.write(NAME, [b"content"])
    until_times_differ(store)
    now = time.time()
    assert next(store.find(NAME)).modified < now
    until_times_differ(store)
    assert store.touch(key)
    assert next(store.find(NAME)).modified > now
    assert not gone(store, key, now)
    assert store.read(key) == b"content"


def test_objects_are_found_by_how_their_keys_begin(store: Store) -> None:
    store.identity()
    store.tidy(0)
    names = ["objects/ab/abc", "objects/ab/abd", "objects/cd/cde", "packs/ab/abc"]
    for name in names:
        store.touch(store.write(name, [b"abc"]))

    def found(prefix: str) -> list[str]:
        entries = list(store.find(prefix))
        assert all(entry.size == 3 and abs(entry.modified - time.time()) < LATER for entry in entries)
        return [name_of(entry.key) for entry in entries]

    assert found("") == names
    assert found("obj") == found("objects/") == names[:3]
    assert found("objects/ab/") == found("objects/ab/ab") == names[:2]
    assert found("objects/ab/abd") == names[1:2]
    key = next(store.find(names[0])).key
    assert [entry.key for entry in store.find(key)] == [key]
    for prefix in ("objects/zz/", "nothing", "store.id", "cl", "touched/zz"):
        assert found(prefix) == []


def test_what_is_not_there_is_said_to_be_missing(store: Store) -> None:
    assert not store.touch(NAME)
    assert store.size(NAME) is None
    assert store.remove(NAME, 0)
    for range_ in ((0, None), (3, None), (0, 3), (3, 3), (0, 0)):
        with pytest.raises(Missing):
            store.read(NAME, *range_)


class Killed(BaseException):
    """Nothing runs after this."""


@pytest.mark.parametrize("error", [RuntimeError("no more"), Killed()])
@pytest.mark.parametrize("size", [10, 40 * 2**20])
def test_a_write_that_fails_leaves_nothing(store: Store, error: BaseException, size: int) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(4):
            yield bytes(size // 4)
        raise error

    with pytest.raises(type(error)):
        store.write(NAME, pieces())
    assert list(store.find("")) == []


def test_only_what_is_old_is_removed(store: Store) -> None:
    key = store.write(NAME, [b"a"])
    assert not gone(store, key, time.time() - LATER)
    assert store.read(key) == b"a"
    assert gone(store, key, time.time() + LATER)
    assert list(store.find("")) == []
    with pytest.raises(Missing):
        store.read(key)
    assert not store.touch(key)
    assert store.write(NAME, [b"b"]) == store.latest(NAME)


def test_a_damaged_object_is_removed_however_young(store: Store) -> None:
    assert gone(store, store.write(NAME, [b"a"]), math.inf)


def test_a_store_has_an_identity_of_its_own_that_stays(store: Store, home: Path) -> None:
    assert not store.has_identity("")
    made = store.identity()
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert store.identity() == made != Folder(home / "other").identity()
    assert store.has_identity(made)
    assert not store.has_identity("0" * 32)


def test_many_who_give_a_store_its_identity_at_once_agree(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: store.identity(), range(8)))) == 1
