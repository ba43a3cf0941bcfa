"""A store in a folder: whole objects or none, and a removal that no touch or write at the same moment loses to. What
every store does is in ``test_stores.py``."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelyard.domain.errors import Unavailable
from modelyard.registry.content import storage as module
from modelyard.registry.content.storage import Entry, Folder, Missing
from tests.registry.content.making import aged, unfinished

KEY = "objects/ab/abcd"
OLD = 10_000.0


class Killed(BaseException):
    """Nothing runs after this."""


def test_an_object_is_read_only_so_that_it_can_be_served(storage: Folder) -> None:
    storage.write(KEY, [b"a"])
    assert stat.S_IMODE(storage.path(KEY).stat().st_mode) == 0o444


def test_an_object_that_is_there_is_written_over(storage: Folder) -> None:
    assert storage.latest(KEY) is None
    for content in (b"one", b"three", b""):
        assert storage.write(KEY, [content]) == storage.latest(KEY) == KEY
        assert storage.read(KEY) == content
        assert storage.size(KEY) == len(content)
    assert unfinished(storage.root) == []


def test_objects_are_found_by_how_their_keys_begin(storage: Folder) -> None:
    keys = ["objects/ab/abc", "objects/ab/abd", "objects/cd/cde", "packs/ab/abc"]
    for key in keys:
        storage.write(key, [b"abc"])
    storage.path("objects/ab/abc.writing-0").touch()
    storage.path("objects/ab/abd.leaving-0").touch()

    def found(prefix: str) -> list[str]:
        return [entry.key for entry in storage.find(prefix)]

    assert found("") == keys
    assert found("obj") == found("objects/") == keys[:3]
    assert found("objects/ab/") == found("objects/ab/ab") == keys[:2]
    assert found("objects/ab/abd") == keys[1:2]
    assert found("objects/zz/") == found("nothing") == []
    status = storage.path(keys[0]).stat()
    assert next(storage.find(keys[0])) == Entry(keys[0], 3, status.st_mtime)


@pytest.mark.parametrize("error", [RuntimeError("no more"), Killed()])
def test_a_write_that_fails_leaves_nothing(storage: Folder, error: BaseException) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"some"
        raise error

    with pytest.raises(type(error)):
        storage.write(KEY, pieces())
    assert list(storage.find("")) == []
    assert unfinished(storage.root) == []


def test_a_full_disk_is_said_to_be_full_and_leaves_nothing(storage: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_all", full)
    with pytest.raises(Unavailable, match="modelyard gc"):
        storage.write(KEY, [b"a"])
    assert unfinished(storage.root) == []


def test_a_store_that_is_no_folder_is_unavailable(home: Path) -> None:
    (home / "store").write_text("a file")
    storage = Folder(home / "store")
    for call in (
        lambda: storage.write(KEY, [b"a"]),
        lambda: storage.read(KEY),
        lambda: storage.touch(KEY),
        lambda: list(storage.find("objects/")),
    ):
        with pytest.raises(Unavailable):
            call()


def test_a_name_as_long_as_names_can_be_is_written(storage: Folder) -> None:
    for name in ("x" * 255, "é" * 127):
        storage.write(f"objects/ab/{name}", [b"a"])
        assert storage.read(f"objects/ab/{name}") == b"a"


def test_only_what_is_old_is_removed(storage: Folder) -> None:
    storage.write(KEY, [b"a"])
    assert not storage.remove(KEY, time.time() - OLD / 2)
    assert storage.read(KEY) == b"a"
    aged(storage.root)
    assert storage.remove(KEY, time.time() - OLD / 2)
    with pytest.raises(Missing):
        storage.read(KEY)
    assert unfinished(storage.root) == []


def test_what_was_left_unfinished_goes_once_it_is_old(storage: Folder) -> None:
    storage.write(KEY, [b"a"])
    left = storage.path("objects/ab/other.writing-0")
    left.write_bytes(b"12345")
    assert storage.tidy(time.time() - OLD) == 0
    assert left.exists()
    aged(storage.root)
    assert storage.tidy(time.time() - OLD / 2) == 5
    assert not left.exists()
    assert storage.read(KEY) == b"a"


# -------------------------------------------------------------------------------------------------------- interleaving

# Every step by which another process sees what one does here.
STEPS = [(os, "utime"), (Path, "rename"), (Path, "hardlink_to"), (Path, "unlink"), (Path, "stat")]


@contextlib.contextmanager
def between(number: int, then: Callable[[], object]) -> Iterator[None]:
    """``then`` is done once, before step ``number`` of what is done meanwhile."""
    steps = itertools.count()
    with pytest.MonkeyPatch.context() as patch:

        def hooked(original: Callable[..., Any]) -> Callable[..., Any]:
            def step(*args: Any, **options: Any) -> Any:
                if next(steps) == number:
                    then()
                return original(*args, **options)

            return step

        for owner, name in STEPS:
            patch.setattr(owner, name, hooked(getattr(owner, name)))
        yield


def enumerated(storage: Folder) -> Iterator[int]:
    """Numbers of steps for which an old object lies anew in an otherwise empty store, as many as any call makes."""
    for number in range(12):
        for path in storage.root.rglob("*"):
            if path.is_file():
                path.unlink()
        storage.write(KEY, [b"content"])
        aged(storage.root)
        yield number


def collecting(storage: Folder) -> bool:
    return storage.remove(KEY, time.time() - OLD / 2)


@pytest.mark.parametrize("crash", [False, True])
def test_a_touch_or_a_write_at_any_moment_of_a_removal_keeps_the_object(storage: Folder, crash: bool) -> None:
    other = Folder(storage.root)
    for number in enumerated(storage):
        for action in ("touch", "write", "push"):
            storage.write(KEY, [b"content"])
            aged(storage.root)
            kept: list[bool] = []

            def act(action: str = action, kept: list[bool] = kept) -> None:
                kept.append(action != "touch" or other.touch(KEY))
                if action != "touch":
                    other.write(KEY, [b"content"])
                if action == "push" and not other.touch(KEY):
                    kept[-1] = False
                if crash:
                    raise Killed

            with between(number, act), contextlib.suppress(Killed):
                collecting(storage)
            other.tidy(time.time() - OLD / 2)
            if kept == [True]:
                assert other.read(KEY) == b"content", (number, action)
            assert unfinished(storage.root) == [], (number, action)


def test_a_removal_at_any_moment_of_a_write_or_a_touch_takes_nothing_away(storage: Folder) -> None:
    other = Folder(storage.root)
    for number in enumerated(storage):
        with between(number, lambda: collecting(other)):
            storage.write(KEY, [b"content"])
        assert storage.read(KEY) == b"content", number
    for number in enumerated(storage):
        with between(number, lambda: collecting(other)):
            touched = storage.touch(KEY)
        assert touched == any(storage.find(KEY)), number


def test_a_young_object_is_never_missing_while_garbage_is_collected(storage: Folder) -> None:
    storage.write(KEY, [b"content"])
    for number in range(12):
        with between(number, lambda: storage.read(KEY)):
            assert not collecting(storage)


def test_several_collections_at_once_get_along(storage: Folder) -> None:
    other = Folder(storage.root)
    for number in enumerated(storage):
        with between(number, lambda: (collecting(other), other.tidy(time.time() - OLD / 2))):
            collecting(storage)
        assert storage.remove(KEY, time.time() - OLD / 2)
        assert unfinished(storage.root) == []
        assert list(storage.find("")) == []


def test_what_an_interrupted_removal_took_aside_is_put_back(storage: Folder) -> None:
    def touch_and_die() -> None:
        assert not storage.touch(KEY)
        raise Killed

    seen = 0
    for number in enumerated(storage):
        died = False
        with between(number, touch_and_die), contextlib.suppress(AssertionError):
            try:
                collecting(storage)
            except Killed:
                died = True
        if died:
            seen += 1
            assert unfinished(storage.root) != []
            storage.tidy(0)
            assert storage.read(KEY) == b"content"
            assert unfinished(storage.root) == []
    assert seen


def test_a_store_has_an_identity_of_its_own_that_stays(home: Path, storage: Folder) -> None:
    assert not storage.has_identity("")
    assert not storage.root.exists(), "who only asks makes nothing"
    made = storage.identity()
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert Folder(storage.root).identity() == made != Folder(home / "other").identity()
    assert storage.has_identity(made)
    assert not Folder(home / "other").has_identity(made)
    assert not Folder(home / "nowhere").has_identity(made)
    assert unfinished(storage.root) == []


def test_many_who_give_a_store_its_identity_at_once_agree(storage: Folder) -> None:
    for _ in range(20):
        (storage.root / "store.id").unlink(missing_ok=True)
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(lambda _: Folder(storage.root).identity(), range(8)))) == 1


def test_a_damaged_identity_is_nobodys(storage: Folder) -> None:
    storage.root.mkdir()
    (storage.root / "store.id").write_text("A" * 32)
    with pytest.raises(Unavailable, match=r"store\.id is damaged: remove it"):
        storage.identity()


def test_an_identity_is_no_object_and_what_was_left_of_making_one_goes(storage: Folder) -> None:
    storage.identity()
    storage.write(KEY, [b"a"])
    left = storage.root / "store.id.writing-1"
    left.write_bytes(b"x")
    for prefix in ("", "s", "store.id"):
        assert [e.key for e in storage.find(prefix)] == ([KEY] if not prefix else [])
    aged(storage.root)
    assert storage.tidy(time.time() - 1) == 1
    assert not left.exists()
    assert storage.identity()
