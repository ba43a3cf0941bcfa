"""GGUF files made byte by byte."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from modelyard.registry.formats.gguf import spans
from modelyard.registry.formats.parts import Malformed
from tests.registry.formats.making import assert_covers, gguf_bytes, gguf_string, write


@pytest.mark.parametrize(("version", "alignment"), [(2, None), (3, None), (3, 64), (3, 1)])
def test_each_tensor_is_a_span_and_all_else_is_plain(home: Path, version: int, alignment: int | None) -> None:
    path = write(home / "m.gguf", gguf_bytes(version=version, alignment=alignment))
    found = spans(path)
    content = path.read_bytes()
    assert_covers(found, len(content))
    tensors = {span.tensor: span for span in found if span.tensor is not None}
    assert {name: (span.dtype, span.shape, span.size) for name, span in tensors.items()} == {
        "a": ("F32", (2, 32), 256),
        "b": ("Q8_0", (64,), 68),
    }
    assert content[tensors["a"].offset :][:256] == b"A" * 256
    assert content[tensors["b"].offset :][:68] == b"B" * 68


def test_a_tensor_of_an_unknown_type_reaches_to_the_next_one(home: Path) -> None:
    path = write(home / "m.gguf", gguf_bytes(types=(99, 8)))
    found = {span.tensor: span for span in spans(path)}
    assert (found["a"].dtype, found["a"].size) == ("ggml-99", 128)
    assert found["b"].size == 68


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GGUF", "ends too early"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version 50331648"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "ends too early"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63), "ends too early"),
        (gguf_bytes()[:-100], "beyond the file's end"),
        (gguf_bytes(alignment=33), "not a power of two"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + gguf_string("k") + struct.pack("<I", 13), "a value of type 13"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + gguf_string("k") + struct.pack("<I", 9) + b"\x09\0\0\0" * 40,
            "a value of type 9",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + gguf_string("w") + struct.pack("<I", 5), "5 dimensions"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + gguf_string("w") + struct.pack("<IQIQ", 1, 31, 8, 0),
            "no whole number of blocks",
        ),
    ],
)
def test_a_file_that_is_not_whole_is_refused(home: Path, content: bytes, message: str) -> None:
    path = write(home / "m.gguf", content)
    with pytest.raises(Malformed, match=message):
        spans(path)
