"""Laying versions out: byte by byte what was pushed, readable by the formats' own libraries, whoever is killed."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from modelyard.registry.content.cache import Cache
from modelyard.registry.content.chunks import CHUNK
from modelyard.registry.content.layout import Layout
from modelyard.registry.content.manifest import Damaged
from modelyard.registry.content.pulling import pull
from modelyard.registry.content.pushing import push
from modelyard.registry.content.storage import Folder, Missing
from modelyard.registry.content.verifying import verify_laid_out
from tests.registry.content.crashing import every_step, together
from tests.registry.content.making import (
    WITH_FILES,
    Array,
    aged,
    answers,
    beside,
    chain,
    checkpoint,
    contents,
    listed,
    matrix,
    mixed,
    noise,
    on_disk,
    pushed,
    tensors,
    typed,
    unfinished,
    write,
)
from tests.registry.formats.making import matrix_model, weights


@pytest.fixture(params=["linked", "copied"])
def cache(request: pytest.FixtureRequest, home: Path, storage: Folder, monkeypatch: pytest.MonkeyPatch) -> Cache:
    if request.param == "copied":
        monkeypatch.setattr(Cache, "_link", lambda *_: False)
    return Cache(home / "cache", storage)


names = st.text("aé中.-_ x", min_size=1, max_size=5).map(lambda name: f"f{name}f")
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=5).map("/".join),
    st.tuples(st.integers(0, 99), st.sampled_from([0, 1, 100, 2**16 - 1, 2**16, CHUNK, CHUNK + 1]), st.booleans()),
    max_size=6,
)


def is_tree(tree: dict[str, object]) -> bool:
    return not any(other.startswith(f"{path}/") for path in tree for other in tree)


@WITH_FILES
@given(trees.filter(is_tree))
def test_any_folder_comes_out_as_it_went_in(home: Path, tree: dict[str, tuple[int, int, bool]]) -> None:
    folder = home / "v"
    folder.mkdir()
    for path, (seed, size, executable) in tree.items():
        write(folder / path, noise(seed, size)).chmod(0o755 if executable else 0o644)
    storage = Folder(home / "store")
    digest = push(folder, listed(folder), storage).manifest
    laid = Cache(home / "cache", storage).lay_out(digest, Layout.EXACT)
    pull(storage, digest, home / "out")
    assert contents(laid.path) == contents(home / "out") == contents(folder)
    for name in ("v", "store", "cache", "out"):
        shutil.rmtree(home / name, ignore_errors=True)


def test_a_version_is_laid_out_as_it_was_pushed(home: Path, storage: Folder, cache: Cache) -> None:
    folder = mixed(home / "v")
    digest = pushed(folder, storage).manifest
    laid = cache.lay_out(digest, Layout.EXACT)
    assert contents(laid.path) == contents(folder)
    assert cache.lay_out(digest, Layout.EXACT).fetched == 0
    assert unfinished(home) == []


def test_a_name_as_long_as_names_can_be_is_laid_out(home: Path, storage: Folder, cache: Cache) -> None:
    folder = checkpoint(home / "v" / f"{'x' * 243}.safetensors", tensors(1)).parent
    write(folder / ("é" * 127), b"text")
    digest = push(folder, typed(folder), storage).manifest
    assert contents(cache.lay_out(digest, Layout.EXACT).path) == contents(folder)
    assert contents(cache.lay_out(digest, Layout.TENSORS).path) == contents(folder)
    pull(storage, digest, home / "out")
    assert contents(home / "out") == contents(folder)


# -------------------------------------------------------------------------------------------- tensors: safetensors


def read_checkpoint(folder: Path, name: str) -> dict[str, Array]:
    """As whoever loads sharded checkpoints reads them."""
    index = json.loads((folder / f"{name}.index.json").read_text())
    found = {}
    for tensor, path in index["weight_map"].items():
        with safetensors.safe_open(folder / path, "np") as file:
            found[tensor] = file.get_tensor(tensor)
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in found.values())
    return found


def assert_equal(found: dict[str, Array], expected: dict[str, Array]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_checkpoint_is_read_from_one_file_a_tensor(home: Path, storage: Folder, cache: Cache) -> None:
    some = tensors(3) | {
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.array(7, np.int64),
        "small": np.arange(5, dtype=np.float16),
        "twin": tensors(1)["layer.0"].copy(),
        'odd "näme"/..': np.arange(4, dtype=np.uint8),
    }
    folder = checkpoint(home / "v" / "sub" / "model.safetensors", some).parent.parent
    digest = pushed(folder, storage).manifest
    laid = cache.lay_out(digest, Layout.TENSORS).path
    assert_equal(read_checkpoint(laid / "sub", "model.safetensors"), some)
    assert not (laid / "sub" / "model.safetensors").exists()


def test_a_sharded_checkpoint_with_an_index_of_its_own_is_read_by_tensor(
    home: Path, storage: Folder, cache: Cache
) -> None:
    some, folder = tensors(4), home / "v"
    shards = [f"model-0000{i + 1}-of-00002.safetensors" for i in range(2)]
    names = [list(some)[:2], list(some)[2:]]
    for shard, held in zip(shards, names, strict=True):
        checkpoint(folder / shard, {name: some[name] for name in held})
    where = {name: shard for shard, held in zip(shards, names, strict=True) for name in held}
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    write(folder / "model.safetensors.index.json", json.dumps(index).encode())
    digest = pushed(folder, storage).manifest
    laid = cache.lay_out(digest, Layout.TENSORS).path
    assert_equal(read_checkpoint(laid, "model.safetensors"), some)
    assert contents(cache.lay_out(digest, Layout.EXACT).path) == contents(folder)


@pytest.mark.parametrize(
    "taken", ["model.safetensors.tensors", "model.safetensors.tensors/x", "model.safetensors.index.json/x"]
)
def test_a_checkpoint_whose_tensors_have_no_room_stays_as_it_is(
    home: Path, storage: Folder, cache: Cache, taken: str
) -> None:
    folder = checkpoint(home / "v" / "model.safetensors", tensors(2)).parent
    write(folder / taken, b"mine")
    digest = push(folder, typed(folder), storage).manifest
    assert contents(cache.lay_out(digest, Layout.TENSORS).path) == contents(folder)


def test_versions_share_the_files_of_the_tensors_that_they_share(home: Path, storage: Folder) -> None:
    some, cache = tensors(16, 2**16), Cache(home / "cache", storage)
    for number in range(2):
        folder = checkpoint(
            home / f"{number}" / "model.safetensors", some | {"layer.5": some["layer.5"] + number}
        ).parent
        before = on_disk(storage.root, cache.root)
        found = pushed(folder, storage)
        laid = cache.lay_out(found.manifest, Layout.TENSORS)
        added = on_disk(storage.root, cache.root) - before
        # The second: the tensor that changed, and a hundredth.
        assert added <= (found.size if number == 0 else 2**18) + found.size * 0.01
        assert laid.fetched < 10_000


# -------------------------------------------------------------------------------------------- tensors: ONNX


def test_a_model_gives_equal_answers_from_one_file_a_tensor(home: Path, storage: Folder, cache: Cache) -> None:
    folder = home / "v"
    write(folder / "a" / "net.onnx", matrix_model().SerializeToString())
    digest = pushed(folder, storage).manifest
    laid = cache.lay_out(digest, Layout.TENSORS).path
    assert (laid / "a" / "net.onnx").stat().st_size < (folder / "a" / "net.onnx").stat().st_size / 2
    np.testing.assert_array_equal(answers(laid / "a" / "net.onnx"), answers(folder / "a" / "net.onnx"))


def data(*seeds: int) -> bytes:
    return b"".join(weights(seed).tobytes() for seed in seeds)


SHARING = {
    "one model": ({"net": [("a", 0), ("b", 16384)]}, True),
    "one that leaves some out": ({"net": [("a", 16384)]}, True),
    "two with the same tensors": ({"net": [("a", 0), ("b", 16384)], "other": [("x1", 0), ("x2", 16384)]}, True),
    "two with some in common": ({"net": [("a", 0), ("b", 16384)], "other": [("x1", 16384)]}, True),
    "two that see other tensors": ({"net": [("a", 0)], "other": [("b", 16384), ("c", 32768)]}, False),
    "two that cut it otherwise": ({"net": [("a", 0), ("b", 16384)], "other": [("x1", 8192)]}, False),
}


@pytest.mark.parametrize("sharing", SHARING)
def test_models_that_share_a_file_of_weights_all_give_equal_answers(
    home: Path, storage: Folder, cache: Cache, sharing: str
) -> None:
    models, all_by_tensor = SHARING[sharing]
    folder = home / "v" / "m"
    write(folder / "w" / "all.bin", data(1, 2, 3))
    for name, held in models.items():
        model = chain(matrix("inline", 7), *(beside(tensor, "w/all.bin", offset) for tensor, offset in held))
        write(folder / f"{name}.onnx", model.SerializeToString())
    digest = pushed(home / "v", storage).manifest
    for layout in Layout:
        laid = cache.lay_out(digest, layout).path / "m"
        for name in models:
            np.testing.assert_array_equal(answers(laid / f"{name}.onnx"), answers(folder / f"{name}.onnx"))
        kept = layout is Layout.EXACT or not all_by_tensor
        assert (laid / "w" / "all.bin").exists() == kept


def test_a_model_with_its_weights_in_a_checkpoint_gives_equal_answers(
    home: Path, storage: Folder, cache: Cache
) -> None:
    folder = home / "v"
    checkpoint(folder / "w.safetensors", {"a": weights(1), "b": weights(2)})
    start = 8 + int.from_bytes((folder / "w.safetensors").read_bytes()[:8], "little")
    model = chain(*(beside(f"t{i}", "w.safetensors", start + 16384 * i) for i in range(2)))
    write(folder / "net.onnx", model.SerializeToString())
    digest = pushed(folder, storage).manifest
    laid = cache.lay_out(digest, Layout.TENSORS).path
    np.testing.assert_array_equal(answers(laid / "net.onnx"), answers(folder / "net.onnx"))
    assert_equal(read_checkpoint(laid, "w.safetensors"), {"a": weights(1), "b": weights(2)})


def test_the_same_weights_in_two_models_are_one_file(home: Path, storage: Folder) -> None:
    folder, cache = home / "v", Cache(home / "cache", storage)
    for name in ("a", "b"):
        write(folder / name / "net.onnx", chain(matrix(f"w{name}", 1), matrix(f"v{name}", 2)).SerializeToString())
    laid = cache.lay_out(pushed(folder, storage).manifest, Layout.TENSORS).path
    inodes = [{path.stat().st_ino for path in (laid / name / "net.onnx.tensors").iterdir()} for name in ("a", "b")]
    assert inodes[0] == inodes[1]
    assert len(inodes[0]) == 2
    assert len(onnx.load(laid / "a" / "net.onnx", load_external_data=False).graph.initializer) == 2


# -------------------------------------------------------------------------------------------- what is not whole


def test_a_store_that_has_lost_something_is_said_to(home: Path, storage: Folder, cache: Cache) -> None:
    folder = mixed(home / "v")
    digest = pushed(folder, storage).manifest
    for entry in list(storage.find("")):
        content = storage.read(entry.key)
        storage.path(entry.key).unlink()
        for layout in Layout:
            try:
                cache.lay_out(digest, layout)
            except Missing:
                assert not cache.folder(digest, layout).exists()
            else:
                # One layout needs the graph, the other the model as it was.
                assert layout is Layout.EXACT or entry.key.startswith(("objects/", "packs/"))
        storage.write(entry.key, [content])
        shutil.rmtree(cache.root, ignore_errors=True)
        assert unfinished(home) == []


def test_an_object_that_was_cut_short_is_not_served(home: Path, storage: Folder, cache: Cache) -> None:
    digest = pushed(checkpoint(home / "v" / "model.safetensors", tensors(2)).parent, storage).manifest
    path = storage.path(next(storage.find("objects/")).key)
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size - 1)
    for layout in Layout:
        with pytest.raises(Damaged, match="damaged"):
            cache.lay_out(digest, layout)
        assert not cache.folder(digest, layout).exists()


def test_any_flipped_byte_of_the_store_is_refused_when_it_is_copied(
    home: Path, storage: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cache, "_link", lambda *_: False)
    folder = mixed(home / "v")
    digest = pushed(folder, storage).manifest
    generator = np.random.default_rng(1)
    for entry in list(storage.find("")):
        for at in {0, entry.size - 1, *generator.integers(0, entry.size, 4).tolist()}:
            path = storage.path(entry.key)
            path.chmod(0o644)
            flip(path, at)
            cache = Cache(home / "cache", storage)
            try:
                laid = cache.lay_out(digest, Layout.EXACT).path
            except Damaged:
                assert not cache.folder(digest, Layout.EXACT).exists()
            else:
                # What nothing of this layout is read from: the header of an object, or the graph.
                assert contents(laid) == contents(folder)
            flip(path, at)
            shutil.rmtree(cache.root, ignore_errors=True)


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x10]))


def test_what_was_forgotten_is_made_anew(home: Path, storage: Folder, cache: Cache) -> None:
    folder = mixed(home / "v")
    digest = pushed(folder, storage).manifest
    cache.lay_out(digest, Layout.EXACT)
    cache.forget(digest, Layout.EXACT, [])
    cache.forget(digest, Layout.EXACT, [])
    assert not cache.folder(digest, Layout.EXACT).exists()
    assert contents(cache.lay_out(digest, Layout.EXACT).path) == contents(folder)
    assert unfinished(home) == []


# -------------------------------------------------------------------------------------------- many, and killed ones


def lay_it_out(digest: str, home: Path, copied: bool) -> None:
    lay_out_together(0, digest, home, copied)


def lay_out_together(number: int, digest: str, home: Path, copied: bool) -> None:
    if copied:
        Cache._link = lambda *_: False  # type: ignore[method-assign]
    for layout in Layout:
        Cache(home / "cache", Folder(home / "store")).lay_out(digest, layout)


def small(folder: Path) -> Path:
    checkpoint(folder / "model.safetensors", tensors(2, 2**15))
    write(folder / "net.onnx", chain(matrix("w", 1)).SerializeToString())
    write(folder / "deep" / "serve.sh", b"#!/bin/sh\n").chmod(0o755)
    return folder


@pytest.mark.parametrize("copied", [False, True])
def test_laying_out_that_was_killed_anywhere_is_done_again_and_leaves_nothing_behind(
    home: Path, storage: Folder, copied: bool
) -> None:
    folder = small(home / "v")
    digest = pushed(folder, storage).manifest
    cache = Cache(home / "cache", storage)
    for number in every_step(lay_it_out, digest, home, copied, stride=5):
        for layout in Layout:
            if cache.folder(digest, layout).exists():
                assert verify_laid_out(cache, storage, digest) == (), number
            cache.lay_out(digest, layout)
        assert contents(cache.folder(digest, Layout.EXACT)) == contents(folder), number
        assert verify_laid_out(cache, storage, digest) == ()
        aged(cache.root)
        for path in (cache.root / "laid").iterdir():
            os.utime(path, (0, 0))
        cache.tidy(time.time() - 5000)
        assert unfinished(home) == [], number
        assert contents(cache.folder(digest, Layout.EXACT)) == contents(folder)
        shutil.rmtree(cache.root)


@pytest.mark.parametrize("copied", [False, True])
def test_eight_processes_at_once_have_equal_files_and_leave_nothing_behind(
    home: Path, storage: Folder, copied: bool
) -> None:
    folder = mixed(home / "v")
    digest = pushed(folder, storage).manifest
    together(8, lay_out_together, digest, home, copied)
    cache = Cache(home / "cache", storage)
    assert contents(cache.folder(digest, Layout.EXACT)) == contents(folder)
    assert verify_laid_out(cache, storage, digest) == ()
    assert unfinished(home) == []
    assert len(list((home / "cache" / "laid").iterdir())) == 2


def test_what_another_is_making_is_left_alone(home: Path, storage: Folder) -> None:
    cache = Cache(home / "cache", storage)
    making = cache.root / "laid" / ".making-0"
    write(making / "a", b"a")
    write(cache.root / "files" / "ab" / "ab.writing-0", b"a")
    cache.tidy(time.time() - 60)
    assert len(unfinished(home)) == 2
    cache.tidy(time.time() + 60)
    assert unfinished(home) == []
