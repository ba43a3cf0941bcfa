"""Damage is found wherever it is, and mended by pushing and laying out anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelyard.registry.content.cache import Cache
from modelyard.registry.content.layout import Layout
from modelyard.registry.content.manifest import Damaged
from modelyard.registry.content.storage import Folder, Missing
from modelyard.registry.content.verifying import verify_laid_out, verify_stored
from tests.registry.content.making import checkpoint, contents, mixed, pushed, tensors, write


def flip(path: Path, at: int, bit: int = 0x10) -> None:
    mode = path.stat().st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ bit]))
    path.chmod(mode)


def damage_found(storage: Folder, digest: str) -> list[str]:
    """Where; the manifest and the index cannot be read at all when they are damaged."""
    try:
        return [damage.where for damage in verify_stored(storage, digest)]
    except Damaged:
        return ["the version"]


def test_a_flip_of_any_byte_of_a_small_store_is_found(home: Path, storage: Folder) -> None:
    folder = checkpoint(home / "v" / "model.safetensors", {"w": np.arange(20, dtype=np.float32)}).parent
    write(folder / "a.txt", b"text")
    digest = pushed(folder, storage).manifest
    assert verify_stored(storage, digest) == ()
    for entry in list(storage.find("")):
        for at in range(entry.size):
            flip(storage.path(entry.key), at)
            assert damage_found(storage, digest) in ([entry.key], ["the version"]), (entry.key, at)
            flip(storage.path(entry.key), at)
    assert verify_stored(storage, digest) == ()


def test_flips_in_every_object_are_found_headers_too(home: Path, storage: Folder) -> None:
    digest = pushed(mixed(home / "v"), storage).manifest
    generator = np.random.default_rng(1)
    for entry in list(storage.find("objects/")):
        for at in {*range(0, 100, 7), entry.size - 1, *generator.integers(0, entry.size, 10).tolist()}:
            flip(storage.path(entry.key), at)
            assert damage_found(storage, digest) == [entry.key], (entry.key, at)
            flip(storage.path(entry.key), at)


def test_what_is_missing_or_cut_short_is_found(home: Path, storage: Folder) -> None:
    digest = pushed(mixed(home / "v"), storage).manifest
    for entry in [*storage.find("objects/"), *storage.find("packs/")]:
        path, content = storage.path(entry.key), storage.read(entry.key)
        path.unlink()
        assert damage_found(storage, digest) == [entry.key]
        storage.write(entry.key, [content[:-1]])
        assert damage_found(storage, digest) == [entry.key]
        path.unlink()
        storage.write(entry.key, [content])
    assert verify_stored(storage, digest) == ()


def test_damage_names_all_files_that_need_what_is_damaged(home: Path, storage: Folder) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        write(home / "v" / name, name.encode())
    digest = pushed(home / "v", storage).manifest
    (pack,) = storage.find("packs/")
    storage.path(pack.key).unlink()
    (damage,) = verify_stored(storage, digest)
    assert set(damage.files) == {"a.txt", "b.txt", "c.txt"}


@pytest.mark.parametrize("at", [0, 9, -1])
@pytest.mark.parametrize("alike", [False, True])
def test_what_is_damaged_is_mended_by_pushing_again(home: Path, storage: Folder, at: int, alike: bool) -> None:
    folder = mixed(home / "v")
    digest = pushed(folder, storage).manifest
    damaged = [*storage.find("objects/"), *storage.find("packs/")]
    for entry in damaged:
        flip(storage.path(entry.key), at % entry.size)
    assert {damage.where for damage in verify_stored(storage, digest)} == {entry.key for entry in damaged}
    again = pushed(folder, storage, like=[digest] if alike else [])
    assert again.manifest == digest
    lost = sum(entry.size for entry in damaged)
    # Of what was cut by content an alike version shares the chunks that are whole.
    assert again.written < lost if alike else again.written == lost
    assert verify_stored(storage, digest) == ()
    assert contents(Cache(home / "cache", storage).lay_out(digest, Layout.EXACT).path) == contents(folder)


def test_a_damaged_manifest_or_index_is_mended_by_pushing_again(home: Path, storage: Folder) -> None:
    folder = mixed(home / "v")
    digest = pushed(folder, storage).manifest
    for kind in ("indexes/", "manifests/"):
        (entry,) = storage.find(kind)
        flip(storage.path(entry.key), 50)
        with pytest.raises(Damaged):
            verify_stored(storage, digest)
        pushed(folder, storage, like=[digest])
        assert verify_stored(storage, digest) == (), kind


def test_a_version_that_the_store_does_not_have_is_missing(storage: Folder) -> None:
    with pytest.raises(Missing):
        verify_stored(storage, f"sha256:{'0' * 64}")


@pytest.mark.parametrize("layout", list(Layout))
def test_damaged_files_that_were_copied_are_found_and_made_anew(
    home: Path, storage: Folder, monkeypatch: pytest.MonkeyPatch, layout: Layout
) -> None:
    monkeypatch.setattr(Cache, "_link", lambda *_: False)
    folder, cache = mixed(home / "v"), Cache(home / "cache", storage)
    digest = pushed(folder, storage).manifest
    laid = cache.lay_out(digest, layout).path
    expected = contents(laid)
    assert verify_laid_out(cache, storage, digest) == ()
    for name, (content, _) in expected.items():
        path = laid / name
        if content:
            flip(path, len(content) // 2)
        else:
            path.chmod(0o644)
            path.write_bytes(b"more")
        (damage,) = {damage.files[0]: damage for damage in verify_laid_out(cache, storage, digest)}.values()
        assert (damage.files, damage.where) == ((name,), str(path))
        assert not laid.exists()
        assert contents(cache.lay_out(digest, layout).path) == expected


def test_a_file_that_is_missing_or_longer_is_found(home: Path, storage: Folder) -> None:
    folder, cache = mixed(home / "v"), Cache(home / "cache", storage)
    digest = pushed(folder, storage).manifest
    laid = cache.lay_out(digest, Layout.EXACT).path
    (laid / "config.json").unlink()
    assert [damage.files for damage in verify_laid_out(cache, storage, digest)] == [("config.json",)]
    cache.lay_out(digest, Layout.EXACT)
    (laid / "serve.py").chmod(0o755)
    with (laid / "serve.py").open("ab") as file:
        file.write(b"\n")
    assert [damage.files for damage in verify_laid_out(cache, storage, digest)] == [("serve.py",)]
    assert contents(cache.lay_out(digest, Layout.EXACT).path) == contents(folder)


def test_damage_to_a_file_that_is_the_stores_own_is_found_in_both_and_mended(home: Path, storage: Folder) -> None:
    folder, cache = checkpoint(home / "v" / "model.safetensors", tensors(2)).parent, Cache(home / "cache", storage)
    digest = pushed(folder, storage).manifest
    laid = cache.lay_out(digest, Layout.TENSORS).path
    expected = contents(laid)
    for at in (10, 1000):
        path = next((laid / "model.safetensors.tensors").iterdir())
        assert path.stat().st_nlink == 3
        flip(path, at)
        assert len(verify_laid_out(cache, storage, digest)) == 1
        assert len(verify_stored(storage, digest)) == 1
        pushed(folder, storage)
        assert contents(cache.lay_out(digest, Layout.TENSORS).path) == expected
        assert verify_laid_out(cache, storage, digest) == verify_stored(storage, digest) == ()
