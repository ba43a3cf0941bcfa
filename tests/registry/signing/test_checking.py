"""Before a signature is accepted every byte is read: what is served is what is signed, whatever its manifest says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from modelyard.domain.errors import InvalidRequest
from modelyard.registry.content.chunks import Chunks
from modelyard.registry.content.manifest import (
    Damaged,
    Extent,
    File,
    Manifest,
    Part,
    Tensor,
    digest_of,
    encode,
    encode_index,
)
from modelyard.registry.content.storage import Folder, Missing
from modelyard.registry.content.stored import index_name, manifest_name, object_name, read_index, read_manifest
from modelyard.registry.formats.kinds import Kind
from modelyard.registry.signing.checking import check_content
from tests.registry.content.making import chain, checkpoint, mixed, pushed, tensors
from tests.registry.formats.making import tensor, write


def forged(storage: Folder, digest: str, change: Callable[[Manifest], Manifest], *added: bytes) -> str:
    """The version with another manifest, which contradicts itself in nothing; ``added`` are parts that are new."""
    manifest, index = change(read_manifest(storage, digest)), dict(read_index(storage, digest))
    for content in added:
        chunks = chunk_of(content)
        key = storage.write(object_name(chunks.root, b""), [content])
        index[chunks.root] = (Extent(key, 0, len(content)),)
    needed = {part.root for part in manifest.parts()}
    document = encode(replace(manifest, chunks={r: c for r, c in manifest.chunks.items() if r in needed}))
    made = digest_of(document)
    storage.write(manifest_name(made), [document])
    storage.write(index_name(made), [encode_index({root: at for root, at in index.items() if root in needed})])
    read_manifest(storage, made)
    return made


def carried(storage: Folder, digest: str, content: bytes) -> str:
    """The version of one file with other bytes under its name, its size and its SHA-256."""
    (file,) = read_manifest(storage, digest).files
    assert file.size == len(content)

    def carry(file: File) -> File:
        return replace(file, parts=(Part(root=chunk_of(content).root, size=len(content)),))

    return forged(storage, digest, lambda m: with_file(m, file.path, carry, content), content)


def chunk_of(content: bytes) -> Chunks:
    return Chunks(len(content), hashlib.sha256(content).digest(), (len(content),))


def with_file(manifest: Manifest, path: str, change: Callable[[File], File], *added: bytes) -> Manifest:
    files = tuple(change(file) if file.path == path else file for file in manifest.files)
    chunks = {**manifest.chunks, **{chunk.root: chunk for chunk in map(chunk_of, added)}}
    return Manifest(files=files, chunks=chunks)


def untrue(storage: Folder, digest: str) -> str:
    with pytest.raises(InvalidRequest) as caught:
        check_content(storage, digest)
    (problem,) = caught.value.problems
    assert problem.code == "untrue_manifest"
    return problem.message


@pytest.fixture
def two(home: Path) -> Path:
    """A model of two tensors of one shape, which it subtracts from one another, as a graph whose order matters."""
    weights = [tensor(name, np.full((64, 64), value, np.float32)) for name, value in (("w0", 1), ("w1", 2))]
    folder = home / "two"
    folder.mkdir()
    onnx.save(chain(*weights), folder / "model.onnx")
    return folder


def test_versions_of_every_kind_are_what_their_manifests_say(home: Path, storage: Folder, two: Path) -> None:
    for folder in (mixed(home / "in"), two):
        digest = pushed(folder, storage).manifest
        assert check_content(storage, digest) == read_manifest(storage, digest)


def test_a_model_with_its_weights_beside_it_is_too(home: Path, storage: Folder) -> None:
    folder = home / "beside"
    folder.mkdir()
    model = chain(*(tensor(f"w{i}", np.full((64, 64), i, np.float32)) for i in range(3)))
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.data", size_threshold=0)
    digest = pushed(folder, storage).manifest
    files = {file.path: file for file in check_content(storage, digest).files}
    assert files["model.onnx"].graph is not None
    assert files["model.onnx"].data == ("model.data",)


def test_other_chunks_under_a_signed_list_of_files_are_found(home: Path, storage: Folder) -> None:
    digest = pushed(write(home / "in" / "a.txt", b"good" * 100).parent, storage).manifest
    assert "a.txt has another SHA-256" in untrue(storage, carried(storage, digest, b"evil" * 100))


def test_another_graph_than_the_models_own_is_found(two: Path, storage: Folder, home: Path) -> None:
    digest = pushed(two, storage).manifest
    graph = read_manifest(storage, digest).files[0].graph
    assert graph is not None
    index = read_index(storage, digest)[graph.root][0]
    roots = [part.root for part in read_manifest(storage, digest).files[0].parts if part.tensor is not None]
    assert len(roots) == 2
    own = bytes(storage.read(index.key, index.offset, index.size))
    swapped = own.replace(roots[0].encode(), b"?" * 64).replace(roots[1].encode(), roots[0].encode())
    swapped = swapped.replace(b"?" * 64, roots[1].encode())
    assert swapped != own

    def serve(file: File) -> File:
        return replace(file, graph=Part(root=chunk_of(swapped).root, size=len(swapped)))

    other = forged(storage, digest, lambda m: with_file(m, "model.onnx", serve, swapped), swapped)
    assert "model.onnx is served by another graph" in untrue(storage, other)

    def swap_names_too(file: File) -> File:
        names = [part.tensor for part in file.parts if part.tensor is not None][::-1]
        parts = [replace(part, tensor=names.pop(0)) if part.tensor is not None else part for part in file.parts]
        return serve(replace(file, parts=tuple(parts)))

    other = forged(storage, digest, lambda m: with_file(m, "model.onnx", swap_names_too, swapped), swapped)
    assert "model.onnx has its tensors elsewhere" in untrue(storage, other)


def test_a_graph_of_what_is_no_model_is_found(home: Path, storage: Folder) -> None:
    digest = pushed(write(home / "in" / "a.txt", b"text").parent, storage).manifest
    evil = b"a graph"

    def serve(file: File) -> File:
        return replace(file, graph=Part(root=chunk_of(evil).root, size=len(evil)))

    other = forged(storage, digest, lambda m: with_file(m, "a.txt", serve, evil), evil)
    assert "a.txt is no ONNX model, and is served as one" in untrue(storage, other)


def test_a_tensor_under_another_name_or_shape_than_its_files_is_found(home: Path, storage: Folder) -> None:
    folder = checkpoint(home / "in" / "m.safetensors", tensors(2)).parent
    digest = pushed(folder, storage).manifest
    for change in (
        lambda t: replace(t, name="another"),
        lambda t: replace(t, shape=(2, t.shape[0] // 2)),
        lambda t: replace(t, dtype="I32"),
    ):

        def rename(file: File, change: Callable[[Tensor], Tensor] = change) -> File:
            at = next(i for i, part in enumerate(file.parts) if part.tensor is not None)
            part = file.parts[at]
            assert part.tensor is not None
            return replace(
                file, parts=(*file.parts[:at], replace(part, tensor=change(part.tensor)), *file.parts[at + 1 :])
            )

        other = forged(storage, digest, lambda m, c=rename: with_file(m, "m.safetensors", c))  # type: ignore[misc]
        assert "m.safetensors has its tensors elsewhere" in untrue(storage, other)


def test_a_checkpoint_that_says_it_is_one_and_is_not_is_found(home: Path, storage: Folder) -> None:
    digest = pushed(write(home / "in" / "a.json", json.dumps({"a": 1}).encode()).parent, storage).manifest

    def pretend(file: File) -> File:
        (part,) = file.parts
        shape = (part.size,)
        return replace(
            file, kind=Kind.SAFETENSORS, parts=(replace(part, tensor=Tensor(name="w", dtype="U8", shape=shape)),)
        )

    other = forged(storage, digest, lambda m: with_file(m, "a.json", pretend))
    assert "a.json has its tensors elsewhere" in untrue(storage, other)


def test_what_is_kept_of_a_file_to_look_at_it_is_bounded(
    two: Path, storage: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.registry.signing.checking._LARGEST", 100)
    assert "model.onnx has too many bytes" in untrue(storage, pushed(two, storage).manifest)


def test_a_byte_that_was_changed_in_the_store_and_one_that_is_missing_are_found(home: Path, storage: Folder) -> None:
    digest = pushed(mixed(home / "in"), storage).manifest
    large = max(storage.find("objects/"), key=lambda entry: entry.size)
    path = storage.path(large.key)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    with pytest.raises(Damaged, match="has other bytes than were pushed"):
        check_content(storage, digest)
    path.unlink()
    with pytest.raises(Missing):
        check_content(storage, digest)


def test_nothing_is_left_of_the_check(home: Path, storage: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(home / "tmp"))
    digest = pushed(mixed(home / "in"), storage).manifest
    check_content(storage, digest)
    assert list((home / "tmp").iterdir()) == []
