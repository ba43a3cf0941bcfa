"""Which files a layout has, and what they are called in the cache: equal names exactly for equal bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modelyard.registry.content.layout import Layout, Placed, placed
from modelyard.registry.content.manifest import File, Manifest, Part
from modelyard.registry.content.storage import Folder
from modelyard.registry.content.stored import read_manifest
from tests.registry.content.making import checkpoint, mixed, pushed, tensors, write

ONE, OTHER = Part(root="1" * 64, size=3), Part(root="2" * 64, size=5)


def test_files_have_one_name_if_they_have_the_same_bytes_and_mode() -> None:
    different = [
        Placed(path="a"),
        Placed(path="a", parts=(ONE,)),
        Placed(path="a", parts=(OTHER,)),
        Placed(path="a", parts=(ONE, OTHER)),
        Placed(path="a", parts=(OTHER, ONE)),
        Placed(path="a", header=b"h", parts=(ONE,)),
        Placed(path="a", header=bytes.fromhex(ONE.root)),
        Placed(path="a", header=bytes.fromhex(ONE.root), parts=(OTHER,)),
        Placed(path="a", parts=(ONE,), executable=True),
    ]
    assert len({file.name for file in different}) == len(different)
    assert different[1].name == Placed(path="b/c", parts=(ONE,)).name
    assert Placed(path="a", header=b"hh", parts=(ONE, OTHER)).size == 10


def test_the_exact_layout_has_the_files_of_the_version(home: Path, storage: Folder) -> None:
    manifest = read_manifest(storage, pushed(mixed(home / "v"), storage).manifest)
    found = placed(manifest, Layout.EXACT)
    assert [(file.path, file.size, file.executable) for file in found] == [
        (file.path, file.size, file.executable) for file in manifest.files
    ]


def test_the_tensors_layout_has_each_file_once_in_order(home: Path, storage: Folder) -> None:
    some = tensors(2, 2**15)
    checkpoint(home / "v" / "model.safetensors", some | {"twin": some["layer.0"].copy(), "none": np.zeros(0)})
    write(home / "v" / "config.json", b"{}")
    manifest = read_manifest(storage, pushed(home / "v", storage).manifest)
    paths = [file.path for file in placed(manifest, Layout.TENSORS)]
    assert paths == sorted(set(paths))
    assert [path for path in paths if ".tensors/" not in path] == ["config.json", "model.safetensors.index.json"]
    # The twins differ in their names, and so in their headers.
    assert len(paths) == 2 + 4


def test_weights_that_another_model_needs_as_they_are_stay() -> None:
    inside = Part(root=ONE.root, size=3)

    def model(path: str, graph: Part | None) -> File:
        return File(path=path, size=3, sha256="", kind="onnx", parts=(inside,), graph=graph, data=("w.bin",))

    weights = File(path="w.bin", size=5, sha256="", kind="onnx_data", parts=(OTHER,))
    both = Manifest(files=(model("a.onnx", ONE), model("b.onnx", None), weights))
    assert [file.path for file in placed(both, Layout.TENSORS)] == ["a.onnx", "b.onnx", "w.bin"]
    alone = Manifest(files=(model("a.onnx", ONE), weights))
    assert [file.path for file in placed(alone, Layout.TENSORS)] == ["a.onnx"]
