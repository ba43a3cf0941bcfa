"""Manifests and indexes: written in one way, and refused in every other, for they may come from an enemy."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.registry.content.chunks import CHUNK, Chunks
from modelyard.registry.content.layout import Layout, placed
from modelyard.registry.content.manifest import (
    Damaged,
    Extent,
    File,
    Index,
    Manifest,
    Part,
    Tensor,
    decode,
    decode_index,
    digest_of,
    encode,
    encode_index,
    hex_of,
)
from modelyard.registry.content.storage import Folder
from modelyard.registry.content.stored import read_manifest
from tests.registry.content.making import mixed, pushed

DIGEST = f"sha256:{'0' * 64}"
Document = dict[str, Any]

names = st.lists(st.text("abcdefgé.-_", min_size=1, max_size=8).map(lambda n: f"x{n}x"), min_size=1, max_size=4)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    chunks: dict[str, Chunks] = {}
    files = []
    for path in draw(st.sets(names.map("/".join), max_size=5)):
        parts = []
        for _ in range(draw(st.integers(0, 3))):
            lengths = draw(st.one_of(st.none(), st.lists(st.integers(1, CHUNK), max_size=4).map(tuple)))
            size = draw(st.integers(0, 3 * CHUNK)) if lengths is None else sum(lengths)
            count = -(-size // CHUNK) if lengths is None else len(lengths)
            found = Chunks(size, draw(st.binary(min_size=32 * count, max_size=32 * count)), lengths)
            chunks.setdefault(found.root, found)
            shape = draw(st.lists(st.integers(0, 2**62), max_size=3).map(tuple))
            tensor = draw(st.sampled_from([None, Tensor(name="w", dtype="Q4_K", shape=shape)]))
            parts.append(Part(root=found.root, size=size, tensor=tensor))
        graph = draw(st.sampled_from([None, *parts])) if parts else None
        files.append(
            File(
                path=path, size=sum(p.size for p in parts), sha256=hashlib.sha256(path.encode()).hexdigest(),
                kind=draw(st.sampled_from(["plain", "gguf", "onnx"])), parts=tuple(parts),
                executable=draw(st.booleans()), graph=graph, data=(path,) if draw(st.booleans()) else (),
            )
        )  # fmt: skip
    return Manifest(files=tuple(files), chunks=chunks)


def has_room(manifest: Manifest) -> bool:
    """Whether no file of it has to be a folder too, nor two have names that some systems take for one."""
    paths = [file.path for file in manifest.files]
    return not any(other.startswith(f"{path}/") for path in paths for other in paths)


@settings(deadline=None)
@given(manifests().filter(has_room))
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    document = encode(manifest)
    found = decode(document, digest_of(document))
    assert sorted(manifest.files, key=lambda file: file.path) == list(found.files)
    assert found.chunks == manifest.chunks
    assert found.size == manifest.size
    assert {part.root for part in found.parts()} == set(manifest.chunks)


@given(manifests().filter(has_room), st.randoms())
def test_equal_contents_have_one_spelling(manifest: Manifest, random: Any) -> None:
    files, roots = list(manifest.files), list(manifest.chunks)
    random.shuffle(files)
    random.shuffle(roots)
    shuffled = Manifest(files=tuple(files), chunks={root: manifest.chunks[root] for root in roots})
    assert encode(shuffled) == encode(manifest)


@pytest.fixture
def document(home: Path, storage: Folder) -> Document:
    digest = pushed(mixed(home / "v"), storage).manifest
    found: Document = json.loads(encode(read_manifest(storage, digest)))
    return found


def spelled(document: Document) -> bytes:
    """As a manifest is written, for all that can be."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def read(document: bytes) -> Manifest:
    return decode(document, digest_of(document))


def file_at(document: Document, path: str) -> Document:
    return next(file for file in document["files"] if file["path"] == path)


def part_of(document: Document, tensor: str) -> Document:
    return next(part for part in file_at(document, "model.safetensors")["parts"] if part.get("tensor") == tensor)


def chunks_of(document: Document, tensor: str) -> Document:
    found: Document = document["chunks"][part_of(document, tensor)["root"]]
    return found


def test_the_spelling_of_these_tests_is_the_manifests_own(document: Document) -> None:
    read(spelled(document))


CONTRADICTIONS: dict[str, Callable[[Document], object]] = {
    "another format": lambda d: d.update(format="modelyard.manifest/2"),
    "no files": lambda d: d.pop("files"),
    "a file of another size": lambda d: file_at(d, "config.json").update(size=3),
    "a size below 0": lambda d: file_at(d, "EMPTY").update(size=-1),
    "no digest": lambda d: file_at(d, "config.json").update(sha256="../../etc"),
    "a part without chunks": lambda d: part_of(d, "layer.0").update(root="0" * 64),
    "a part of another size": lambda d: part_of(d, "layer.0").update(size=1),
    "a part that is left out": lambda d: file_at(d, "model.safetensors")["parts"].pop(),
    "parts that are twice there": lambda d: file_at(d, "model.safetensors")["parts"].append(part_of(d, "layer.0")),
    "chunks under another root": lambda d: d["chunks"].update({"1" * 64: chunks_of(d, "layer.0")}),
    "chunks of no part": lambda d: d["chunks"].update(
        {Chunks(1, b"x" * 32).root: {"size": 1, "digests": base64.b64encode(b"x" * 32).decode()}}
    ),
    "digests that are cut off": lambda d: chunks_of(d, "layer.0").update(digests="AAAA"),
    "digests that are no base64": lambda d: chunks_of(d, "layer.0").update(digests="é!"),
    "chunks of another size": lambda d: chunks_of(d, "layer.0").update(size=2**61),
    "chunks below 0": lambda d: chunks_of(d, "layer.0").update(size=-5, digests=""),
    "other lengths": lambda d: chunks_of(d, "layer.0").update(lengths=[1, 2]),
    "a model that needs what is not there": lambda d: file_at(d, "net.onnx").update(data=["other.bin"]),
    "a graph without chunks": lambda d: file_at(d, "net.onnx")["graph"].update(size=1),
    "a tensor of another shape": lambda d: part_of(d, "layer.0").update(shape=[1]),
    "a tensor of no known dtype": lambda d: part_of(d, "layer.0").update(dtype="F3"),
    "a tensor with the format's own name": lambda d: part_of(d, "layer.0").update(tensor="__metadata__"),
    "a tensor with sizes below 0": lambda d: part_of(d, "layer.0").update(shape=[-1, -(2**15)]),
    "a tensor of a thousand dimensions": lambda d: part_of(d, "layer.0").update(shape=[2**15, *[1] * 999]),
    "the same file twice": lambda d: d["files"].append(file_at(d, "config.json")),
    "other letters of the same name": lambda d: d["files"].append(file_at(d, "config.json") | {"path": "CONFIG.json"}),
    "a file that is a folder": lambda d: d["files"].append(file_at(d, "config.json") | {"path": "EMPTY/config.json"}),
}


@pytest.mark.parametrize("contradiction", CONTRADICTIONS)
def test_a_manifest_that_contradicts_itself_is_refused(document: Document, contradiction: str) -> None:
    CONTRADICTIONS[contradiction](document)
    document["files"].sort(key=lambda file: file["path"]) if "files" in document else None
    document["chunks"] = dict(sorted(document["chunks"].items()))
    with pytest.raises(Damaged) as refused:
        read(spelled(document))
    assert "one spelling" not in str(refused.value)


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "..", "/", "/etc/passwd", "../up", "a/../../b", "a/..", "./a", "a//b", "a/./b", "a/", "//a"),
        *("a\\b", "C:\\a", "c:a", "a:b", "a\0b", "a\nb", "NUL", "con.txt", "a ", "a.", "\u202egnp.exe", "é" * 200),
        "/".join(["x" * 200] * 6),
    ],
)
def test_a_path_that_leads_elsewhere_or_cannot_be_everywhere_is_refused(document: Document, path: str) -> None:
    file_at(document, "config.json")["path"] = path
    document["files"].sort(key=lambda file: file["path"])
    with pytest.raises(Damaged, match="no path of a file"):
        read(spelled(document))


def test_another_spelling_of_a_manifest_is_refused(document: Document) -> None:
    whole = spelled(document)
    part = part_of(document, "layer.0")
    for other in (
        whole + b"\n",
        whole.replace(b":", b": ", 1),
        whole.replace(b'"format":', b'"more":1,"format":', 1),
        whole.replace(b'"executable":true', b'"executable":false', 1),
        whole.replace(b"layer.0", b"\\u006cayer.0", 1),
        whole.replace(b'"size":2,', b'"size":2.0,', 1),
        whole.replace(b'"size":2,', b'"size":1,"size":2,', 1),
        whole.replace(b'"digests":"', b'"digests":"\\n', 1),
        spelled(document | {"files": document["files"][::-1]}),
        spelled(document | {"chunks": dict(reversed(document["chunks"].items()))}),
        whole.replace(f'"root":"{part["root"]}"'.encode(), f'"root":"{part["root"]}","data":null'.encode(), 1),
    ):
        assert other != whole
        with pytest.raises(Damaged):
            read(other)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{" * 100_000,
        b'{"a":' + b"[" * 100_000,
        b'{"format":"\\ud800"}',
        b"\xff",
        b"9" * 9999,
    ],
)
def test_what_is_no_manifest_is_refused(document: bytes) -> None:
    with pytest.raises(Damaged):
        read(document)


def test_a_manifest_under_another_digest_is_refused(document: Document) -> None:
    whole = spelled(document)
    with pytest.raises(Damaged, match="damaged where it is stored"):
        decode(whole, DIGEST)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_forged_manifest_is_refused_or_can_be_laid_out(data: st.DataObject) -> None:
    forged = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(forged) - 1))
        piece = data.draw(
            st.sampled_from([b"", b"0", b"-", b"/", b".", b'"', b"null", b"9" * 30, b"[]", b"{}", b"true"])
        )
        forged[at : at + data.draw(st.integers(0, 3))] = piece
    try:
        found = read(bytes(forged))
    except Damaged:
        return
    assert encode(found) == bytes(forged)
    for layout in Layout:
        for file in placed(found, layout):
            assert file.name
            assert not file.path.startswith("/")
            assert ".." not in Path(file.path).parts


def _small() -> bytes:
    found = Chunks(8, hashlib.sha256(b"a" * 8).digest())
    tensor = Tensor(name="w", dtype="F32", shape=(2,))
    part = Part(root=found.root, size=8, tensor=tensor)
    return encode(
        Manifest(
            files=(
                File(path="a/m.safetensors", size=8, sha256="a" * 64, kind="safetensors", parts=(part,)),
                File(path="n.onnx", size=8, sha256="b" * 64, kind="onnx", parts=(part,), graph=part, data=("n.onnx",)),
            ),
            chunks={found.root: found},
        )
    )


SMALL = _small()


@pytest.mark.parametrize("digest", ["", "a" * 64, "sha256:", f"sha256:{'A' * 64}", f"sha256:{'a' * 63}", "sha512:../a"])
def test_what_is_no_digest_names_no_manifest(digest: str) -> None:
    with pytest.raises(ValueError, match="not the digest"):
        hex_of(digest)


# --------------------------------------------------------------------------------------------------------------- index

KEY = f"objects/ab/{'ab' * 32}"
INDEX: Index = {"r": (Extent(KEY, 0, 9), Extent(f"{KEY}.{'0' * 16}", 5, 2**40)), "empty": ()}


def test_an_index_is_read_as_it_was_written() -> None:
    assert decode_index(encode_index(INDEX), DIGEST) == INDEX


def test_any_flipped_byte_of_an_index_is_found() -> None:
    whole = encode_index(INDEX)
    for at in range(len(whole)):
        for bit in (1, 32, 128):
            flipped = whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :]
            with pytest.raises(Damaged, match=r"Push the version anew"):
                decode_index(flipped, DIGEST)
        with pytest.raises(Damaged):
            decode_index(whole[:at], DIGEST)


@pytest.mark.parametrize(
    "extent",
    [
        Extent("../../etc/passwd", 0, 1),
        Extent("/etc/passwd", 0, 1),
        Extent(f"objects/../{KEY}", 0, 1),
        Extent(f"{KEY}\n", 0, 1),
        Extent(f"manifests/ab/{'ab' * 32}", 0, 1),
        Extent("", 0, 1),
        Extent(KEY, -1, 1),
        Extent(KEY, 0, 0),
        Extent(KEY, 0, -1),
    ],
)
def test_an_index_that_names_anything_but_content_is_refused(extent: Extent) -> None:
    with pytest.raises(Damaged, match="cannot be in a store"):
        decode_index(encode_index({"r": (extent,)}), DIGEST)
