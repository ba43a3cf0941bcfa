"""Pushing while the files change, and pushes that are killed: nothing wrong in the store, and the next one goes on."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from modelyard.domain.errors import InvalidRequest
from modelyard.registry.content import cutting
from modelyard.registry.content.garbage import collect
from modelyard.registry.content.pulling import pull
from modelyard.registry.content.pushing import push
from modelyard.registry.content.storage import Folder
from modelyard.registry.content.stored import manifest_name
from modelyard.registry.content.verifying import verify_stored
from tests.registry.content.crashing import every_step
from tests.registry.content.making import (
    accepted,
    aged,
    checkpoint,
    contents,
    mixed,
    on_disk,
    pushed,
    tensors,
    unfinished,
    write,
)


def assert_whole(storage: Folder, digest: str, folder: Path, to: Path) -> None:
    assert verify_stored(storage, digest) == ()
    pull(storage, digest, to)
    assert contents(to) == contents(folder)


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        byte = file.read(1)
        file.seek(-100, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES = [flip, shorten, Path.unlink, replace_by_link, replace_by_pipe]
FILES = ["model.safetensors", "net.onnx", "deep/er/text.txt", "config.json"]


def assert_nothing_wrong(storage: Folder) -> None:
    """No version is there, and what is is what its name says."""
    assert list(storage.find("manifests/")) == list(storage.find("indexes/")) == []
    assert unfinished(storage.root) == []
    for entry in storage.find("packs/"):
        assert hashlib.sha256(storage.read(entry.key)).hexdigest() == Path(entry.key).name


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_changes_between_hashing_and_writing_fails_the_push(
    home: Path, storage: Folder, change: Callable[[Path], None], name: str
) -> None:
    folder = mixed(home / "v")
    write(folder / "config.json", b'"' + b"x" * 500 + b'"')
    files, size = accepted(folder), on_disk(folder)

    def progress(done: int, total: int) -> None:
        if done == size and (folder / name) not in changed:
            changed.append(folder / name)
            change(folder / name)

    changed: list[Path] = []
    with pytest.raises(InvalidRequest, match="changed while it was read") as failed:
        push(folder, files, storage, progress=progress)
    assert failed.value.problems[0].code == "changed"
    assert Path(name).name in failed.value.problems[0].message
    assert_nothing_wrong(storage)
    shutil.rmtree(folder)
    again = pushed(mixed(home / "v"), storage)
    assert_whole(storage, again.manifest, folder, home / "out")


@pytest.mark.parametrize("change", [flip, shorten, Path.unlink, replace_by_link, lengthen])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("moment", ["_spans", "_cut_file", "graph_of", "Hasher.whole"])
def test_a_file_that_changes_while_it_is_hashed_fails_the_push(
    home: Path,
    storage: Folder,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    name: str,
    moment: str,
) -> None:
    folder = mixed(home / "v")
    write(folder / "config.json", b'"' + b"x" * 500 + b'"')
    files = accepted(folder)
    owner, _, called = f"cutting.{moment}".rpartition(".")
    owner = {"cutting": cutting, "cutting.Hasher": cutting.Hasher}[owner]
    original, calls = getattr(owner, called), []

    def hooked(*arguments: object, **options: object) -> object:
        if not calls:
            change(folder / name)
        calls.append(1)
        return original(*arguments, **options)

    monkeypatch.setattr(owner, called, hooked)
    with pytest.raises((InvalidRequest, OSError)) as failed:
        push(folder, files, storage)
    if isinstance(failed.value, InvalidRequest):
        assert failed.value.problems[0].code == "changed"
    assert_nothing_wrong(storage)


@pytest.mark.parametrize("change", [*CHANGES, lengthen])
def test_a_file_that_changed_since_it_was_looked_at_fails_the_push(
    home: Path, storage: Folder, change: Callable[[Path], None]
) -> None:
    folder = mixed(home / "v")
    files = accepted(folder)
    change(folder / "model.safetensors")
    with pytest.raises((InvalidRequest, OSError)):
        push(folder, files, storage)
    assert_nothing_wrong(storage)


def push_it(folder: Path, root: Path, like: Sequence[str] = ()) -> None:
    push(folder, accepted(folder), Folder(root), like=like)


def small(folder: Path, seed: int) -> Path:
    checkpoint(folder / "model.safetensors", tensors(count=3, size=2**15, seed=seed))
    write(folder / "text.txt", b"a" * 1000)
    write(folder / "more.txt", str(seed).encode())
    return folder


def test_a_push_that_was_killed_anywhere_goes_on_and_leaves_nothing_behind(home: Path) -> None:
    folder = small(home / "v", 1)
    whole = Folder(home / "whole")
    expected = pushed(folder, whole)
    root = home / "store"
    for number in every_step(push_it, folder, root):
        storage = Folder(root)
        there = sum(entry.size for key in ("objects/", "packs/") for entry in storage.find(key))
        again = pushed(folder, storage)
        assert again.manifest == expected.manifest
        assert again.written == expected.written - there, number
        assert verify_stored(storage, again.manifest) == ()
        aged(root)
        collect(storage, [again.manifest], storage.path(manifest_name(again.manifest)).stat().st_mtime + 1, grace=0)
        assert unfinished(root) == [], number
        assert list(storage.find("")) == [
            type(entry)(entry.key, entry.size, storage.path(entry.key).stat().st_mtime) for entry in whole.find("")
        ]
        shutil.rmtree(root)


def test_a_push_that_was_killed_anywhere_harms_no_version_that_it_shares_bytes_with(home: Path) -> None:
    first, second = small(home / "1", 1), small(home / "2", 1)
    write(second / "text.txt", b"b" * 1000)
    base = Folder(home / "base")
    digest = pushed(first, base).manifest
    root = home / "store"
    shutil.copytree(base.root, root)
    for _ in every_step(push_it, second, root, [digest], stride=3):
        storage = Folder(root)
        assert verify_stored(storage, digest) == ()
        aged(root)
        collect(storage, [digest], storage.path(manifest_name(digest)).stat().st_mtime + 1, grace=0)
        assert verify_stored(storage, digest) == ()
        shutil.rmtree(root)
        shutil.copytree(base.root, root)
